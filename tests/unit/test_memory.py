"""The bytes that are left are all of them: what a worker writes late is waited for."""

from unittest.mock import Mock

import pytest

from bench import memory
from bench.store import Store


def test_phones_are_counted_once_no_more_of_them_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SHARED_S", 0)
    grown = Mock(spec=Store)
    grown.bytes_of.side_effect = [0, 80, 160, 160]
    memory.phones_shared(grown)
    assert [call.args for call in grown.bytes_of.call_args_list] == [("phone:*",)] * 4


def test_one_look_at_the_phones_is_not_enough_where_none_stand_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SHARED_S", 0)
    none = Mock(spec=Store)
    none.bytes_of.return_value = 0
    memory.phones_shared(none)
    assert none.bytes_of.call_count == 2
