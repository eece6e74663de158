"""What a policy file must hold beyond its types: what names something names what exists, and times agree.

Every fault is told by the key and by what would be valid.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from itertools import pairwise
from typing import Final, get_args

import msgspec
from msgspec import inspect

from permits.cancel_word import is_clear
from permits.messages import Lang
from permits.regimes import Hours, PolicyFile, Purpose, Regime, instant_ms

LANGS: Final[tuple[Lang, ...]] = get_args(Lang)

END_YEAR: Final = 2106
END_MS: Final = (1 << 32) * 1000
"""Times end in that year: records count seconds in four bytes."""
_ERROR: Final = re.compile(r"(?P<what>.*?)(?: - at `(?:key` in `)?\$\.?(?P<where>.*)`)?", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`")
_PREFIX: Final = re.compile(r"[A-Z]+")
_STEP: Final = re.compile(r"[^.\[\]]+")
_UNSPEAKABLE: Final = re.compile(r'["\\\x00-\x1f]')


def at_fault(error: msgspec.ValidationError) -> str:
    """An error of the types, its key in front, and for an unknown key the ones there are."""
    found = _ERROR.fullmatch(str(error))
    what, where = (found["what"], found["where"] or "") if found else (str(error), "")
    if unknown := _UNKNOWN.fullmatch(what):
        what = f"unknown key {_choice(unknown[1], _keys(where))}"
    return f"{where}: {what}" if where else what


def problems(file: PolicyFile) -> Iterator[str]:
    """Every fault of a decoded file."""
    yield from _documents(file)
    yield from _twice("lists", [str(number) for number in file.lists.values()], "number")
    for zone, names in file.zones.items():
        yield from _texts(f"zones.{zone}", names)
    yield from _twice("regimes", [regime.name for regime in file.regimes], "name")
    yield from _times(file.regimes)
    yield from _order(file.regimes)
    for at, regime in enumerate(file.regimes):
        yield from (f"regimes[{at}] ({regime.name}): {fault}" for fault in _regime(regime, file))


def _documents(file: PolicyFile) -> Iterator[str]:
    yield from _twice("documents.series", [series.prefix for series in file.documents.series], "prefix")
    for series in file.documents.series:
        if not _PREFIX.fullmatch(series.prefix):
            yield f"documents.series: prefix {series.prefix!r} is no capital letters A to Z: no document would have it"
        if not series.digits or min(series.digits) < 1:
            yield f"documents.series ({series.prefix}): digits: numbers from 1 on, not {list(series.digits)}"
    least, most = file.documents.foreign_length or (0, 0)
    if least > most:
        yield f"documents.foreign_length: least before most, not [{least}, {most}]"


def _times(regimes: Iterable[Regime]) -> Iterator[str]:
    for at, regime in enumerate(regimes):
        for key, moment in (("from", regime.start), ("until", regime.until)):
            if moment is not None and not 0 <= instant_ms(moment) < END_MS:
                yield f"regimes[{at}] ({regime.name}): {key}: {moment} is not between 1970 and {END_YEAR}"


def _order(regimes: Iterable[Regime]) -> Iterator[str]:
    for regime, following in pairwise(sorted(regimes, key=lambda r: instant_ms(r.start))):
        following_ms = instant_ms(following.start)
        if instant_ms(regime.start) == following_ms:
            yield f"regimes: {regime.name!r} and {following.name!r} start at the same moment"
        elif regime.until is not None and instant_ms(regime.until) > following_ms:
            yield f"regimes: {regime.name!r} ends when {following.name!r} holds; until {following.start} at the latest"


def _regime(regime: Regime, file: PolicyFile) -> Iterator[str]:
    if regime.until is not None and instant_ms(regime.until) <= instant_ms(regime.start):
        yield f"until: {regime.until} is not after from, {regime.start}"
    if regime.off:
        yield from _off(regime)
        return
    if not regime.purposes:
        yield "purposes: none; with off = true nobody needs a permit"
    yield from _hours("curfew", regime.curfew)
    yield from _known("zones", regime.zones, file.zones)
    codes = [str(purpose.code) for purpose in regime.purposes]
    yield from _twice("purposes", codes, "code")
    for purpose in regime.purposes:
        yield from (f"purposes (code {purpose.code}).{fault}" for fault in _purpose(purpose))
    for rule in regime.rules:
        yield from _known("rules.after", map(str, rule.after), codes)
        yield from _known("rules.no", map(str, rule.no), codes)
        yield from _twice("rules.after", list(map(str, rule.after)), "code")
        yield from _twice("rules.no", list(map(str, rule.no)), "code")
    if regime.cancel_word is not None:
        yield from _cancel_word(regime.cancel_word, file)
    yield from _twice("barred", [bar.list for bar in regime.barred], "list")
    for bar in regime.barred:
        yield from _known("barred.list", [bar.list], file.lists)
        yield from _known(f"barred ({bar.list}).purposes", map(str, bar.purposes), codes)


def _off(regime: Regime) -> Iterator[str]:
    """Where nobody needs a permit there is nothing to say about permits."""
    allowed = {"name", "start", "off"}
    bare = Regime(regime.name, regime.start, off=True)
    for field in msgspec.structs.fields(Regime):
        if field.name not in allowed and getattr(regime, field.name) != getattr(bare, field.name):
            yield f"{field.encode_name}: cannot stand beside off = true"


def _cancel_word(word: str, file: PolicyFile) -> Iterator[str]:
    if word in [series.prefix for series in file.documents.series] or not is_clear(word):
        yield f"cancel_word: {word!r} means something else in an SMS; a word that stands in no request is needed"


def _purpose(purpose: Purpose) -> Iterator[str]:
    yield from _texts("names", purpose.names)
    if purpose.zone is not None:
        yield from _texts("zone", purpose.zone)
    yield from _hours("hours", purpose.hours)


def _hours(key: str, hours: Hours | None) -> Iterator[str]:
    if hours is not None and (hours.start.microsecond or hours.until.microsecond):
        yield f"{key}: {hours.start} to {hours.until} is not in whole seconds"
    elif hours is not None and hours.start == hours.until:
        yield f"{key}: from and until are both {hours.until}; leave {key} out for the whole day"


def _texts(key: str, texts: Mapping[Lang, str]) -> Iterator[str]:
    for lang in LANGS:
        if lang not in texts:
            yield f"{key}: no text for {lang!r}; {', '.join(LANGS)} are needed"
        elif _UNSPEAKABLE.search(texts[lang]):
            yield f"{key}.{lang}: quotes, backslashes and control characters cannot stand in a reply"


def _twice(key: str, values: list[str], what: str) -> Iterator[str]:
    if len(set(values)) != len(values):
        yield f"{key}: a {what} stands twice in {', '.join(values)}"


def _known(key: str, values: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    known = list(known)
    for value in values:
        if value not in known:
            yield f"{key}: unknown {_choice(value, known)}"


def _choice(value: str, known: Iterable[str]) -> str:
    """What was written, and what could have been: `'per_dya'; did you mean 'per_day'? There are: code, names, …`."""
    known = list(known)
    near = get_close_matches(value, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    return f"{value!r}{meant} There are: {', '.join(known) or 'none'}"


def _keys(where: str) -> list[str]:
    """The keys that a table of the file may have, by its path as the decoder tells it."""
    kind: inspect.Type = inspect.type_info(PolicyFile)
    for step in (*_STEP.findall(where), None):
        if isinstance(kind, inspect.UnionType):  # a table or nothing
            kind = kind.types[0]
        if step is None:
            break
        if isinstance(kind, inspect.StructType):
            kind = next(field.type for field in kind.fields if field.encode_name == step)
        elif isinstance(kind, inspect.DictType):
            kind = kind.value_type
        elif isinstance(kind, inspect.VarTupleType):
            kind = kind.item_type
    return [field.encode_name for field in kind.fields] if isinstance(kind, inspect.StructType) else []
