"""Sampled stacks, drawn: every function as wide as its share, and the list of those that took most."""

import re
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import drain, flames, plots, stacks

STACKS = {"main (a.py);read (b.py)": 30, "main (a.py);decide (b.py);pack (c.py)": 60, "main (a.py)": 10}
EVIL = '<script>"&"</script>'


def drawing(stacks: Mapping[str, int]) -> str:
    return plots.drawn({"title": "worker", "kind": "stacks", "stacks": stacks})


def lists(html: str) -> list[list[tuple[str, str]]]:
    """The rows of each list."""
    tables = re.findall(r"<table>.*?</table>", html)
    return [re.findall(r'<tr><td>(.*?)</td><td class="n">(.*?)</td>', table) for table in tables]


def test_a_function_is_as_wide_as_its_share_and_stands_on_who_called_it() -> None:
    graph = re.findall(r"<svg.*?</svg>", drawing(STACKS))[0]
    ElementTree.fromstring(graph)  # noqa: S314  # our own, well-formed or not
    blocks = {
        name: (float(x), float(y), float(width))
        for name, x, y, width in re.findall(
            r'<title>(\w+) [^<]*</title><rect class="c\d" x="([\d.]+)" y="(\d+)" width="([\d.]+)"', graph
        )
    }
    assert set(blocks) == {"main", "read", "decide", "pack"}
    assert blocks["main"] == (0, 0, flames.WIDTH - 0.5)
    assert blocks["decide"] == (0, flames.ROW, flames.WIDTH * 0.6 - 0.5)
    assert blocks["pack"][:2] == (0, 2 * flames.ROW)
    assert blocks["read"] == (flames.WIDTH * 0.6, flames.ROW, flames.WIDTH * 0.3 - 0.5)


def test_the_lists_tell_own_time_and_all_below() -> None:
    own, below = lists(drawing(STACKS))
    assert own == [("pack (c.py)", "60.0%"), ("read (b.py)", "30.0%"), ("main (a.py)", "10.0%")]
    assert below[0] == ("main (a.py)", "100.0%")
    assert ("decide (b.py)", "60.0%") in below


def test_what_nearly_all_stacks_begin_with_is_left_out_but_never_a_whole_stack() -> None:
    _, below = lists(drawing({"main;run;read;x": 49, "main;run;decide": 48, "thread;wait": 3}))
    assert {name for name, _ in below} == {"read", "x", "decide", "thread", "wait"}
    assert lists(drawing({"main;run": 3}))[0] == [("run", "100.0%")]


def test_a_function_that_calls_itself_is_counted_once() -> None:
    _, below = lists(drawing({"walk (a.py);walk (a.py);walk (a.py)": 4, "other (a.py);leaf (a.py)": 4}))
    assert ("walk (a.py)", "50.0%") in below


def test_functions_alone_are_one_list_without_a_graph() -> None:
    html = drawing({"malloc (libc.so.6)": 3, "call (valkey-server)": 1})
    assert "<svg" not in html
    assert lists(html) == [[("malloc (libc.so.6)", "75.0%"), ("call (valkey-server)", "25.0%")]]


def test_names_are_no_markup_and_what_is_too_small_to_see_is_left_out() -> None:
    html = drawing({f"{EVIL};b": 100_000, "speck;dust": 1})
    assert "<script" not in html
    graph = re.findall(r"<svg.*?</svg>", html)[0]
    ElementTree.fromstring(graph)  # noqa: S314  # our own
    assert "speck" not in graph
    assert "speck" in html


def test_bars_that_a_measurement_describes_are_drawn() -> None:
    html = plots.drawn({"title": "commands", "kind": "bars", "y": "µs", "bars": {"fcall": 6.5, "xrange": 0.4}})
    assert "<figcaption>commands, µs</figcaption>" in html
    assert html.count("<rect") == 2


def test_samplers_are_read_line_by_line() -> None:
    idle = "Thread._bootstrap (threading.py:1);_worker (concurrent/futures/thread.py:69) 7\n"
    assert stacks.stacks("main (a.py);read (b b.py) 3\nmain (a.py) 1\nmain (a.py);read (b b.py) 2\n" + idle) == {
        "main (a.py);read (b b.py)": 5,
        "main (a.py)": 1,
    }
    said = "     97c2a _int_malloc (/usr/lib/libc.so.6)\n\n  22eb1f [unknown] (/opt/bin/valkey-server)\n"
    assert stacks.functions(said * 2) == {"_int_malloc (libc.so.6)": 2, "[unknown] (valkey-server)": 2}


def test_a_profile_without_py_spy_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(SystemExit, match="py-spy is not installed"):
        drain.measure(Namespace(profile=True))
