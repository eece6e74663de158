"""A small OpenID Connect provider that misbehaves on demand: its documents and its tokens can be anything."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from api import oidc
from api.auth import InvalidTokenError, Verify
from api.oidc import OidcIssuer
from api.tokens import Verifier
from runtime.settings import Settings

NOW_MS: Final = 1_800_000_000_000
NOW_S: Final = NOW_MS // 1000
Signer = RSAKey | ECKey | OKPKey
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

RSA: Final = RSAKey.generate_key(2048)
EC: Final = ECKey.generate_key("P-256")
OKP: Final = OKPKey.generate_key("Ed25519")
KEYS: Final[Mapping[str, Signer]] = {"rsa": RSA, "ec": EC, "okp": OKP}
STRANGER: Final = OKPKey.generate_key("Ed25519")


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


def segment(value: object) -> str:
    """A part of a token: JSON, or the text itself."""
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def signed(header: object, body: object, key: Signer, alg: str) -> str:
    """A token of any header and body, signed by `alg` whatever its header says."""
    signing_input = f"{segment(header)}.{segment(body)}"
    signature = JWSRegistry.algorithms[alg].sign(signing_input.encode(), key)
    return f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def with_mac(header: object, body: object, secret: bytes) -> str:
    """A token with an HMAC where a signature belongs."""
    signing_input = f"{segment(header)}.{segment(body)}"
    mac = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
    return f"{signing_input}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def jwk(kid: str, key: Signer, **members: object) -> dict[str, object]:
    """A key as the provider publishes it."""
    return {**key.as_dict(private=False), "kid": kid, "use": "sig", **members}


class Provider:
    """Healthy until one of its parts is replaced."""

    def __init__(self) -> None:
        self.issuer = ""
        self.published: list[object] = []
        self.discovery_changes: dict[str, object] = {}
        self.answer_discovery: Handler | None = None
        self.answer_keys: Handler | None = None
        self.fetches = 0
        """How often the key set was asked for."""
        self.mend()

    def mend(self) -> None:
        """Healthy again."""
        self.published = [jwk(kid, key) for kid, key in KEYS.items()]
        self.discovery_changes = {}
        self.answer_discovery = None
        self.answer_keys = None

    def claims(self, **changes: object) -> dict[str, object]:
        """Claims of a good token with some changed; None takes one away."""
        body: dict[str, object] = {
            "iss": self.issuer,
            "aud": "icaze",
            "sub": "citizen-1",
            "scope": "me",
            "iat": NOW_S,
            "exp": NOW_S + 3600,
        }
        return {name: value for name, value in (body | changes).items() if value is not None}

    def token(self, kid: str = "okp", alg: str = "Ed25519", *, key: Signer | None = None, **changes: object) -> str:
        """A token under a key id, signed by that key or another."""
        header = {"typ": "at+jwt", "alg": alg, "kid": kid}
        return signed(header, self.claims(**changes), key or KEYS[kid], alg)

    def document(self, request: web.Request) -> dict[str, Any]:
        """What a healthy provider answers to the request."""
        if request.path.endswith("/keys"):
            return {"keys": self.published}
        return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"} | self.discovery_changes

    async def discovery(self, request: web.Request) -> web.StreamResponse:
        """The discovery document, or what stands in for it."""
        return await (self.answer_discovery or self.healthy)(request)

    async def keys(self, request: web.Request) -> web.StreamResponse:
        """The key set, or what stands in for it."""
        self.fetches += 1
        return await (self.answer_keys or self.healthy)(request)

    async def healthy(self, request: web.Request) -> web.StreamResponse:
        """Always the right document."""
        return web.json_response(self.document(request))


PROVIDER: Final = web.AppKey("provider", Provider)


@asynccontextmanager
async def provider_running() -> AsyncGenerator[Provider]:
    """A provider on a socket of this machine."""
    provider = Provider()
    app = web.Application()
    app[PROVIDER] = provider
    app.router.add_get("/realm/.well-known/openid-configuration", provider.discovery)
    app.router.add_get("/realm/keys", provider.keys)
    app.router.add_get("/moved/{rest:.*}", provider.healthy)
    async with TestServer(app) as server:
        provider.issuer = str(server.make_url("/realm"))
        yield provider


@asynccontextmanager
async def trusting(provider: Provider, clock: Clock, **settings: Any) -> AsyncGenerator[tuple[OidcIssuer, Verify]]:
    """A relying party whose keys are fetched, where they can be; its issuer, and its verifier."""
    async with oidc.opened(Settings(oidc_issuer=provider.issuer, **settings), clock) as issuer:
        await issuer.refresh()
        yield issuer, Verifier({provider.issuer: issuer}, clock)


async def counts(verify: Verify, token: str) -> bool:
    """Whether the token is taken; every other error than a refusal is one of the test."""
    try:
        await verify(token)
    except InvalidTokenError:
        return False
    return True
