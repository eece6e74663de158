"""What stands in a reply stream and is no reply as ours are: sent, or a dead letter with all it held."""

from collections.abc import Sequence
from typing import Any

import pytest

from dispatch.outgoing import moment_s
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.dispatching import Recorder, append, dead, queue, reply
from tests.integration.reply_desk import KEYS, ONE, desk, read_as_another, until_pending, until_seen

pytestmark = pytest.mark.usefixtures("often")


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"\xff\xfe", b'{"id":"\xff"}', b'{"zz":' + b"[" * 3000, b'{"id":null}', b"\x00", b"x" * 70000],
    ids=["empty", "object", "array", "bytes", "not UTF-8", "deep", "null", "NUL", "long"],
)
async def test_an_entry_that_is_no_reply_is_a_dead_letter_and_the_lane_goes_on(
    body: bytes, server: EmbeddedStore, streams: Client
) -> None:
    entry_id = await append(streams, body)
    names = await queue(streams, 5, partitions=ONE)
    async with desk(server.url) as at:
        at.start()
        await until_seen(at.operator, 5)
        await until_pending(streams, 0)
        assert at.operator.sent_once(names)
    (letter,) = await dead(streams, ONE)
    assert letter["reason"] == "unreadable: not a reply"
    assert letter["entry_id"] == entry_id.decode()
    assert letter["raw"] == body.decode("utf-8", "backslashreplace")


async def test_an_entry_of_other_fields_keeps_them_in_its_dead_letter(server: EmbeddedStore, streams: Client) -> None:
    await streams.execute_command("XADD", KEYS.replies, "*", "a", "1", "b", "2")
    async with desk(server.url) as at:
        at.start()

        async def is_dead() -> bool:
            return bool(await dead(streams, ONE))

        await eventually(is_dead)
    (letter,) = await dead(streams, ONE)
    assert letter["raw"] == "a 1 b 2"


async def test_an_entry_with_more_fields_than_ours_is_sent(server: EmbeddedStore, streams: Client) -> None:
    await streams.execute_command("XADD", KEYS.replies, "*", "trace", "7", "m", reply("one"))
    async with desk(server.url) as at:
        at.start()
        await until_seen(at.operator, 1)
        assert at.operator.seen == [("one", False)]


async def test_a_pending_entry_that_was_deleted_is_a_dead_letter(server: EmbeddedStore, streams: Client) -> None:
    await queue(streams, 3, partitions=ONE)
    ids = await read_as_another(streams, 3)
    await streams.execute_command("XDEL", KEYS.replies, ids[1])
    async with desk(server.url) as at:
        at.start()
        await until_pending(streams, 0)
        assert at.operator.seen == [("r-0", True), ("r-2", True)]
    (letter,) = await dead(streams, ONE)
    assert letter["entry_id"] == ids[1].decode()


async def test_a_mark_leaves_json_that_came_with_spaces_readable(server: EmbeddedStore, streams: Client) -> None:
    await append(streams, b" " + reply("spaced") + b" \n")
    await read_as_another(streams, 1)
    wires: list[bytes] = []

    class Keeping(Recorder):
        async def send(self, parcels: Sequence[Any]) -> Any:
            wires.extend(parcel.wire() for parcel in parcels)
            return await super().send(parcels)

    async with desk(server.url, operator=Keeping()) as at:
        at.start()
        await until_pending(streams, 0)
    assert wires == [reply("spaced", ambiguous=True)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:10.500Z", 10.5),
        ("1970-01-01T04:00:00+04:00", 0.0),
        ("1970-01-01T00:00:07", 7.0),
        ("9999-12-31T23:59:59-14:00", 253402351199.0),
        ("0001-01-01T00:00:00+14:00", -62135647200.0),
        ("", 0.0),
        ("soon", 0.0),
    ],
)
def test_a_moment_without_a_zone_is_utc_and_no_moment_has_lapsed(text: str, seconds: float) -> None:
    assert moment_s(text) == seconds
