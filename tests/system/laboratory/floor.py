"""The laboratory's floor: one house with a link of ours between each pair of programs, its load and its history.

    pusher ── ingest ── store ── process, process-2 … ── dispatch ── operator, Ministry   police, clerk ── api ── store

Every line is a link; every program but operator and Ministry is a post that is started again when it dies.
"""

import urllib.request
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any, Final

from redis.exceptions import RedisError

from bench.clock import Clock
from lua import library
from lua.keys import partition_keys, tags
from tests.link import Link
from tests.system.house import ICAZE, PARTITIONS, House, ready, until
from tests.system.laboratory import baseline
from tests.system.laboratory.history import History, wall_ms
from tests.system.laboratory.load import Load
from tests.system.laboratory.ministry import Ministry
from tests.system.laboratory.needs import Needs
from tests.system.laboratory.post import Post, Supervisor
from tests.system.laboratory.sends import Sends
from tests.system.laboratory.server import Server
from tests.system.laboratory.stage import Stage

SETTLED_S: Final = 90.0
"""For everything to be answered after the last strike, on a busy machine."""


class Floor:
    """One house under load. Made, opened, struck, brought to rest, closed."""

    def __init__(self, folder: Path, needs: Needs, draw: Random) -> None:
        self.needs = needs
        self.draw = draw
        self.house = House(folder)
        self.stage = Stage()
        self.clock = Clock(folder) if needs.clock else None
        self.history = History(folder / "history.ndjson", self.clock.now_ms if self.clock else wall_ms)
        self.sends = Sends(self.house.sink_log)
        self.house.furnish()
        self.server = Server(self.house.data, needs)
        self.links: dict[str, Link] = {}
        self.posts: dict[str, Post] = {}
        keys = [partition_keys(tag) for tag in tags(PARTITIONS)]
        self.inbound = [key.inbound for key in keys]
        self.replies = [key.replies for key in keys]
        self.outbox = [key.outbox for key in keys]
        self.feed = [key.feed for key in keys]
        self._work = (*self.inbound, *self.replies, *(key.applications for key in keys), *self.outbox)
        self.ministry = Ministry(folder) if needs.asks else None
        self.struck = Counter[str]()
        """Faults that met work under way, so far."""
        self.store_environ: dict[str, str] = {}
        self.baseline = folder / "baseline"
        """What stood before the load, for the checker."""
        self.load = Load(self.stage, self.history, needs, draw)
        self._supervisor = Supervisor(self.house, self.posts, self._may_start)

    def open(self) -> None:
        """Start everything, and the load; returns once the first replies are out, and police have seen a permit."""
        house, needs = self.house, self.needs
        house.environ |= {
            "ICAZE_DRAIN_S": "2",
            "ICAZE_DEV_ISSUER": "1",
            "ICAZE_DURABILITY": needs.level,
            **dict(needs.environ),
        }
        if self.clock is not None:
            house.environ |= self.clock.environ
        self.sink = house.sink(*needs.sink)
        for name in ("pushers", "police"):
            self._link(name)
        if self.ministry is not None:
            self.stage.wait(self.ministry.open())
        self.posts["store"] = Post("store", self.server.words, environ=self.store_environ)
        self._post("ingest", word=b"XADD", front=self.links["pushers"])
        self.posts["store"].watch(self.links["ingest"], b"XADD")
        for number in range(needs.workers):
            self.add_worker("process" if number == 0 else f"process-{number + 1}")
        for number in range(needs.dispatchers):
            self._add_dispatcher("" if number == 0 else f"-{number + 1}")
        if needs.asks:
            self._post("api", word=b"XADD", front=self.links["police"])
        self._supervisor.begin()
        streams = (*self.inbound, *self.replies)
        until(lambda: baseline.all_in_place(self.server, self.posts, streams), f"all in place; {self.last_words()}")
        baseline.take(self.server.url, self.baseline)
        self.load.begin(house, ingest_port=self.links["pushers"].port, api_port=self.links["police"].port)
        until(lambda: self.sends.look().sent > 20, f"the first replies; {self.last_words()}")
        if needs.asks:
            until(lambda: self.history.counts.get("shown", 0) > 0, f"the first permit shown; {self.last_words()}")

    def add_worker(
        self,
        name: str,
        *,
        words: Sequence[str] = (*ICAZE, "process"),
        word: bytes = library.DECIDE.encode(),
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Another worker, with a link of its own."""
        self._post(name, words=words, word=word, environ=environ)

    @contextmanager
    def held(self, name: str) -> Generator[None, None, None]:
        """Meanwhile a post that dies is not started again."""
        post = self.posts[name]
        with post.guard:
            post.wanted = False
        try:
            yield
        finally:
            post.wanted = True

    def _add_dispatcher(self, suffix: str) -> None:
        """A dispatcher, with a link of its own to the operator too, and to the Ministry."""
        operator = self._link(f"operator{suffix}", f"127.0.0.1:{self.sink.lines[0]}")
        environ = {"ICAZE_OPERATOR_URL": f"http://127.0.0.1:{operator.port}/"}
        if self.ministry is not None:
            environ |= self.ministry.environ(self._link(f"ministry{suffix}", self.ministry.address).port)
        self._post(f"dispatch{suffix}", word=b"POST /", work=operator, environ=environ)

    def ask(self, *command: object) -> Any:
        """One command to the store of the laboratory's own, and its reply."""
        return self.server.ask(*command)

    def one_at_work(self) -> Post:
        """Any post that has begun work since its start, once there is one."""

        def look() -> Post | None:
            working = [post for post in self.posts.values() if post.works]
            return self.draw.choice(working) if working else None

        return until(look, f"a post at work; {self.last_words()}", within_s=SETTLED_S)

    @property
    def acknowledged(self) -> int:
        """SMS that a pusher was told are stored, so far."""
        return self.history.counts.get("acknowledged", 0)

    def fault(self, name: str, struck: int = 1) -> None:
        """Tell the history of a strike, now: how often it has met work under way."""
        self.struck[name] += struck
        self.history.add("fault", name=name, struck=struck)

    def go_on(self, count: int = 30) -> None:
        """Wait until so many more SMS were acknowledged and answered."""
        self.sends.look()
        acknowledged, sent = self.acknowledged + count, self.sends.sent + count
        until(
            lambda: self.acknowledged >= acknowledged and self.sends.look().sent >= sent,
            f"{count} more SMS; {self.last_words()}",
            within_s=SETTLED_S,
        )

    def go_on_pushing(self, count: int = 30) -> None:
        """Wait until so many more SMS were acknowledged."""
        enough = self.acknowledged + count
        until(lambda: self.acknowledged >= enough, f"{count} more SMS; {self.last_words()}")

    def at_work(self, *names: str) -> None:
        """Wait until each of these posts works, as its link sees it from now on."""
        for name in names:
            until(self.posts[name].anew(), f"{name} at work", within_s=SETTLED_S)

    def settle(self) -> None:
        """Quiescence: every push and every wish is answered, every stream of work is empty."""
        self.load.stop(within_s=SETTLED_S)
        until(
            lambda: self.waiting() == 0,
            f"an empty house; {self.waiting()} wait; {self.last_words()}",
            within_s=SETTLED_S,
        )
        self.history.add("quiet")
        self.sends.look()

    def waiting(self) -> int:
        """What still waits, in ingest or in the streams of work; -1 while ingest or the store is away."""
        spooled = self.spooled()
        try:
            standing = sum(self.ask("XLEN", name) for name in self._work)
        except (RedisError, OSError):
            return -1
        return -1 if spooled < 0 else standing + spooled

    def spooled(self) -> int:
        """SMS that still wait in ingest; -1 while it is away."""
        return int(ready(f"http://{self.links['pushers'].upstream}").get("spooled", -1))

    def metrics(self) -> list[Path]:
        """What each role that runs now says of itself to all who ask, a file each."""
        folder = self.house.folder / "metrics"
        folder.mkdir(exist_ok=True)
        for name, post in self.posts.items():
            if post.alive and post.door is not None:
                with urllib.request.urlopen(f"{post.door}/metrics", timeout=10) as answer:  # noqa: S310
                    (folder / name).write_bytes(answer.read())
        return sorted(folder.iterdir())

    def last_words(self) -> str:
        """The end of each program's log, for a failure."""
        return "; ".join(
            f"{name}: {post.running.errors()[-200:]!r}" for name, post in self.posts.items() if post.running is not None
        )

    def close(self) -> None:
        """End everything."""
        self._supervisor.close()
        for link in self.links.values():
            self.stage.wait(link.close())
        if self.ministry is not None and self.ministry.address:
            self.stage.wait(self.ministry.close())
        self.stage.close()
        self.house.close()
        self.history.close()
        if self.clock is not None:
            self.clock.close()

    def _link(self, name: str, upstream: str = "") -> Link:
        link = self.links[name] = Link(upstream)
        self.stage.wait(link.open())
        return link

    def _post(
        self,
        name: str,
        *,
        word: bytes,
        words: Sequence[str] = (),
        front: Link | None = None,
        work: Link | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """A role with a link of its own to the store; `word` passing `work`, else that link, shows that it works."""
        link = self._link(name, self.server.url)
        environ = {**self.house.environ, "ICAZE_REDIS_URL": link.url, **environ}
        words = words or (*ICAZE, name.partition("-")[0])
        post = self.posts[name] = Post(name, words, environ=environ, front=front)
        post.watch(work or link, word)

    def _may_start(self, name: str) -> bool:
        """A role needs a store that answers; the store needs nothing."""
        return self.server.cleared() if name == "store" else self.server.answers()
