"""Tokens: what the development issuer signs, what its verifier takes, and what the door answers."""

import base64
import hashlib
import hmac
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OKPKey
from multidict import CIMultiDict, CIMultiDictProxy

from api import dev_issuer
from api.auth import Caller, InvalidTokenError, Verify, admit, need_seal, no_issuer
from runtime.errors import StartupError
from runtime.problems import ProblemError
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


def verified(token: str, verify: Verify = VERIFY) -> Caller:
    """What the verifier says without a loop: nothing here waits."""
    try:
        verify(token).__await__().send(None)
    except StopIteration as answer:
        return answer.value
    raise AssertionError("it has waited")


def refused(token: str, verify: Verify = VERIFY) -> bool:
    try:
        verified(token, verify)
    except InvalidTokenError:
        return True
    return False


def test_an_issued_token_names_its_caller_and_scopes() -> None:
    issued = dev_issuer.issue(KEY, subject="mygov", scope="status checks", minutes=5, now_ms=NOW_MS)
    caller = verified(issued.token)
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
    assert verified(signed(claims(scope=None))).scopes == frozenset()


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


def asking(*authorization: str) -> web.Request:
    headers = CIMultiDict([("Authorization", value) for value in authorization])
    return make_mocked_request("GET", "/", headers=CIMultiDictProxy(headers))


async def test_a_caller_with_the_scope_is_let_in() -> None:
    caller = await admit(asking(f"bearer  {signed(claims())} "), VERIFY, "status")
    assert caller.subject == "mygov"


@pytest.mark.parametrize(
    ("authorization", "scope", "status", "challenge"),
    [
        ((), "status", 401, 'Bearer realm="icaze"'),
        (("Basic YTpi",), "status", 401, 'Bearer realm="icaze"'),
        (("Bearer ",), "status", 401, 'Bearer realm="icaze"'),
        ((f"Bearer {signed(claims())}",) * 2, "status", 401, 'Bearer realm="icaze"'),
        (("Bearer x",), "status", 401, 'Bearer realm="icaze", error="invalid_token"'),
        ((f"Bearer {signed(claims(exp=1))}",), "status", 401, 'Bearer realm="icaze", error="invalid_token"'),
        (
            (f"Bearer {signed(claims())}",),
            "checks",
            403,
            'Bearer realm="icaze", error="insufficient_scope", scope="checks"',
        ),
    ],
)
async def test_everybody_else_is_told_only_what_to_bring(
    authorization: tuple[str, ...], scope: str, status: int, challenge: str
) -> None:
    with pytest.raises(ProblemError) as raised:
        await admit(asking(*authorization), VERIFY, scope)
    assert (raised.value.problem.status, raised.value.headers["WWW-Authenticate"]) == (status, challenge)


@pytest.mark.parametrize("acr", [None, "urn:asan:otp"])
def test_an_act_under_seal_asks_for_a_stronger_log_in(acr: str | None) -> None:
    with pytest.raises(ProblemError) as raised:
        need_seal(verified(signed(claims(acr=acr))))
    assert raised.value.problem.status == 401
    challenge = raised.value.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="icaze", error="insufficient_user_authentication", ')
    assert challenge.endswith('acr_values="urn:asan:imza urn:asan:esign"')
    assert challenge.isascii()


def test_a_service_cannot_act_under_seal() -> None:
    with pytest.raises(ProblemError) as raised:
        need_seal(Caller(subject="mygov", scopes=frozenset({"organisation"}), client="mygov"))
    assert raised.value.problem.status == 403


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
