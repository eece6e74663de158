"""What a store was made for: partitions, tags, route version and routing key, fixed at its first start."""

import os
import secrets
from pathlib import Path

import msgspec

from lua import keys
from lua.records import RECORDS_VERSION
from lua.store import Store
from permits.partition import ROUTE_VERSION, Route
from runtime.errors import StartupError
from runtime.settings import Settings


class Layout(msgspec.Struct, frozen=True):
    """As stored under the key `layout`."""

    partitions: int
    tags: tuple[str, ...]
    route: int
    routing_key: str
    """Fingerprint of the key, which itself stays outside the store."""
    records: int = 1
    """Layout of the day records."""


def routing_key_path(settings: Settings) -> Path:
    """Where the routing key lies."""
    return Path(settings.routing_key_file) if settings.routing_key_file else settings.data / "keys" / "routing.key"


def route(settings: Settings) -> Route:
    """The route of this deployment; StartupError where its key cannot be read."""
    path = routing_key_path(settings)
    try:
        return Route(key=path.read_bytes(), partitions=settings.partitions)
    except OSError as error:
        raise StartupError(
            f"routing key {path}: {error.strerror}; `icaze up` makes one, or set ICAZE_ROUTING_KEY_FILE"
        ) from None
    except ValueError as error:
        raise StartupError(f"routing key {path}: {error}") from None


def make_secret(path: Path) -> None:
    """Write 32 random bytes, readable by the owner only, where no file stands yet."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())


async def settle(store: Store, route: Route) -> list[keys.PartitionKeys]:
    """The keys of every partition; StartupError where the store was made for another layout."""
    tags = keys.tags(route.partitions)
    ours = Layout(
        partitions=route.partitions,
        tags=tags,
        route=ROUTE_VERSION,
        routing_key=route.fingerprint,
        records=RECORDS_VERSION,
    )
    raw: bytes | None = await store.execute_command("GET", keys.LAYOUT)
    if raw is None:  # a full store refuses a SET, and must not keep a role from starting
        await store.execute_command("SET", keys.LAYOUT, msgspec.json.encode(ours), "NX")
        raw = await store.execute_command("GET", keys.LAYOUT)
    try:
        stored = msgspec.json.decode(raw or b"", type=Layout)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StartupError(f"the store's key {keys.LAYOUT!r} is none of ours: {error}") from None
    if stored.partitions != ours.partitions:
        raise StartupError(
            f"the store has {stored.partitions} partitions, the settings say {ours.partitions}: "
            f"set ICAZE_PARTITIONS={stored.partitions} (the count is fixed at a store's first start)"
        )
    if stored.routing_key != ours.routing_key:
        raise StartupError(
            "the routing key is not the one this store was made with: point ICAZE_ROUTING_KEY_FILE at the right one"
        )
    if stored != ours:
        raise StartupError("the store was made by a release with other routes or records; this one cannot share it")
    return [keys.partition_keys(tag) for tag in tags]
