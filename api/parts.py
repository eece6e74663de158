"""What the doors are made of: built once, by the role or by a test, and handed to each door module."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from api.wires import Wires
from lua.calls import Command
from lua.keys import PartitionKeys
from permits.partition import Route
from permits.policy import Policy
from permits.replies import Script
from permits.versions import Founding
from runtime.employment import Employment
from runtime.epochs import Epochs
from runtime.keyring import Keyring
from runtime.policies import Policies


class Parts(msgspec.Struct, frozen=True):
    """Everything that answers rest on."""

    wires: Wires
    partitions: Sequence[PartitionKeys]
    route: Route
    policies: Policies
    founding: Founding
    keyring: Keyring
    epochs: Epochs
    employment: Employment
    script: Script
    now_ms: Callable[[], int]


def assembled(
    wires: Wires,
    *,
    partitions: Sequence[PartitionKeys],
    route: Route,
    policy: Policy,
    founding: Founding,
    keyring: Keyring,
    script: Script,
    now_ms: Callable[[], int],
) -> Parts:
    """The parts on one connection; nothing is sent yet."""

    async def send(commands: Sequence[Command]) -> list[Any]:
        if commands[0][0] == "FCALL":  # what changes something is never sent twice
            return await wires.write(*commands)
        return await wires.read(*commands)

    async def ask(*command: Any) -> Any:
        return (await wires.read(command))[0]

    epochs = Epochs(ask)
    policies = Policies(ask, key=partitions[0].policies, file=policy)
    employment = Employment(send, route=route, partitions=partitions, keyring=keyring, epochs=epochs.known)
    return Parts(wires, partitions, route, policies, founding, keyring, epochs, employment, script, now_ms)
