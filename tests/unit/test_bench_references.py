"""What measurements rest on: a store with the product's own settings, and peers that are handed the same SMS."""

from pathlib import Path

import msgspec

from bench import limit, naive, store
from bench.backlog import Backlog, PeerSms
from bench.peers import peer
from permits.messages import SEALED_DECODER
from processor.app import BATCHES_AT_ONCE
from runtime.embedded import ALLOCATOR, EmbeddedStore


def test_the_measured_store_has_the_settings_of_the_embedded_one(tmp_path: Path) -> None:
    ours = EmbeddedStore(tmp_path).command(Path("server"))[1:]
    product = dict(zip([name.removeprefix("--") for name in ours[::2]], ours[1::2], strict=True))
    measured = store.options(tmp_path, fsync=True)
    places = {"dir", "unixsocket", "logfile"}
    assert {name: value for name, value in measured.items() if name not in places} == {
        name: value for name, value in product.items() if name not in places
    }
    assert store.ALLOCATOR == ALLOCATOR


def test_the_limit_has_as_much_under_way_as_a_worker() -> None:
    assert limit.AHEAD == 2 * BATCHES_AT_ONCE


def test_a_backlog_is_what_ingest_stores_of_the_sms_that_peers_get(tmp_path: Path) -> None:
    backlog = Backlog(300, tmp_path, mix="launch", seed=3, partitions=8)
    keys, *ours = backlog.appends()
    theirs = [msgspec.json.decode(line, type=PeerSms) for line in backlog.peer_sms]
    assert keys[:2] == ["HSET", backlog.partitions[0].day_keys]
    stored = sorted(SEALED_DECODER.decode(command[4]).id for command in ours if isinstance(command[4], bytes))
    assert stored == sorted(sms.id for sms in theirs)
    assert {command[1] for command in ours} == set(backlog.inbound)
    assert 0.25 < sum(sms.purpose > 0 for sms in theirs) / 300 < 0.6


def test_the_verdicts_that_a_peer_must_reach_are_known_beforehand() -> None:
    messages = [
        PeerSms("1", "+1", 2, "A"),
        PeerSms("1", "+1", 2, "A"),
        PeerSms("2", "+1", 2, "A"),
        PeerSms("3", "+1", 1, "A"),
        PeerSms("4", "+1", 0, ""),
    ]
    assert dict(peer.verdicts(messages)) == {"approved": 2, "quota": 1, "malformed": 1}


def test_every_peer_is_pinned_and_has_its_program() -> None:
    for name in peer.PEERS:
        assert peer.version_of(name)
        assert (peer.PROGRAMS / f"{name}_peer.py").is_file()


def test_one_message_of_the_naive_script_names_its_keys() -> None:
    assert naive.call("sha", "sms-1", "+1", 2, "A")[2:7] == ["4", "seen:sms-1", "quota:A", "permit:A", "replies"]
    assert [naive.call("sha", "sms-1", "+1", code, "A")[9:11] for code in (1, 2)] == [["1", "0"], ["2", "1"]]
