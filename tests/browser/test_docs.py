"""The page at `/docs` in a real browser that can reach no other host."""

import html
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp.test_utils import TestServer

from api.app import build_app
from api.auth import no_issuer
from api.wires import Wires
from runtime.connection import Wire
from tests.browser.browser import CHROMIUM, browsed
from tests.integration.api_door import Clock, operations

pytestmark = pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="no chromium on PATH")

OPERATIONS: Final = operations(Wires("unix:///nowhere"), Wire("unix:///nowhere"), Clock())


@pytest.fixture
async def docs() -> AsyncIterator[str]:
    """The page's URL."""

    async def readiness() -> dict[str, Any]:
        return {"ready": True}

    server = TestServer(build_app(OPERATIONS, verify=no_issuer, readiness=readiness))
    await server.start_server(access_log=None)
    yield str(server.make_url("/docs"))
    await server.close()


async def test_the_page_shows_every_operation_without_any_other_host(docs: str, tmp_path: Path) -> None:
    page, console = await browsed(docs, tmp_path)
    assert console == ""
    text = html.unescape(re.sub("<[^>]+>", "", page.partition("<main>")[2].partition("</main>")[0]))
    for operation in OPERATIONS:
        assert f"{operation.method}{operation.path} {operation.summary}" in text
        assert operation.scope is None or f"Scope: {operation.scope}" in text
    assert "Error" not in page.partition("<script>")[0]
    assert "Loading" not in page.partition("<script>")[0]
