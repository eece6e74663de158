"""What rests sealed opens for its own place and with its own keys alone; a sender's number in one block of AES."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from permits.messages import Lang
from runtime import keyring
from runtime.errors import StartupError
from runtime.keyring import SEALED_SENDER_BYTES, Keyring, SenderSeal, UnsealedError
from runtime.settings import Settings

RING = Keyring({"k1": b"1" * 32}, "k1")
REPLACED = Keyring({"k1": b"1" * 32, "k2": b"2" * 32}, "k2")
OTHER = Keyring({"k1": b"3" * 32}, "k1")
OWNER, DIGEST = b"owner678", b"digest"
NUMBER = "+994501234567"
LANGS: tuple[Lang, ...] = ("az", "ru", "en")

digits = st.text("0123456789", min_size=1, max_size=15)
owners = st.binary(min_size=8, max_size=8)
digests = st.binary(min_size=6, max_size=6)


def block(
    number: str = NUMBER, lang: Lang = "az", owner: bytes = OWNER, digest: bytes = DIGEST, ring: Keyring = RING
) -> bytes:
    return SenderSeal(ring).seal_many([(number, lang, owner, digest)])


# --- texts


def test_a_sealed_text_names_its_key_and_opens_for_its_place_alone() -> None:
    sealed = RING.seal(b"Anna", "here")
    assert sealed.startswith("k1.")
    assert RING.open(sealed, "here") == b"Anna"
    assert RING.seal(b"Anna", "here") != sealed
    for wrong in (sealed.replace("k1", "k9"), sealed[:-4], sealed[:-4] + "AAA=", "", "k1.", "k1.é"):
        with pytest.raises(UnsealedError):
            RING.open(wrong, "here")
    with pytest.raises(UnsealedError):
        RING.open(sealed, "elsewhere")
    with pytest.raises(UnsealedError):
        OTHER.open(sealed, "here")


def test_after_a_change_of_keys_the_old_one_still_opens() -> None:
    assert REPLACED.open(RING.seal(b"Anna", "here"), "here") == b"Anna"
    assert REPLACED.seal(b"Anna", "here").startswith("k2.")


# --- senders


@given(digits, st.sampled_from(LANGS), owners, digests)
def test_a_number_opens_as_it_was_for_its_permit(number: str, lang: Lang, owner: bytes, digest: bytes) -> None:
    sealed = block("+" + number, lang, owner, digest)
    assert len(sealed) == SEALED_SENDER_BYTES
    assert SenderSeal(RING).open(sealed, owner, digest) == ("+" + number, lang)


@given(owners, digests, st.integers(0, 127))
def test_an_altered_or_moved_block_opens_to_nothing(owner: bytes, digest: bytes, bit: int) -> None:
    sealed, seal = block(owner=owner, digest=digest), SenderSeal(RING)
    altered = (int.from_bytes(sealed) ^ 1 << bit).to_bytes(16)
    assert seal.open(altered, owner, digest) is None
    assert seal.open(sealed, owner, bytes([digest[0] ^ 1]) + digest[1:]) is None
    assert seal.open(sealed, bytes([owner[0] ^ 1]) + owner[1:], digest) is None


@pytest.mark.parametrize("junk", [b"", bytes(15), bytes(16), bytes(17), bytes(32)])
def test_what_is_no_block_of_ours_opens_to_nothing(junk: bytes) -> None:
    assert SenderSeal(RING).open(junk, OWNER, DIGEST) is None


def test_one_number_gives_another_block_for_each_permit() -> None:
    permits = [(OWNER, n.to_bytes(6)) for n in range(100)] + [(n.to_bytes(8), DIGEST) for n in range(100)]
    assert len({block(owner=owner, digest=digest) for owner, digest in permits}) == 200


def test_a_batch_is_the_blocks_of_its_numbers_in_order() -> None:
    senders: list[tuple[str, Lang, bytes, bytes]] = [
        (f"+{994_500_000_000 + n}", LANGS[n % 3], OWNER, n.to_bytes(6)) for n in range(512)
    ]
    sealed = SenderSeal(RING).seal_many(senders)
    assert sealed == b"".join(block(*sender) for sender in senders)
    assert SenderSeal(RING).seal_many([]) == b""


def test_the_current_key_seals_and_any_key_opens() -> None:
    assert SenderSeal(REPLACED).open(block(), OWNER, DIGEST) == (NUMBER, "az")
    assert SenderSeal(RING).open(block(ring=REPLACED), OWNER, DIGEST) is None
    assert SenderSeal(OTHER).open(block(), OWNER, DIGEST) is None


@pytest.mark.parametrize(
    "number", ["", "+", "8103", "BANK", "+994 50", "+99450123456789012", "+٩٩٤٥٠", "+1_0", "\ud800"]
)
def test_what_is_no_number_takes_its_place_and_opens_to_nothing(number: str) -> None:
    sealed = SenderSeal(RING).seal_many([(number, "az", OWNER, DIGEST), (NUMBER, "ru", OWNER, DIGEST)])
    assert len(sealed) == 2 * SEALED_SENDER_BYTES
    assert SenderSeal(RING).open(sealed[:16], OWNER, DIGEST) is None
    assert SenderSeal(RING).open(sealed[16:], OWNER, DIGEST) == (NUMBER, "ru")


def test_the_form_of_a_block_is_frozen() -> None:
    assert block().hex() == "6f781b394a300e9b425ff628d7dc947e"


# --- the file


def settings(folder: Path) -> Settings:
    return Settings(data_dir=str(folder))


def test_a_made_keyring_is_read_back_and_not_made_again(tmp_path: Path) -> None:
    at = keyring.path(settings(tmp_path))
    keyring.make(at)
    assert at.stat().st_mode & 0o777 == 0o600
    sealed = keyring.load(settings(tmp_path)).seal(b"Anna", "here")
    keyring.make(at)
    assert keyring.load(settings(tmp_path)).open(sealed, "here") == b"Anna"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("\xff", "keyring"),
        ("current = 1", "Expected `str`"),
        ("[keys]", "missing required field"),
        ('current = "a"\n[keys]\na = "%"', "keyring"),
        ('current = "a"\n[keys]\na = "AAAA"', "base64 of 32 bytes"),
        (f'current = "b"\n[keys]\na = "{"A" * 43}="', "none of its keys"),
        (f'current = "a.b"\n[keys]\n"a.b" = "{"A" * 43}="', "a name of letters and digits"),
    ],
)
def test_a_keyring_that_cannot_be_used_stops_the_start(text: str | None, said: str, tmp_path: Path) -> None:
    at = keyring.path(settings(tmp_path))
    at.parent.mkdir()
    if text is not None:
        at.write_text(text, encoding="latin-1")
    with pytest.raises(StartupError, match=said) as caught:
        keyring.load(settings(tmp_path))
    assert str(at) in str(caught.value)
