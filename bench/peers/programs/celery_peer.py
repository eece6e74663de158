"""Celery: a task a message, results ignored, one worker process, the prefetch that its guide has for short tasks.

`load FILE` sends the tasks; `celery -A celery_peer worker` works on them.
"""

import sys

import job
import orjson
from celery import Celery
from redis import Redis

app = Celery("celery_peer", broker=job.URL.replace("unix://", "redis+socket://"))
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=64, broker_connection_retry_on_startup=True)
store = Redis.from_url(job.URL)


@app.task
def decide(sms: dict) -> None:
    """One message."""
    store.evalsha(job.SHA, *job.arguments(sms))


if __name__ == "__main__":
    with open(sys.argv[2], "rb") as lines:
        for line in lines:
            decide.delay(orjson.loads(line))
