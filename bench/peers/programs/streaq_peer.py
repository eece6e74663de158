"""streaq: a task a message.

`load FILE` enqueues the tasks; `streaq run streaq_peer:worker` works on them.
"""

import asyncio
import sys
from itertools import islice

import job
import orjson
from redis.asyncio import Redis
from streaq import Worker

worker = Worker(redis_url=job.URL, concurrency=64)
store = Redis.from_url(job.URL)


@worker.task
async def decide(sms: dict) -> None:
    """One message."""
    await store.evalsha(job.SHA, *job.arguments(sms))


async def load(path: str) -> None:
    async with worker:
        with open(path, "rb") as lines:
            while some := list(islice(lines, 500)):
                await worker.enqueue_many([decide.enqueue(orjson.loads(line)) for line in some])


if __name__ == "__main__":
    asyncio.run(load(sys.argv[2]))
