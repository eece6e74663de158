"""The synthetic day: its shares, its shape over time, its crowd, and that the same seed gives the same bytes."""

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from bench import day, intensity
from bench.author import MIXES, PURPOSE_SHARES, Intent
from bench.crowd import FAMILY, HEAVIEST
from permits.documents import DEFAULT_SERIES
from permits.sms import read

ROOT = Path(__file__).parents[2]
MESSAGES = 50_000
NEW_YEAR = date(2026, 1, 1)
READABLE = ("approved", "quota", "unknown_code")


@cache
def drawn(mix: str) -> list[tuple[day.Sms, Intent]]:
    return list(day.generate(MESSAGES, 7, mix, NEW_YEAR))


def distinct(mix: str) -> list[tuple[day.Sms, Intent]]:
    return [(sms, intent) for sms, intent in drawn(mix) if not intent.repeat]


def written(mix: str, seed: int, messages: int = 3_000) -> bytes:
    out = io.BytesIO()
    day.write(day.generate(messages, seed, mix, NEW_YEAR), out)
    return out.getvalue()


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    day.configure(parser)
    return parser.parse_args(argv)


# What the texts alone say, without the grammar under test elsewhere: letters that look or sound alike are
# made Latin, then digits are counted.
LOOK_ALIKES = str.maketrans("АЗЕМУОаземуоİıＡＺＥ０１２３４５６７８９", "AZEMYOazemyoIiAZE0123456789")
NATIONAL = re.compile(r"(AZE|AA|MYI|DYI|MOM)((?:\D{0,14}?[0-9O]){7,8})")
FOREIGN = re.compile(r"\b[A-Z]{1,2}\d{7}\b")


def typed_documents(text: str) -> set[str]:
    latin = text.translate(LOOK_ALIKES).upper()
    found = {
        f"{series}{re.sub(r'[^0-9O]', '', digits).replace('O', '0')}"
        for series, digits in NATIONAL.findall(re.sub(r"\b(NO|NOMRE)\b", "", latin))
    }
    return found or set(FOREIGN.findall(latin))


@pytest.mark.parametrize("mix", MIXES)
def test_outcomes_come_in_the_shares_of_the_mix(mix: str) -> None:
    verdicts = Counter(intent.verdict for _, intent in distinct(mix))
    for verdict in ("approved", "quota", "malformed", "bad_document", "unknown_code", "ambiguous"):
        assert verdicts[verdict] / verdicts.total() == pytest.approx(getattr(MIXES[mix], verdict), abs=0.01)


@pytest.mark.parametrize("mix", MIXES)
def test_the_shares_of_a_mix_sum_to_one(mix: str) -> None:
    shares = MIXES[mix]
    refused = shares.quota + shares.malformed + shares.bad_document + shares.unknown_code + shares.ambiguous
    assert shares.approved + refused == pytest.approx(1.0)


def test_launch_is_refused_mostly_for_form() -> None:
    verdicts = Counter(intent.verdict for _, intent in distinct("launch"))
    refused = verdicts.total() - verdicts["approved"]
    assert refused / verdicts.total() == pytest.approx(0.62, abs=0.01)
    assert (verdicts["malformed"] + verdicts["bad_document"] + verdicts["ambiguous"]) / refused > 0.8


@pytest.mark.parametrize("mix", MIXES)
def test_approved_purposes_are_90_to_7_to_3(mix: str) -> None:
    purposes = Counter(intent.purpose for _, intent in distinct(mix) if intent.verdict == "approved")
    for purpose, share in PURPOSE_SHARES.items():
        assert purposes[purpose] / purposes.total() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("mix", MIXES)
def test_one_document_is_approved_for_food_once_and_refused_only_afterwards(mix: str) -> None:
    granted: set[str] = set()
    for _, intent in distinct(mix):
        if intent.purpose != 2 or intent.document is None:
            continue
        assert (intent.document in granted) == (intent.verdict == "quota")
        granted.add(intent.document)


@pytest.mark.parametrize("mix", MIXES)
def test_every_readable_text_holds_the_document_it_was_written_for(mix: str) -> None:
    for sms, intent in drawn(mix):
        if intent.verdict in READABLE and intent.document is not None:
            (typed,) = typed_documents(sms.text)
            # A code standing behind the document may read as its eighth digit here, never as another one.
            assert intent.document in (typed, typed[:-1]), sms.text


@pytest.mark.parametrize("mix", MIXES)
def test_the_grammar_reads_every_text_as_it_was_written_to_be(mix: str) -> None:
    for sms, intent in distinct(mix)[:10_000]:
        reading = read(sms.text)
        if intent.verdict in READABLE:
            assert reading.fault is None, sms.text
            assert (reading.purpose, reading.document) == (intent.purpose, intent.document), sms.text
            assert DEFAULT_SERIES.accepts(intent.document or ""), sms.text
        else:
            assert reading.fault == intent.verdict, sms.text


@pytest.mark.parametrize("mix", MIXES)
def test_bad_documents_never_show_a_whole_one(mix: str) -> None:
    for sms, intent in drawn(mix):
        if intent.verdict == "bad_document":
            number = re.search(r"(?:AZE|AA|MYI|DYI|MOM) ?(\d+)$", sms.text)
            assert number is None or len(number[1]) not in (7, 8), sms.text


