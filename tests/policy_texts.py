"""Policies for tests of versions: the default one, and it with regimes more."""

from datetime import UTC, datetime

from permits.policy import DEFAULT_FILE

DEFAULT = DEFAULT_FILE.read_text()


def at(ms: int) -> str:
    """A moment as a policy writes it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def followed(text: str, from_ms: int, *, name: str, code: int = 2, honoured_days: int = 2) -> str:
    """A policy with one regime more, under which one code is known: it asks for a permit without end."""
    return (
        f'{text}\n[[regimes]]\nname = "{name}"\nfrom = {at(from_ms)}\n\n[[regimes.purposes]]\ncode = {code}\n'
        f'names = {{ az = "{name}", ru = "{name}", en = "{name}" }}\nhonoured_days = {honoured_days}\n'
    )
