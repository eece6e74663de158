"""Texts of SMS for tests: well-formed ones in many guises, their pieces, and what no reading may do."""

import re
from itertools import pairwise

from hypothesis import strategies as st

from permits.documents import NATIONAL
from permits.folding import fold
from permits.sms import Reading

greetings = ["", "Salam! ", "salam, zəhmət olmasa ", "Здравствуйте, ", "Hello ", "kod: ", "😀 ", "\ufeff", "\n"]
thanks = ["", ".", " sağ olun", " çox sağ ol!", " спасибо", " thank you", " 🙏", "\n"]
gaps = ["", " ", "  ", "-", ".", "\n", "\t", "\u00a0", " - ", "\u200b", "*", " №", ": "]
look_alikes = {
    "A": "AaАаΑαＡ",
    "Z": "ZzЗзΖ",
    "E": "EeЕеΕＥ",
    "M": "MmМмΜ",
    "Y": "YyУуЙйЫＹ",
    "I": "IiİıИиІ",
    "D": "DdДдΔ",
    "O": "OoОоΟ",
}
groupings = [(7,), (8,), (3, 2, 2), (4, 3), (2, 2, 3), (3, 3, 1), (3, 2, 3), (4, 4), (2, 2, 2, 2)]
tokens = [
    *"0123456789",
    *"OolIBAZEP",
    *" -.*?²",
    "AZE",
    "АЗЕ",
    "AA",
    "MYİ",
    "MOM",
    "kod",
    "N",
    "11",
    "111",
    "1111",
    "1111111",
]


@st.composite
def well_formed(draw: st.DrawFn) -> tuple[str, int, str]:
    """A decorated SMS, and the code and document it was made from."""
    code = draw(st.integers(0, 999))
    series = draw(st.sampled_from(NATIONAL))
    groups = draw(st.sampled_from(groupings))
    number = draw(st.text("0123456789", min_size=sum(groups), max_size=sum(groups)))
    letters = "".join(draw(st.sampled_from(look_alikes[letter])) for letter in series)
    ends = [sum(groups[:i]) for i in range(len(groups) + 1)]
    between = draw(st.sampled_from([" ", "-", "\u00a0", ". "]))
    written = between.join(number[a:b] for a, b in pairwise(ends))
    if draw(st.booleans()):
        written = "".join(chr(0xFF10 + int(c)) if c.isdigit() else c for c in written)
    document = letters + draw(st.sampled_from(gaps)) + written
    if len(groups) == 1 and draw(st.booleans()):
        body = document + draw(st.sampled_from([" ", "-", "\n", " kod ", ", "])) + str(code)
    else:
        body = str(code) + draw(st.sampled_from(gaps)) + document
    return draw(st.sampled_from(greetings)) + body + draw(st.sampled_from(thanks)), code, series + number


def assert_nothing_is_guessed(text: str, reading: Reading) -> None:
    """All typed digits are the code's or the document's, in order, and the number stands behind its series."""
    if reading.fault is not None:
        return
    assert reading.document is not None
    assert reading.purpose is not None
    folded = fold(text)
    national = re.fullmatch(rf"({'|'.join(NATIONAL)})([0-9]{{7,8}})", reading.document)
    if national is None:
        assert reading.document in re.findall("[A-Za-z0-9]+", folded)
        number = re.sub("[A-Z]", "", reading.document)
    else:
        number = national[2]
        typed = " *".join(digit.replace("0", "[0O]") for digit in number)
        letters = " *".join(f"(?i:{letter})" for letter in national[1])
        assert re.search(f"{letters}[ *A-Za-z]*{typed}(?![0-9])", folded), text
    zero_or_dropped = number.replace("0", "0?")  # an O may have stood for it
    digits = re.sub("[^0-9]", "", folded)
    assert re.fullmatch(f"(?:0{{0,2}}{reading.purpose}|{zero_or_dropped})+", digits), text
