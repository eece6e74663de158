"""Before each turn of ingest and of what it is compared with, the streams are emptied, and nothing else is touched."""

from bench import ingest
from runtime.connection import Client
from runtime.embedded import EmbeddedStore


async def test_every_stream_is_emptied_and_keeps_its_readers(redis: Client, server: EmbeddedStore) -> None:
    for stream in ("inbound:{a}", "bare:{1}"):
        await redis.execute_command("XGROUP", "CREATE", stream, "decide", "0", "MKSTREAM")
        for _ in range(300):
            await redis.execute_command("XADD", stream, "*", "m", "x")
    await redis.execute_command("SET", "lease:{a}", "us")
    ingest.empty(server.url.removeprefix("unix://"))
    for stream in ("inbound:{a}", "bare:{1}"):
        assert await redis.execute_command("XLEN", stream) == 0
        assert len(await redis.execute_command("XINFO", "GROUPS", stream)) == 1
    assert await redis.execute_command("GET", "lease:{a}") == b"us"
