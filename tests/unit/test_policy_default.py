"""What the default policy says, told as what people get; and no key of it can change without one of these changing."""

import tomllib
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest
from msgspec.structs import astuple

from permits.messages import Lang
from permits.policy import DEFAULT_FILE, Policy, load
from permits.policy_checks import problems
from permits.policy_diff import differences
from permits.regimes import PolicyFile, instant_ms
from permits.replies import Texts
from tests.policy.country import ENDLESS, Answer, Country, instant, permit, refused

LANGS: Final[tuple[Lang, ...]] = get_args(Lang)
MORNING: Final = "2026-01-01T08:00"

SINGLE: Final = {
    "1 AZE 1111111": permit(180),
    "2 AZE 1111111": permit(180),
    "3 AZE 1111111": permit(ENDLESS),
    "4 AZE 1111111": refused("unknown_code"),
    "2 AZE 11111111": permit(180),
    "2 AA 1234567": permit(180),
    "2 AA 12345678": refused("bad_document"),
    "2 MYI 1234567": permit(180),
    "2 DYI 1234567": permit(180),
    "2 MOM 1234567": permit(180),
    "2 P12345": permit(180),
    "2 P12345678": permit(180),
}
"""One SMS on a day of its own."""

SERIES: Final = [
    ("ID card", "AZE", (7, 8)),
    ("ID card with chip", "AA", (7,)),
    ("temporary residence card", "MYI", (7,)),
    ("permanent residence card", "DYI", (7,)),
    ("extended temporary stay", "MOM", (7,)),
]

APPROVALS: Final = [
    "Çıxışa icazə: 1 (tibbi yardım), sənəd …1111, 01.01 08:00-11:00, rayon və şəhər daxilində. Kod CODE",
    "Çıxışa icazə: 2 (ərzaq, dərman, bank, poçt), sənəd …1111, 01.01 08:00-11:00. Kod CODE",
    "Çıxışa icazə: 3 (yaxın qohumun dəfni), sənəd …1111, 01.01 08:00, məhdudiyyətsiz. Kod CODE",
    "Выход разрешён: код 1 (медицинская помощь), документ …1111, 01.01 08:00-11:00, в пределах района и города. "
    "Пропуск CODE",
    "Выход разрешён: код 2 (продукты, лекарства, банк), документ …1111, 01.01 08:00-11:00. Пропуск CODE",
    "Выход разрешён: код 3 (похороны близкого), документ …1111, 01.01 08:00, без ограничений. Пропуск CODE",
    "You may leave home: code 1 (medical need), document ...1111, 01.01 08:00-11:00, within the district and city. "
    "Permit CODE",
    "You may leave home: code 2 (food, medicines, bank, post), document ...1111, 01.01 08:00-11:00. Permit CODE",
    "You may leave home: code 3 (funeral of a relative), document ...1111, 01.01 08:00, no restriction. Permit CODE",
]


def approvals(policy: Policy) -> list[str]:
    """Every approval of a morning, language by language."""
    regime = policy.at(instant(MORNING))
    texts, from_ms = Texts.of(regime, "native"), instant(MORNING)
    found: list[str] = []
    for lang in LANGS:
        for p in regime.purposes:
            until_ms = None if p.minutes is None else from_ms + p.minutes * 60_000
            zone = None if p.zone is None else p.zone[lang]
            a, b, c = texts.approval(lang, p.code, p.names[lang], zone, from_ms, until_ms)
            found.append(f"{a}1111{b}CODE{c}")
    return found


def barred(policy: Policy) -> dict[str, list[int]]:
    """The codes that a list bars."""
    return {
        name: [
            code
            for code in (1, 2, 3)
            if Country(policy).ask(f"{code} AZE1111111", MORNING, stands_on=[name]).reason == "blocked"
        ]
        for name in ("infected", "traveller", "age", "abuse")
    }


def repeated(policy: Policy, text: str, times: int, *, phones: int = 1) -> list[Answer]:
    """What the last two of so many SMS on one document brought."""
    country = Country(policy)
    return [country.ask(text, MORNING, sender=f"+99450123450{at % phones}") for at in range(times)][-2:]


def late(policy: Policy) -> list[object]:
    """What an SMS brings that waited an hour, and one that waited longer."""
    return [
        Country(policy).ask("2 AZE1111111", MORNING, decided=f"2026-01-01T09:00:00{ms}").reason for ms in ("", ".001")
    ]


