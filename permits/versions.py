"""The versions of the rules: what was proposed, confirmed and withdrawn, as it stands on `policies:{p}`, and its fold.

Read by `runtime.policies`; written by the api.
"""

from pathlib import Path
from typing import Final, Literal

import msgspec

from permits import policy as policy_files
from permits.policy import Policy

State = Literal["proposed", "confirmed", "withdrawn"]


class Proposed(msgspec.Struct, frozen=True, tag_field="did", tag="proposed"):
    """Somebody's wish. In all items `at_ms` is the store's own time."""

    at_ms: int
    version: str
    """`p<number of the item>-<digest of the text>`."""
    actor: str
    text: str
    """The whole policy, TOML."""
    starts_ms: int
    """When it begins to differ from the version before it; 0: it does not."""
    request: str
    """Digest of the request: its repeat is the same proposal."""


class Founding(msgspec.Struct, frozen=True):
    """The policy file before the first version: so that what was decided by it can be explained."""

    version: str
    text: str


class Confirmed(msgspec.Struct, frozen=True, tag_field="did", tag="confirmed"):
    """Somebody else's word: the rules, from `starts_ms` on."""

    at_ms: int
    version: str
    actor: str
    starts_ms: int
    founding: Founding | None = None
    """With the first version."""


class Withdrawn(msgspec.Struct, frozen=True, tag_field="did", tag="withdrawn"):
    """A proposal that is none any more."""

    at_ms: int
    version: str
    actor: str


Item = Proposed | Confirmed | Withdrawn
_DECODER: Final = msgspec.json.Decoder(Item)


class Version(msgspec.Struct, frozen=True):
    """A proposal, and what became of it."""

    proposed: Proposed
    settled: Confirmed | Withdrawn | None = None

    @property
    def state(self) -> State:
        """In a word."""
        if self.settled is None:
            return "proposed"
        return "confirmed" if isinstance(self.settled, Confirmed) else "withdrawn"


class Book:
    """All items so far, folded."""

    def __init__(self) -> None:
        self.items = 0
        self.versions: dict[str, Version] = {}
        """By name, oldest first."""
        self.founding: Founding | None = None
        self.latest: Policy | None = None
        """The version confirmed last; None: the policy file holds."""

    def add(self, raw: bytes) -> None:
        """One item more; ValueError where it cannot be read, as one of a newer release: it is not added."""
        item = _DECODER.decode(raw)
        if isinstance(item, Proposed):
            self.versions[item.version] = Version(item)
        elif item.version not in self.versions:
            raise ValueError(f"{item.version}: {item.__struct_config__.tag}, but never proposed")
        else:
            proposed = self.versions[item.version].proposed
            if isinstance(item, Confirmed):
                self.latest = read(proposed.version, proposed.text)
                self.founding = self.founding or item.founding
            self.versions[item.version] = Version(proposed, item)
        self.items += 1

    def confirmed(self) -> dict[str, Policy]:
        """Every version that ever held, the file before them included, by the name that the trail uses."""
        texts = {} if self.founding is None else {self.founding.version: self.founding.text}
        for name, version in self.versions.items():
            if version.state == "confirmed":
                texts[name] = version.proposed.text
        return {name: read(name, text) for name, text in texts.items()}


def read(version: str, text: str) -> Policy:
    """The policy of a version; PolicyError where the text is none."""
    return policy_files.parse(text.encode(), Path(version.rpartition("-")[0] + ".toml"))


def proposal(number: int, text: str) -> Policy:
    """The policy that the item of this number, from 1, is to propose, under its new name; PolicyError as `read`."""
    return policy_files.parse(text.encode(), Path(f"p{number}.toml"))
