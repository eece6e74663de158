"""Tokens: what the development issuer signs, what its verifier takes, and what `icaze token` prints."""

import base64
import hashlib
import hmac
import json
import stat
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OKPKey

from api import dev_issuer, token_command
from api.auth import InvalidTokenError, Verify, no_issuer
from runtime.errors import StartupError
from runtime.settings import Settings

NOW_MS = 1_800_000_000_000
NOW_S = NOW_MS // 1000
KEY = OKPKey.generate_key("Ed25519")
VERIFY = dev_issuer.verifier(KEY, lambda: NOW_MS)


def claims(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "iss": "icaze-dev",
        "aud": "icaze",
        "sub": "mygov",
        "scope": "status",
        "iat": NOW_S,
        "nbf": NOW_S,
        "exp": NOW_S + 60,
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def signed(body: dict[str, Any], key: OKPKey = KEY) -> str:
    return jwt.encode({"alg": "Ed25519"}, body, key, algorithms=["Ed25519"])


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def refused(token: str, verify: Verify = VERIFY) -> bool:
    try:
        verify(token)
    except InvalidTokenError:
        return True
    return False


def test_an_issued_token_names_its_caller_and_scopes() -> None:
    issued = dev_issuer.issue(KEY, subject="mygov", scope="status checks", minutes=5, now_ms=NOW_MS)
    caller = VERIFY(issued.token)
    assert (caller.subject, caller.scopes) == ("mygov", frozenset({"status", "checks"}))
    assert issued.scope == "status checks"
    assert issued.expires_at == "2027-01-15T08:05:00.000Z"


def test_extra_claims_cannot_replace_the_usual_ones() -> None:
    issued = dev_issuer.issue(
        KEY, subject="a", scope="status", minutes=5, now_ms=NOW_MS, claims={"scope": "checks", "tin": "1"}
    )
    body = jwt.decode(issued.token, KEY, algorithms=["Ed25519"]).claims
    assert (body["scope"], body["tin"]) == ("status", "1")


@pytest.mark.parametrize(
    ("changes", "is_refused"),
    [
        ({}, False),
        ({"exp": NOW_S - 29}, False),
        ({"exp": NOW_S - 30}, True),
        ({"exp": None}, True),
        ({"exp": "tomorrow"}, True),
        ({"exp": True}, True),
        ({"exp": 10**400}, False),
        ({"nbf": NOW_S + 30}, False),
        ({"nbf": NOW_S + 31}, True),
        ({"nbf": None}, False),
        ({"nbf": "now"}, True),
        ({"iat": NOW_S + 31}, True),
        ({"iss": "someone"}, True),
        ({"iss": None}, True),
        ({"iss": ["icaze-dev"]}, True),
        ({"aud": "other"}, True),
        ({"aud": ["other", "icaze"]}, False),
        ({"aud": []}, True),
        ({"aud": None}, True),
        ({"sub": None}, True),
        ({"sub": 5}, True),
        ({"scope": ["status"]}, True),
        ({"scope": 7}, True),
    ],
)
def test_each_claim_is_held_to_its_rule(changes: dict[str, Any], is_refused: bool) -> None:
    assert refused(signed(claims(**changes))) is is_refused


def test_a_token_that_was_taken_once_still_expires() -> None:
    clock = [NOW_MS]
    verify = dev_issuer.verifier(KEY, lambda: clock[0])
    bearer = signed(claims())
    assert [refused(bearer, verify), refused(bearer, verify)] == [False, False]
    clock[0] += 90_000
    assert refused(bearer, verify)


def test_a_token_without_scope_allows_nothing() -> None:
    assert VERIFY(signed(claims(scope=None))).scopes == frozenset()


def test_a_token_of_another_key_is_refused() -> None:
    assert refused(signed(claims(), OKPKey.generate_key("Ed25519")))


def test_a_token_without_signature_is_refused() -> None:
    for alg in ("none", "None", "NONE", ""):
        assert refused(f"{segment({'alg': alg})}.{segment(claims())}.")


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused() -> None:
    public = KEY.as_dict(private=False)
    secrets = [
        KEY.as_pem(private=False),
        json.dumps(public).encode(),
        str(public["x"]).encode(),
        base64.urlsafe_b64decode(f"{public['x']}="),
    ]
    signing_input = f"{segment({'alg': 'HS256'})}.{segment(claims())}"
    for secret in secrets:
        mac = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
        assert refused(f"{signing_input}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


def test_a_key_that_the_token_itself_brings_is_not_believed() -> None:
    theirs = OKPKey.generate_key("Ed25519")
    header = {"alg": "Ed25519", "jwk": theirs.as_dict(private=False)}
    assert refused(jwt.encode(header, claims(), theirs, algorithms=["Ed25519"]))


def test_a_changed_payload_is_refused() -> None:
    header, _, signature = signed(claims()).split(".")
    assert refused(f"{header}.{segment(claims(scope='status checks'))}.{signature}")


@pytest.mark.parametrize("header", [["alg"], "alg", 1, None, {}, {"alg": None}, {"alg": ["Ed25519"]}])
def test_a_header_of_any_json_is_refused(header: object) -> None:
    assert refused(f"{segment(header)}.{segment(claims())}.AAAA")


def test_a_header_too_deep_to_read_is_refused() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 6000).decode()
    assert refused(f"{deep}.{segment(claims())}.AAAA")


@given(st.text() | st.builds("{}.{}.{}".format, st.text(), st.text(), st.text()))
def test_any_text_is_refused_and_nothing_else(text: str) -> None:
    assert refused(text)


def test_without_an_issuer_no_token_counts() -> None:
    assert refused(signed(claims()), no_issuer)


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "data"))
    first = dev_issuer.key_pair(settings)
    path = dev_issuer.key_path(settings)
    assert path == tmp_path / "data" / "keys" / "dev-issuer.jwk"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert dev_issuer.key_pair(settings).as_dict(private=True) == first.as_dict(private=True)


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(dev_issuer.key_pair, [settings] * 32))
    assert len({key.thumbprint() for key in keys}) == 1
    assert len(list((tmp_path / "keys").iterdir())) == 1


