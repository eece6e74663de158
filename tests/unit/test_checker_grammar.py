"""Two readers of SMS that share nothing, the product's and the checker's, agree wherever the checker has an answer."""

from datetime import date
from random import Random

import pytest

from bench.day import generate
from permits.sms import read
from tests.system.checker import grammar

PIECES = (
    "2", "1", "9", "11", "AZE", "AA", "MYI", "aze", "1234567", "12345678", "P1234567", "a", "salam", " ", " ", "  ",
    "-", "\n", ".", "123 45 67", "12", "1O34567", "AZ", "kod", "🙏", "\u200b", "é", "123", "(", "+", "12345",
    "123456789",
)  # fmt: skip


def differs(text: str) -> bool:
    """Whether the checker reads another thing than the product."""
    ours = grammar.read(text)
    if ours is None:
        return False
    product = read(text)
    return ours != (product.purpose or 0, product.document, product.fault or "")


@pytest.mark.parametrize("mix", ["launch", "steady", "rule-change"])
def test_they_agree_on_a_day(mix: str) -> None:
    texts = [sms.text for sms, _ in generate(3000, 11, mix, date(2026, 1, 1))]
    assert not [text for text in texts if differs(text)]
    assert sum(grammar.read(text) is not None for text in texts) > 0.95 * len(texts)


def test_they_agree_on_most_of_what_nobody_writes() -> None:
    draw = Random(5)
    texts = ["".join(draw.choices(PIECES, k=draw.randint(1, 9))) for _ in range(20_000)]
    assert sum(differs(text) for text in texts) <= 3
    assert sum(grammar.read(text) is not None for text in texts) > 2000
