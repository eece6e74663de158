"""Every door as the api's own description lists it, and everybody who may knock, with what stands behind the doors."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp.hdrs import DATE
from joserfc.jwk import OKPKey

from api import dev_issuer
from permits.organisations import POWERS
from tests.integration.api_door import KEY, ROUTE, Clock, Http
from tests.integration.organisation_door import DAY_MS, ROW, TIN

Claims = Mapping[str, str | list[str]]
Seen = tuple[int, dict[str, str], bytes]
"""Status, headers but the date, and body of an answer."""

UNKNOWN_TIN: Final = "1111111111"
NEIGHBOUR_TIN: Final = next(
    tin for tin in map(str, range(9876543210, 10**10)) if ROUTE.of_organisation(tin) == ROUTE.of_organisation(TIN)
)
"""Of the same partition: its keys are within reach, and nothing but a check keeps the two apart."""
NOWHERE: Final = "/v1/nowhere"
STRONG: Final = "urn:asan:imza"
SEAL_FIN: Final = "5ABC12D"
REVOKED_FIN: Final = "3REV33A"
EXPIRED_FIN: Final = "4EXP44A"
ABROAD_FIN: Final = "9ABR99A"
DELEGATE_FINS: Final = {power: f"6DEF45{'ABCD'[at]}" for at, power in enumerate(POWERS)}
SEALING: Final[Claims] = {"fin": SEAL_FIN, "tin": TIN, "acr": STRONG}
FOREIGN: Final[Claims] = {"fin": "8UVW56X", "tin": NEIGHBOUR_TIN, "acr": STRONG}


class Person(msgspec.Struct, frozen=True):
    """Who asks for an organisation's things, by the claims of their log-in."""

    claims: Claims
    may: frozenset[str] = frozenset()
    """Powers, `seal`, `strong seal`; empty: an outsider, who must not even learn that the organisation exists."""


CAST: Final = {
    "seal": Person(SEALING, frozenset({*POWERS, "seal", "strong seal"})),
    "weak seal": Person({"fin": SEAL_FIN, "tin": TIN}, frozenset({*POWERS, "seal"})),
    **{f"{power} delegate": Person({"fin": fin}, frozenset({power})) for power, fin in DELEGATE_FINS.items()},
    "revoked delegate": Person({"fin": REVOKED_FIN}),
    "expired delegate": Person({"fin": EXPIRED_FIN}),
    "foreign delegate": Person({"fin": ABROAD_FIN}),
    "foreign seal": Person(FOREIGN),
    "seal's colleague": Person({"fin": "7QRS34T", "tin": TIN, "acr": STRONG}),
    "seal by another certificate": Person({"fin": SEAL_FIN, "tin": NEIGHBOUR_TIN, "acr": STRONG}),
    "seal without certificate": Person({"fin": SEAL_FIN, "acr": STRONG}),
    "person without organisation": Person({"fin": "1NEW11A"}),
    "service with the certificate": Person({"tin": TIN, "acr": STRONG}),
}


class Door(msgspec.Struct, frozen=True):
    """One operation as described."""

    method: str
    path: str
    name: str
    scope: str | None
    """None: open to all."""
    examples: Mapping[str, str]
    """A value for each variable of the path."""

    def at(self, **variables: str) -> str:
        """The path, with these values or else the description's examples."""
        return re.sub(r"\{(\w+)\}", lambda found: variables.get(found[1], self.examples[found[1]]), self.path)


async def doors(http: Http) -> list[Door]:
    """What `/openapi.json` describes."""
    paths = (await (await http.get("/openapi.json")).json())["paths"]
    return [_door(method, path, told) for path, methods in paths.items() for method, told in methods.items()]


def _door(method: str, path: str, told: Any) -> Door:
    scope = None
    if told["security"]:
        ((scope,),) = [needed["bearer"] for needed in told["security"]]
    examples = {each["name"]: each["example"] for each in told["parameters"] if each["in"] == "path"}
    return Door(method.upper(), path, told["operationId"], scope, examples)


def token(clock: Clock, scope: str, claims: Claims, *, key: OKPKey = KEY, ago_ms: int = 0) -> str:
    """A token for an hour."""
    now_ms = clock.now_ms - ago_ms
    return dev_issuer.issue(key, subject="matrix", scope=scope, minutes=60, now_ms=now_ms, claims=claims).token


class Premises:
    """An organisation with something behind each of its doors, and another one."""

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self.variables: dict[str, str] = {}
        """Of paths to what stands."""

    @asynccontextmanager
    async def asked(self, claims: Claims, method: str, path: str, **more: Any) -> AsyncGenerator[Any]:
        """The answer to a person; a stream is left where it stands."""
        headers = {
            "Authorization": f"Bearer {token(self._clock, 'organisation', claims)}",
            "If-Match": '"0.0"',
            "Idempotency-Key": more.pop("key", "matrix"),
            "X-Request-Id": "matrix",  # echoed, so that answers can be compared
        }
        async with self._http.request(method, path, headers=headers, **more) as answer:
            yield answer

    async def seen(self, claims: Claims, method: str, path: str, body: Any) -> Seen:
        """The answer to a person, for comparison; the body of a refusal alone."""
        async with self.asked(claims, method, path, json=body) as answer:
            headers = {name: value for name, value in answer.headers.items() if name != DATE}
            return answer.status, headers, await answer.read() if answer.status >= 400 else b""

    async def furnish(self) -> None:
        """Both organisations with their delegates, and a permit and an import of the first."""
        home = f"/v1/organisations/{TIN}"
        for claims, tin in ((SEALING, TIN), (FOREIGN, NEIGHBOUR_TIN)):
            await self._made(claims, "/v1/organisations", {"tin": tin, "name": "Günəş MMC"}, 201)
        for power, fin in DELEGATE_FINS.items():
            await self._grant(SEALING, TIN, fin, [power])
        await self._grant(FOREIGN, NEIGHBOUR_TIN, ABROAD_FIN, POWERS)
        await self._grant(SEALING, TIN, EXPIRED_FIN, POWERS, until="2026-01-02")
        revoked = await self._grant(SEALING, TIN, REVOKED_FIN, POWERS)
        async with self.asked(SEALING, "DELETE", f"{home}/delegates/{revoked}") as answer:
            assert answer.status == 200
        permit = await self._made(SEALING, f"{home}/permits", ROW, 201)
        bulk = await self._made(SEALING, f"{home}/permits", [ROW], 202, key="bulk")
        self.variables = {"tin": TIN, "code": permit["code"], "delegate": revoked, "import": bulk["id"]}
        self._clock.now_ms += 2 * DAY_MS

    async def _grant(self, claims: Claims, tin: str, fin: str, powers: Any, *, until: str = "2026-06-30") -> str:
        asked = {"fin": fin, "name": "Rəşad Məmmədov", "powers": powers, "until": until}
        return (await self._made(claims, f"/v1/organisations/{tin}/delegates", asked, 201, key=fin))["id"]

    async def _made(self, claims: Claims, path: str, body: Any, status: int, *, key: str = "furnish") -> Any:
        async with self.asked(claims, "POST", path, json=body, key=key) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()
