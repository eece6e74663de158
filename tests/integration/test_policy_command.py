"""`icaze policy` on stored versions: listed, shown and compared from the store, put forward through the api."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import pytest

from api import dev_issuer
from icaze import main
from permits.calendar import DAY_MS
from permits.policy import DEFAULT_FILE
from runtime import layout
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import KEY, ROUTE, Clock, serving
from tests.policy_texts import DEFAULT, at, followed

Said = tuple[int, str, str]
"""Exit code, output, errors."""
STARTS_MS: Final = time.time_ns() // 10**9 * 1000 + DAY_MS
LATER: Final = followed(DEFAULT, STARTS_MS, name="later")


@pytest.fixture
async def clock(server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clock]:
    """A store with a running api, which the settings name."""
    await layout.settle(redis, ROUTE)
    for name in ("ICAZE_CONFIG", "ICAZE_POLICY_FILE", "ICAZE_TOKEN", "ICAZE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ICAZE_REDIS_URL", server.url)
    clock = Clock()
    clock.now_ms = time.time_ns() // 1_000_000
    async with serving(server.url, clock) as http:
        monkeypatch.setenv("ICAZE_API_PORT", str(http.port))
        yield clock


@pytest.fixture
def later(tmp_path: Path) -> str:
    file = tmp_path / "later.toml"
    file.write_text(LATER)
    return str(file)


@pytest.fixture
def sign_in(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give the command somebody's token."""

    def sign(subject: str) -> None:
        issued = dev_issuer.issue(KEY, subject=subject, scope="policy", minutes=60, now_ms=clock.now_ms)
        monkeypatch.setenv("ICAZE_TOKEN", issued.token)

    return sign


async def icaze(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    code = await asyncio.to_thread(main, ["policy", *words])
    said = capsys.readouterr()
    return code, said.out.strip(), said.err.strip()


async def test_a_file_is_proposed_confirmed_listed_and_shown(
    sign_in: Callable[[str], None], later: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await icaze(capsys, "list") == (0, "no version: the policy file holds", "")
    assert (await icaze(capsys, "show", "--stored"))[0] == 1
    sign_in("anna")
    code, said, _ = await icaze(capsys, "propose", later)
    version, state = said.split(",")[0].split()[:2]
    assert (code, state) == (0, "proposed")
    sign_in("boris")
    code, said, _ = await icaze(capsys, "confirm", version, "--json")
    assert (code, json.loads(said)["state"]) == (0, "confirmed")

    code, said, _ = await icaze(capsys, "list", "--json")
    [listed] = json.loads(said)
    assert (listed["version"], listed["proposed_by"], listed["settled_by"]) == (version, "anna", "boris")
    assert (await icaze(capsys, "list"))[1].startswith(f"{version}  confirmed  from ")
    for words in (["--stored"], [version]):
        for moment, name in ((STARTS_MS, "later"), (STARTS_MS - 1000, "founding")):
            code, said, _ = await icaze(capsys, "show", *words, "--at", at(moment), "--json")
            assert (code, json.loads(said)["name"]) == (0, name)
    assert await icaze(capsys, "diff", later, version) == (0, "no difference", "")
    assert "regimes.later" in (await icaze(capsys, "diff", str(DEFAULT_FILE), version))[1]


async def test_what_the_api_refuses_is_told(
    sign_in: Callable[[str], None], later: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ICAZE_TOKEN" in (await icaze(capsys, "propose", later))[2]
    sign_in("anna")
    version = (await icaze(capsys, "propose", later))[1].split()[0]
    code, _, said = await icaze(capsys, "confirm", version)
    assert (code, said) == (1, "icaze policy: Forbidden: who has proposed it cannot confirm it")
    assert (await icaze(capsys, "confirm", "p9-0123abcd"))[0] == 1
    assert "is no version" in (await icaze(capsys, "confirm", "later"))[2]
    assert "p9-0123abcd" in (await icaze(capsys, "show", "p9-0123abcd"))[2]
    monkeypatch.setenv("ICAZE_API_PORT", "1")
    assert "does not answer" in (await icaze(capsys, "confirm", version))[2]
    monkeypatch.setenv("ICAZE_REDIS_URL", "unix:///nowhere")
    assert "store unix:///nowhere" in (await icaze(capsys, "list"))[2]


async def test_a_file_that_is_no_policy_is_not_sent(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("x =")
    code, _, said = await icaze(capsys, "propose", str(file))
    assert (code, "not TOML" in said) == (1, True)
