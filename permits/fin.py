"""The FIN, the personal code of everybody with an Azerbaijani document: seven letters and digits, no I and no O.

Organisations name their employees by it, and a citizen's log-in carries it.
"""

import re
from typing import Final

_FIN: Final = re.compile(r"[0-9A-HJ-NP-Z]{7}")


def canonical(text: str) -> str | None:
    """A FIN as it is kept, or None where the text is none. Nothing is guessed: an O is no zero."""
    fin = text.strip().upper()
    return fin if text.isascii() and _FIN.fullmatch(fin) else None
