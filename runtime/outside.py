"""Services of others, spoken to over HTTP: which addresses are fit for personal data, and how long they want peace."""

import ipaddress
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit


def is_trustworthy(url: str) -> bool:
    """Whether what goes to an address, and what comes from it, is safe on its way: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "http":
            return parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)


def wished_pause_s(retry_after: str | None, *, longest_s: float) -> float | None:
    """Seconds of a Retry-After, a number or an HTTP date (RFC 9110, 10.2.3); None where there is none to read."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after) if retry_after.isdecimal() else _seconds_until(retry_after)
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), longest_s)


def _seconds_until(http_date: str) -> float:
    moment = parsedate_to_datetime(http_date)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() - time.time()
