"""The OpenID Connect issuer whose log-ins count: its keys are fetched, kept fresh, and prove its tokens.

Reads `/.well-known/openid-configuration` of the issuer and the key set that it names.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from api.auth import Caller, SealMethod
from api.public_keys import ALGORITHMS, KeySet, PublicKey, public_key
from api.tokens import Claims, Proof, Token, person, prove
from runtime.errors import StartupError
from runtime.outside import is_trustworthy
from runtime.settings import Settings
from runtime.telemetry import Log

DISCOVERY: Final = "/.well-known/openid-configuration"
PATIENCE_S: Final = 3.0
MAX_BYTES: Final = 256 * 1024
REFRESH_S: Final = 300
RETRY_S: Final = 30
"""After a refresh that failed."""
AT_ONCE_MS: Final = 5000
"""An unknown key id fetches the keys, at most this often: anybody can make one up."""
KEPT_S: Final = 24 * 3600
"""How long the last keys count while the issuer is away."""
SCOPES: Final = frozenset(("me", "organisation"))
"""What a person's log-in can allow; every other scope is a service's, whatever else the issuer grants."""
_ACR: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""Fits a quoted string of WWW-Authenticate, one of several with spaces between."""
_log: Final = Log("api")


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _KeyList(msgspec.Struct, frozen=True):
    keys: list[Any]


class OidcIssuer:
    """Proves tokens of one issuer by the keys that it publishes."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, now_ms: Callable[[], int]) -> None:
        if not is_trustworthy(settings.oidc_issuer):
            raise StartupError("ICAZE_OIDC_ISSUER: an https:// address (http:// on loopback only)")
        self._issuer = settings.oidc_issuer
        self._algorithms = _algorithms(settings.oidc_algorithms)
        self._methods = _methods(settings.oidc_acr_imza, settings.oidc_acr_esign)
        self._audience = settings.oidc_audience
        self._leeway_s = settings.oidc_leeway_s
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        self._now_ms = now_ms
        self._keys = KeySet([], until_s=0)
        self._tried_ms = -AT_ONCE_MS
        self._refreshing = asyncio.Lock()

    async def prove(self, token: Token) -> Proof:
        """InvalidTokenError where no key of the issuer signed the token for us; may wait for newer keys."""
        if token.algorithm in self._algorithms and not self._keys.fitting(token.kid, token.algorithm):
            async with self._refreshing:
                if not 0 <= self._now_ms() - self._tried_ms < AT_ONCE_MS:
                    await self._refresh()
        return prove(
            token,
            self._keys,
            algorithms=self._algorithms,
            audience=self._audience,
            leeway_s=self._leeway_s,
            caller_of=self._caller,
        )

    def _caller(self, claims: Claims) -> Caller:
        caller = person(claims, self._methods)
        return msgspec.structs.replace(caller, scopes=caller.scopes & SCOPES)

    async def keep_fresh(self) -> None:
        """Refreshes the keys until it is cancelled; the first time at once."""
        while True:
            fresh = await self.refresh()
            await asyncio.sleep(REFRESH_S if fresh else RETRY_S)

    async def refresh(self) -> bool:
        """Fetches the keys; whether that worked. Otherwise the last ones stay."""
        async with self._refreshing:
            return await self._refresh()

    async def _refresh(self) -> bool:
        try:
            keys = await self._fetched()
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            _log.warning("keys of the oidc issuer not refreshed", cause=f"{type(error).__name__}: {error}")
            return False
        finally:
            self._tried_ms = self._now_ms()  # its end counts: those who waited for a slow issuer do not ask again
        until_s = self._now_ms() / 1000 + KEPT_S
        if keys == self._keys.keys:
            self._keys.until_s = until_s
        else:
            self._keys.until_s = 0  # whatever the old set has proven must be proven again
            self._keys = KeySet(keys, until_s=until_s)
        return True

    async def _fetched(self) -> tuple[PublicKey, ...]:
        found = msgspec.json.decode(await self._body(self._issuer.rstrip("/") + DISCOVERY), type=_Discovery)
        if found.issuer != self._issuer:
            raise ValueError("the discovery document is another issuer's")
        if not is_trustworthy(found.jwks_uri) or urlsplit(found.jwks_uri).scheme != urlsplit(self._issuer).scheme:
            raise ValueError("the key set is not served as the issuer is")
        listed = msgspec.json.decode(await self._body(found.jwks_uri), type=_KeyList)
        keys = tuple(key for jwk in listed.keys if (key := _usable(jwk)))
        if not keys:
            raise ValueError("the key set holds no usable key")
        return keys

    async def _body(self, url: str) -> bytes:
        """What stands at the address itself: no redirect is followed."""
        async with self._session.get(url, timeout=self._timeout, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError("no document")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError("too large")
            return bytes(body)


@asynccontextmanager
async def opened(settings: Settings, now_ms: Callable[[], int]) -> AsyncGenerator[OidcIssuer]:
    """The issuer of the settings, kept fresh meanwhile; StartupError where they do not fit.

    An issuer that is away stops no start: services still call.
    """
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        issuer = OidcIssuer(settings, session, now_ms)
        refresher = asyncio.create_task(issuer.keep_fresh())
        try:
            yield issuer
        finally:
            refresher.cancel()
            with suppress(asyncio.CancelledError):
                await refresher


def _usable(jwk: object) -> PublicKey | None:
    try:
        return public_key(jwk)
    except ValueError:
        return None  # RFC 7517, section 5: keys that one cannot use are ignored


def _algorithms(listed: str) -> frozenset[str]:
    names = frozenset(name for part in listed.split(",") if (name := part.strip()))
    if not names or names - ALGORITHMS:
        raise StartupError(f"ICAZE_OIDC_ALGORITHMS: one or more of {', '.join(sorted(ALGORITHMS))}")
    return names


def _methods(imza: str, esign: str) -> Mapping[str, SealMethod]:
    if imza == esign or not (_ACR.fullmatch(imza) and _ACR.fullmatch(esign)):
        raise StartupError("ICAZE_OIDC_ACR_IMZA and ICAZE_OIDC_ACR_ESIGN: two different acr values, without spaces")
    return {imza: "asan_imza", esign: "e_signature"}
