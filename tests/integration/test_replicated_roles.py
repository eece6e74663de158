"""Each role that hands something out at level `replicated` hands on how many replicas must have it."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import unused_port

import api.app
import dispatch.app
import processor.app
from runtime import settings
from tests.eventually import eventually
from tests.integration.ingest_door import no_logging, settings_of
from tests.integration.replicated_pair import replicating

Serve = Callable[[asyncio.Event], Coroutine[Any, Any, int]]


@pytest.mark.parametrize(
    ("role", "serve", "what"),
    [
        (processor.app, processor.app.serve, "Archiver"),
        (dispatch.app, dispatch.app.serve, "Outbox"),
        (dispatch.app, dispatch.app.serve, "Dispatcher"),
        (api.app, api.app._serve, "wires_to"),  # pyright: ignore[reportPrivateUsage]
    ],
)
async def test_a_role_waits_for_as_many_as_its_settings_say(
    role: ModuleType, serve: Serve, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []
    original = getattr(role, what)

    def noted(*given: Any, **named: Any) -> Any:
        made.append(named)
        return original(*given, **named)

    async with replicating(tmp_path / "stores") as pair:
        ports = {f"{name}_port": unused_port() for name in ("process", "dispatch", "api")}
        current = settings_of(tmp_path, pair.primary.url, durability="replicated", dev_issuer=True, **ports)
        current = msgspec.structs.replace(current, drain_s=0.1)
        for module in (settings, role):
            if hasattr(module, "load"):
                monkeypatch.setattr(module, "load", lambda: current)
        monkeypatch.setattr(role, "start_logging", no_logging)
        monkeypatch.setattr(role, what, noted)
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(stop))

        async def is_made() -> bool:
            if serving.done():
                serving.result()
            return bool(made)

        await eventually(is_made)
        stop.set()
        assert await serving == 0
    (named,) = made
    if what == "Dispatcher":
        assert named["settings"].awaited == 1
    elif what == "wires_to":
        assert vars(named["seals"])["_replicas"] == 1
    else:
        assert named["replicas"] == 1
