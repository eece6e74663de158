"""Policy as dated data: the founding rules by default, regimes by time, and files that cannot be used."""

from datetime import datetime
from pathlib import Path

import pytest

from permits.calendar import BAKU
from permits.policy import Policy, PolicyError, Rule, load
from permits.sms import read

DOCUMENTS = """
[documents]
foreign_length = [6, 9]
[[documents.series]]
name = "ID card"
prefix = "AZE"
digits = [7, 8]
"""
NAMES = 'names = { az = "a", ru = "b", en = "c" }'
PURPOSE = f"""
[[regimes.purposes]]
code = 2
{NAMES}
"""
REGIME = f"""
[[regimes]]
name = "first"
from = 2020-04-05T00:00:00
{PURPOSE}minutes = 120
per_day = 1
"""
LATER = f"""
[[regimes]]
name = "later"
from = 2020-04-27T00:00:00
{PURPOSE}minutes = 180
per_day = 2
[[regimes]]
name = "off"
from = 2020-05-18T00:00:00+04:00
"""


def at(text: str) -> int:
    """An instant by Baku's clock, ms."""
    return int(datetime.fromisoformat(text).replace(tzinfo=BAKU).timestamp() * 1000)


def written(folder: Path, text: str) -> Path:
    """A policy file."""
    path = folder / "rules.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def default() -> Policy:
    return load()


@pytest.mark.parametrize(
    ("code", "minutes", "rules"), [(1, 180, ()), (2, 180, (Rule(limit=1, purposes=(2,)),)), (3, None, ())]
)
def test_the_default_is_the_founding_rules(
    default: Policy, code: int, minutes: int | None, rules: tuple[Rule, ...]
) -> None:
    purpose = default.at(at("2026-01-01")).purpose(code)
    assert purpose is not None
    assert (purpose.minutes, purpose.rules) == (minutes, rules)


def test_by_default_only_code_1_names_a_zone_and_every_name_has_three_languages(default: Policy) -> None:
    [regime] = default.regimes
    assert [p.code for p in regime.purposes] == [1, 2, 3]
    assert [p.zone is not None for p in regime.purposes] == [True, False, False]
    assert all(set(p.names) == {"az", "ru", "en"} for p in regime.purposes)
    assert regime.purpose(4) is None


def test_by_default_only_code_1_is_extended_by_a_certificate(default: Policy, tmp_path: Path) -> None:
    [regime] = default.regimes
    assert [p.extendable for p in regime.purposes] == [True, False, False]
    own = DOCUMENTS + REGIME + "extendable = true\n" + LATER
    assert [p.extendable for r in load(written(tmp_path, own)).regimes for p in r.purposes] == [True, False]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2 AZE 1111111", None),
        ("2 AZE 11111111", None),
        ("1 AA 1234567", None),
        ("3 MYİ 1234567", None),
        ("2 DYI 1234567", None),
        ("2 MOM 1234567", None),
        ("2 P1234567", None),
        ("2 AA 12345678", "bad_document"),
        ("5 AZE 1111111", "unknown_code"),
        ("5 AA 12345678", "bad_document"),
        ("1 2 AZE 1111111", "ambiguous"),
        ("salam", "malformed"),
        ("AZE 1111111", "malformed"),
        ("2 AZE 111", "bad_document"),
    ],
)
def test_the_default_refuses_what_no_rule_need_be_asked_for(default: Policy, text: str, reason: str | None) -> None:
    assert default.refuses(default.at(at("2026-01-01")), read(text)) == reason


def test_records_outlive_their_day_by_the_longest_that_is_honoured(default: Policy, tmp_path: Path) -> None:
    assert default.keep_days == 3
    endless = f'[[regimes]]\nname = "r"\nfrom = 2020-01-01T00:00:00\n{PURPOSE}honoured_days = 7\n'
    assert load(written(tmp_path, DOCUMENTS + endless)).keep_days == 7


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("2019-01-01", "first"),
        ("2020-04-05", "first"),
        ("2020-04-26T23:59:59.999", "first"),
        ("2020-04-27", "later"),
        ("2020-05-17T23:59:59.999", "later"),
        ("2020-05-18", "off"),
        ("2030-01-01", "off"),
    ],
)
def test_a_regime_holds_from_its_baku_midnight_until_the_next(tmp_path: Path, moment: str, name: str) -> None:
    for text in (DOCUMENTS + REGIME + LATER, DOCUMENTS + LATER + REGIME):
        assert load(written(tmp_path, text)).at(at(moment)).name == name


