"""The OIDC issuer's keys: each way in which its documents can be wrong, rotation, and that it mends by itself."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey
from joserfc.util import int_to_base64

from api import oidc
from api.oidc import OidcIssuer
from api.public_keys import public_key
from runtime.errors import StartupError
from runtime.settings import Settings
from tests.eventually import eventually
from tests.integration.oidc_provider import (
    EC,
    NOW_S,
    OKP,
    PROVIDER,
    RSA,
    Clock,
    Handler,
    Provider,
    counts,
    jwk,
    provider_running,
    signed,
    trusting,
)

PATIENCE_S = 1.0
ID = "https://id.example"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def provider() -> AsyncGenerator[Provider]:
    async with provider_running() as provider:
        yield provider


def answering(**answer: Any) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(**answer)

    return handler


async def silence(_: web.Request) -> web.StreamResponse:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def with_another_status(request: web.Request) -> web.StreamResponse:
    return web.json_response(request.app[PROVIDER].document(request), status=500)


async def huge(request: web.Request) -> web.StreamResponse:
    return web.Response(text=json.dumps(request.app[PROVIDER].document(request)) + " " * oidc.MAX_BYTES)


async def moved(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(request.path.replace("/realm", "/moved"))


BAD_ANSWERS: dict[str, Handler] = {
    "500": with_another_status,
    "404": answering(status=404),
    "204": answering(status=204),
    "not JSON": answering(text="<html>"),
    "empty": answering(text=""),
    "an array": answering(text="[]"),
    "null": answering(text="null"),
    "no members": answering(text="{}"),
    "of wrong types": answering(text='{"issuer": 1, "jwks_uri": [], "keys": {}}'),
    "no keys": answering(text='{"keys": []}'),
    "keys that are none": answering(text='{"keys": [1, null, "a", [], {}, {"kty": "RSA"}]}'),
    "not UTF-8": answering(body=b'{"keys": ["\xff"]}'),
    "nested without end": answering(text='{"keys": ' + "[" * 100_000),
    "huge": huge,
    "coded as something else": answering(body=b"{}", headers={"Content-Encoding": "gzip"}),
    "silence": silence,
    "cut off": cut,
    "a redirect to another scheme": answering(status=302, headers={"Location": "file:///etc/passwd"}),
    "a redirect elsewhere": moved,
}


@pytest.mark.parametrize("place", ["answer_keys", "answer_discovery"])
@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_while_the_issuer_is_away_the_last_keys_hold(
    provider: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    monkeypatch.setattr(oidc, "PATIENCE_S", PATIENCE_S)
    async with trusting(provider, clock) as (issuer, verify):
        setattr(provider, place, BAD_ANSWERS[name])
        assert not await issuer.refresh()
        assert await counts(verify, provider.token())
        provider.mend()
        assert await issuer.refresh()
        assert await counts(verify, provider.token("ec", "ES256"))


@pytest.mark.parametrize("place", ["answer_keys", "answer_discovery"])
@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_an_issuer_that_is_away_at_the_start_counts_once_it_answers(
    provider: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    monkeypatch.setattr(oidc, "PATIENCE_S", PATIENCE_S)
    setattr(provider, place, BAD_ANSWERS[name])
    async with trusting(provider, clock) as (_, verify):
        assert not await counts(verify, provider.token())
        provider.mend()
        clock.now_ms += oidc.AT_ONCE_MS
        assert await counts(verify, provider.token())


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://other.example"},
        {"issuer": ""},
        {"issuer": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://192.0.2.1/keys"},
        {"jwks_uri": "https://127.0.0.1:1/keys"},
        {"jwks_uri": "http://[::1/keys"},
        {"jwks_uri": "keys"},
        {"jwks_uri": ""},
    ],
)
async def test_a_discovery_document_of_another_or_to_elsewhere_is_not_believed(
    provider: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    asked: set[str] = set()
    fetch = oidc.OidcIssuer._body  # pyright: ignore[reportPrivateUsage]

    async def recorded(self: OidcIssuer, url: str) -> bytes:
        asked.add(url)
        return await fetch(self, url)

    monkeypatch.setattr(OidcIssuer, "_body", recorded)
    provider.discovery_changes = changes
    async with trusting(provider, clock) as (issuer, verify):
        assert asked == {provider.issuer + oidc.DISCOVERY}
        assert not await counts(verify, provider.token())
        provider.mend()
        assert await issuer.refresh()
        assert await counts(verify, provider.token())


def rsa_of(bits: int) -> dict[str, object]:
    return {"kty": "RSA", "n": int_to_base64(1 << (bits - 1) | 1), "e": "AQAB"}


ODD_KEYS: list[dict[str, object]] = [
    {"kty": "oct", "k": "AAAA"},
    rsa_of(1024),
    rsa_of(2047),
    rsa_of(8193),
    {"kty": "RSA", "n": "A" * 400, "e": "AQAB"},
    jwk("x", RSA, use="enc"),
    jwk("x", RSA, e="AQ"),
    jwk("x", OKP, use="enc"),
    jwk("x", OKP, alg="RS256"),
    jwk("x", OKP, alg="HS256"),
    jwk("x", OKP, key_ops=["sign"]),
    jwk("x", OKP, x="AA"),
    jwk("x", OKP) | {"kid": 7},
    jwk("x", OKP, kty="EC"),
    jwk("x", OKP, crv="X25519"),
    jwk("x", OKPKey.generate_key("Ed448")),
    jwk("x", EC, crv="P-384"),
    jwk("x", EC, y="AQAB"),
    jwk("x", EC, crv="secp256k1"),
    {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
]


@pytest.mark.parametrize("odd", ODD_KEYS)
async def test_an_odd_key_is_ignored_and_its_neighbours_count(
    provider: Provider, clock: Clock, odd: dict[str, object]
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of any cause: the message is the libraries'
        public_key(odd)
    provider.published = [odd, *provider.published]
    async with trusting(provider, clock) as (_, verify):
        for kid, alg in (("rsa", "RS256"), ("ec", "ES256"), ("okp", "Ed25519")):
            assert await counts(verify, provider.token(kid, alg))


@pytest.mark.parametrize("alg", ["Ed25519", "EdDSA"])
async def test_the_old_and_the_new_name_of_an_edwards_key_are_one(provider: Provider, clock: Clock, alg: str) -> None:
    provider.published = [jwk("okp", OKP, alg=alg)]
    async with trusting(provider, clock) as (_, verify):
        assert await counts(verify, provider.token(alg="Ed25519"))
        assert await counts(verify, provider.token(alg="EdDSA"))


async def test_a_key_for_one_algorithm_proves_no_other(provider: Provider, clock: Clock) -> None:
    provider.published = [jwk("rsa", RSA, alg="PS256")]
    async with trusting(provider, clock) as (_, verify):
        assert await counts(verify, provider.token("rsa", "PS256"))
        assert not await counts(verify, provider.token("rsa", "RS256"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)


@given(
    st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "kid", "use", "alg", "key_ops"]), JSON),
    st.sampled_from([jwk("x", RSA), jwk("x", EC), jwk("x", OKP), {}]),
)
def test_a_key_of_any_content_is_taken_or_is_a_value_error(changes: dict[str, object], base: dict[str, object]) -> None:
    try:
        public_key(base | changes)
    except ValueError:
        pass


async def test_a_rotated_key_counts_at_once_and_the_old_one_no_more(provider: Provider, clock: Clock) -> None:
    new = ECKey.generate_key("P-256")
    async with trusting(provider, clock) as (_, verify):
        old_token = provider.token()
        assert await counts(verify, old_token)
        provider.published = [jwk("new", new)]
        clock.now_ms += oidc.AT_ONCE_MS
        assert await counts(verify, old_token)  # nothing has asked for the keys yet
        new_token = signed({"alg": "ES256", "kid": "new"}, provider.claims(), new, "ES256")
        assert await counts(verify, new_token)
        assert not await counts(verify, old_token)
        assert not await counts(verify, provider.token(jti="2"))
        assert await counts(verify, new_token)


async def test_unknown_key_ids_fetch_the_keys_once_in_five_seconds(provider: Provider, clock: Clock) -> None:
    def unknown(number: int) -> str:
        return signed({"alg": "Ed25519", "kid": f"k{number}"}, provider.claims(), OKP, "Ed25519")

    async with trusting(provider, clock) as (_, verify):
        clock.now_ms += oidc.AT_ONCE_MS
        before = provider.fetches
        assert not await counts(verify, signed({"alg": "none", "kid": "k0"}, provider.claims(), OKP, "Ed25519"))
        assert provider.fetches == before
        assert not any(await asyncio.gather(*(counts(verify, unknown(n)) for n in range(50))))
        assert provider.fetches == before + 1
        clock.now_ms += oidc.AT_ONCE_MS - 1
        assert not await counts(verify, unknown(51))
        assert provider.fetches == before + 1
        clock.now_ms += 1
        assert not await counts(verify, unknown(52))
        assert provider.fetches == before + 2
        clock.now_ms -= 3_600_000  # a clock set back stops no fetch
        assert not await counts(verify, unknown(53))
        assert provider.fetches == before + 3


async def test_those_who_waited_for_a_slow_issuer_do_not_ask_it_again(provider: Provider, clock: Clock) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        clock.now_ms += oidc.AT_ONCE_MS
        return web.Response(status=500)

    async with trusting(provider, clock) as (_, verify):
        clock.now_ms += oidc.AT_ONCE_MS
        provider.answer_keys = slow
        before = provider.fetches
        unknown = [signed({"alg": "Ed25519", "kid": f"k{n}"}, provider.claims(), OKP, "Ed25519") for n in range(8)]
        assert not any(await asyncio.gather(*(counts(verify, each) for each in unknown)))
        assert provider.fetches == before + 1


async def test_the_last_keys_hold_for_a_day_and_no_longer(provider: Provider, clock: Clock) -> None:
    async with trusting(provider, clock) as (issuer, verify):
        bearer = provider.token(exp=NOW_S + 10 * 86_400)
        provider.answer_keys = BAD_ANSWERS["500"]
        clock.now_ms += 86_400_000 - 1000
        assert not await issuer.refresh()
        assert await counts(verify, bearer)
        clock.now_ms += 1000
        assert not await counts(verify, bearer)
        provider.mend()
        assert await issuer.refresh()
        assert await counts(verify, bearer)


async def test_a_refresh_with_the_same_keys_costs_no_new_proof(provider: Provider, clock: Clock) -> None:
    async with trusting(provider, clock) as (issuer, verify):
        bearer = provider.token()
        first = await verify(bearer)
        assert await issuer.refresh()
        assert await verify(bearer) is first


async def test_the_keys_are_refreshed_in_the_background(
    provider: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "REFRESH_S", 0)
    monkeypatch.setattr(oidc, "RETRY_S", 0)
    async with oidc.opened(Settings(oidc_issuer=provider.issuer), clock):

        async def fetched(times: int) -> bool:
            return provider.fetches >= times

        await eventually(lambda: fetched(3))
        provider.answer_keys = BAD_ANSWERS["500"]
        failing = provider.fetches + 3
        await eventually(lambda: fetched(failing))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"oidc_issuer": "http://id.example"}, "ICAZE_OIDC_ISSUER"),
        ({"oidc_issuer": "https://"}, "ICAZE_OIDC_ISSUER"),
        ({"oidc_issuer": "http://[::1"}, "ICAZE_OIDC_ISSUER"),
        ({"oidc_issuer": "ftp://127.0.0.1"}, "ICAZE_OIDC_ISSUER"),
        ({"oidc_issuer": ID, "oidc_algorithms": "RS256,none"}, "ICAZE_OIDC_ALGORITHMS"),
        ({"oidc_issuer": ID, "oidc_algorithms": "HS256"}, "ICAZE_OIDC_ALGORITHMS"),
        ({"oidc_issuer": ID, "oidc_algorithms": "ES256K"}, "ICAZE_OIDC_ALGORITHMS"),
        ({"oidc_issuer": ID, "oidc_algorithms": " , "}, "ICAZE_OIDC_ALGORITHMS"),
        ({"oidc_issuer": ID, "oidc_acr_imza": ""}, "ICAZE_OIDC_ACR_IMZA"),
        ({"oidc_issuer": ID, "oidc_acr_esign": 'a"b'}, "ICAZE_OIDC_ACR_ESIGN"),
        ({"oidc_issuer": ID, "oidc_acr_esign": "a b"}, "ICAZE_OIDC_ACR_ESIGN"),
        ({"oidc_issuer": ID, "oidc_acr_imza": "1", "oidc_acr_esign": "1"}, "ICAZE_OIDC_ACR_IMZA"),
    ],
)
async def test_settings_that_would_let_anybody_in_stop_the_start(
    clock: Clock, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(StartupError, match=named):
        async with oidc.opened(Settings(**settings), clock):
            pass
