"""The checker's I9, where an SMS permit and an employee's of one document share a code."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from tests.system.checker.layout import code_of
from tests.system.checker.shown import shown

OWNER, DIGEST = "00" * 8, "00" * 6
CODE = code_of(0, OWNER, DIGEST)
SHOWN_MS = 10_000


def evidence(*, confirmed_ms: list[int], decided_ms: int) -> Any:
    """A permit that was shown; an employee's of its code, and then an SMS's."""
    row = SimpleNamespace(
        letter="a", partition=0, entry_id="1-1", owner=OWNER, digest=DIGEST, decided_ms=decided_ms, is_held=False
    )
    seen = [{"at_ms": SHOWN_MS, "who": "api-1", "event": "shown", "permit": CODE, "valid": True}]
    return SimpleNamespace(
        trimmed="",
        trail=SimpleNamespace(rows=lambda: [row], settled=list),
        names=Mock(of=Mock(return_value=[])),
        partitions=[0],
        acts=Mock(return_value=[{"deed": "confirm", "code": CODE, "at_ms": at_ms} for at_ms in confirmed_ms]),
        history=SimpleNamespace(seen=seen, clock_was_set=False),
    )


@pytest.mark.parametrize(
    ("confirmed_ms", "decided_ms", "broken"),
    [([5_000], 20_000, 0), ([20_000], 5_000, 0), ([], 5_000, 0), ([], 20_000, 1), ([15_000], 20_000, 1)],
)
def test_what_was_shown_is_the_first_of_those_that_share_a_code(
    confirmed_ms: list[int], decided_ms: int, broken: int
) -> None:
    finding = shown(evidence(confirmed_ms=confirmed_ms, decided_ms=decided_ms))
    assert len(finding.broken) == broken, finding.broken
