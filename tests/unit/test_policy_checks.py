"""Policy files that cannot be used: each fault is named with its file, its key and what would be valid."""

from pathlib import Path

import pytest

from permits.policy import PolicyError, load, parse

DOCUMENTS = """
[documents]
foreign_length = [6, 9]
[[documents.series]]
name = "ID card"
prefix = "AZE"
digits = [7, 8]
"""
ZONES = """
[lists]
infected = 1
[zones]
baku = { az = "Bakı", ru = "Баку", en = "Baku" }
"""
NAMES = 'names = { az = "a", ru = "b", en = "c" }'
PURPOSE = f"""
[[regimes.purposes]]
code = 2
{NAMES}
"""
HEAD = """
[[regimes]]
name = "first"
from = 2020-04-05T00:00:00
"""
REGIME = f"{HEAD}{PURPOSE}minutes = 120\nper_day = 1\n"
LATER = REGIME.replace("first", "later").replace("04-05", "04-27")
WHOLE = DOCUMENTS + ZONES + REGIME


def head(keys: str) -> str:
    """A file whose one regime says more."""
    return DOCUMENTS + ZONES + HEAD + keys + PURPOSE


TYPES = {
    "no TOML": ("regimes = [", "not TOML"),
    "nested without end": ("a = " + "[" * 9999, "not TOML: maximum recursion depth"),
    "a number without end": ("a = " + "9" * 9999, "not TOML: Exceeds the limit"),
    "empty": ("", "missing required field `documents`"),
    "no regimes": ("regimes = []" + DOCUMENTS, "regimes: Expected `array` of length >= 1"),
    "no documents": (REGIME, "missing required field `documents`"),
    "no time": (WHOLE.replace("2020-04-05T00:00:00", '"soon"'), r"regimes\[0\]\.from: Expected `datetime`"),
    "a day is no time": (WHOLE.replace("2020-04-05T00:00:00", "2020-04-05"), r"\.from: Expected `datetime`"),
    "texts gone before they can be decided": (WHOLE + "[retention]\ntexts_days = 2\n", r"texts_days: .*>= 3"),
    "code of nought": (WHOLE.replace("code = 2", "code = 0"), r"purposes\[0\]\.code: Expected `int` >= 1"),
    "code too large": (WHOLE.replace("code = 2", "code = 256"), r"code: .*<= 255"),
    "extendable to whom": (WHOLE + 'extendable = "doctors"\n', "extendable: .*bool"),
    "no minutes": (WHOLE.replace("minutes = 120", "minutes = 0"), r"minutes: .*>= 1"),
    "more minutes than a record holds": (WHOLE.replace("= 120", "= 4096"), r"minutes: .*<= 4095"),
    "no permits a day": (WHOLE.replace("per_day = 1", "per_day = 0"), r"per_day: .*>= 1"),
    "more days than records stay": (WHOLE + "honoured_days = 8\n", r"honoured_days: .*<= 7"),
    "unknown language": (WHOLE.replace("ru =", "tr ="), "tr"),
    "long name": (WHOLE.replace('"b"', f'"{"b" * 33}"'), "names.*<= 32"),
    "regime without a name": (WHOLE.replace('"first"', '""'), "name"),
    "list with a blank": (WHOLE.replace("infected", '"in fected"'), "lists: Expected `str` matching"),
    "list beyond a byte": (WHOLE.replace("infected = 1", "infected = 256"), "lists.*<= 255"),
    "curfew without an end": (head("curfew = { from = 21:00:00 }"), "curfew: .*missing required field `until`"),
    "curfew of words": (head('curfew = { from = "nine", until = 06:00:00 }'), r"curfew\.from: Expected `time`"),
    "late after days": (head("late_minutes = 2881"), r"late_minutes: .*<= 2880"),
    "cancel word of small letters": (head('cancel_word = "legv"'), r"cancel_word: Expected `str` matching"),
    "cancel word of two letters": (head('cancel_word = "NO"'), r"cancel_word: .*length >= 3"),
    "cancel word of thirteen": (head(f'cancel_word = "{"L" * 13}"'), r"cancel_word: .*length <= 12"),
    "limit of nought": (head("limits = { requests_per_document = 0 }"), r"requests_per_document: .*>= 1"),
    "rule after nothing": (head("rules = [{ after = [], no = [2] }]"), r"rules\[0\]\.after: .*length >= 1"),
}
KEYS = {
    "of the file": (WHOLE + "[zonse]\n", "unknown key 'zonse'; did you mean 'zones'. There are: documents, regimes"),
    "of documents": (WHOLE.replace("foreign_length", "foreign_lenght"), "documents: unknown key 'foreign_lenght'; did"),
    "of a series": (DOCUMENTS + 'nmae = "x"\n' + REGIME, r"series\[0\]: unknown key 'nmae'; did you mean 'name'"),
    "of a regime": (head("late = 60"), r"regimes\[0\]: unknown key 'late'. There are: .*late_minutes"),
    "of a purpose": (
        WHOLE + "per_dya = 3\n",
        r"purposes\[0\]: unknown key 'per_dya'; did you mean 'per_day'. .* code,",
    ),
    "of hours": (WHOLE + "hours = { form = 09:00:00, until = 18:00:00 }\n", r"hours: unknown key 'form'; .*'from'"),
    "of a curfew": (
        head("curfew = { from = 21:00:00, untill = 6:00:00 }").replace(" 6:", " 06:"),
        "did you mean 'until'",
    ),
    "of a rule": (
        head("rules = [{ after = [2], not = [2] }]"),
        "unknown key 'not'; did you mean 'no'. There are: after",
    ),
    "of the barred": (head('barred = [{ lists = "infected" }]'), "unknown key 'lists'; did you mean 'list'"),
    "of limits": (head("limits = { requests_per_documents = 1 }"), "limits: .*mean 'requests_per_document'"),
}
MEANING = {
    "code twice": (WHOLE + PURPOSE, r"regimes\[0\] \(first\): purposes: a code stands twice in 2, 2"),
    "two regimes of one name": (WHOLE + LATER.replace("later", "first"), "regimes: a name stands twice in first"),
    "two regimes at once": (WHOLE + LATER.replace("04-27", "04-05"), "'first' and 'later' start at the same moment"),
    "two lists of one number": (WHOLE.replace("infected = 1", "infected = 1\nage = 1"), "lists: a number stands twice"),
    "two series of one prefix": (
        DOCUMENTS + DOCUMENTS.split("9]")[1] + REGIME,
        "documents.series: a prefix stands twice in AZE, AZE",
    ),
    "prefix in small letters": (WHOLE.replace('"AZE"', '"aze"'), "prefix 'aze' is no capital letters A to Z"),
    "prefix of a letter that is folded": (WHOLE.replace('"AZE"', '"MYİ"'), "prefix 'MYİ' is no capital letters"),
    "no prefix": (WHOLE.replace('"AZE"', '""'), "prefix '' is no capital letters"),
    "no digits": (WHOLE.replace("[7, 8]", "[]"), r"\(AZE\): digits: numbers from 1 on, not \[\]"),
    "less than no digits": (WHOLE.replace("[7, 8]", "[-1, 7]"), r"\(AZE\): digits: numbers from 1 on, not \[-1, 7\]"),
    "least above most": (WHOLE.replace("[6, 9]", "[9, 6]"), r"foreign_length: least before most, not \[9, 6\]"),
    "language missing": (WHOLE.replace(', ru = "b"', ""), r"\(code 2\)\.names: no text for 'ru'; az, ru, en"),
    "language of a zone text": (WHOLE + 'zone = { az = "a", en = "c" }\n', r"\(code 2\)\.zone: no text for 'ru'"),
    "language of a zone missing": (WHOLE.replace(', ru = "Баку"', ""), r"zones\.baku: no text for 'ru'"),
    "quote in a name": (WHOLE.replace('"b"', "'b\"'"), r"names\.ru: quotes"),
    "line break in a zone": (WHOLE + 'zone = { az = "a", ru = "b\\n", en = "c" }\n', r"zone\.ru: quotes"),
    "end before the start": (head("until = 2020-04-04T23:59:59"), "until: 2020-04-04 23:59:59 is not after from"),
    "end at the start": (head("until = 2020-04-05T00:00:00+04:00"), "until: .* is not after from"),
    "end in the next regime": (
        head("until = 2020-04-27T00:00:01") + LATER,
        "regimes: 'first' ends when 'later' holds; until 2020-04-27 00:00:00",
    ),
    "beyond all calendars": (
        WHOLE + LATER.replace("2020-04-27T00:00:00", "9999-12-31T23:59:59-05:00"),
        r"regimes\[1\] \(later\): from: 9999-12-31 23:59:59-05:00 is not between 1970 and 2106",
    ),
    "before all calendars": (WHOLE.replace("2020-04-05T00:00:00", "0001-01-01T00:00:00"), r"from: 0001.* not between"),
    "an end beyond them": (head("until = 2107-01-01T00:00:00"), r"until: 2107.* not between"),
    "curfew of no length": (
        head("curfew = { from = 21:00:00, until = 21:00:00 }"),
        r"\(first\): curfew: from and until are both 21:00:00;",
    ),
    "hours of less than a second": (
        WHOLE + "hours = { from = 09:00:00.5, until = 09:00:00 }\n",
        r"\(code 2\)\.hours: 09:00:00.500000 to 09:00:00 is not in whole seconds",
    ),
    "hours of no length": (
        WHOLE + "hours = { from = 00:00:00, until = 00:00:00 }\n",
        r"\(code 2\)\.hours: .*leave hours out",
    ),
    "cancel word that is a series": (head('cancel_word = "AZE"'), "cancel_word: 'AZE' means something else in an SMS"),
    "cancel word that is a series of the file": (
        head('cancel_word = "ZZZ"').replace('"AZE"', '"ZZZ"'),
        "cancel_word: 'ZZZ' means",
    ),
    "cancel word for a number": (head('cancel_word = "NOMER"'), "cancel_word: 'NOMER' means"),
    "cancel word of everyday English": (head('cancel_word = "PLEASE"'), "cancel_word: 'PLEASE' means"),
    "cancel word that may be noughts": (head('cancel_word = "OOO"'), "cancel_word: 'OOO' means"),
    "off and a cancel word": (
        head('off = true\ncancel_word = "LEGV"').replace(PURPOSE, ""),
        r"cancel_word: cannot stand beside off",
    ),
    "off and permits": (head("off = true"), r"\(first\): purposes: cannot stand beside off"),
    "off and a curfew": (
        DOCUMENTS + HEAD + "off = true\ncurfew = { from = 21:00:00, until = 06:00:00 }",
        "curfew: cannot stand beside off",
    ),
    "off and limits": (DOCUMENTS + HEAD + "off = true\nlimits = { requests_per_document = 1 }", "limits: cannot stand"),
    "off until": (DOCUMENTS + HEAD + "off = true\nuntil = 2020-05-01T00:00:00", "until: cannot stand beside off"),
    "nothing to ask for": (DOCUMENTS + HEAD, "purposes: none; with off = true nobody needs a permit"),
    "unknown zone": (head('zones = ["baki"]'), "zones: unknown 'baki'; did you mean 'baku'. There are: baku"),
    "unknown list": (head('barred = [{ list = "abuse" }]'), "barred.list: unknown 'abuse'. There are: infected"),
    "a rule after one code twice": (
        head(f"rules = [{{ after = [{'2, ' * 256}], no = [2] }}]"),  # a row of rules counts them in one byte
        r"\(first\): rules.after: a code stands twice in 2, 2, 2",
    ),
    "a rule against one code twice": (head("rules = [{ after = [2], no = [2, 2] }]"), "rules.no: a code stands twice"),
    "list barred twice": (
        head('barred = [{ list = "infected" }, { list = "infected", purposes = [2] }]'),
        "barred: a list stands twice",
    ),
    "barred from an unknown purpose": (
        head('barred = [{ list = "infected", purposes = [2, 3] }]'),
        r"barred \(infected\)\.purposes: unknown '3'. .*: 2",
    ),
    "rule after an unknown": (head("rules = [{ after = [1], no = [2] }]"), "rules.after: unknown '1'. There are: 2$"),
    "rule on an unknown purpose": (head("rules = [{ after = [2], no = [7] }]"), "rules.no: unknown '7'. There are: 2$"),
}
BAD = {**TYPES, **{f"misspelt key {name}": bad for name, bad in KEYS.items()}, **MEANING}


