"""Day keys for tests of other things: they stand in memory alone, and are made as they are asked for."""

from typing import Any, Final

from permits.identified import read_sms
from permits.messages import InboundSms, SealedSms
from permits.partition import Route
from runtime.day_keys import DayKey, DayKeys
from runtime.keyring import Keyring
from runtime.sealing import sealed_sms

ROUTE: Final = Route(key=b"a key for tests only", partitions=1)
KEYRING: Final = Keyring({"k1": b"k" * 32}, "k1")


class EveryDay(dict[str, DayKey]):
    """A key for every day there is."""

    def get(self, day: str, default: Any = None) -> DayKey:
        """The same day's is the same key."""
        return self.setdefault(day, DayKey(day, day.encode() * 4))


async def nobody(*_: Any) -> Any:
    """A store that must not be asked."""
    raise AssertionError


def sealed(key: DayKey, sms: InboundSms, route: Route = ROUTE) -> SealedSms:
    """An SMS as ingest stores it; whose route does not matter where nobody decides it."""
    return sealed_sms(key, sms, read_sms(sms, route))


def every_day() -> DayKeys:
    """No day was erased."""
    keys = DayKeys(nobody, key="none", keyring=KEYRING)
    keys.known = EveryDay()
    return keys
