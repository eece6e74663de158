"""FastStream: one batch subscriber in a consumer group, on uvloop; its script calls go out in one pipeline a batch.

`load FILE` puts messages into its stream in its own format, as its publisher would; `work` consumes.
"""

import asyncio
import sys
from itertools import islice
from typing import Any

import job
import orjson
import uvloop
from faststream import FastStream
from faststream.redis import BinaryMessageFormatV1, RedisBroker, StreamSub
from redis.asyncio import Redis

STREAM = "sms"
broker = RedisBroker(job.URL, logger=None)
store = Redis.from_url(job.URL)


@broker.subscriber(stream=StreamSub(STREAM, group="peer", consumer="one", batch=True, max_records=512, last_id="0"))
async def decide(messages: list[Any]) -> None:
    """One batch."""
    pipe = store.pipeline(transaction=False)
    for sms in messages:
        pipe.evalsha(job.SHA, *job.arguments(sms))
    await pipe.execute()


async def load(path: str) -> None:
    with open(path, "rb") as lines:
        while some := list(islice(lines, 500)):
            pipe = store.pipeline(transaction=False)
            for number, line in enumerate(some):
                sms = orjson.loads(line)
                body = await BinaryMessageFormatV1.encode(
                    message=sms, reply_to=None, headers=None, correlation_id=f"{sms['id']}-{number}"
                )
                pipe.xadd(STREAM, {"__data__": body})
            await pipe.execute()


async def work() -> None:
    await FastStream(broker, logger=None).run()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load(sys.argv[2]) if sys.argv[1] == "load" else work())