def test_a_key_that_another_process_made_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=str(tmp_path))
    first = dev_issuer.key_pair(settings)

    def not_there_yet(_: Path) -> bool:
        return False

    monkeypatch.setattr(Path, "exists", not_there_yet)
    assert dev_issuer.key_pair(settings).thumbprint() == first.thumbprint()
    assert len(list((tmp_path / "keys").iterdir())) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b"\xff",
        json.dumps(KEY.as_dict(private=False)).encode(),
        json.dumps(OKPKey.generate_key("X25519").as_dict(private=True)).encode(),
        b'{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}',
    ],
)
def test_a_key_file_that_cannot_be_used_stops_the_start_and_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys" / "dev-issuer.jwk"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StartupError, match="not a private Ed25519 JWK; remove it") as raised:
        dev_issuer.key_pair(Settings(data_dir=str(tmp_path)))
    assert str(path) in str(raised.value)


def test_a_data_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"development issuer .*Not a directory"):
        dev_issuer.key_pair(Settings(data_dir=str(tmp_path / "file")))


def ask(*words: str) -> int:
    parser = ArgumentParser()
    token_command.configure(parser)
    return token_command.run(parser.parse_args(words))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICAZE_DATA_DIR", str(tmp_path))
    return tmp_path


def printed_claims(data: Path, token: str) -> dict[str, Any]:
    key = dev_issuer.key_pair(Settings(data_dir=str(data)))
    return jwt.decode(token, key, algorithms=["Ed25519"]).claims


@pytest.mark.parametrize(
    ("role", "scope"),
    [
        ("mygov", "status"),
        ("police", "checks"),
        ("officer", "permits.cancel permits.extend"),
        ("staff", "monitor explain"),
    ],
)
def test_each_role_has_its_scopes(data: Path, capsys: pytest.CaptureFixture[str], role: str, scope: str) -> None:
    assert ask("--role", role) == 0
    body = printed_claims(data, capsys.readouterr().out.strip())
    assert (body["scope"], body["sub"], "tin" in body) == (scope, f"dev-{role}", False)
    assert body["exp"] - body["iat"] == 3600


def test_an_organisation_s_token_carries_its_tax_number(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--role", "organisation", "--tin", "1234567890", "--subject", "aysel") == 0
    body = printed_claims(data, capsys.readouterr().out.strip())
    assert (body["scope"], body["sub"], body["tin"]) == ("organisation", "aysel", "1234567890")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("words", [("--role", "organisation"), ("--role", "mygov", "--tin", "1")])
def test_tax_number_and_organisation_go_together(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert ask(*words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "--tin" in said.err


def test_json_tells_token_expiry_and_scope(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--role", "mygov", "--minutes", "5", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"token", "expires_at", "scope"}
    body = printed_claims(data, answer["token"])
    assert body["exp"] - body["iat"] == 300
    assert answer["scope"] == "status"


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("words", [("--minutes", "5"), ("--role", "king"), ("--role", "mygov", "--minutes", "0")])
def test_arguments_that_make_no_sense_are_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        ask(*words)
    assert capsys.readouterr().err


def test_a_broken_key_file_is_one_line_and_exit_1(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "keys").mkdir()
    (data / "keys" / "dev-issuer.jwk").write_text("{}")
    assert ask("--role", "mygov") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("icaze token: ")
    assert said.err.count("\n") == 1
