"""Who posts: Standard Webhooks signatures against secrets of our own."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from ingest import signature
from ingest.signature import SignatureError, Signatures
from runtime.errors import StartupError

NOW_S = 1_767_254_400.5
NEW, OLD, OTHER = b"n" * 24, b"o" * 24, b"x" * 24
BODY = b'{"from":"+994501234567","text":"2 AZE 1111111"}'


def sign(secret: bytes, *, webhook_id: str = "msg-1", timestamp: str = "1767254400", body: bytes = BODY) -> str:
    digest = hmac.digest(secret, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def source(
    given: str | None,
    *,
    webhook_id: str | None = "msg-1",
    timestamp: str | None = "1767254400",
    body: bytes = BODY,
    remote: str | None = "203.0.113.7",
) -> str:
    signatures = Signatures([("azercell", NEW), ("azercell", OLD), ("bakcell", OTHER)])
    return signatures.source(
        remote=remote, webhook_id=webhook_id, timestamp=timestamp, signature=given, body=body, now_s=NOW_S
    )


def test_the_published_example_of_standard_webhooks_is_accepted() -> None:
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    name = Signatures([("example", secret)]).source(
        remote="203.0.113.7",
        webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp="1614265330",
        signature="v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        body=body,
        now_s=1_614_265_330,
    )
    assert name == "example"


@pytest.mark.parametrize(("secret", "name"), [(NEW, "azercell"), (OLD, "azercell"), (OTHER, "bakcell")])
def test_each_active_secret_names_its_aggregator(secret: bytes, name: str) -> None:
    assert source(sign(secret)) == name


def test_one_right_signature_among_several_is_enough() -> None:
    assert source(f"v1,AAAA v2,xyz {sign(b'?' * 24)} {sign(NEW)}") == "azercell"


def test_a_header_of_many_signatures_is_read_to_the_eighth() -> None:
    with pytest.raises(SignatureError, match="no signature agrees"):
        source(f"{'v1,AAAA ' * 8}{sign(NEW)}")


@pytest.mark.parametrize("given", [sign(b"?" * 24), "v1,", "v1,AAAA", "v1,é", "v1,\udcff", "v2,AAAA", "x", ","])
def test_a_wrong_signature_is_refused(given: str) -> None:
    with pytest.raises(SignatureError, match="no signature agrees"):
        source(given)


def test_a_v1a_signature_is_not_taken_for_v1() -> None:
    with pytest.raises(SignatureError, match="no signature agrees"):
        source(sign(NEW).replace("v1,", "v1a,"))


def test_a_tampered_body_id_or_time_is_refused() -> None:
    given = sign(NEW)
    with pytest.raises(SignatureError, match="no signature agrees"):
        source(given, body=BODY.replace(b"2 AZE", b"3 AZE"))
    with pytest.raises(SignatureError, match="no signature agrees"):
        source(given, webhook_id="msg-2")
    with pytest.raises(SignatureError, match="no signature agrees"):
        source(given, timestamp="1767254401")


@pytest.mark.parametrize("missing", ["webhook_id", "timestamp", "given"])
def test_every_header_is_needed(missing: str) -> None:
    headers: dict[str, str | None] = {"given": sign(NEW), "webhook_id": "msg-1", "timestamp": "1767254400"}
    for nothing in (None, ""):
        headers[missing] = nothing
        with pytest.raises(SignatureError, match="are needed"):
            source(headers["given"], webhook_id=headers["webhook_id"], timestamp=headers["timestamp"])


@pytest.mark.parametrize("timestamp", ["1767254099", "1767254701", "NaN", "inf", "-1", "1e9", "1767254400.0", "١٧٦"])
def test_a_time_that_is_off_or_odd_is_refused_though_it_is_signed(timestamp: str) -> None:
    given = sign(NEW, timestamp=timestamp)
    with pytest.raises(SignatureError, match="five minutes"):
        source(given, timestamp=timestamp)


@pytest.mark.parametrize("timestamp", ["1767254101", "1767254700"])
def test_a_time_within_five_minutes_is_taken(timestamp: str) -> None:
    assert source(sign(NEW, timestamp=timestamp), timestamp=timestamp) == "azercell"


@pytest.mark.parametrize("timestamp", ["9" * 5000, "1" * 40])
def test_a_time_of_thousands_of_digits_is_refused_without_being_computed(timestamp: str) -> None:
    with pytest.raises(SignatureError, match="five minutes"):
        source(sign(NEW, timestamp=timestamp), timestamp=timestamp)


@pytest.mark.parametrize("webhook_id", ["x" * 121, "msg-é", "msg-\udcff"])
def test_an_id_that_cannot_be_stored_is_refused_though_it_is_signed(webhook_id: str) -> None:
    digest = hmac.digest(
        NEW, b"%b.1767254400.%b" % (webhook_id.encode("utf-8", "surrogateescape"), BODY), hashlib.sha256
    )
    with pytest.raises(SignatureError, match="ASCII characters"):
        source("v1," + base64.b64encode(digest).decode(), webhook_id=webhook_id)


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.8.8.8", "::1"])
def test_without_aggregators_loopback_is_taken_as_dev(remote: str) -> None:
    name = Signatures([]).source(remote=remote, webhook_id=None, timestamp=None, signature=None, body=BODY, now_s=NOW_S)
    assert name == signature.DEVELOPMENT


@pytest.mark.parametrize("remote", ["10.0.0.1", "203.0.113.7", "2001:db8::1", None])
def test_without_aggregators_nobody_else_is_taken(remote: str | None) -> None:
    with pytest.raises(SignatureError, match="loopback only"):
        Signatures([]).source(
            remote=remote, webhook_id="a", timestamp="1767254400", signature=sign(NEW), body=BODY, now_s=NOW_S
        )


def test_with_aggregators_loopback_must_sign_too() -> None:
    with pytest.raises(SignatureError, match="are needed"):
        source(None, remote="127.0.0.1")


def encoded(secret: bytes) -> str:
    return "whsec_" + base64.b64encode(secret).decode()


def test_a_file_of_aggregators_is_read(tmp_path: Path) -> None:
    file = tmp_path / "aggregators.toml"
    file.write_text(f'[[aggregator]]\nname = "azercell"\nsecrets = ["{encoded(NEW)}", "{encoded(OLD)}"]\n')
    signatures = signature.load(str(file))
    for secret in (NEW, OLD):
        name = signatures.source(
            remote=None, webhook_id="msg-1", timestamp="1767254400", signature=sign(secret), body=BODY, now_s=NOW_S
        )
        assert name == "azercell"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "aggregator"),
        ("aggregator = []", "length >= 1"),
        ("[[aggregator]]", "name"),
        (f'[[aggregator]]\nname = "A B"\nsecrets = ["{encoded(NEW)}"]', "matching regex"),
        ('[[aggregator]]\nname = "a"\nsecrets = []', "length >= 1"),
        (f'[[aggregator]]\nname = "a"\nsecrets = {[encoded(NEW)] * 3}', "length <= 2"),
        ('[[aggregator]]\nname = "a"\nsecrets = ["whsec_c2hvcnQ="]', "24 bytes"),
        ('[[aggregator]]\nname = "a"\nsecrets = ["whsec_%%%"]', "24 bytes"),
        (f'[[aggregator]]\nname = "a"\nsecret = ["{encoded(NEW)}"]', "unknown field"),
        ("not toml", "aggregators"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_no_secret_is_shown(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "aggregators.toml"
    file.write_text(text)
    with pytest.raises(StartupError, match=said) as caught:
        signature.load(str(file))
    assert str(file) in str(caught.value)
    assert "whsec_c2hv" not in str(caught.value)
    assert encoded(NEW) not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No such file"):
        signature.load(str(tmp_path / "none.toml"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StartupError, match=r"binary\.toml"):
        signature.load(str(binary))
