"""What the dispatcher reads of a reply before it sends it."""

from typing import Any, cast

import pytest

from dispatch.outgoing import from_entry, moment_s
from dispatch.reply_lane import ReplyLane
from permits.messages import ENCODER, Reply, Verdict
from tests.integration.dispatching import reply

LANE = cast("ReplyLane", None)
"""Only kept, never asked."""


def notice(verdict: Verdict, **fields: Any) -> bytes:
    """An officer's notice, as the api puts it on the reply stream."""
    return ENCODER.encode(
        Reply(
            id="00th-n2-23456789AB",
            to="+994501234567",
            in_reply_to=None,
            lang="az",
            purpose=None,
            document_tail=None,
            verdict=verdict,
            reason=None,
            permit="23456789AB",
            valid_from=None,
            valid_until=None,
            expires_at="2026-01-02T08:00:00.000Z",
            text="...",
            **fields,
        )
    )


@pytest.mark.parametrize("verdict", ["cancelled", "extended"])
@pytest.mark.parametrize("fields", [{}, {"trace": f"00-{'a' * 32}-{'b' * 16}-01"}])
def test_an_officers_notice_is_a_reply_like_any_other(verdict: Verdict, fields: dict[str, str]) -> None:
    body = notice(verdict, **fields)
    outgoing = from_entry(LANE, b"1-0", [b"m", body], ambiguous=True)
    assert (outgoing.flaw, outgoing.verdict, outgoing.expires_s) == ("", verdict, moment_s("2026-01-02T08:00:00Z"))
    assert (outgoing.id, outgoing.ambiguous, outgoing.body) == ("00th-n2-23456789AB", True, body)


def test_a_reply_that_carries_a_trace_is_read() -> None:
    body = reply("r-1", trace=f"00-{'a' * 32}-{'b' * 16}-01")
    assert from_entry(LANE, b"1-0", [b"m", body], ambiguous=False).flaw == ""


@pytest.mark.parametrize("wrong", [{"verdict": "perhaps"}, {"in_reply_to": 7}, {"trace": None}])
def test_what_is_no_reply_of_ours_is_said_to_be_unreadable(wrong: dict[str, Any]) -> None:
    assert from_entry(LANE, b"1-0", [b"m", reply("r-1", **wrong)], ambiguous=False).flaw == "unreadable: not a reply"
