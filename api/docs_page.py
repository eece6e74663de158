"""`/openapi.json`, and `/docs`: a page that shows it with nothing from any other host."""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from api import openapi
from api.contract import JSON, Operation

_PAGE: Final = (Path(__file__).parent / "docs.html").read_text(encoding="utf-8")


def routes(operations: Sequence[Operation]) -> list[web.RouteDef]:
    """Both routes, open to all: they hold nothing but promises."""
    description = msgspec.json.encode(openapi.document(operations))
    policy = (
        f"default-src 'none'; script-src {_hash('script')}; style-src {_hash('style')}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    page_headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }

    async def openapi_json(_: web.Request) -> web.Response:
        return web.Response(body=description, content_type=JSON)

    async def docs(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html", headers=page_headers)

    return [web.get("/openapi.json", openapi_json), web.get("/docs", docs)]


def _hash(element: str) -> str:
    """What a Content-Security-Policy names the page's own script or style by: nothing else runs."""
    found = re.search(rf"<{element}>(.*?)</{element}>", _PAGE, re.DOTALL)
    assert found is not None  # noqa: S101  # the page is part of this package
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"
