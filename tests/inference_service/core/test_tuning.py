from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from inference_service.core.errors import ModelError
from inference_service.core.options import FlashAttention, KvType
from inference_service.core.tuning import (
    ROUNDS,
    Combination,
    Dial,
    Rates,
    Tuner,
    Workload,
    batch_dial,
    best_rates,
    choose,
    flash_attention_dial,
    gpu_dial,
    median_rates,
    memory_map_dial,
    other_kv_type,
    plan_workload,
    spread,
    thread_dial,
)

START = Combination(threads=4, batch_tokens=512)
BASE = Rates(prompt=1000, single=100, streams=400)


def times(factor: float) -> Rates:
    return Rates(BASE.prompt * factor, BASE.single * factor, BASE.streams * factor)


def threads(*values: int) -> list[Combination]:
    return [replace(START, threads=value) for value in values]


@pytest.mark.parametrize(
    ("rates", "gain"),
    [
        (BASE, 0.0),
        (times(2), 1.0),
        (times(0.5), -0.5),
        (replace(BASE, prompt=8000), 1.0),
        (Rates(prompt=2000, single=50, streams=400), 0.0),
    ],
)
def test_a_gain_is_the_geometric_mean_of_three(rates: Rates, gain: float) -> None:
    assert rates.gain_over(BASE) == pytest.approx(gain)


def test_samples_are_summed_up_rate_by_rate() -> None:
    samples = [Rates(1, 9, 4), Rates(2, 7, 6), Rates(3, 8, 5)]
    assert median_rates(samples) == Rates(2, 8, 5)
    assert best_rates(samples) == Rates(3, 9, 6)
    assert spread([times(1), times(0.8), times(1.2)]) == pytest.approx(0.5)
    assert spread([times(1)]) == 0


@pytest.mark.parametrize(
    ("factors", "chosen"),
    [
        ({4: 1.0, 8: 1.029}, 4),
        ({4: 1.0, 8: 1.031}, 8),
        ({4: 1.0, 2: 1.1, 8: 1.2}, 8),
        ({4: 1.0, 2: 1.2, 8: 1.2}, 2),
        ({4: 1.0, 8: 0.5}, 4),
        ({4: 1.0}, 4),
    ],
)
def test_the_best_wins_by_more_than_three_percent_or_nothing_changes(factors: dict[int, float], chosen: int) -> None:
    measured = {replace(START, threads=count): times(factor) for count, factor in factors.items()}
    assert choose(START, measured).threads == chosen


@pytest.mark.parametrize(
    ("physical", "logical", "tried"),
    [(1, 1, [1]), (2, 2, [1, 2]), (4, 8, [1, 2, 4, 8]), (3, 3, [1, 3]), (16, 32, [1, 8, 16, 32])],
)
def test_threads_to_try(physical: int, logical: int, tried: list[int]) -> None:
    dial = thread_dial(physical=physical, logical=logical)
    assert [combination.threads for combination in dial.alternatives(START)] == tried


def workload(**changes: int) -> Workload:
    parts = {"slots": 8, "prompt_tokens": 2048, "pass_tokens": 1024, "single_steps": 8, "stream_steps": 8}
    return Workload(**{**parts, "stream_depth": 8, **changes}, limit_seconds=1)


@pytest.mark.parametrize(
    ("plan", "start", "tried"),
    [
        (workload(), 512, [512, 128, 256, 1024]),
        (workload(pass_tokens=48), 512, [512]),  # no pass would fill even the smallest
        (workload(pass_tokens=300), 512, [512, 128, 256]),  # 1024 would be the same as 512
        (workload(prompt_tokens=200), 512, [512, 128]),
        (workload(slots=100), 512, [512, 256, 1024]),  # 128 is raised to two tokens a slot
        (workload(), 700, [700, 128, 256, 512, 1024]),
    ],
)
def test_batch_sizes_to_try(plan: Workload, start: int, tried: list[int]) -> None:
    found = batch_dial(plan).alternatives(replace(START, batch_tokens=start))
    assert [combination.batch_tokens for combination in found] == tried


def test_flash_attention_is_not_turned_where_the_cache_needs_it() -> None:
    assert [found.flash_attention for found in flash_attention_dial().alternatives(START)] == ["auto", "off"]
    assert list(flash_attention_dial().alternatives(replace(START, kv_type=KvType.Q8_0))) == []


def test_the_other_kv_type_has_the_flash_attention_that_it_needs() -> None:
    off = replace(START, flash_attention=FlashAttention.OFF)
    assert other_kv_type(off) == replace(START, kv_type=KvType.Q8_0)
    assert other_kv_type(replace(START, kv_type=KvType.Q8_0)) == START


@pytest.mark.parametrize(
    ("rates", "kv_cells", "context", "expected"),
    [
        (BASE, 32_768, 4096, (1000, 100, 50, 1000)),
        (Rates(60, 18, 40), 32_768, 4096, (60, 18, 5, 60)),
        (Rates(1, 0.5, 1), 32_768, 4096, (16, 4, 4, 16)),
        (times(100), 32_768, 4096, (2048, 256, 128, 2048)),
        (times(100), 32_768, 2048, (1024, 256, 128, 1024)),
        (times(100), 256, 2048, (128, 128, 16, 16)),
    ],
)
def test_a_workload_fits_the_time_and_the_cache(
    rates: Rates, kv_cells: int, context: int, expected: tuple[int, int, int, int]
) -> None:
    plan = plan_workload(rates, seconds=1.0, slots=8, kv_cells=kv_cells, context_length=context, step_seconds=0.25)
    assert (plan.prompt_tokens, plan.single_steps, plan.stream_steps, plan.stream_depth) == expected
    assert plan.kv_cells <= kv_cells


