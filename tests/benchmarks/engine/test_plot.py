"""The picture: well-formed, and to the right where ours is better."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.engine.plot import advantage, ratio_plot
from tests.benchmarks.engine.rows import results, row

SVG = "{http://www.w3.org/2000/svg}"


def parsed(*rows) -> ET.Element:
    return ET.fromstring(ratio_plot(results(*rows)))  # noqa: S314 - our own


def test_every_ratio_is_a_bar_with_its_label():
    picture = parsed(
        row("plain", "60m", 1, "throughput", ratio=1.25),
        row("plain", "60m", 4, "throughput", ratio=0.8),
        row("plain", "60m", 4, "client_cpu", ratio=0.8),  # is not shown
        row("mixed", "60m", 8, "worst_gap", ratio=0.04, role="a <b> & c"),
        row("plain", "60m", 1, "outside_decode", ratio=None, role=None),
    )
    background, *bars = picture.findall(f"{SVG}rect")
    assert len(bars) == 3
    words = [entry.text for entry in picture.findall(f"{SVG}text")]
    assert "plain, 60m" in words
    assert "1 stream: throughput, beside llama-server" in words
    assert "8 streams: longest gap of running streams, beside a <b> & c" in words
    assert "1.25×  (50.0 tokens/s)" in words
    width, height = float(picture.get("width")), float(picture.get("height"))
    for bar in bars:
        assert 0 < float(bar.get("x")) <= float(bar.get("x")) + float(bar.get("width")) < width
        assert 0 < float(bar.get("y")) < height
    assert (background.get("width"), background.get("height")) == (picture.get("width"), picture.get("height"))


def test_bars_begin_at_one_and_go_to_the_better_side():
    picture = parsed(
        row("plain", "60m", 1, "throughput", ratio=2.0),
        row("plain", "60m", 4, "throughput", ratio=0.5),
        row("plain", "60m", 4, "ttft_p50", ratio=0.5),
    )
    _, better, worse, faster = picture.findall(f"{SVG}rect")
    at_one = float(better.get("x"))
    assert float(worse.get("x")) + float(worse.get("width")) == pytest.approx(at_one, abs=0.2)
    assert float(faster.get("x")) == at_one
    assert better.get("fill") == faster.get("fill") != worse.get("fill")
    assert float(better.get("width")) == pytest.approx(float(worse.get("width")), abs=0.2)


def test_less_time_is_an_advantage():
    assert advantage(row("mixed", "60m", 8, "worst_gap", ratio=0.25)) == 4.0
    assert advantage(row("plain", "60m", 8, "throughput", ratio=0.25)) == 0.25
    with pytest.raises(ValueError, match="has no ratio"):
        advantage(row("plain", "60m", 1, "outside_decode", ratio=None))


def test_nothing_measured_is_an_empty_picture():
    assert parsed().findall(f"{SVG}rect")[1:] == []
