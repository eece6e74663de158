"""The registry where there is none: an employee counts whose FIN, document and name are well-formed."""

from collections.abc import Callable, Sequence

from permits import documents, fin
from permits.employees import Employee
from processor.registry.port import CONFIRMED, Verdict


class FormatRules:
    """Knows nobody, and judges form alone; `accepts` says whether a canonical document counts."""

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self._accepts = accepts

    async def confirm(self, employees: Sequence[Employee]) -> Sequence[Verdict]:
        """A word on each, at once."""
        return [self._verdict(employee) for employee in employees]

    async def close(self) -> None:
        """Nothing is held."""

    def _verdict(self, employee: Employee) -> Verdict:
        if fin.canonical(employee.fin) != employee.fin:
            return Verdict("refused", "unknown_person")
        if documents.canonical(employee.document) != employee.document or not self._accepts(employee.document):
            return Verdict("refused", "document_mismatch")
        if not any(letter.isalpha() for letter in employee.name):
            return Verdict("refused", "name_mismatch")
        return CONFIRMED
