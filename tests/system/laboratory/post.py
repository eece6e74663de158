"""One post of the house: a program that is started again whenever it is gone, and the links it works over."""

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence

from tests.link import Link
from tests.system.house import House, Running


class Post:
    """A program by its name; `look` is called often, by one thread, which is the only one that starts it."""

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        front: Link | None = None,
    ) -> None:
        self.name = name
        self.words = list(words)
        self.environ = dict(environ or {})
        self.wanted = True
        """Whether it is to run."""
        self.starts = 0
        self.running: Running | None = None
        self._front = front
        """The link to its door, which follows it to each new port."""
        self._work: Link | None = None
        self._word = b""
        self._mark = 0
        self._found = False
        self.guard = threading.Lock()
        """Held while it is started."""

    def watch(self, work: Link, word: bytes) -> None:
        """A word on a link shows that it works."""
        self._work, self._word = work, word
        work.words.setdefault(word, 0)

    @property
    def pid(self) -> int:
        """Of the process that stands here now."""
        assert self.running is not None, f"{self.name} was never started"
        return self.running.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.running is not None and self.running.alive

    @property
    def works(self) -> bool:
        """Whether it has begun work since its start, as its link has seen."""
        return self.alive and self.worked > self._mark

    @property
    def worked(self) -> int:
        """How often its link has seen it work, or be asked to."""
        return 0 if self._work is None else self._work.words[self._word]

    def anew(self) -> Callable[[], bool]:
        """What tells whether it has worked since now."""
        worked = self.worked
        return lambda: self.works and self.worked > worked

    def look(self, house: House, ready: Callable[[], bool]) -> None:
        """Start it where it is gone and can begin; find its door where it has opened."""
        with self.guard:
            if self.wanted and not self.alive and ready():
                self._mark = self.worked
                self._found = self._front is None
                self.running = house.run(self.words, self.environ)
                self.starts += 1
            if not self._found and self._front is not None and (door := self.door) is not None:
                self._front.upstream = door.removeprefix("http://")
                self._found = True

    @property
    def door(self) -> str | None:
        """The URL of its door, once it has told it."""
        lines = list(self.running.lines) if self.running is not None else []
        line = next((line for line in lines if "http://" in line), None)
        return None if line is None else "http://" + line.split("http://", 1)[1].split()[0].strip("/")

    def said(self, words: str) -> int:
        """How often the process that stands here has logged some words."""
        return 0 if self.running is None else self.running.log.read_text(errors="replace").count(words)

    def kill(self) -> bool:
        """End it as a crash would; whether it had begun work."""
        worked = self.works
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        return worked

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def remove(self) -> None:
        """End it, and start no other."""
        with self.guard:
            self.wanted = False
        if self.alive and self.running is not None:
            self.running.signal(signal.SIGCONT)
            self.running.kill()


class Supervisor:
    """Looks after all posts until it is closed."""

    def __init__(self, house: House, posts: Mapping[str, Post], ready: Callable[[str], bool]) -> None:
        self._house = house
        self._posts = posts
        self._ready = ready
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        """Start everything."""
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.wait(0.02):
            for post in list(self._posts.values()):
                post.look(self._house, lambda post=post: self._ready(post.name))

    def close(self) -> None:
        """Start nothing any more."""
        self._closing.set()
        self._thread.join()