@pytest.mark.parametrize("slots", [1, 3, 255])
@pytest.mark.parametrize("kv_cells", [256, 1024, 2**20])
def test_any_workload_fits_its_cache(slots: int, kv_cells: int) -> None:
    plan = plan_workload(BASE, seconds=1.0, slots=slots, kv_cells=kv_cells, context_length=4096, step_seconds=0.25)
    assert 0 < plan.kv_cells <= kv_cells
    assert plan.prompt_tokens + plan.single_steps <= 4096
    assert min(plan.prompt_tokens, plan.single_steps, plan.stream_steps, plan.pass_tokens) >= 1


def test_passes_are_those_that_the_service_would_plan() -> None:
    slow = Rates(60, 18, 40)
    plan = plan_workload(slow, seconds=1.0, slots=8, kv_cells=8192, context_length=4096, step_seconds=0.25)
    assert plan.pass_tokens == 64  # what a prompt alone gets at least: 48 would take four fifths of a second
    assert plan.seconds_at(slow) == pytest.approx(3.0)
    fast = plan_workload(
        Rates(200, 18, 40), seconds=1.0, slots=8, kv_cells=8192, context_length=4096, step_seconds=0.25
    )
    assert fast.pass_tokens == 160  # four fifths of a second


class Host:
    """A made-up host: a rule for how fast a combination is, and a record of what was measured."""

    def __init__(self, factor: Callable[[Combination], float]) -> None:
        self.measured: list[Combination] = []
        self._factor = factor

    def measure(self, combination: Combination) -> Rates:
        self.measured.append(combination)
        return times(self._factor(combination))


def dials() -> list[Dial]:
    return [gpu_dial(), thread_dial(physical=4, logical=8), flash_attention_dial(), memory_map_dial()]


def test_each_setting_is_turned_behind_the_best_of_those_before() -> None:
    def factor(combination: Combination) -> float:
        flash = 1.2 if combination.flash_attention is FlashAttention.OFF else 1.0
        return (1.1 if combination.threads == 8 else 1.0) * flash * (2 if combination.gpu_layers is None else 1)

    host = Host(factor)
    turned: list[str] = []
    tuner = Tuner(START, host.measure, begin=turned.append)
    tuner.run(dials())
    assert tuner.best == replace(START, threads=8, flash_attention=FlashAttention.OFF)
    assert turned[:4] == ["GPU layers", "threads", "flash attention", "memory map"]
    assert host.measured[0] == START
    assert tuner.medians[tuner.best] == times(2 * 1.1 * 1.2)
    assert len(host.measured) <= tuner.most_measurements(dials())


def test_values_are_measured_in_turns_and_hopeless_ones_once() -> None:
    host = Host(lambda combination: {1: 0.2, 2: 0.9}.get(combination.threads, 1.0))
    Tuner(START, host.measure).run([thread_dial(physical=4, logical=4)], compare_kv=False)
    assert [combination.threads for combination in host.measured[:7]] == [4, 1, 2, 4, 2, 4, 2]
    assert [combination.threads for combination in host.measured[7:]] == [4] * ROUNDS


def test_the_other_kv_type_and_what_else_is_to_be_shown_are_measured_and_never_chosen() -> None:
    default = replace(START, threads=1)
    host = Host(lambda combination: 9.0 if combination.kv_type is KvType.Q8_0 or combination == default else 1.0)
    tuner = Tuner(START, host.measure)
    tuner.run([], [default])
    assert tuner.best == START
    assert set(tuner.medians) == {START, default, other_kv_type(START)}


def test_a_drifting_host_does_not_mislead() -> None:
    slower = iter(range(1000))
    host = Host(lambda _combination: 0.99 ** next(slower))
    tuner = Tuner(START, host.measure)
    tuner.run([thread_dial(physical=4, logical=8)])
    assert tuner.best == START


def test_what_seemed_better_is_held_against_the_start_once_more() -> None:
    host = Host(lambda combination: 1.2 if combination.threads == 8 and len(host.measured) < 13 else 1.0)
    tuner = Tuner(START, host.measure)
    tuner.run([thread_dial(physical=4, logical=8)], compare_kv=False)
    assert tuner.best == START


def test_what_does_not_run_here_is_told_and_passed_over() -> None:
    def factor(combination: Combination) -> float:
        if combination.threads == 8 or combination.kv_type is KvType.Q8_0:
            raise ModelError("no room")
        return 1.0

    host = Host(factor)
    tuner = Tuner(START, host.measure)
    tuner.run([thread_dial(physical=4, logical=8)])
    assert tuner.best == START
    assert tuner.failures == {replace(START, threads=8): "no room", other_kv_type(START): "no room"}
    assert host.measured.count(replace(START, threads=8)) == 1


def test_a_start_that_does_not_run_is_an_error() -> None:
    def fail(_combination: Combination) -> float:
        raise ModelError("no room")

    with pytest.raises(ModelError, match="no room"):
        Tuner(START, Host(fail).measure).run(dials())


@pytest.mark.parametrize(("factors", "unsteady"), [((1.0, 1.1, 1.2), False), ((1.0, 0.7, 1.0), True)])
def test_a_busy_host_is_noticed(factors: tuple[float, ...], unsteady: bool) -> None:
    left = list(factors)
    tuner = Tuner(START, Host(lambda _combination: left.pop(0)).measure)
    tuner.run([], compare_kv=False)
    assert tuner.unsteady is unsteady
