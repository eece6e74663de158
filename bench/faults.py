"""What people write that must be refused for its form: one writer for each reason of refusal."""

from bench.crowd import Document
from bench.dirt import Draw, clean, dirty, pick

WRONG_CODES = (0, 4, 5, 6, 7, 8, 9, 11, 12, 22, 103)

_WORDS = (
    "salam",
    "Salam icazə istəyirəm",
    "icaze verin",
    "Mağazaya getmək olar?",
    "Çölə çıxmaq üçün nə yazmalıyam?",
    "aptekə getmək istəyirəm",
    "bank",
    "sosial ehtiyac ucun",
    "Bu nömrə işləyir?",
    "niyə cavab gəlmir",
    "Anam xəstədir həkimə aparmalıyam",
    "ok",
    "beli",
    "Sağ olun",
    "Можно выйти в магазин?",
    "Как получить разрешение?",
    "здравствуйте, нужно в аптеку",
    "спасибо",
    "почему отказ",
    "Can I go out to buy food?",
    "How do I get a permit?",
    "help",
    "STOP",
    ".",
    "?",
    "-",
    "👍",
    "AZE",
    "FIN",
)
# c code, s series, d number
_NO_CODE = ("{s}{d}", "{s} {d}", "{s}-{d}", "Salam {s}{d}", "{s} {d} market", "icazə {s} {d}")
_NO_CODE_FOREIGN = ("{d}", "passport {d}", "Hello {d}")
_NO_DOCUMENT = ("{c}", "{c} ", "kod {c}", "{c} market", "{c} AZE", "{c} aptek", "{c} магазин", "Salam {c}")
_NO_SERIES = ("{c} {d}", "{c}-{d}", "{c} №{d}", "{c} seriya nomre {d}", "{d}")
_OTHER_SERIES = ("AZ", "AE", "AZR", "AXE", "ASE", "AZEE", "ZE", "A", "MY", "SV")
_TWO_CODES = ("1 2 {s}{d}", "1,2 {s} {d}", "{c} {s} {d} 9", "1+2 {s} {d}", "1 ve 2 {s}{d}")


def malformed(draw: Draw, code: int, document: Document) -> str:
    """Writes words, a document without a code, or a code without a document."""
    kind = draw()
    if kind < 0.4:
        return pick(draw, _WORDS)
    if kind < 0.75:
        forms = _NO_CODE if document.series else _NO_CODE_FOREIGN
        return pick(draw, forms).format(s=document.series, d=document.number)
    return pick(draw, _NO_DOCUMENT).format(c=code)


def bad_document(draw: Draw, code: int, document: Document) -> str:
    """Writes a number without a series, with digits missing or added, or under a series that is none.

    At least two digits go: one digit less of an eight-digit number is another person's document.
    """
    series, digits = document.series or "AZE", document.number[-7:]
    kind = draw()
    if kind < 0.3:
        return pick(draw, _NO_SERIES).format(c=code, d=digits)
    if kind < 0.6:
        kept = 3 + int(draw() * 3)
        return f"{code} {series}{' ' if kind < 0.5 else ''}{digits[:kept]}"
    if kind < 0.75:
        return f"{code} {series} 9{digits}{digits[0]}"
    if kind < 0.93:
        return f"{code} {pick(draw, _OTHER_SERIES)} {digits}"
    return f"050{digits}"  # a phone number


def unknown_code(draw: Draw, document: Document, dirty_share: float) -> tuple[int, str]:
    """Writes a readable request under a code that no rule knows; returns (code, text)."""
    code = WRONG_CODES[int(draw() * len(WRONG_CODES))]
    return code, dirty(draw, code, document) if draw() < dirty_share else clean(code, document)


def ambiguous(draw: Draw, code: int, document: Document, other: Document) -> str:
    """Writes two codes, or two documents where the phone has another one."""
    if other is not document and draw() < 0.5:
        return f"{code} {document.series}{document.number} {other.series}{other.number}"
    return pick(draw, _TWO_CODES).format(c=code, s=document.series, d=document.number)