TOLD: Final[dict[str, tuple[Callable[[Policy], object], object]]] = {
    "one SMS": (lambda p: {text: Country(p).ask(text, MORNING) for text in SINGLE}, SINGLE),
    "code 2 once a day": (lambda p: repeated(p, "2 AZE1111111", 2), [permit(180), refused("quota")]),
    "the regime": (
        lambda p: [(r.name, instant_ms(r.start)) for r in p.regimes],
        [("founding", instant("2020-01-01T00:00"))],
    ),
    "the series": (lambda p: [(s.name, s.prefix, s.digits) for s in p.documents.series], SERIES),
    "foreigners' documents": (lambda p: p.documents.foreign_length, (6, 9)),
    "approvals": (approvals, APPROVALS),
    "extended by a certificate": (lambda p: [x.code for x in p.regimes[0].purposes if x.extendable], [1]),
    "days that code 3 is honoured": (lambda p: [x.honoured_days for x in p.regimes[0].purposes][2:], [3]),
    "numbers of lists": (lambda p: p.lists, {"infected": 1, "traveller": 2, "age": 3, "abuse": 4}),
    "who is barred": (barred, {"infected": [1, 2, 3], "traveller": [1, 2, 3], "age": [1, 2, 3], "abuse": [3]}),
    "requests of a document": (lambda p: repeated(p, "1 AZE1111111", 21), [permit(180), refused("abuse_document")]),
    "phones for a document": (
        lambda p: repeated(p, "1 AZE1111111", 6, phones=6),
        [permit(180), refused("abuse_document")],
    ),
    # Counted over all partitions: the model, which knows one owner, cannot show it.
    "documents of a phone": (lambda p: p.regimes[0].limits.documents_per_sender, 10),
    "refusals that are told": (
        lambda p: repeated(p, "4 AZE1111111", 6),
        [refused("unknown_code"), refused("unknown_code")._replace(told=False)],
    ),
    "late after an hour": (late, [None, "late"]),
    "how long what is done with stays": (lambda p: astuple(p.retention), (3, 7, 30)),
}


@pytest.mark.parametrize("what", TOLD)
def test_the_default_policy_says(what: str) -> None:
    ask, expected = TOLD[what]
    assert ask(load()) == expected


def mutants(tree: Any) -> Iterator[tuple[str, Any]]:
    """The tree with one key changed or taken away, for every key and every way."""
    for path, value in _leaves(tree, ()):
        changed: list[Any] = []
        if isinstance(value, bool):
            changed = [not value]
        elif isinstance(value, int):
            changed = [value + 1, value - 1]
        elif isinstance(value, str):
            changed = [value + "x"]
        elif isinstance(value, datetime):
            changed = [value + timedelta(days=1)]
        for other in changed:
            yield f"{'.'.join(map(str, path))} = {other!r}", _with(tree, path, other)
        yield f"{'.'.join(map(str, path))} gone", _with(tree, path, None)


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if path:
        yield path, value
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()  # pyright: ignore
    for key in keys:
        yield from _leaves(value[key], (*path, key))


def _with(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = deepcopy(tree)
    at = copy
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return copy


MUTANTS: Final = dict(mutants(tomllib.loads(DEFAULT_FILE.read_text())))
WRITTEN: Final = msgspec.convert(tomllib.loads(DEFAULT_FILE.read_text()), PolicyFile)


def mutated(name: str) -> Policy | None:
    """The default policy with one key changed; None where that makes it unusable, which is noticed at once, or where
    it is a default that was written down and goes without saying.
    """
    try:
        file = msgspec.convert(MUTANTS[name], PolicyFile)
    except msgspec.ValidationError:
        return None
    return None if file == WRITTEN or list(problems(file)) else Policy(file, "mutant")


@pytest.mark.parametrize("name", MUTANTS)
def test_no_key_changes_unnoticed(name: str) -> None:
    policy = mutated(name)
    assert policy is None or any(ask(policy) != expected for ask, expected in TOLD.values())


@pytest.mark.parametrize("name", MUTANTS)
def test_every_changed_key_is_a_difference(name: str) -> None:
    policy = mutated(name)
    assert policy is None or differences(load(), policy)


def test_most_mutants_can_be_used() -> None:
    usable = [name for name in MUTANTS if mutated(name) is not None]
    assert len(MUTANTS) > 100
    assert len(usable) > len(MUTANTS) // 2


def test_what_is_written_is_the_file_that_holds() -> None:
    assert Path(DEFAULT_FILE).name == "policy.toml"
    assert not differences(load(), Policy(WRITTEN, ""))
