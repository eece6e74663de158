"""Service credentials, and the verifier that joins services, the OIDC issuer and the development issuer."""

import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from joserfc.jwk import ECKey, OKPKey

from api import dev_issuer, services
from api.auth import Caller, Verify
from api.issuers import open_verifier
from api.tokens import Verifier
from runtime.errors import StartupError
from runtime.settings import Settings
from tests.integration.oidc_provider import (
    NOW_MS,
    NOW_S,
    RSA,
    STRANGER,
    Clock,
    Signer,
    counts,
    provider_running,
    signed,
)

MYGOV = OKPKey.generate_key("Ed25519")
POLICE = ECKey.generate_key("P-256")
POLICE_NEXT = OKPKey.generate_key("Ed25519")


def entry(name: str, scopes: list[str], *keys: Signer) -> dict[str, Any]:
    return {"name": name, "scopes": scopes, "keys": [key.as_dict(private=False) for key in keys]}


def inline(value: Any) -> str:
    """A value as TOML writes it on one line."""
    match value:
        case dict():
            return f"{{{', '.join(f'{name} = {inline(part)}' for name, part in cast(dict[str, Any], value).items())}}}"
        case str():
            return json.dumps(value)
        case _:
            return f"[{', '.join(map(inline, value))}]"


def written(folder: Path, *entries: Mapping[str, Any]) -> str:
    path = folder / "services.toml"
    path.write_text(f"service = {inline(entries)}\n")
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return written(
        tmp_path, entry("mygov", ["status"], MYGOV), entry("police", ["checks", "monitor"], POLICE, POLICE_NEXT)
    )


@pytest.fixture
def verify(file: str) -> Verify:
    return Verifier(services.load(file, audience="icaze", leeway_s=30), Clock())


def assertion(name: str, key: Signer, alg: str, **changes: Any) -> str:
    body = {"iss": name, "sub": name, "aud": "icaze", "iat": NOW_S, "exp": NOW_S + 300} | changes
    return signed({"alg": alg}, {claim: value for claim, value in body.items() if value is not None}, key, alg)


async def test_a_service_calls_in_its_own_name_with_the_file_s_scopes(verify: Verify) -> None:
    assert await verify(assertion("mygov", MYGOV, "Ed25519")) == Caller(
        subject="mygov", scopes=frozenset({"status"}), client="mygov"
    )


async def test_the_person_who_acts_through_a_service_is_the_subject(verify: Verify) -> None:
    caller = await verify(assertion("police", POLICE, "ES256", officer="badge-17"))
    assert (caller.subject, caller.client) == ("police:badge-17", "police")


async def test_either_key_of_a_service_counts_so_that_one_can_be_replaced(verify: Verify) -> None:
    assert await counts(verify, assertion("police", POLICE, "ES256"))
    assert await counts(verify, assertion("police", POLICE_NEXT, "Ed25519"))


@pytest.mark.parametrize(
    ("scope", "left"),
    [("checks", {"checks"}), ("checks status", {"checks"}), ("", set[str]()), ("status", set[str]())],
)
async def test_an_assertion_may_ask_for_less_and_never_for_more(verify: Verify, scope: str, left: set[str]) -> None:
    assert (await verify(assertion("police", POLICE, "ES256", scope=scope))).scopes == left


async def test_a_service_speaks_for_no_citizen_and_no_organisation(verify: Verify) -> None:
    bearer = assertion(
        "mygov", MYGOV, "Ed25519", fin="5AB12CD", documents=["AZE1111111"], tin="1234567890", acr="urn:asan:imza"
    )
    caller = await verify(bearer)
    assert (caller.fin, caller.documents, caller.tin, caller.method, caller.seal_acr) == (None, (), None, None, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "police"},
        {"sub": None},
        {"iss": "nobody"},
        {"aud": "other"},
        {"exp": NOW_S + 3601},
        {"exp": None},
        {"exp": NOW_S - 30},
        {"iat": None},
        {"iat": NOW_S + 31},
        {"iat": -(10**400), "exp": 1e300},
        {"officer": ""},
        {"officer": "a\nb"},
        {"officer": "x" * 65},
        {"officer": 17},
        {"scope": ["status"]},
    ],
)
async def test_an_assertion_that_breaks_a_rule_is_refused(verify: Verify, changes: dict[str, Any]) -> None:
    assert not await counts(verify, assertion("mygov", MYGOV, "Ed25519", **changes))


async def test_one_service_s_key_proves_no_other_service(verify: Verify) -> None:
    assert not await counts(verify, assertion("police", MYGOV, "Ed25519"))
    assert not await counts(verify, assertion("mygov", STRANGER, "Ed25519"))
    assert not await counts(verify, assertion("mygov", RSA, "RS256"))


