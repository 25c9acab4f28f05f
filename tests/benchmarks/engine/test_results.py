"""From samples to rows, and rows in a file that is added to."""

from __future__ import annotations

import json

import pytest

from benchmarks.engine.results import OURS, Results, ResultsUnusable, Sample, aggregate, open_results
from tests.benchmarks.engine.rows import MACHINE, results, row


def sample(role: str, value: float, *, metric: str = "throughput", streams: int = 4, system: str = "") -> Sample:
    return Sample("plain", "60m", streams, metric, role, system or role, value)


def test_a_row_has_medians_and_the_median_of_the_rounds_own_ratios():
    rounds = [
        [sample(OURS, 100.0), sample("peer", 50.0, system="peer (set)")],
        [sample("peer", 200.0, system="peer (set)"), sample(OURS, 210.0)],  # a fast minute of the machine
        [sample(OURS, 90.0), sample("peer", 60.0, system="peer (set)")],
    ]
    (made,) = aggregate(rounds, commit="abc")
    assert (made.work, made.model, made.streams, made.metric, made.unit) == (
        "plain",
        "60m",
        4,
        "throughput",
        "tokens/s",
    )
    assert (made.ours, made.peer) == (100.0, 60.0)
    assert made.ratios == (2.0, 1.05, 1.5)
    assert made.ratio == 1.5
    assert (made.rounds, made.role, made.peer_name, made.commit) == (3, "peer", "peer (set)", "abc")


def test_every_peer_has_its_row_and_a_metric_of_ours_alone_has_one_without():
    rounds = [[sample(OURS, 3.0), sample("a", 1.0), sample("b", 2.0), sample(OURS, 0.1, metric="outside_decode")]]
    made = aggregate(rounds, commit="abc")
    assert [(entry.metric, entry.role, entry.ratio) for entry in made] == [
        ("throughput", "a", 3.0),
        ("throughput", "b", 1.5),
        ("outside_decode", None, None),
    ]


def test_there_is_no_ratio_to_nothing():
    (made,) = aggregate(
        [[sample(OURS, 0.5, metric="accepted_share"), sample("a", 0.0, metric="accepted_share")]], commit=""
    )
    assert (made.peer, made.ratio, made.ratios) == (0.0, None, ())


def test_what_only_a_peer_has_is_no_comparison():
    with pytest.raises(ValueError, match="plain/60m/4 has no throughput"):
        aggregate([[sample("a", 1.0)]], commit="")


def test_a_side_that_misses_a_round_is_no_comparison():
    with pytest.raises(ValueError, match="shorter"):
        aggregate([[sample(OURS, 1.0), sample("a", 1.0)], [sample(OURS, 1.0)]], commit="")


def test_a_newer_measurement_replaces_all_peers_of_the_older():
    older = results(
        row("plain", "60m", 1, "throughput", peer_name="llama-server (split KV)"),
        row("plain", "60m", 1, "throughput", role="llama-batched-bench"),
        row("plain", "60m", 4, "throughput"),
    )
    new = row("plain", "60m", 1, "throughput", peer_name="llama-server (unified KV)", commit="def")
    merged = older.with_rows([new], commit="def")
    assert merged.rows == (new, row("plain", "60m", 4, "throughput"))
    assert merged.commit == "def"
    assert merged.find("plain", "60m", 1, "throughput", "llama-server") == new
    assert merged.find("plain", "60m", 1, "throughput", "llama-batched-bench") is None


def test_results_come_back_from_their_file(tmp_path):
    path = tmp_path / "new" / "engine.json"
    kept = results(
        row("plain", "60m", 1, "throughput"), row("plain", "60m", 1, "outside_decode", ratio=None, role=None)
    )
    kept.save(path)
    assert open_results(path, MACHINE, "other") == kept
    assert [entry.name for entry in path.parent.iterdir()] == ["engine.json"]
    entry = json.loads(path.read_text())["rows"][0]
    assert {"work", "model", "streams", "metric", "unit", "ours", "peer", "peer_name", "ratio", "rounds"} < set(entry)


def test_a_first_run_begins_with_nothing(tmp_path):
    assert open_results(tmp_path / "none.json", MACHINE, "abc") == Results(MACHINE, "abc")


def test_results_of_another_machine_are_not_added_to(tmp_path):
    path = tmp_path / "engine.json"
    results().save(path)
    with pytest.raises(ResultsUnusable, match=r"cores: 2 there, 64 here.*--output"):
        open_results(path, MACHINE | {"cores": 64}, "abc")


@pytest.mark.parametrize("content", ["", "[]", '{"machine": {}}', '{"machine": {}, "commit": "", "rows": [{}]}'])
def test_a_file_that_is_no_results_is_told(tmp_path, content):
    path = tmp_path / "engine.json"
    path.write_text(content)
    with pytest.raises(ResultsUnusable, match="remove it"):
        Results.load(path)
