"""Services of others: where personal data may go, and how long they want to be left alone."""

import time
from email.utils import formatdate

import pytest

from runtime.outside import is_trustworthy, wished_pause_s


@pytest.mark.parametrize(
    "url",
    ["https://registry.example", "https://10.0.0.1/x", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost"],
)
def test_what_is_safe_on_its_way(url: str) -> None:
    assert is_trustworthy(url)


@pytest.mark.parametrize(
    "url",
    ["", "http://registry.example", "http://10.0.0.1", "http://localhost.example", "https://", "ftp://localhost",
     "http://127.0.0.1.example", "http://[::1", "registry.example", "http://127.0.0.1@example.org"],
)  # fmt: skip
def test_what_is_not(url: str) -> None:
    assert not is_trustworthy(url)


@pytest.mark.parametrize(
    ("retry_after", "pause_s"),
    [
        ("7", 7), ("0", 0), (None, None), ("soon", None), ("-3", None), ("nan", None), ("86400", 30), ("9" * 400, 30),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)  # fmt: skip
def test_a_wish_is_read_where_it_can_be(retry_after: str | None, pause_s: float | None) -> None:
    assert wished_pause_s(retry_after, longest_s=30) == pause_s


def test_a_wish_may_be_a_date() -> None:
    pause_s = wished_pause_s(formatdate(time.time() + 20, usegmt=True), longest_s=30)
    assert pause_s is not None
    assert 17 < pause_s <= 20
