"""The job of every peer: one message, one call of the naive script. Runs in the peers' own environment."""

import hashlib
import os
from pathlib import Path

URL = os.environ.get("PEER_URL", "")
SHA = hashlib.sha1((Path(__file__).parents[1] / "naive.lua").read_bytes()).hexdigest()  # noqa: S324  # its name in the store


def arguments(sms: dict) -> tuple:
    """What follows the script's name in EVALSHA."""
    document, purpose = sms["document"], sms["purpose"]
    keys = ("seen:" + sms["id"], "quota:" + document, "permit:" + document, "replies")
    return 4, *keys, sms["id"], sms["from"], purpose, 1 if purpose == 2 else 0, sms["id"][-10:]
