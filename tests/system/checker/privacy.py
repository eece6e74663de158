"""I12: no document and no full phone in logs, metrics or key names."""

import re
from collections.abc import Iterator
from typing import Final

from tests.system.checker import grammar
from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding

_DIGITS: Final = re.compile(r"[0-9]{9,15}")
_DOCUMENT: Final = re.compile(r"(?<![A-Za-z])(AZE|AA|MYI|DYI|MOM|[A-Z]{1,2})[\s.:/_-]{0,2}([0-9]{7,8})(?![0-9])", re.I)


def privacy(evidence: Evidence) -> Finding:
    """I12: what the history's people have written stands nowhere where it may not."""
    finding = Finding("I12", "no document and no full phone in logs, metrics and key names")
    phones, texts = evidence.history.secrets()
    numbers = {phone.lstrip("+") for phone in phones}
    numbers |= {f"0{number[3:]}" for number in numbers if number.startswith("994")}
    documents = {reading.document for text in texts if (reading := grammar.read(text)) and reading.document}
    if not numbers:
        finding.unchecked = "the history names no phone"
        return finding
    for place, line in _lines(evidence):
        phone = next((found[0] for found in _DIGITS.finditer(line) if found[0] in numbers), None)
        finding.look(phone is None, f"{place}: the phone ***{(phone or '')[-2:]}")
        document = next((d for f in _DOCUMENT.finditer(line) if (d := f"{f[1]}{f[2]}".upper()) in documents), None)
        if document is not None:
            finding.look(False, f"{place}: the document ***{document[-2:]}")
    finding.notes.append(f"{len(numbers)} numbers and {len(documents)} documents looked for")
    missing = ["logs"] * (evidence.logs is None) + ["metrics"] * (not evidence.metrics)
    if missing:
        finding.unchecked = f"no {' and no '.join(missing)} were given; what was looked through is clean"
    return finding


def _lines(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """(where, what) of all that is looked through."""
    for name in evidence.names.all:
        kind = name.partition(":")[0]
        yield f"a key of kind {kind}", name
    logs = () if evidence.logs is None else sorted(evidence.logs.rglob("*.log"))
    for path in (*logs, *evidence.metrics):
        with path.open(errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                yield f"{path.name}, line {number}", line