def test_a_change_of_rules_changes_limits_and_known_codes(tmp_path: Path) -> None:
    policy = load(written(tmp_path, DOCUMENTS + REGIME + LATER))
    asked = read("2 AZE 1111111")
    first, later, off = policy.regimes
    assert [p.minutes for r in (first, later) for p in r.purposes] == [120, 180]
    assert [p.rules[0].limit for r in (first, later) for p in r.purposes] == [1, 2]
    assert policy.refuses(later, asked) is None
    assert policy.refuses(off, asked) == "unknown_code"


def test_the_version_names_the_file_and_changes_with_its_bytes(tmp_path: Path) -> None:
    one = load(written(tmp_path, DOCUMENTS + REGIME)).version
    assert one.startswith("rules-")
    assert load(written(tmp_path, DOCUMENTS + REGIME)).version == one
    assert load(written(tmp_path, DOCUMENTS + REGIME + "\n")).version != one


BAD = {
    "no TOML": ("regimes = [", "not TOML"),
    "empty": ("", "missing required field `documents`"),
    "no regimes": (DOCUMENTS + "\nregimes = []", "regimes"),
    "no documents": (REGIME, "missing required field `documents`"),
    "unknown key": (DOCUMENTS + REGIME + "per_week = 3\n", "unknown field `per_week`.*regimes"),
    "misspelt table": (DOCUMENTS + REGIME + "[ducuments]\n", "unknown field `ducuments`"),
    "no time": (
        DOCUMENTS + REGIME.replace("2020-04-05T00:00:00", '"soon"'),
        r"Expected `datetime`.*regimes\[0\]\.from",
    ),
    "code of nought": (DOCUMENTS + REGIME.replace("code = 2", "code = 0"), r">= 1.*code"),
    "code too large": (DOCUMENTS + REGIME.replace("code = 2", "code = 256"), r"<= 255.*code"),
    "extendable to whom": (DOCUMENTS + REGIME + 'extendable = "doctors"\n', "bool.*extendable"),
    "no minutes": (DOCUMENTS + REGIME.replace("minutes = 120", "minutes = 0"), r">= 1.*minutes"),
    "more minutes than a record holds": (DOCUMENTS + REGIME.replace("= 120", "= 4096"), r"<= 4095.*minutes"),
    "no permits a day": (DOCUMENTS + REGIME.replace("per_day = 1", "per_day = 0"), r">= 1.*per_day"),
    "more days than records stay": (DOCUMENTS + REGIME + "honoured_days = 8\n", r"<= 7.*honoured_days"),
    "code twice": (DOCUMENTS + REGIME + PURPOSE, r"regimes\[0\].purposes: a code stands twice in \[2, 2\]"),
    "two regimes of one name": (DOCUMENTS + REGIME + REGIME.replace("2020-04-05", "2020-04-06"), "a name stands twice"),
    "two regimes at once": (DOCUMENTS + REGIME + REGIME, "two regimes start at the same moment"),
    "language missing": (DOCUMENTS + REGIME.replace(', ru = "b"', ""), r"\(code 2\).names: no text for 'ru'"),
    "unknown language": (DOCUMENTS + REGIME.replace("ru =", "tr ="), "tr"),
    "long name": (DOCUMENTS + REGIME.replace('"b"', f'"{"b" * 33}"'), "<= 32.*names"),
    "quote in a name": (DOCUMENTS + REGIME.replace('"b"', "'b\"'"), "names.ru: quotes"),
    "line break in a zone": (
        DOCUMENTS + REGIME + 'zone = { az = "a", ru = "b\\n", en = "c" }\n',
        r"zone.ru: quotes",
    ),
    "regime without a name": (DOCUMENTS + REGIME.replace('"first"', '""'), "name"),
}


# documents.Series and documents.SeriesTable take any key: a misspelt one is ignored in silence.
IGNORED = {
    "unknown key of documents": (DOCUMENTS.replace("foreign_length", "foreign_lenght") + REGIME, "foreign_lenght"),
    "unknown key of a series": (DOCUMENTS + 'nmae = "x"\n' + REGIME, "nmae"),
}


@pytest.mark.parametrize("bad", IGNORED)
def test_a_misspelt_key_of_documents_is_named(tmp_path: Path, bad: str) -> None:
    text, wrong = IGNORED[bad]
    with pytest.raises(PolicyError, match=wrong):
        load(written(tmp_path, text))


@pytest.mark.parametrize("bad", BAD)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path: Path, bad: str) -> None:
    text, wrong = BAD[bad]
    path = written(tmp_path, text)
    with pytest.raises(PolicyError, match=rf"(?s){path}: .*{wrong}"):
        load(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="not TOML"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml")