KEY = MYGOV.as_dict(private=False)


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ([], "length >= 1"),
        ([{"name": "a", "scopes": ["status"]}], "keys"),
        ([{"name": "a", "scopes": ["status"], "keys": []}], "keys"),
        ([{"name": "a", "scopes": [], "keys": [KEY]}], "scopes"),
        ([{"name": "a", "scopes": ["Status Checks"], "keys": [KEY]}], "scopes"),
        ([{"name": "https://id", "scopes": ["status"], "keys": [KEY]}], "name"),
        ([{"name": "a", "scopes": ["status"], "keys": [KEY], "secret": "s"}], "secret"),
        ([{"name": "a", "scopes": ["status"], "keys": [KEY, {"kty": "oct", "k": "AA"}]}], "a: key 2: a secret"),
        ([{"name": "a", "scopes": ["status"], "keys": [MYGOV.as_dict(private=True)]}], "a: key 1: a secret"),
        ([{"name": "a", "scopes": ["status"], "keys": [KEY | {"use": "enc"}]}], "a: key 1: "),
        ([{"name": "a", "scopes": ["status"], "keys": [KEY | {"x": "AA"}]}], "a: key 1: "),
        ([entry("a", ["status"], MYGOV), entry("a", ["checks"], POLICE)], "the name a is taken"),
        ([entry("icaze-dev", ["status"], MYGOV)], "the name icaze-dev is taken"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, entries: list[dict[str, Any]], named: str
) -> None:
    path = written(tmp_path, *entries)
    with pytest.raises(StartupError, match=named) as raised:
        services.load(path, audience="icaze", leeway_s=30)
    assert path in str(raised.value)
    assert str(MYGOV.as_dict(private=True)["d"]) not in str(raised.value)


@pytest.mark.parametrize("content", [None, b"\xff", b"[[service]", b""])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "services.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError, match=f"services {path}: "):
        services.load(str(path), audience="icaze", leeway_s=30)


@pytest.fixture
async def joined(file: str, tmp_path: Path) -> AsyncGenerator[tuple[Verify, dict[str, str]]]:
    """A verifier of all three kinds, and a good token of each."""
    async with provider_running() as provider:
        settings = Settings(data_dir=str(tmp_path), dev_issuer=True, services_file=file, oidc_issuer=provider.issuer)
        key = dev_issuer.key_pair(settings)
        tokens = {
            "dev": dev_issuer.issue(key, subject="dev", scope="me", minutes=5, now_ms=NOW_MS).token,
            "service": assertion("mygov", MYGOV, "Ed25519"),
            "oidc": provider.token(),
        }
        async with open_verifier(settings, Clock()) as verify:
            yield verify, tokens


async def test_each_token_is_proven_by_the_issuer_that_it_names(joined: tuple[Verify, dict[str, str]]) -> None:
    verify, tokens = joined
    assert {kind: (await verify(token)).subject for kind, token in tokens.items()} == {
        "dev": "dev",
        "service": "mygov",
        "oidc": "citizen-1",
    }


async def test_a_service_cannot_speak_as_another_issuer(joined: tuple[Verify, dict[str, str]]) -> None:
    verify, _ = joined
    assert not await counts(verify, assertion("icaze-dev", MYGOV, "Ed25519"))
    assert not await counts(verify, assertion("mygov", MYGOV, "Ed25519", iss="icaze-dev"))


async def test_tokens_of_issuers_that_are_not_configured_do_not_count(
    joined: tuple[Verify, dict[str, str]], file: str
) -> None:
    _, tokens = joined
    async with open_verifier(Settings(services_file=file), Clock()) as verify:
        assert [await counts(verify, tokens[kind]) for kind in ("dev", "service", "oidc")] == [False, True, False]


async def test_without_any_issuer_no_token_counts_and_the_log_says_so(
    joined: tuple[Verify, dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    _, tokens = joined
    async with open_verifier(Settings(), Clock()) as verify:
        assert not any([await counts(verify, token) for token in tokens.values()])
    assert "no issuer is configured: every token is refused" in caplog.text


async def test_remembered_tokens_are_bounded(
    joined: tuple[Verify, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.tokens.MAX_PROVEN", 2)
    verify, tokens = joined
    first = await verify(tokens["dev"])
    await verify(tokens["service"])
    assert await verify(tokens["dev"]) is first
    await verify(tokens["oidc"])  # the service's was asked for longest ago
    assert await verify(tokens["dev"]) is first
    again = await verify(tokens["service"])
    assert await verify(tokens["service"]) is again
