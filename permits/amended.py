"""SMS permits that an officer has changed: the record that overrides the day record's entry, and outlives it."""

from typing import Literal

import msgspec

from permits.employees import Act


class AmendedPermit(msgspec.Struct, frozen=True, tag_field="kind", tag="sms"):
    """One amended SMS permit. Times are milliseconds since 1970 unless the name says `_s`."""

    code: str
    owner: str
    """Keyed hash of the document, 16 hex digits."""
    digest: str
    """Of the SMS that obtained it, 12 hex digits; with `decided_s` it names the entry of the day record."""
    asked_ms: int
    """The rules of this moment hold for it."""
    decided_s: int
    purpose: int
    from_ms: int
    until_ms: int | None
    """None: no end is stated."""
    ends_ms: int
    """When it is over for certain: a permit without end is honoured until then."""
    status: Literal["active", "cancelled"]
    reason: str | None = None
    certificate: str | None = None
    """Sealed facility and number of the certificate that extended it, bound to the owner."""
    notified: bool = False
    """Whether the last change was told by SMS: the number was still there."""
    acts: tuple[Act, ...] = ()

    @property
    def field(self) -> str:
        """Its field in the `holder` hash."""
        return f"s{self.digest}-{self.decided_s}"
