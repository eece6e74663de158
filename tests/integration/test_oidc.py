"""The OIDC issuer: what its tokens name, and which of them are refused."""

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from api.auth import Caller
from tests.integration.oidc_provider import (
    EC,
    NOW_S,
    OKP,
    RSA,
    STRANGER,
    Clock,
    Provider,
    counts,
    jwk,
    provider_running,
    segment,
    signed,
    trusting,
    with_mac,
)

HEADER = {"typ": "JWT", "alg": "Ed25519", "kid": "okp"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def provider() -> AsyncGenerator[Provider]:
    async with provider_running() as provider:
        yield provider


@pytest.mark.parametrize(
    ("kid", "alg"), [("rsa", "RS256"), ("rsa", "PS256"), ("ec", "ES256"), ("okp", "Ed25519"), ("okp", "EdDSA")]
)
async def test_a_token_counts_by_each_allowed_algorithm(provider: Provider, clock: Clock, kid: str, alg: str) -> None:
    async with trusting(provider, clock) as (_, verify):
        assert await counts(verify, provider.token(kid, alg))
    other = "ES256" if alg != "ES256" else "RS256"
    async with trusting(provider, clock, oidc_algorithms=other) as (_, verify):
        assert not await counts(verify, provider.token(kid, alg))


async def test_a_person_s_claims_name_the_caller(provider: Provider, clock: Clock) -> None:
    bearer = provider.token(
        scope="me organisation",
        azp="portal",
        fin="5ab12cd",
        documents=["aze 1111111", "nonsense", "AZE1111111", "AA7654321"],
        tin="1234567890",
        acr="urn:asan:esign",
    )
    async with trusting(provider, clock) as (_, verify):
        assert await verify(bearer) == Caller(
            subject="citizen-1",
            scopes=frozenset({"me", "organisation"}),
            client="portal",
            fin="5AB12CD",
            documents=("AZE1111111", "AA7654321"),
            tin="1234567890",
            method="e_signature",
            seal_acr="urn:asan:imza urn:asan:esign",
        )


@pytest.mark.parametrize("scope", ["me", "me regime", "me checks status permits.cancel permits.extend monitor"])
async def test_a_log_in_allows_nothing_that_is_a_service_s(provider: Provider, clock: Clock, scope: str) -> None:
    async with trusting(provider, clock) as (_, verify):
        assert (await verify(provider.token(scope=scope))).scopes == {"me"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"acr": "urn:asan:imza"}, ("", None, None, "asan_imza")),
        ({"acr": "urn:asan:otp"}, ("", None, None, None)),
        ({"acr": ""}, ("", None, None, None)),
        ({"client_id": "app"}, ("app", None, None, None)),
        ({"fin": "IO00000", "tin": "123456789"}, ("", None, None, None)),
        ({"fin": "", "tin": "１２３４５６７８９０"}, ("", None, None, None)),
    ],
)
async def test_odd_numbers_and_methods_are_as_none(
    provider: Provider, clock: Clock, changes: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    async with trusting(provider, clock) as (_, verify):
        caller = await verify(provider.token(**changes))
    assert (caller.client, caller.fin, caller.tin, caller.method) == expected


async def test_the_settings_name_the_acr_values(provider: Provider, clock: Clock) -> None:
    async with trusting(provider, clock, oidc_acr_imza="3", oidc_acr_esign="4") as (_, verify):
        assert (await verify(provider.token(acr="3"))).method == "asan_imza"
        assert (await verify(provider.token(acr="4"))).method == "e_signature"
        assert (await verify(provider.token(acr="urn:asan:imza"))).method is None


def duplicated(provider: Provider) -> str:
    """RFC 7519, section 4: of a claim that stands twice, the last counts; here the audience of somebody else."""
    body = json.dumps(provider.claims()).rstrip("}") + ', "aud": "other"}'
    return signed(HEADER, body, OKP, "Ed25519")


BAD_TOKENS: dict[str, Callable[[Provider], str]] = {
    "alg none": lambda p: f"{segment({'alg': 'none', 'kid': 'okp'})}.{segment(p.claims())}.",
    "alg none, signed": lambda p: signed(HEADER | {"alg": "none"}, p.claims(), OKP, "Ed25519"),
    "HS256 by the public key as PEM": lambda p: with_mac(
        HEADER | {"alg": "HS256", "kid": "rsa"}, p.claims(), RSA.as_pem(private=False)
    ),
    "HS256 by the public key as DER": lambda p: with_mac(
        HEADER | {"alg": "HS256", "kid": "rsa"}, p.claims(), RSA.as_der(private=False)
    ),
    "HS256 by the public key as JSON": lambda p: with_mac(
        HEADER | {"alg": "HS256"}, p.claims(), json.dumps(jwk("okp", OKP)).encode()
    ),
    "HMAC under an honest name": lambda p: with_mac(HEADER, p.claims(), OKP.as_pem(private=False)),
    "algorithm of another key type": lambda p: p.token("rsa", "Ed25519", key=OKP),
    "ES256 under an RSA key id": lambda p: p.token("rsa", "ES256", key=EC),
    "not allowed, though sound": lambda p: p.token("rsa", "RS512"),
    "alg is a list": lambda p: signed(HEADER | {"alg": ["Ed25519"]}, p.claims(), OKP, "Ed25519"),
    "alg of another case": lambda p: signed(HEADER | {"alg": "ED25519"}, p.claims(), OKP, "Ed25519"),
    "another's issuer": lambda p: p.token(iss="https://other.example"),
    "issuer with a slash": lambda p: p.token(iss=f"{p.issuer}/"),
    "issuer as a list": lambda p: p.token(iss=[p.issuer]),
    "no issuer": lambda p: p.token(iss=None),
    "another's audience": lambda p: p.token(aud="other"),
    "audience in part": lambda p: p.token(aud="icaze-portal"),
    "no audience": lambda p: p.token(aud=None),
    "audience twice, the last another's": duplicated,
    "audience of mixed types": lambda p: p.token(aud=["icaze", 1]),
    "no subject": lambda p: p.token(sub=None),
    "empty subject": lambda p: p.token(sub=""),
    "subject a number": lambda p: p.token(sub=7),
    "subject with a line break": lambda p: p.token(sub="a\nb"),
    "subject with NUL": lambda p: p.token(sub="a\0b"),
    "subject too long": lambda p: p.token(sub="a" * 256),
    "subject not a text": lambda p: signed(
        HEADER, json.dumps(p.claims()).replace("citizen-1", "\\ud800"), OKP, "Ed25519"
    ),
    "expired": lambda p: p.token(exp=NOW_S - 30),
    "no expiry": lambda p: p.token(exp=None),
    "expiry a text": lambda p: p.token(exp=str(NOW_S + 60)),
    "expiry NaN": lambda p: p.token(exp=float("nan")),
    "expiry infinite": lambda p: p.token(exp=float("inf")),
    "not yet valid": lambda p: p.token(nbf=NOW_S + 31),
    "issued in the future": lambda p: p.token(iat=NOW_S + 31),
    "scope as a list": lambda p: p.token(scope=["me"]),
    "documents as a text": lambda p: p.token(documents="AZE1111111"),
    "documents of numbers": lambda p: p.token(documents=[1]),
    "fin a number": lambda p: p.token(fin=1234567),
    "tin a number": lambda p: p.token(tin=1234567890),
    "acr a list": lambda p: p.token(acr=["urn:asan:imza"]),
    "client a list": lambda p: p.token(azp=["portal"]),
    "unknown key id": lambda p: signed(HEADER | {"kid": "who"}, p.claims(), OKP, "Ed25519"),
    "key id of another key": lambda p: signed(HEADER | {"kid": "ec"}, p.claims(), OKP, "Ed25519"),
    "key id a number": lambda p: signed(HEADER | {"kid": 1}, p.claims(), OKP, "Ed25519"),
    "a stranger's signature": lambda p: p.token(key=STRANGER),
    "a stranger's signature without key id": lambda p: signed({"alg": "Ed25519"}, p.claims(), STRANGER, "Ed25519"),
    "a key brought along": lambda p: signed(
        HEADER | {"jwk": STRANGER.as_dict(private=False)}, p.claims(), STRANGER, "Ed25519"
    ),
    "a key address brought along": lambda p: signed(
        HEADER | {"jku": "http://127.0.0.1:1/keys"}, p.claims(), STRANGER, "Ed25519"
    ),
    "typ of another token": lambda p: signed(HEADER | {"typ": "logout+jwt"}, p.claims(), OKP, "Ed25519"),
    "typ a number": lambda p: signed(HEADER | {"typ": 1}, p.claims(), OKP, "Ed25519"),
    "crit": lambda p: signed(HEADER | {"crit": ["exp"]}, p.claims(), OKP, "Ed25519"),
    "crit null": lambda p: signed(HEADER | {"crit": None}, p.claims(), OKP, "Ed25519"),
    "b64": lambda p: signed(HEADER | {"b64": False, "crit": ["b64"]}, p.claims(), OKP, "Ed25519"),
    "header an array": lambda p: signed(["alg", "Ed25519"], p.claims(), OKP, "Ed25519"),
    "header a text": lambda p: signed('"alg"', p.claims(), OKP, "Ed25519"),
    "header empty": lambda p: signed({}, p.claims(), OKP, "Ed25519"),
    "claims an array": lambda p: signed(HEADER, [p.claims()], OKP, "Ed25519"),
    "claims not JSON": lambda p: signed(HEADER, "claims", OKP, "Ed25519"),
    "claims nested without end": lambda p: signed(
        HEADER, json.dumps(p.claims()).rstrip("}") + ', "x": ' + "[" * 5000, OKP, "Ed25519"
    ),
    "longer than 8 kB": lambda p: p.token(padding="x" * 8192),
    "five parts": lambda p: f"{p.token()}.e30.e30",
    "padding": lambda p: f"{p.token()}==",
    "a changed signature": lambda p: p.token()[:-4] + "AAAA",
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token_is_refused_and_a_healthy_one_counts_after_it(
    provider: Provider, clock: Clock, name: str
) -> None:
    async with trusting(provider, clock) as (_, verify):
        assert not await counts(verify, BAD_TOKENS[name](provider))
        assert await counts(verify, provider.token())
        assert not await counts(verify, BAD_TOKENS[name](provider))


async def test_leeway_is_given_to_the_second(provider: Provider, clock: Clock) -> None:
    async with trusting(provider, clock, oidc_leeway_s=5) as (_, verify):
        assert await counts(verify, provider.token(exp=NOW_S - 4))
        assert not await counts(verify, provider.token(exp=NOW_S - 5))
        assert await counts(verify, provider.token(nbf=NOW_S + 5))
        assert not await counts(verify, provider.token(nbf=NOW_S + 6))


async def test_a_token_without_key_id_counts_by_any_key_that_fits(provider: Provider, clock: Clock) -> None:
    provider.published = [jwk("old", STRANGER), jwk("okp", OKP)]
    async with trusting(provider, clock) as (_, verify):
        assert await counts(verify, signed({"alg": "Ed25519"}, provider.claims(), OKP, "Ed25519"))
