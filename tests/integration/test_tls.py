"""TLS to the store, over Debian's redis-server (the wheel's server has none): one server, a Cluster, sentinels."""

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from api.topology import wires_to
from bench.cluster import free_port, until
from permits.partition import Route
from runtime import settings
from runtime.errors import StartupError
from runtime.fitness import settled
from runtime.topology import client_to, wire_to

SERVER: Final = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(SERVER is None and "CI" not in os.environ, reason="no redis-server on PATH")


class Authority:
    """Who signs certificates, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of this test")])
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._signed(self._name, self._key.public_key(), None))

    def issue(self, name: str, *, address: str | None) -> tuple[Path, Path]:
        """(certificate, key) for an address."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, secret = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(self._signed(subject, key.public_key(), address))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, secret

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, address: str | None) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=subject == self._name, path_length=None), critical=True)
        )
        if address is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class TlsHouse:
    """Servers that speak TLS alone, and who vouches for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority = Authority(folder / "ca")
        self.client_pair = self.authority.issue("client", address=None)
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(self, *more: str, address: str = "127.0.0.1", first: str = "", wants_client: bool = False) -> int:
        """Start a server whose certificate is for an address; its port."""
        assert SERVER is not None, "redis-server is missing"
        port = free_port()
        certificate, secret = self.authority.issue(f"server-{port}", address=address)
        options = {
            "port": "0",
            "tls-port": str(port),
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "save": "",
            "tls-cert-file": str(certificate),
            "tls-key-file": str(secret),
            "tls-ca-cert-file": str(self.authority.file),
            "tls-auth-clients": "yes" if wants_client else "no",
            "logfile": str(self._folder / f"{port}.log"),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._processes.append(subprocess.Popen([SERVER, *([first] if first else []), *words, *more]))
        until(lambda: bool(self._asked(port, "PING")), f"the server on port {port}")
        return port

    def freeze(self) -> None:
        """No server says another word."""
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)

    def ask(self, port: int, *command: str) -> Any:
        """The reply of one server."""
        reply = self._asked(port, *command)
        assert reply is not None
        return reply

    def _asked(self, port: int, *command: str) -> Any:
        certificate, secret = map(str, self.client_pair)
        client: Any = redis.Redis(
            port=port, ssl=True, ssl_cert_reqs="none", ssl_certfile=certificate, ssl_keyfile=secret, protocol=2
        )
        try:
            return client.execute_command(*command)
        except redis.ConnectionError:
            return None
        finally:
            client.close()

    def loaded(self, url: str, **more: str) -> settings.Settings:
        """Settings with this authority, unless `more` say otherwise."""
        given = {"ICAZE_REDIS_URL": url, "ICAZE_REDIS_CA_FILE": str(self.authority.file), "ICAZE_DURABILITY": "memory"}
        return settings.load({**given, **more})

    def close(self) -> None:
        """End all servers."""
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[TlsHouse]:
    """An authority; the servers are the test's to start."""
    house = TlsHouse(tmp_path)
    try:
        yield house
    finally:
        house.close()


async def served(url: str) -> None:
    """A client, a wire and the api's wires all reach the store."""
    client, wire, wires = client_to(url), wire_to(url), wires_to(url)
    try:
        await client.execute_command("SET", "epochs_fed", 7)
        assert await wire.call(["GET", "epochs_fed"]) == [b"7"]
        assert await wires.read(["GET", "epochs_fed"]) == [b"7"]
    finally:
        await client.aclose()
        await wire.close()
        await wires.close()


async def refusal(current: settings.Settings) -> str:
    """Why a role does not start on a store."""
    client = client_to(current.redis_url)
    try:
        with pytest.raises(StartupError) as caught:
            await settled(client, current, Route(key=bytes(32), partitions=1), current.redis_url)
    finally:
        await client.aclose()
    return str(caught.value)


async def test_one_server_is_spoken_to_over_tls(tls: TlsHouse) -> None:
    port = tls.run()
    await served(tls.loaded(f"rediss://127.0.0.1:{port}/0").redis_url)


async def test_a_wire_leaves_a_frozen_server_at_once(tls: TlsHouse) -> None:
    wire = wire_to(tls.loaded(f"rediss://127.0.0.1:{tls.run()}/0").redis_url)
    before = len(os.listdir("/dev/fd"))
    await wire.call(["PING"])
    assert len(os.listdir("/dev/fd")) == before + 1
    tls.freeze()
    await wire.close()
    await asyncio.sleep(0)
    assert len(os.listdir("/dev/fd")) == before


async def test_a_server_that_wants_a_certificate_gets_ours(tls: TlsHouse) -> None:
    url = f"rediss://127.0.0.1:{tls.run(wants_client=True)}/0"
    certificate, secret = map(str, tls.client_pair)
    files = {"ICAZE_REDIS_CERT_FILE": certificate, "ICAZE_REDIS_KEY_FILE": secret}
    await served(tls.loaded(url, **files).redis_url)
    assert "store rediss://" in await refusal(tls.loaded(url))


async def test_a_cluster_is_spoken_to_over_tls(tls: TlsHouse) -> None:
    more = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", str(free_port())]
    port = tls.run(*more)
    tls.ask(port, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    until(lambda: tls.ask(port, "CLUSTER INFO")["cluster_state"] == "ok", "the Cluster")
    await served(tls.loaded(f"rediss+cluster://127.0.0.1:{port}").redis_url)


async def test_a_master_is_found_through_sentinels_over_tls(tls: TlsHouse, tmp_path: Path) -> None:
    master = tls.run()
    (tmp_path / "sentinel.conf").write_text(f"sentinel monitor icaze 127.0.0.1 {master} 1\n")
    more = ["--sentinel", "--tls-replication", "yes"]
    port = tls.run(*more, first=str(tmp_path / "sentinel.conf"))
    await served(tls.loaded(f"rediss+sentinel://127.0.0.1:{port}/icaze").redis_url)


async def test_a_certificate_that_nobody_we_know_has_signed_is_refused(tls: TlsHouse, tmp_path: Path) -> None:
    port = tls.run()
    other = Authority(tmp_path / "other")
    said = await refusal(tls.loaded(f"rediss://127.0.0.1:{port}/0", ICAZE_REDIS_CA_FILE=str(other.file)))
    assert "certificate verify failed" in said
    assert "ICAZE_REDIS_CA_FILE" in said


async def test_a_certificate_for_another_host_is_refused(tls: TlsHouse) -> None:
    port = tls.run(address="10.1.2.3")
    said = await refusal(tls.loaded(f"rediss://127.0.0.1:{port}/0"))
    assert "certificate verify failed" in said
    assert "127.0.0.1" in said


async def test_wires_of_the_api_refuse_it_as_well(tls: TlsHouse, tmp_path: Path) -> None:
    other = str(Authority(tmp_path / "other").file)
    wires = wires_to(tls.loaded(f"rediss://127.0.0.1:{tls.run()}/0", ICAZE_REDIS_CA_FILE=other).redis_url)
    with pytest.raises(redis.ConnectionError, match=ssl.SSLCertVerificationError.__name__):
        await wires.read(["PING"])
    await wires.close()
