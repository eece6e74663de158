"""One reason, one code: in the rules, the words of replies, the streams' description, the api and the metrics."""

import json
import tomllib
from pathlib import Path
from typing import Final, get_args

import pytest

from api import figures
from api.standing import standing
from lua.records import timing
from permits import policy as policies
from permits.messages import Lang
from permits.outcomes import NAME_OF, REASONS, REFUSALS, Reason
from permits.replies import Texts
from tests.day_records import static_struct

ROOT: Final = Path(__file__).parents[2]
NOW_MS: Final = 1_767_254_400_000
OWNER: Final = bytes.fromhex("0011223344556677")


@pytest.mark.parametrize("lang", get_args(Lang))
def test_every_language_has_one_text_for_each_reason_and_no_other(lang: Lang) -> None:
    texts = tomllib.loads((ROOT / "permits" / "texts.toml").read_text())
    assert list(texts[lang]["refusals"]) == list(REASONS)
    assert all(Texts().refusal(lang, reason, 2)[0] for reason in REASONS)


def test_the_streams_page_knows_the_reasons() -> None:
    page = (ROOT / "docs" / "asyncapi.yaml").read_text()
    schema = next(line for line in page.splitlines() if line.startswith('    Reply: {"')).removeprefix("    Reply: ")
    told = json.loads(schema)["properties"]["reason"]
    assert told == {"anyOf": [{"enum": sorted(REASONS)}, {"type": "null"}]}


@pytest.mark.parametrize("reason", REASONS)
def test_status_gives_the_reason_that_the_reply_gave(reason: Reason) -> None:
    decided_s = NOW_MS // 1000
    word = timing(arrived_s=decided_s, decided_s=decided_s, minutes=0, days_to_arrival=0)
    record = static_struct(OWNER[4:], b"digest", decided_s, word, b"se", 2) + REFUSALS[reason].encode()
    [found] = standing([record], [], partition=3, owner=OWNER, policy=policies.load(), epochs=(), now_ms=NOW_MS)
    assert (found.permit.status, found.permit.reason) == ("refused", reason)


def test_the_monitor_and_the_metrics_count_by_the_same_reasons() -> None:
    counted = {letter for letter, verdict in figures.VERDICT_OF.items() if verdict == "refused"}
    assert {NAME_OF[letter] for letter in counted} == set(REASONS)
