"""docs/policy.md tells every key that there is, with its default, and its examples can be used as they stand."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from msgspec import NODEFAULT, inspect

from permits.policy import parse
from permits.regimes import PolicyFile

PAGE: Final = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
DOCUMENTS: Final = '[documents]\nseries = [{ name = "ID card", prefix = "AZE", digits = [7, 8] }]\n'
EXAMPLES: Final = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def keys(kind: inspect.Type, where: str = "") -> Iterator[tuple[str, str]]:
    """Every key below a type with its default as the page shows it."""
    if isinstance(kind, inspect.UnionType):
        kind = kind.types[0]
    if isinstance(kind, inspect.VarTupleType):
        kind = kind.item_type
    if isinstance(kind, inspect.StructType):
        for field in kind.fields:
            key = f"{where}{field.encode_name}"
            plain = field.default is not NODEFAULT and isinstance(field.default, int)
            yield key, "-" if field.required else str(field.default).lower() if plain else "none"
            yield from keys(field.type, f"{key}.")


def test_the_page_tells_every_key_and_its_default() -> None:
    told = re.findall(r"^\| `([\w.]+)` \| .+ \| (\S+) \|$", PAGE, re.MULTILINE)
    there = dict(keys(inspect.type_info(PolicyFile)))
    assert dict(told) == there
    assert len(told) == len(there)


def test_the_page_has_an_example_of_each_situation() -> None:
    assert len(EXAMPLES) == 9


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_can_be_used_as_it_stands(example: str) -> None:
    assert parse((DOCUMENTS + example).encode(), Path("example.toml")).regimes
