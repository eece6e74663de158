"""The page of measurements: every table, every plot, and nothing of a text taken for markup."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import plots, report
from bench.measurement import Measurement, Target

EVIL = '<script>alert("&")</script>'
MADE = datetime(2026, 1, 1, 8, 0, tzinfo=UTC)


def planted() -> list[Measurement]:
    curve = [(0.0, 1.0), (0.5, 2.0), (0.99, 30.0), (1.0, 400.0)]
    plot = {"title": "waits", "kind": "percentiles", "x": "share", "y": "ms", "lines": {"ack": curve, EVIL: curve}}
    return [
        Measurement(
            measurement="peak",
            conditions={"cores": 2, "notes": ["a", EVIL]},
            figures={"sink_p99_ms": 150.0, "cpu_us_ingest": 12.5, "cpu_us_store": 3.0, "peak_mb_api": 64.0},
            targets={"sink_p99_ms": Target(1000, 200), "lag_s": Target(10, 2)},
            plots=[plot, {"title": "rate", "kind": "lines", "lines": {"pushed": [(0, 10), (1, 20)], "none": []}}],
        ),
        Measurement(
            measurement="ingest",
            conditions={"cpu": "x86_64"},
            figures={"single_per_s": 5000, "p99_ms": 4.0},
            references={"single_bare_per_s": 10_000},
            ratios={"single": 0.5, "array": 0.3},
            targets={"single": Target(0.45, 0.65), "array": Target(0.35, 0.6)},
        ),
        Measurement(measurement=EVIL),
    ]


def page() -> str:
    return report.page(planted(), title=f"what was {EVIL}", made=MADE)


def cells(html: str, name: str) -> list[str]:
    row = re.search(rf"<tr>(?:<td>\w+</td>)?(<td>{name}</td>.*?)</tr>", html)
    assert row
    return re.findall(r">([^<>]+)</(?:td|span)>", row[1])


def test_every_target_stands_beside_what_was_seen_and_the_verdict() -> None:
    html = page()
    assert cells(html, "sink_p99_ms") == ["sink_p99_ms", "≤ 1\u202f000", "≤ 200", "150", "● meets the aim"]
    assert cells(html, "single") == ["single", "≥ 0.45", "≥ 0.65", "0.5", "◐ meets the least"]
    assert cells(html, "array") == ["array", "≥ 0.35", "≥ 0.6", "0.3", "▲ falls short"]
    assert cells(html, "lag_s") == ["lag_s", "≤ 10", "≤ 2", "–", "○ not measured"]
    assert html.count("▲ falls short") == 2  # of all targets, and of its own measurement


def test_conditions_figures_references_and_ratios_of_every_measurement_are_told() -> None:
    html = page()
    for told in ("<dt>cores</dt><dd>2</dd>", "<dt>cpu</dt><dd>x86_64</dd>", "no conditions are told"):
        assert told in html
    for one in planted():
        for name in one.figures | one.references | one.ratios:
            assert f"<td>{name}</td>" in html
    assert html.count("<section>") == 4


def test_plots_and_bars_are_drawn_from_what_there_is() -> None:
    titles = re.findall(r"<figcaption>(.*?)</figcaption>", page())
    assert titles == [
        "waits",
        "rate",
        "Processor time a message, by role, µs",
        "Peak memory, by role, MB",
        "Share of the reference",
        "A second, ours and others",
        "Latency, ms",
    ]


def test_no_text_is_taken_for_markup_and_the_page_needs_no_other_host() -> None:
    html = page()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 4
    assert not re.search(r"(?:src|href)=|url\(|https?:", html)
    for drawing in re.findall(r"<svg.*?</svg>", html):
        ElementTree.fromstring(drawing)  # noqa: S314  # our own, well-formed or not


def test_a_curve_rises_to_the_right_and_ends_at_the_longest() -> None:
    lines = {"ack": [(0.0, 1.0), (0.9, 10.0), (0.99, 20.0), (1.0, 100.0)]}
    drawing = plots.drawn({"title": "t", "kind": "percentiles", "lines": lines})
    found = re.search(r'class="line c0" d="M([^"]+)"', drawing)
    assert found
    points = [tuple(map(float, point.split())) for point in found[1].split("L")]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)  # up is less
    assert points[0] == (plots.LEFT, plots.HEIGHT - plots.BOTTOM)
    assert points[-1] == (plots.WIDTH - plots.RIGHT, plots.TOP)
    one_nine, two_nines = points[1][0] - plots.LEFT, points[2][0] - plots.LEFT
    assert two_nines == pytest.approx(2 * one_nine, abs=0.2)


def test_a_curve_over_sizes_has_a_mark_at_each_of_them_equally_far_apart_where_each_is_ten_times_the_last() -> None:
    lines = {"server": [(100_000, 10.0), (1_000_000, 20.0), (10_000_000, 10.0)]}
    drawing = plots.drawn({"title": "t", "kind": "sizes", "lines": lines})
    marks = [tuple(map(float, mark)) for mark in re.findall(r'<circle [^>]*cx="([\d.]+)" cy="([\d.]+)"', drawing)]
    (first, low), (second, high), (third, again) = marks
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert low == again == pytest.approx((high + plots.HEIGHT - plots.BOTTOM) / 2, abs=0.1)
    assert ">10\u202f000\u202f000<" in drawing


def test_one_size_alone_is_drawn_too() -> None:
    ElementTree.fromstring(  # noqa: S314  # our own
        re.findall(r"<svg.*?</svg>", plots.drawn({"title": "t", "kind": "sizes", "lines": {"a": [(1, 5.0)]}}))[0]
    )


def test_the_longest_bar_is_full_and_the_others_are_in_proportion() -> None:
    drawing = plots.bars("t", "", {"a": 100.0, "b": 25.0, "c": 0.0})
    lengths = [float(length) for length in re.findall(r'<rect [^>]*width="([\d.]+)"', drawing)]
    assert lengths[1] == pytest.approx(lengths[0] / 4)
    assert lengths[2] == 1  # seen, if only as a trace


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (12, "12"),
        (12345.6, "12\u202f346"),
        (0.4500, "0.45"),
        (0.0864, "0.0864"),
        (99.95, "100"),
        (3.14159, "3.14"),
    ],
)
def test_numbers_are_told_with_three_digits(value: float, told: str) -> None:
    assert plots.told(value) == told


def test_objects_are_read_one_after_the_other_however_they_are_laid_out() -> None:
    text = json.dumps({"measurement": "a"}) + "\n" + json.dumps({"measurement": "b", "figures": {"x": 1}}, indent=2)
    assert [one.measurement for one in report.read(text, "here")] == ["a", "b"]
    assert list(report.read(" \n", "here")) == []


@pytest.mark.parametrize("text", ["{", '{"figures": {}}', '{"measurement": "a", "figures": {"x": "much"}}', "[1]"])
def test_what_is_no_measurement_is_told_with_the_name_of_its_file(text: str) -> None:
    with pytest.raises(ValueError, match=r"^some\.json: "):
        list(report.read(text, "some.json"))


def test_the_page_is_written_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, out = tmp_path / "a.json", tmp_path / "page.html"
    told.write_text('{"measurement": "holds", "figures": {"told": 3}}')
    assert report.main([str(told), "-o", str(out)]) == 0
    assert "<h2>holds</h2>" in out.read_text()
    told.write_text("nothing")
    assert report.main([str(told), "-o", str(out)]) == 1
    assert "a.json" in capsys.readouterr().err
