"""The bytes that are left are all of them: what a worker writes late is waited for."""

from contextlib import nullcontext
from pathlib import Path
from unittest.mock import MagicMock, Mock

import pytest

from bench import memory
from bench.backlog import Backlog
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


def test_the_worker_is_given_time_to_write_them_before_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    order = MagicMock()
    order.opened.return_value = nullcontext(Mock(used=0, bytes_of=Mock(return_value=160)))
    order.role.return_value.__exit__.return_value = False
    order.watch.return_value = Mock(generator_us=1.0, seconds=1.0)
    for name in ("opened", "role", "watch", "phones_shared", "dispatched"):
        monkeypatch.setattr(memory, name, getattr(order, name))
    memory.left_behind(Mock(spec=Backlog, messages=10, partitions=[]), tmp_path)
    steps = ["watch", "phones_shared", "role().__exit__", "dispatched"]
    assert [name for name, *_ in order.mock_calls if name in steps] == steps
