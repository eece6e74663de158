"""The words of a policy file: regimes, what each code asks for, and what stands against abuse.

Typed here; what types cannot say is checked by `policy_checks`. Every key is told of in docs/policy.md.
"""

from datetime import datetime, time
from typing import Annotated, Final

import msgspec

from permits.calendar import BAKU, day_start_ms, local_day
from permits.documents import SeriesTable
from permits.messages import Channel, Lang

MAX_MINUTES: Final = 4095
"""A day record keeps the duration in twelve bits."""
MAX_HONOURED_DAYS: Final = 7

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9._-]+$")]
Code = Annotated[int, msgspec.Meta(ge=1, le=255)]
CancelWord = Annotated[str, msgspec.Meta(min_length=3, max_length=12, pattern="^[A-Z]+$")]
OneByte = Annotated[int, msgspec.Meta(ge=1, le=255)]


class Rule(msgspec.Struct, frozen=True):
    """Refuse with `quota` once `limit` permits under `purposes` stand for this document on this day."""

    limit: int
    purposes: tuple[int, ...]


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of each Baku day, `until` left out; across midnight where `until` is not the later one."""

    start: time = msgspec.field(name="from")
    until: time

    def holds(self, at_ms: int) -> bool:
        """Whether an instant lies in it."""
        now = (at_ms - day_start_ms(local_day(at_ms))) // 1000
        start, until = _seconds(self.start), _seconds(self.until)
        return start <= now < until if start < until else now >= start or now < until


class Purpose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one code asks for."""

    code: Code
    names: dict[Lang, Annotated[str, msgspec.Meta(min_length=1, max_length=32)]]
    minutes: Annotated[int, msgspec.Meta(ge=1, le=MAX_MINUTES)] | None = None
    """How long the permit runs; None: no end."""
    per_day: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    """Permits of this purpose a document and Baku day; None: no limit."""
    zone: dict[Lang, Annotated[str, msgspec.Meta(max_length=40)]] | None = None
    honoured_days: Annotated[int, msgspec.Meta(ge=1, le=MAX_HONOURED_DAYS)] = 2
    """On how many days, the decision's included, checks honour a permit without end."""
    extendable: bool = False
    """Whether an officer may extend it by a doctor's certificate."""
    hours: Hours | None = None
    """When it may be asked for; None: at any hour."""


class CrossRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whoever has a permit of the day under one of `after` gets none under one of `no`."""

    after: Annotated[tuple[Code, ...], msgspec.Meta(min_length=1)]
    no: Annotated[tuple[Code, ...], msgspec.Meta(min_length=1)]


class Barred(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Documents on a status list get no permit."""

    list: Name
    purposes: tuple[Code, ...] = ()
    """Under these; none: under any."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Against abuse; None: no limit."""

    requests_per_document: OneByte | None = None
    """A Baku day; whatever is asked for beyond it is refused, and told so."""
    senders_per_document: OneByte | None = None
    """Phones a Baku day that may ask for one document."""
    documents_per_sender: OneByte | None = None
    """That one phone may ask for a Baku day. Soft: counted over all partitions, a second late."""
    refusals_answered_per_hour: OneByte | None = None
    """To one phone, of one document or of texts that name none; further refusals go unanswered."""


class Regime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules from one moment until the next regime's, or their own end."""

    name: Name
    start: datetime = msgspec.field(name="from")
    until: datetime | None = None
    """From then on nobody needs a permit."""
    off: bool = False
    """Nobody needs a permit."""
    zones: tuple[Name, ...] = ()
    """Where the regime holds, by the policy's zones; none: in the whole country."""
    curfew: Hours | None = None
    """When a permit is needed; None: at any hour."""
    late_minutes: Annotated[int, msgspec.Meta(ge=1, le=2880)] | None = None
    """An SMS that waited longer than this for its decision is refused: ask again."""
    hold_minutes: dict[Channel, Annotated[int, msgspec.Meta(ge=1, le=240)]] = {}
    """How long approvals are held back, by the channel of the SMS; a channel that is left out: not at all."""
    cancel_word: CancelWord | None = None
    """With it in the text, an SMS cancels a permit that its phone has obtained; None: none does."""
    purposes: tuple[Purpose, ...] = ()
    rules: tuple[CrossRule, ...] = ()
    barred: tuple[Barred, ...] = ()
    limits: Limits = Limits()

    def purpose(self, code: int | None) -> Purpose | None:
        """The purpose of a code, or None where this regime does not know it."""
        for purpose in self.purposes:  # a few: a plain loop costs a third of a generator
            if purpose.code == code:
                return purpose
        return None

    def rules_of(self, purpose: Purpose) -> tuple[Rule, ...]:
        """The limits that a request under a purpose must pass, in order."""
        own = () if purpose.per_day is None else (Rule(limit=purpose.per_day, purposes=(purpose.code,)),)
        return own + tuple(Rule(limit=1, purposes=rule.after) for rule in self.rules if purpose.code in rule.no)

    def lists_of(self, code: int) -> tuple[str, ...]:
        """The status lists whose documents get no permit under a purpose."""
        return tuple(bar.list for bar in self.barred if not bar.purposes or code in bar.purposes)

    @property
    def looks_at_clock(self) -> bool:
        """Whether the time of an SMS tells if it can have a permit, beside how late it is."""
        return self.until is not None or self.curfew is not None or any(p.hours is not None for p in self.purposes)

    def clock(self, asked_ms: int) -> tuple[bool, ...]:
        """All that the regime takes from the time of an SMS, beside how late it is: whether nobody needs a permit then,
        and which purposes with hours of their own are open."""
        open_ = [purpose.hours.holds(asked_ms) for purpose in self.purposes if purpose.hours is not None]
        return (self.is_off(asked_ms), *open_)

    def is_off(self, at_ms: int) -> bool:
        """Whether nobody needs a permit at an instant of this regime."""
        if self.off or (self.until is not None and at_ms >= instant_ms(self.until)):
            return True
        return self.curfew is not None and not self.curfew.holds(at_ms)


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long what is done with stays in the store. It has no date: the latest version's counts, for the past too."""

    texts_days: Annotated[int, msgspec.Meta(ge=3, le=365)] = 3
    """That a day's key outlives its day, and with it texts and phones of that day; an SMS may wait for three."""
    audit_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 7
    """That the trails stay, once archived."""
    dead_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 30
    """That dead letters stay."""


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as written."""

    documents: SeriesTable
    regimes: Annotated[tuple[Regime, ...], msgspec.Meta(min_length=1)]
    lists: dict[Name, OneByte] = {}
    """Status lists and the number of each in the store: a number once used keeps its meaning for ever."""
    zones: dict[Name, dict[Lang, Annotated[str, msgspec.Meta(min_length=1, max_length=40)]]] = {}
    """Cities and districts by the name that regimes use, as people know them."""
    retention: Retention = Retention()


def instant_ms(at: datetime) -> int:
    """A time of the policy, without a zone Baku's, in Unix milliseconds."""
    return int((at if at.tzinfo is not None else at.replace(tzinfo=BAKU)).timestamp() * 1000)


def _seconds(at: time) -> int:
    return at.hour * 3600 + at.minute * 60 + at.second
