"""The SMS of a launch day as an aggregator's requests, written and signed before a load begins.

Duplicates and texts that cannot be read are among them, as `day` draws them.
"""

import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.day import Sms, generate
from bench.line import posted
from bench.progress import passed_on
from bench.push import Signer

PATH: Final = "/v1/sms"
SECRET: Final = f"whsec_{b64encode(b'of measurements, no secret').decode()}"
"""Of the aggregator that pushes in measurements."""
_DAY: Final = date(2026, 1, 1)


class Post(msgspec.Struct, frozen=True):
    """One request, and the ids of its SMS."""

    ids: tuple[str, ...]
    request: bytes


def posts(url: str, count: int, *, size: int, seed: int, mix: str = "launch") -> list[Post]:
    """So many requests of `size` SMS each; one SMS goes as an object, more as an array. Good for five minutes."""
    signer = Signer(SECRET)
    drawn = generate(count * size, seed, mix, _DAY)
    texts = (_without_time(sms) for sms, _ in drawn)
    made: list[Post] = []
    for number in passed_on(range(count), count, doing="requests"):
        batch = list(islice(texts, size))
        body = msgspec.json.encode(batch[0] if size == 1 else batch)
        headers = signer.headers(f"bench-{seed}-{number}", int(time.time()), body)
        made.append(Post(tuple(one["id"] for one in batch), posted(url, PATH, body, headers)))
    return made


def settings(folder: Path) -> dict[str, str]:
    """What makes ingest know the aggregator."""
    file = folder / "aggregators.toml"
    file.write_text(f'[[aggregator]]\nname = "bench"\nsecrets = ["{SECRET}"]\n')
    return {"ICAZE_AGGREGATORS_FILE": str(file)}


def distinct(pushed: list[Post]) -> Iterator[tuple[int, str]]:
    """(number of the request, id) of each SMS at its first push."""
    seen: set[str] = set()
    for number, post in enumerate(pushed):
        for id_ in post.ids:
            if id_ not in seen:
                seen.add(id_)
                yield number, id_


def _without_time(sms: Sms) -> dict[str, Any]:
    """Ingest takes no time older than 48 hours: what is pushed now was received now."""
    return {"id": sms.id, "from": sms.sender, "to": sms.to, "text": sms.text}
