"""Every setting, once: read from an optional TOML file (ICAZE_CONFIG) and from ICAZE_* variables over it.

Secrets stand in files that settings name, never in flags.
"""

import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from runtime.address import store_address, with_files
from runtime.errors import StartupError

Port = Annotated[int, Meta(ge=0, le=65535)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a process."""

    redis_url: Annotated[
        str,
        Meta(
            pattern=r"^$|^(unix|rediss?(\+(sentinel|cluster))?)://",
            description="the store, redis:// or unix://, redis+sentinel://host:port,…/service or "
            "redis+cluster://host:port,…; rediss: over TLS; empty: the embedded one of `up`",
        ),
    ] = ""
    redis_ca_file: Annotated[
        str, Meta(description="certificates (PEM) that the store's is verified against; empty: the system's")
    ] = ""
    redis_cert_file: Annotated[str, Meta(description="our own certificate, where the store wants one")] = ""
    redis_key_file: Annotated[str, Meta(description="its private key")] = ""
    data_dir: Annotated[str, Meta(description="where `up` keeps its data and keys")] = ".icaze"
    durability: Annotated[
        Literal["memory", "fsync", "replicated"],
        Meta(description="what an acknowledgement means: in memory, on disk, or on disk and at the replicas"),
    ] = "fsync"
    replicas: Annotated[
        int, Meta(ge=1, le=16, description="replicas that must have what is acknowledged, at level `replicated`")
    ] = 1
    partitions: Annotated[int, Meta(ge=1, le=1024, description="partitions of the store, fixed at its first start")] = (
        64
    )
    routing_key_file: Annotated[
        str, Meta(description="key of the document hash; empty: keys/routing.key in the data folder")
    ] = ""
    policy_file: Annotated[
        str, Meta(description="the rules until a version is stored; empty: the founding document's")
    ] = ""
    script: Annotated[
        Literal["plain", "native"], Meta(description="reply texts in GSM-7 letters, or in native ones (UCS-2)")
    ] = "plain"
    host: Annotated[str, Meta(description="address that every door listens on")] = "127.0.0.1"
    ingest_port: Annotated[Port, Meta(description="door of ingest; 0: any free one")] = 8103
    api_port: Annotated[Port, Meta(description="door of the api")] = 8104
    process_port: Annotated[Port, Meta(description="metrics of a worker")] = 8105
    dispatch_port: Annotated[Port, Meta(description="metrics of a dispatcher")] = 8106
    aggregators_file: Annotated[
        str, Meta(description="TOML of aggregators and their secrets; empty: unsigned posts from loopback only")
    ] = ""
    max_body_bytes: Annotated[int, Meta(ge=1024, description="largest request body of ingest")] = 1 << 20
    backlog_limit: Annotated[int, Meta(ge=1, description="undecided SMS above which ingest answers 503")] = 2_000_000
    memory_limit: Annotated[
        float, Meta(gt=0, le=1, description="share of the store's maxmemory above which ingest answers 503")
    ] = 0.8
    spool_dir: Annotated[
        str,
        Meta(description="where ingest keeps what it takes while the store is away; empty: spool in the data folder"),
    ] = ""
    spool_mb: Annotated[int, Meta(ge=0, description="largest spool of one ingest process, MiB; 0: none")] = 1024
    store_memory_mb: Annotated[int, Meta(ge=64, description="maxmemory of the embedded store")] = 4096
    batch: Annotated[int, Meta(ge=1, le=512, description="SMS decided in one call")] = 512
    lease_ms: Annotated[int, Meta(ge=2000, description="how long a silent process keeps its partitions")] = 5000
    operator: Annotated[Literal["console", "http"], Meta(description="where replies go")] = "console"
    operator_url: Annotated[str, Meta(description="the http operator's address")] = ""
    operator_rate: Annotated[float, Meta(gt=0, description="replies a second the operator takes at most")] = 100_000.0
    operator_window: Annotated[int, Meta(ge=1, le=256, description="requests in flight to the operator")] = 8
    operator_timeout_s: Annotated[float, Meta(gt=0, description="patience with one request to the operator")] = 10.0
    archive_dir: Annotated[
        str, Meta(description="where a worker keeps its segments of the trails; empty: archive in the data folder")
    ] = ""
    drain_s: Annotated[float, Meta(ge=0, description="patience of a stop with work under way")] = 10.0
    dev_issuer: Annotated[
        bool, Meta(description="accept tokens of `icaze token`, signed with the data folder's own key")
    ] = False
    oidc_issuer: Annotated[
        str,
        Meta(
            pattern=r"^$|^https?://",
            description="OpenID Connect issuer whose tokens count; empty: none",
        ),
    ] = ""
    oidc_audience: Annotated[str, Meta(min_length=1, description="audience that a token must name")] = "icaze"
    oidc_algorithms: Annotated[str, Meta(description="signature algorithms that count, by commas")] = (
        "RS256,PS256,ES256,Ed25519,EdDSA"
    )
    oidc_leeway_s: Annotated[int, Meta(ge=0, le=300, description="how far the issuer's clock may differ")] = 30
    oidc_acr_imza: Annotated[str, Meta(description="acr of a log-in with ASAN İmza")] = "urn:asan:imza"
    oidc_acr_esign: Annotated[str, Meta(description="acr of a log-in with an e-signature card")] = "urn:asan:esign"
    services_file: Annotated[
        str, Meta(description="TOML of services (mygov, police, staff), their public keys and scopes; empty: none")
    ] = ""
    keyring_file: Annotated[
        str, Meta(description="keys that seal personal data; empty: keys/personal.toml in the data folder")
    ] = ""
    registry: Annotated[
        Literal["format", "http"], Meta(description="who confirms employees: format rules alone, or a registry")
    ] = "format"
    registry_url: Annotated[str, Meta(description="the http registry's address")] = ""
    ministry: Annotated[
        Literal["off", "http"],
        Meta(description="where organisations' permits are transmitted; off: nowhere, and they count at once"),
    ] = "off"
    ministry_url: Annotated[str, Meta(description="the Ministry's address")] = ""
    ministry_secret_file: Annotated[str, Meta(description="secret that signs the Ministry's feed, whsec_…")] = ""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="least severe log line")] = (
        "info"
    )

    @property
    def awaited(self) -> int:
        """Replicas that are waited for: 0 below level `replicated`."""
        return self.replicas if self.durability == "replicated" else 0

    @property
    def promise(self) -> dict[str, str | int]:
        """The level as `/readyz` and the metrics name it."""
        return {"durability": self.durability, "replicas": self.awaited}

    @property
    def data(self) -> Path:
        """The data folder."""
        return Path(self.data_dir)

    @property
    def archive(self) -> Path:
        """The folder of this process's segments."""
        return Path(self.archive_dir) if self.archive_dir else self.data / "archive"

    @property
    def spool(self) -> Path:
        """The folder of the spools of this machine's ingest processes."""
        return Path(self.spool_dir) if self.spool_dir else self.data / "spool"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of this process; StartupError names what does not fit and where it stands."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    config = environ.get("ICAZE_CONFIG")
    if config:
        try:
            values = msgspec.toml.decode(Path(config).read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StartupError(f"ICAZE_CONFIG={config}: {error}") from None
    for name in Settings.__struct_fields__:
        text = environ.get(f"ICAZE_{name.upper()}")
        if text is not None:
            values[name] = text
    try:
        found = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise StartupError(f"settings: {error}") from None
    return msgspec.structs.replace(found, redis_url=_store_url(found)) if found.redis_url else found


def _store_url(found: Settings) -> str:
    """The store's URL, checked, with the files of TLS in it."""
    scheme = store_address(found.redis_url).scheme
    files = {"ca": found.redis_ca_file, "cert": found.redis_cert_file, "key": found.redis_key_file}
    for name, path in files.items():
        try:
            if path:
                Path(path).read_bytes()
        except OSError as error:
            raise StartupError(f"ICAZE_REDIS_{name.upper()}_FILE={path}: {error.strerror}") from None
    if bool(files["cert"]) != bool(files["key"]):
        raise StartupError("ICAZE_REDIS_CERT_FILE and ICAZE_REDIS_KEY_FILE go together")
    if any(files.values()) and scheme != "rediss":
        raise StartupError("ICAZE_REDIS_CA_FILE and its like are for a store spoken to over TLS: rediss://")
    words = {"ssl_ca_certs": files["ca"], "ssl_certfile": files["cert"], "ssl_keyfile": files["key"]}
    return with_files(found.redis_url, words)


def described() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, for --help and the docs."""
    hints = get_type_hints(Settings, include_extras=True)
    rows: list[tuple[str, str, str]] = []
    for field in msgspec.structs.fields(Settings):
        meta = [m for m in _metas(hints[field.name]) if m.description]
        default = str(field.default)
        rows.append((f"ICAZE_{field.name.upper()}", default, meta[-1].description or ""))
    return rows


def _metas(hint: Any) -> list[Meta]:
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        return [*_metas(inner), *(e for e in extras if isinstance(e, Meta))]
    if get_origin(hint) in (types.UnionType, Literal):
        return []
    return []
