"""What measurements rest on: a store with the product's own settings, and peers that are handed the same SMS."""

from pathlib import Path

import msgspec

from bench import naive, store
from bench.backlog import Backlog, PeerSms
from bench.peers import peer
from permits.messages import INBOUND_DECODER
from runtime.embedded import EmbeddedStore


def test_the_measured_store_has_the_settings_of_the_embedded_one(tmp_path: Path) -> None:
    ours = EmbeddedStore(tmp_path).command(Path("server"))[1:]
    product = dict(zip([name.removeprefix("--") for name in ours[::2]], ours[1::2], strict=True))
    measured = store.options(tmp_path, fsync=True)
    places = {"dir", "unixsocket", "logfile"}
    assert {name: value for name, value in measured.items() if name not in places} == {
        name: value for name, value in product.items() if name not in places
    }


def test_a_backlog_hands_the_same_sms_to_us_and_to_peers() -> None:
    backlog = Backlog(300, mix="launch", seed=3, partitions=8)
    ours = [INBOUND_DECODER.decode(payload) for _, payload in backlog.entries]
    theirs = [msgspec.json.decode(line, type=PeerSms) for line in backlog.peer_sms]
    assert [(sms.id, sms.sender) for sms in ours] == [(sms.id, sms.sender) for sms in theirs]
    assert {index for index, _ in backlog.entries} == set(range(8))
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
