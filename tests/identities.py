"""What makes an SMS the same SMS, of one that a test thinks of."""

from permits.identified import read_sms
from permits.messages import InboundSms
from permits.partition import Route


def identity(route: Route, sender: str, sms_id: str, text: str, *, source: str = "dev", by_text: bool = False) -> bytes:
    """Six bytes, as ingest makes them."""
    sms = InboundSms(id=sms_id, source=source, sender=sender, to="8103", text=text, arrived_ms=0, by_text=by_text)
    return read_sms(sms, route).digest
