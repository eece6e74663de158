"""Entries of day records as tests think of them: what `decide` puts together from a message and its outcome."""

import struct
from typing import Final

static_struct: Final = struct.Struct(">4s6sII2sB").pack
"""(owner's tag, digest, arrival s, timing, sender's first bytes, purpose) → an entry without its letter."""
