"""Who posts: aggregators and their Standard Webhooks signatures.

Reads the aggregators' TOML file: `[[aggregator]] name = "…" secrets = ["whsec_…", "whsec_…"]`, two active secrets
at most, so that one can be rotated without a stop; `channel = "app"` where its SMS come from an app; `retries = false`
where it never pushes again what it got a 503 for. Without a file, posts from loopback are taken as `dev`.
"""

import binascii
import hashlib
import hmac
import ipaddress
from pathlib import Path
from typing import Annotated, Final

import msgspec

from permits.messages import Channel
from runtime.errors import StartupError

TOLERANCE_S: Final = 300
"""Standard Webhooks: a signed time further off than five minutes is refused."""
MAX_WEBHOOK_ID: Final = 120
DEVELOPMENT: Final = "dev"


class SignatureError(ValueError):
    """The request is not signed as it must be; the message says how, and holds no secret."""


class _Aggregator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,32}$")]
    secrets: Annotated[list[str], msgspec.Meta(min_length=1, max_length=2)]
    channel: Channel = "sms"
    """By which way its SMS come; rules may hold the approvals of one longer than those of another."""
    retries: bool = True
    """Whether it pushes again what was not taken; what comes from one that does not goes into the spool instead."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    aggregator: Annotated[list[_Aggregator], msgspec.Meta(min_length=1)]


class Signatures:
    """The aggregators that may post."""

    def __init__(
        self,
        secrets: list[tuple[str, bytes]],
        channels: dict[str, Channel] | None = None,
        once: frozenset[str] = frozenset(),
    ) -> None:
        self._secrets = [(name, hmac.new(secret, digestmod=hashlib.sha256)) for name, secret in secrets]
        """Keyed once: a copy costs less than half of a new one."""
        self.channels: dict[str, Channel] = channels or {}
        """Of the sources that are not `sms`."""
        self.once = once
        """The sources that never push again."""

    def source(
        self,
        *,
        remote: str | None,
        webhook_id: str | None,
        timestamp: str | None,
        signature: str | None,
        body: bytes,
        now_s: float,
    ) -> str:
        """The aggregator that signed the request; SignatureError where none did."""
        if not self._secrets:
            if remote is not None and ipaddress.ip_address(remote).is_loopback:
                return DEVELOPMENT
            raise SignatureError("no aggregator is configured: unsigned posts are taken from loopback only")
        if not webhook_id or not timestamp or not signature:
            raise SignatureError("webhook-id, webhook-timestamp and webhook-signature are needed")
        if len(webhook_id) > MAX_WEBHOOK_ID or not webhook_id.isascii():
            raise SignatureError(f"webhook-id: 1 to {MAX_WEBHOOK_ID} ASCII characters")
        if not timestamp.isascii() or not timestamp.isdigit() or abs(now_s - int(timestamp[:15])) > TOLERANCE_S:
            raise SignatureError("webhook-timestamp: not within five minutes of now")
        given = [_decoded(part[3:]) for part in signature.split()[:8] if part.startswith("v1,")]
        signed = b"%b.%b.%b" % (webhook_id.encode(), timestamp.encode(), body)
        for name, keyed in self._secrets:
            mac = keyed.copy()
            mac.update(signed)
            expected = mac.digest()
            if any(hmac.compare_digest(expected, one) for one in given):
                return name
        raise SignatureError("webhook-signature: no signature agrees")


def load(path: str) -> Signatures:
    """Signatures of the configured aggregators; StartupError where the file cannot be used."""
    if not path:
        return Signatures([])
    try:
        file = msgspec.toml.decode(Path(path).read_bytes(), type=_File)
    except OSError as error:
        raise StartupError(f"aggregators {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StartupError(f"aggregators {path}: {error}") from None
    secrets: list[tuple[str, bytes]] = []
    for aggregator in file.aggregator:
        for text in aggregator.secrets:
            secret = _decoded(text.removeprefix("whsec_"))
            if len(secret) < 24:
                raise StartupError(
                    f"aggregators {path}: {aggregator.name}: a secret is whsec_ and base64 of 24 bytes or more"
                )
            secrets.append((aggregator.name, secret))
    return Signatures(
        secrets,
        {a.name: a.channel for a in file.aggregator if a.channel != "sms"},
        frozenset(a.name for a in file.aggregator if not a.retries),
    )


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return b""
