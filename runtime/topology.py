"""The one entry to the store: a client and a wire for whatever its URL names, so that no role need know."""

from runtime.address import store_address
from runtime.cluster import ClusterClient, ClusterWire
from runtime.connection import Client, Wire, connect
from runtime.sentinel import MasterClient, MasterWire


def client_to(url: str) -> Client:
    """A client that never retries by itself; nothing is sent before the first command."""
    address = store_address(url)
    if address.kind == "cluster":
        return ClusterClient(address)
    return MasterClient(address) if address.kind == "sentinel" else connect(url)


def wire_to(url: str) -> Wire:
    """A pipeline of its own; nothing is sent before the first call."""
    address = store_address(url)
    if address.kind == "cluster":
        return ClusterWire(address)
    return MasterWire(address) if address.kind == "sentinel" else Wire(url)
