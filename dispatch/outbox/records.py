"""Records of `holder:{p}:<field>` of either kind: employees' permits, and SMS permits that an officer has changed."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from lua import changes
from permits.amended import AmendedPermit
from permits.employees import EmployeePermit

_RECORD: Final = msgspec.json.Decoder(EmployeePermit | AmendedPermit)


class Held(msgspec.Struct, frozen=True):
    """One record as it stands."""

    field: str
    version: int
    record: EmployeePermit | AmendedPermit | None
    """None where it cannot be read."""


def held_records(flat: Sequence[bytes]) -> Iterator[Held]:
    """The raw reply of an HGETALL, decoded."""
    for field, raw in zip(flat[::2], flat[1::2], strict=True):
        try:
            version, body = changes.read(raw)
            yield Held(field.decode(), version, _RECORD.decode(body))
        except (ValueError, msgspec.DecodeError):
            yield Held(field.decode("ascii", "backslashreplace"), 0, None)
