"""llama-batched-bench: what it is asked, and how its output is read."""

from __future__ import annotations

import stat
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.engine.batched_bench import BatchedBench, run_seconds
from benchmarks.engine.peers import Peers
from benchmarks.engine.processes import SystemFailed
from benchmarks.engine.systems import Terms

LINE = '{"n_kv_max": 2048, "pp": 128, "tg": 63, "pl": 8, "t_pp": 12.5, "speed_pp": 81.9, "t_tg": 12.1, "t": 24.6}'


def bench(program: Path, *, unified: bool = False) -> BatchedBench:
    terms = Terms(Path("/models/m.gguf"), slots=8, context=2048, threads=2, prompt_cache_mib=0)
    return BatchedBench(Peers(Path("/none"), program, "0", {}), terms, 8, 128, 64, unified)


def program(folder: Path, *lines: str) -> Path:
    path = folder / "bench"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_it_does_as_many_passes_as_a_server():
    flags = bench(Path("/bin/bench")).flags()
    given = dict(pairwise(flags))
    assert (given["-npp"], given["-ntg"], given["-npl"]) == ("128", "63", "8")
    assert (given["--ctx-size"], given["--threads"], given["--batch-size"]) == ("2048", "2", "512")
    assert bench(Path("/bin/bench")).name == "llama-batched-bench (split KV)"
    assert "--kv-unified" in bench(Path("/bin/bench"), unified=True).flags()


async def test_its_throughput_counts_reading_and_generating(tmp_path):
    measured = await bench(program(tmp_path, "echo loading", f"echo '{LINE}'", "echo done")).throughput()
    assert measured == pytest.approx(8 * 64 / (12.5 + 12.1))


async def test_a_run_without_a_result_is_told_with_the_programs_words(tmp_path):
    with pytest.raises(SystemFailed, match=r"(?s)no result.*unable to load model"):
        await bench(program(tmp_path, "echo 'error: unable to load model' >&2", "exit 1")).throughput()


def test_more_than_one_result_is_not_chosen_from():
    assert run_seconds("warming up\n\n") is None
    with pytest.raises(SystemFailed, match="2 results"):
        run_seconds(f"{LINE}\n{LINE}\n")
