"""What differs between two policies, key by key: a decree is read so before it is put in force."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, cast

import msgspec

from permits.calendar import BAKU
from permits.documents import Series
from permits.policy import Policy
from permits.regimes import Barred, CrossRule, Hours, Purpose, Regime, instant_ms

_KEY_OF: Final[dict[type, str]] = {Series: "prefix", Regime: "name", Purpose: "code", Barred: "list"}
"""What tells the items of a list apart, wherever in it they stand."""


class Difference(msgspec.Struct, frozen=True):
    """One thing that the second policy says otherwise."""

    where: str
    """Its key, with items by name: `regimes.founding.purposes.2.minutes`."""
    before: str | None
    """None: it was not there."""
    after: str | None
    """None: it is gone."""


class _Said(msgspec.Struct, frozen=True):
    text: str
    by_default: bool = False


def differences(a: Policy, b: Policy) -> list[Difference]:
    """All differences, what is new last; empty where both say the same, however they are written."""
    before, after = dict(_policy(a)), dict(_policy(b))
    return [
        Difference(where, old and old.text, new and new.text)
        for where in {**before, **after}
        if _differ(old := before.get(where), new := after.get(where))
    ]


def _differ(old: _Said | None, new: _Said | None) -> bool:
    if old is not None and new is not None:
        return old.text != new.text
    # Only a whole item that is new or gone brings its defaults along: they go without saying.
    only = old or new
    return only is not None and not only.by_default


def _policy(policy: Policy) -> Iterator[tuple[str, _Said]]:
    for where in ("documents", "lists", "zones", "retention", "regimes"):
        yield from _told(where, getattr(policy, where))


def _told(where: str, value: object, *, by_default: bool = False) -> Iterator[tuple[str, _Said]]:
    """What stands under a key, each with its own key."""
    if isinstance(value, Hours | CrossRule | datetime | bool | int | str):
        yield where, _Said(_text(value), by_default)
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            inner = getattr(value, field.name)
            if field.name != _KEY_OF.get(type(value)):
                yield from _told(f"{where}.{field.encode_name}", inner, by_default=inner == field.default)
    elif isinstance(value, dict):
        for name, inner in cast("dict[str, object]", value).items():
            yield from _told(f"{where}.{name}", inner)
    elif isinstance(value, tuple) and value:
        yield from _items(where, cast("tuple[object, ...]", value))


def _items(where: str, items: tuple[object, ...]) -> Iterator[tuple[str, _Said]]:
    key = _KEY_OF.get(type(items[0]))
    if key is None:
        yield where, _Said(", ".join(map(_text, items)))
        return
    named = {str(getattr(item, key)): item for item in items}
    yield where, _Said(", ".join(named))
    for name, item in named.items():
        yield from _told(f"{where}.{name}", item)


def _text(value: object) -> str:
    if isinstance(value, Hours):
        return f"{value.start}-{value.until}"
    if isinstance(value, CrossRule):
        return f"after {' '.join(map(str, value.after))} no {' '.join(map(str, value.no))}"
    if isinstance(value, datetime):
        return f"{datetime.fromtimestamp(instant_ms(value) / 1000, BAKU):%Y-%m-%d %H:%M:%S}"
    return str(value).lower() if isinstance(value, bool) else str(value)
