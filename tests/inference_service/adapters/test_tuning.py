from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inference_service.adapters.tuning import Bench, Stopped, check_servable, kv_bytes_per_token
from inference_service.config import InferenceConfig
from inference_service.core.errors import ModelError
from inference_service.core.options import FlashAttention, KvType
from tests.support.builtin_model import BUILTIN_MODEL

pytestmark = pytest.mark.model

# One thread: llama.cpp's threads spin, which a busy test machine does not forgive.
CONFIG = InferenceConfig(inference_threads=1, inference_slots=3, inference_context=1024)
SECONDS = 0.01


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(CONFIG, BUILTIN_MODEL, seconds=SECONDS) as opened:
        yield opened


def test_it_starts_from_the_settings_as_they_are(bench: Bench) -> None:
    assert (bench.start.threads, bench.start.batch_tokens) == (1, 512)
    assert replace(bench.start, threads=bench.default.threads) == bench.default
    assert bench.workload.slots == 3
    assert bench.workload.kv_cells <= 1024


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"flash_attention": FlashAttention.OFF},
        {"kv_type": KvType.Q8_0},
        {"batch_tokens": 128},
        {"memory_map": False},
        {"threads": 2},
    ],
)
def test_every_setting_can_be_measured(bench: Bench, changes: dict[str, object]) -> None:
    rates = bench.measure(replace(bench.start, **changes))  # type: ignore[arg-type]  # a table of changes
    assert min(rates.prompt, rates.single, rates.streams) > 0


def test_one_slot_has_one_rate_of_generation() -> None:
    with Bench(CONFIG.model_copy(update={"inference_slots": 1}), BUILTIN_MODEL, seconds=SECONDS) as bench:
        rates = bench.measure(bench.start)
    assert rates.single == rates.streams


def test_what_cannot_run_says_why(bench: Bench) -> None:
    without = replace(bench.start, flash_attention=FlashAttention.OFF, kv_type=KvType.Q8_0)
    with pytest.raises(ModelError, match="GROUNDWIRE_INFERENCE_KV_TYPE=f16"):
        bench.measure(without)


def test_quick_turns_nothing_that_loads_the_model_anew(bench: Bench) -> None:
    quick, whole = bench.dials(quick=True), bench.dials(quick=False)
    assert [dial.title for dial in quick] == ["threads", "flash attention"]
    assert [dial.title for dial in whole] == [*(dial.title for dial in quick), "batch tokens", "memory map"]
    assert not any(dial.reloads for dial in quick)
    assert 0 < bench.seconds_for(3, quick) < bench.seconds_for(30, quick)


def test_a_token_in_the_cache_takes_about_half_in_q8_0(bench: Bench) -> None:
    sizes = kv_bytes_per_token(bench.shape)
    assert 0.5 < sizes[KvType.Q8_0] / sizes[KvType.F16] < 0.6


@pytest.mark.parametrize("passes", [0, 3])
def test_it_stops_when_it_is_told_to(passes: int) -> None:
    asked = iter(range(1_000_000))
    with pytest.raises(Stopped):
        Bench(CONFIG, BUILTIN_MODEL, seconds=SECONDS, stopped=lambda: next(asked) >= passes)


def test_a_file_that_cannot_be_served_is_refused_as_the_service_does(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(BUILTIN_MODEL.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="cut short"):
        check_servable(cut)
    whole_head = tmp_path / "half.gguf"
    whole_head.write_bytes(BUILTIN_MODEL.read_bytes()[:-1_000_000])
    with pytest.raises(ModelError, match=r"llama\.cpp cannot load the model file"):
        Bench(CONFIG, whole_head, seconds=SECONDS)
