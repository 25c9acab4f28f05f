"""The README's table: every promise, measured or not, kept or not."""

from __future__ import annotations

import pytest

from benchmarks.engine.table import readme_table
from benchmarks.engine.targets import TARGETS
from tests.benchmarks.engine.rows import results, row


def line(table: str, title: str) -> list[str]:
    (found,) = [entry for entry in table.splitlines() if entry.startswith(f"| {title} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_kept_and_a_broken_promise_are_told_with_their_numbers():
    table = readme_table(
        results(
            row("plain", "60m", 1, "throughput", ours=517.25, ratio=1.25),
            row("mixed", "60m", 8, "worst_gap", ours=0.26, ratio=0.65),
        )
    )
    assert line(table, "plain, 60m, 1 stream: throughput")[1:] == [
        "517 tokens/s",
        "414 tokens/s",
        "llama-server (split KV)",
        "1.25",
        "≥ 1.00",
        "yes",
    ]
    assert line(table, "a 3,000-token prompt beside 8 streams, 60m: streams' longest gap")[1:] == [
        "260 ms",
        "400 ms",
        "llama-server (split KV)",
        "0.65",
        "≤ 0.50",
        "**no**",
    ]


def test_a_mean_needs_all_that_it_is_of():
    streams = (1, 4, 16, 32)
    rows = [
        row("plain", "60m", count, "throughput", ratio=ratio)
        for count, ratio in zip(streams, (1, 1, 2, 2), strict=True)
    ]
    title = "plain, 60m, geometric mean of these"
    assert line(readme_table(results(*rows)), title)[4:] == ["1.41", "≥ 1.10", "yes"]
    assert line(readme_table(results(*rows[:3])), title)[4:] == ["not measured", "≥ 1.10", ""]


def test_a_number_without_a_promise_neither_holds_nor_fails():
    table = readme_table(results(row("grounded", "3.8b-copying", 1, "throughput", ours=4.5, ratio=1.2)))
    shown = [entry for entry in table.splitlines() if "throughput with reading" in entry and "1.20" in entry]
    assert len(shown) == 1
    assert shown[0].endswith("| 4.50 tokens/s | 3.75 tokens/s | llama-server (split KV) | 1.20 |  |  |")


def test_the_table_has_every_promise_and_the_machine():
    table = readme_table(results())
    assert table.count("not measured") == len(TARGETS)
    assert "Test CPU, 2 cores, 16 GiB, Test Linux, llama-cpp-python 0.3.36" in table
    widths = {entry.count("|") for entry in table.splitlines() if entry.startswith("|")}
    assert widths == {8}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.title}, {target.role}")
def test_no_promise_has_two_bounds(target):
    assert target.least is None or target.most is None
