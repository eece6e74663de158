"""How people really write a request that can still be read: the clean form and its dirty variants."""

from collections.abc import Callable

from bench.crowd import Document

Draw = Callable[[], float]

_SPELLINGS = {
    "AZE": ("AZE", "AZE", "aze", "aze", "Aze", "АЗЕ", "АZЕ", "азе", "ＡＺＥ"),
    "AA": ("AA", "AA", "aa", "Aa", "АА", "аа", "ＡＡ"),
    "MYI": ("MYİ", "MYİ", "MYI", "MYı", "myi", "МУİ"),
    "DYI": ("DYİ", "DYİ", "DYI", "DYı", "dyi"),
    "MOM": ("MOM", "MOM", "mom", "Mom", "МОМ"),
}

# c code, s series, d digits. Groups of digits stand only after the code: behind `AZE 111 11 11`, a code
# would read as an eighth digit.
_CODE_FIRST = (
    "{c}{s}{d}",
    "{c}{s}{d}",
    "{c}{s} {d}",
    "{c}-{s}-{d}",
    "{c}.{s} {d}",
    "{c},{s}{d}",
    "{c} {s} №{d}",
    "{c} {s} № {d}",
    "{c} {s} no {d}",
    "{c}\u00a0{s}\u00a0{d}",
    "{c}\n{s}\n{d}",
    "{c}\t{s} {d}",
    "{c}\u200b {s}{d}",
    "  {c}  {s}   {d} ",
    '"{c} {s} {d}"',
    "#{c} {s}{d}",
    "kod {c} {s} {d}",
    "kod:{c} seriya {s} nomre {d}",
    "Код {c}, {s} {d}",
    "Salam. {c} {s} {d}",
    "Salam, {c} {s}{d} təşəkkür edirəm",
    "{c} {s} {d} sağ olun",
    "xahiş edirəm {c} {s} {d}",
    "Здравствуйте! {c} {s} {d}",
    "{c} {s}{d} спасибо",
    "Hello {c} {s} {d} thank you",
    "{c} {s} {d} 🙏",
)
_DOCUMENT_FIRST = (
    "{s}{d} {c}",
    "{s} {d} {c}",
    "{s} {d}-{c}",
    "{s}{d}\n{c}",
    "Salam {s}{d} kod {c}",
    "{s} {d}, {c} спасибо",
)
_FOREIGN = (
    "{c} {d}",
    "{c}-{d}",
    "{c}.{d}",
    "{c}\n{d}",
    "{c}\u00a0{d}",
    "{c} №{d}",
    "{d} {c}",
    "{d}-{c}",
    "code {c} {d}",
    "Hello, {c} {d}",
    "{c} {d} thank you",
    "Добрый день {c} {d}",
    "Salam {c} {d}",
)
_FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
_DOCUMENT_FIRST_SHARE = 0.15


def clean(code: int, document: Document) -> str:
    """Writes the request as the announcements ask for it: `2 AZE 1111111`."""
    return f"{code} {document.series} {document.number}" if document.series else f"{code} {document.number}"


def dirty(draw: Draw, code: int, document: Document) -> str:
    """Writes the request in one of the odd ways that leave one single reading."""
    if not document.series:
        number = document.number if draw() < 0.6 else document.number.lower()
        return pick(draw, _FOREIGN).format(c=code, d=number)
    series = pick(draw, _SPELLINGS[document.series])
    if draw() < _DOCUMENT_FIRST_SHARE:
        return pick(draw, _DOCUMENT_FIRST).format(c=code, s=series, d=document.number)
    return pick(draw, _CODE_FIRST).format(c=code, s=series, d=_digits(draw, document.number))


def pick(draw: Draw, among: tuple[str, ...]) -> str:
    """Takes one, each as likely as the next."""
    return among[int(draw() * len(among))]


def _digits(draw: Draw, number: str) -> str:
    """Writes a national number's digits: mostly as they are, else grouped, full-width, or O for a zero."""
    style = draw()
    if style < 0.7:
        return number
    if style < 0.85:
        return f"{number[:3]} {number[3:5]} {number[5:]}"
    if style < 0.9:
        return number.translate(_FULL_WIDTH)
    # The first digit stays: an O there would lengthen the series.
    return number[0] + number[1:].replace("0", "O" if style < 0.97 else "о", 1)
