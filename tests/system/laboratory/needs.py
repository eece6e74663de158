"""What an experiment wants changed in the house: those that want the same can share one."""

from typing import Literal

import msgspec


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment wants changed in the house."""

    workers: int = 1
    dispatchers: int = 1
    rate: float = 200.0
    """SMS pushed a second."""
    memory_mb: int = 256
    sink: tuple[str, ...] = ()
    """How the operator behaves: arguments of `bench.sink`."""
    environ: tuple[tuple[str, str], ...] = ()
    level: Literal["memory", "fsync"] = "fsync"
    asks: bool = False
    """Whether police, officers and an organisation's clerk ask the api meanwhile, and a Ministry is told of it."""
    clock: bool = False
    """Whether the house runs by a clock that the experiment sets."""
    received_earlier_ms: int = 0
    """Each SMS says that its gateway received it up to so long before it is pushed; 0: it says nothing."""
    copies: int = 1
    """How many times each array is pushed at once."""
