"""A worker's count of phones for tests of other things: it asks no store, and shares nothing."""

from processor.busy_phones import BusyPhones
from runtime.connection import Wire


def phones() -> BusyPhones:
    """A count that begins with nobody."""
    return BusyPhones(Wire("redis://127.0.0.1:1"), [])
