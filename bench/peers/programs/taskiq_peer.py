"""taskiq: a task a message, on its Redis streams, without results.

`load FILE` kicks the tasks; `taskiq worker taskiq_peer:broker` works on them.
"""

import asyncio
import sys
from itertools import islice

import job
import orjson
from redis.asyncio import Redis
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(job.URL, consumer_id="0", xread_count=100)
store = Redis.from_url(job.URL)


@broker.task
async def decide(sms: dict) -> None:
    """One message."""
    await store.evalsha(job.SHA, *job.arguments(sms))


async def load(path: str) -> None:
    await broker.startup()
    with open(path, "rb") as lines:
        while some := list(islice(lines, 100)):
            await asyncio.gather(*(decide.kiq(orjson.loads(line)) for line in some))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(load(sys.argv[2]))