@pytest.mark.parametrize("mix", MIXES)
def test_repeats_have_the_same_id_and_text_and_a_later_time(mix: str) -> None:
    first: dict[str, day.Sms] = {}
    repeats = 0
    for sms, intent in drawn(mix):
        if intent.repeat:
            repeats += 1
            original = first[sms.id]
            assert (sms.sender, sms.text) == (original.sender, original.text)
            assert sms.received_at >= original.received_at
        else:
            assert sms.id not in first
            first[sms.id] = sms
    assert repeats / MESSAGES == pytest.approx(MIXES[mix].repeats, abs=0.003)


@pytest.mark.parametrize("mix", MIXES)
def test_phones_are_skewed_and_families_share_one(mix: str) -> None:
    by_phone = Counter(sms.sender for sms, _ in distinct(mix))
    assert 2.0 <= by_phone.total() / len(by_phone) <= 2.5
    (_, heaviest), (_, second) = by_phone.most_common(2)
    assert heaviest == HEAVIEST
    assert second <= HEAVIEST / 3
    documents: defaultdict[str, set[str]] = defaultdict(set)
    phones: defaultdict[str, set[str]] = defaultdict(set)
    for sms, intent in distinct(mix):
        if intent.document is not None:
            documents[sms.sender].add(intent.document)
            phones[intent.document].add(sms.sender)
    assert max(len(found) for found in documents.values()) == FAMILY
    assert max(len(found) for found in phones.values()) == 1


def test_all_kinds_of_documents_and_of_dirt_occur() -> None:
    texts = "\n".join(sms.text for sms, _ in drawn("launch"))
    for kind in ("AZE", "AA", "MYİ", "MYı", "DYİ", "MOM", "АЗЕ", "АZЕ", "№", "\u00a0", "２", "\t", "O"):
        assert kind in texts
    documents = Counter(intent.document[:2] for _, intent in drawn("launch") if intent.document)
    assert documents["AZ"] > documents["AA"] > documents["MY"] > 0
    lengths = Counter(
        len(intent.document) for _, intent in drawn("launch") if intent.document and intent.document.startswith("AZE")
    )
    assert lengths[11] > lengths[10] > 0


def test_the_day_is_bakus_and_in_order() -> None:
    times = [sms.received_at for sms, _ in drawn("steady")]
    assert times == sorted(times)
    midnight = datetime(2025, 12, 31, 20, tzinfo=UTC)  # 00:00 on 1 January in Baku
    assert datetime.fromisoformat(times[0]) >= midnight
    assert datetime.fromisoformat(times[-1]) < midnight + timedelta(days=1)


def test_the_peak_minute_is_4_1_times_the_mean_and_nights_are_quiet() -> None:
    minutes = Counter(sms.received_at[11:16] for sms, _ in drawn("steady"))
    mean = MESSAGES / 1440
    assert max(minutes.values()) / mean == pytest.approx(4.1, abs=0.1)
    night = sum(count for minute, count in minutes.items() if "22:00" <= minute)  # 02:00 to 04:00 in Baku
    assert night < 120 * mean / 4
    surge = sum(count for minute, count in minutes.items() if "06:00" <= minute < "06:30")
    assert surge / 30 / mean == pytest.approx(3.85, abs=0.1)


def test_the_peak_second_is_16_times_the_mean() -> None:
    at_scale = 5_400_000
    offsets = Counter[int]()
    count = intensity.minute_counts(at_scale)[intensity.PEAK_MINUTE]
    draws = iter((index * 0.618_033_988_7) % 1.0 for index in range(count + 1))
    for at_ms in intensity.spread(intensity.PEAK_MINUTE, count, draws.__next__):
        offsets[at_ms // 1000] += 1
    assert max(offsets.values()) == pytest.approx(1_000, rel=0.25)


@pytest.mark.parametrize("messages", [1, 2, 999, 1441, 100_003])
def test_any_number_of_messages_is_met_exactly(messages: int) -> None:
    counts = intensity.minute_counts(messages)
    assert sum(counts) == messages
    assert min(counts) >= 0
    if messages < 2_000:
        assert len(list(day.generate(messages, 1, "launch", NEW_YEAR))) == messages


@pytest.mark.parametrize("mix", MIXES)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(mix: str) -> None:
    assert written(mix, 5) == written(mix, 5)
    assert written(mix, 5) != written(mix, 6)


def test_the_bytes_do_not_depend_on_the_process() -> None:
    code = (
        "import sys; from datetime import date; from bench import day;"
        "day.write(day.generate(3000, 5, 'launch', date(2026, 1, 1)), sys.stdout.buffer)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "12345"},
        capture_output=True,
        check=True,
    )
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(written("launch", 5)).digest()


def test_the_command_writes_ingest_objects(tmp_path: Path) -> None:
    target = tmp_path / "day.ndjson"
    args = parsed("--messages", "200", "--seed", "3", "--mix", "launch", "--date", "2026-02-03", "-o", str(target))
    assert day.run(args) == 0
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(lines) == 200
    for line in lines:
        assert list(line) == ["id", "from", "to", "text", "received_at"]
        assert line["to"] == "8103"
        assert re.fullmatch(r"\+994\d{9}", line["from"])
        assert line["text"].strip()
        assert line["received_at"][:10] in ("2026-02-02", "2026-02-03")


def test_the_command_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert day.run(parsed("--messages", "1", "-o", str(tmp_path / "none" / "day.ndjson"))) == 1
    assert "No such file" in capsys.readouterr().err
