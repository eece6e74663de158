"""What can become of one SMS, as one letter: in day records, the audit trail, counters and metrics alike.

Lower-case letters are decisions: they are kept in the owner's record and answered. Upper-case letters end an
entry without a decision of its own.
"""

from typing import Final, Literal, get_args

Reason = Literal[
    "malformed",
    "unknown_code",
    "bad_document",
    "ambiguous",
    "quota",
    "abuse_document",
    "abuse_sender",
    "blocked",
    "hours",
    "zone",
    "late",
    "regime_off",
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)

APPROVED: Final = "a"
REFUSALS: Final[dict[Reason, str]] = {
    "malformed": "m",
    "unknown_code": "u",
    "bad_document": "b",
    "ambiguous": "x",
    "quota": "q",
    "abuse_document": "d",
    "abuse_sender": "s",
    "blocked": "k",
    "hours": "h",
    "zone": "z",
    "late": "l",
    "regime_off": "o",
}
REASON_OF: Final[dict[str, Reason]] = {letter: reason for reason, letter in REFUSALS.items()}

HELD: Final = "w"
"""An approval that waits for its time: in day records alone, where it counts as a permit."""
WITHDRAWN: Final = "v"
"""An approval that was cancelled while it waited: in day records alone, where it counts for nothing."""

DUPLICATE: Final = "D"
"""The same SMS was decided before; no second decision, count or reply."""
SHED: Final = "S"
"""The owner's record is full for the day: no permit and no reply."""
MOVED: Final = "M"
"""The entry belongs to another partition and stands there now."""
DEAD: Final = "X"
"""The entry cannot be read at all; it stands in the dead letters with its reason."""

NAME_OF: Final[dict[str, str]] = {
    APPROVED: "approved",
    **REASON_OF,
    DUPLICATE: "duplicate",
    SHED: "shed",
    MOVED: "moved",
    DEAD: "dead",
}
