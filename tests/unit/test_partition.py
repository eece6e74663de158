"""The frozen route: who owns an SMS, where it is decided, and what makes it the same SMS."""

from collections import Counter
from pathlib import Path

import pytest

from lua.keys import tags
from permits.partition import OWNER_BYTES, Route
from tests.identities import identity
from tests.system.checker.layout import Hashes, Layout

KEY = b"0123456789abcdef"
ROUTE = Route(key=KEY, partitions=64)


def test_the_route_is_frozen() -> None:
    assert ROUTE.of_document("AZE1111111") == (26, bytes.fromhex("1e21d75e5f72e5d6"))
    assert ROUTE.of_sender("+994501234567") == (39, bytes.fromhex("1e5bb88a09d5fdda"))
    assert ROUTE.of_sender("+994501234567890") == (5, bytes.fromhex("f08cec3e2eeaed0e"))
    assert ROUTE.of_sender("+9945012345678901") == (12, bytes.fromhex("bfdcc27e27584124"))
    assert identity(ROUTE, "+994501234567", "agg-42", "2 AZE 1111111").hex() == "bb8590a7f5e5"
    assert ROUTE.fingerprint == "5a8c7fb812479728"


def test_the_route_of_people_and_organisations_is_frozen() -> None:
    assert ROUTE.of_person("1ABCDE2") == (51, bytes.fromhex("9d86b29a6f886f8e"))
    assert ROUTE.of_organisation("1234567890") == 17


def test_names_longer_than_a_block_are_owners_of_their_own() -> None:
    names = ["+" + "1" * 15, "+" + "1" * 16, "+" + "1" * 17, "Ə" * 8, "Ə" * 9]
    assert ROUTE.of_senders(names) == [ROUTE.of_sender(name) for name in names]
    assert len({owner for _, owner in ROUTE.of_senders(names)}) == len(names)


def test_the_checker_finds_the_same_owners(tmp_path: Path) -> None:
    (tmp_path / "routing.key").write_bytes(KEY)
    hashes = Hashes(tmp_path, Layout(tuple(tags(64)), ROUTE.fingerprint))
    for document, sender in (("AZE1111111", "+1"), (None, "+994501234567890"), (None, "Ə" * 9), (None, "")):
        partition, owner = ROUTE.owner(document, sender)
        assert hashes.owner(document, sender) == (partition, owner.hex())


def test_the_owner_key_does_not_depend_on_the_number_of_partitions() -> None:
    assert Route(key=KEY, partitions=3).of_document("AZE1111111")[1] == ROUTE.of_document("AZE1111111")[1]


def test_another_key_is_another_route() -> None:
    other = Route(key=KEY[::-1], partitions=64)
    assert other.of_document("AZE1111111")[1] != ROUTE.of_document("AZE1111111")[1]
    assert other.fingerprint != ROUTE.fingerprint


def test_a_document_and_a_sender_with_the_same_letters_are_two_owners() -> None:
    assert ROUTE.of_document("AZE1111111") != ROUTE.of_sender("AZE1111111")


def test_a_document_a_sender_and_a_person_with_the_same_letters_have_keys_of_their_own() -> None:
    keys = {ROUTE.of_document("1ABCDE2"), ROUTE.of_sender("1ABCDE2"), ROUTE.of_person("1ABCDE2")}
    assert len({key for _, key in keys}) == 3


def test_documents_fall_evenly_over_partitions() -> None:
    share = Counter(ROUTE.of_document(f"AZE{i:08d}")[0] for i in range(64_000))
    assert set(share) == set(range(64))
    assert 850 < min(share.values()) <= max(share.values()) < 1150


def test_an_owner_key_has_eight_bytes() -> None:
    assert len(ROUTE.of_document("AZE1111111")[1]) == len(ROUTE.of_sender("+994501234567")[1]) == OWNER_BYTES


@pytest.mark.parametrize("size", [0, 15, 65])
def test_a_key_too_short_or_too_long_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        Route(key=b"x" * size, partitions=64)


def sms(source: str = "dev", sender: str = "+1", sms_id: str = "7", text: str = "t", by_text: bool = False) -> bytes:
    """Identity of an SMS that differs in what is named."""
    return identity(ROUTE, sender, sms_id, text, source=source, by_text=by_text)


def test_source_sender_and_id_each_make_another_sms() -> None:
    plain = sms()
    others = [sms(source="other"), sms(sender="+2"), sms(sms_id="8"), sms(by_text=True)]
    assert len({plain[:4], *(other[:4] for other in others)}) == 5
    assert all(other[4:] == plain[4:] for other in others)


def test_the_same_id_with_another_text_agrees_in_the_first_four_bytes_only() -> None:
    assert sms()[:4] == sms(text="u")[:4]
    assert sms()[4:] != sms(text="u")[4:]


def test_without_an_id_the_text_stands_in_its_place() -> None:
    assert sms(sms_id="1", by_text=True) == sms(sms_id="2", by_text=True)
    assert sms(by_text=True)[:4] != sms(text="u", by_text=True)[:4]
    assert sms(sms_id="t", by_text=False)[:4] != sms(text="t", by_text=True)[:4]


def test_parts_do_not_run_into_each_other() -> None:
    assert sms(sender="+12", sms_id="3") != sms(sender="+1", sms_id="23")


def test_lone_surrogates_are_hashed_like_any_letter() -> None:
    assert sms(text="\ud800") != sms(text="\udfff")
    assert ROUTE.of_sender("\ud800") != ROUTE.of_sender("\udfff")


@pytest.mark.parametrize("by_text", [False, True])
def test_sms_of_other_phones_or_aggregators_have_other_identities_even_where_the_checksums_agree(by_text: bool) -> None:
    """Else who chooses ids could take away another's answer; id and text of all here are the same."""
    assert len({sms(sender=f"+{number}", by_text=by_text)[:4] for number in range(1000)}) == 1000
    assert len({sms(source=f"a{number}", by_text=by_text)[:4] for number in range(1000)}) == 1000


def test_the_checker_finds_the_same_identities(tmp_path: Path) -> None:
    (tmp_path / "routing.key").write_bytes(KEY)
    hashes = Hashes(tmp_path, Layout(tuple(tags(64)), ROUTE.fingerprint))
    for source, sender, sms_id, text, by_text in (
        ("dev", "+1", "7", "t", False),
        ("dev", "+1", "7", "t", True),
        ("Ə", "+994501234567890123", "\0", "\ud800", False),
        ("", "", "", "", True),
    ):
        found = hashes.identity(source, sender, sms_id, text, by_text=by_text)
        assert found == sms(source, sender, sms_id, text, by_text).hex()