@pytest.mark.parametrize("bad", BAD)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path: Path, bad: str) -> None:
    text, wrong = BAD[bad]
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=rf"(?s)\A{path}: .*{wrong}"):
        load(path)


@pytest.mark.parametrize(
    "good",
    [
        WHOLE,
        WHOLE + LATER,
        head("until = 2020-04-27T00:00:00") + LATER,
        head("until = 2020-04-26T20:00:00Z") + LATER,
        head('zones = ["baku"]\nbarred = [{ list = "infected" }]\nrules = [{ after = [2], no = [2] }]'),
        head("curfew = { from = 21:00:00, until = 06:00:00 }"),
        DOCUMENTS + HEAD + "off = true",
        DOCUMENTS.replace("foreign_length = [6, 9]", "") + REGIME,
    ],
)
def test_what_is_allowed_is_read(good: str) -> None:
    assert parse(good.encode(), Path("rules.toml")).regimes[0].name == "first"


def test_all_faults_are_told_at_once_a_line_each() -> None:
    text = head('zones = ["baki"]\nuntil = 2020-04-01T00:00:00')
    with pytest.raises(PolicyError) as caught:
        parse(text.encode(), Path("rules.toml"))
    until, zone = str(caught.value).splitlines()
    assert until.startswith("rules.toml: regimes[0] (first): until: ")
    assert zone.startswith("rules.toml: regimes[0] (first): zones: ")


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(PolicyError, match="not TOML"):
        parse(b"\xff\xfe", Path("rules.toml"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml")
