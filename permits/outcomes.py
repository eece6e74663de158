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
    "nothing_to_cancel",
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
    "nothing_to_cancel": "n",
}
REASON_OF: Final[dict[str, Reason]] = {letter: reason for reason, letter in REFUSALS.items()}

HELD: Final = "w"
"""An approval that waits for its time: in day records alone, where it counts as a permit."""
WITHDRAWN: Final = "v"
"""An approval that was cancelled while it waited: in day records alone, where it counts for nothing."""
ENDED: Final = "e"
"""A permit that its own phone has cancelled: in day records alone, where it still counts as the permit of its day."""
GRANTED: Final = frozenset((APPROVED, HELD, WITHDRAWN, ENDED))
"""Approvals in day records, whatever became of them."""

CANCELLED: Final = "c"
"""An SMS that cancelled a permit in force."""
CANCELLED_HELD: Final = "y"
"""An SMS that cancelled an approval while it was held; the permit of the day is given back."""
CANCELLATIONS: Final = frozenset((CANCELLED, CANCELLED_HELD))
ABOUT_CANCELLING: Final = CANCELLATIONS | {REFUSALS["nothing_to_cancel"]}
"""What becomes of SMS with the cancel word, where they are decided."""

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
    CANCELLED: "cancelled",
    CANCELLED_HELD: "cancelled_held",
    DUPLICATE: "duplicate",
    SHED: "shed",
    MOVED: "moved",
    DEAD: "dead",
}
