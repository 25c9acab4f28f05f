"""Which settings suit a host best: what is tried, how it is compared, and what wins. Pure policy.

One setting is turned at a time while the others stay at the best values known (coordinate descent): these settings
hardly depend on one another, and trying all combinations would take hours. The values of a setting are measured in
rounds, each value once a round, so that a machine that becomes slower meanwhile does so for all of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from inference_service.core.errors import InferenceError
from inference_service.core.options import FlashAttention, KvType
from inference_service.core.pacing import MIN_STEP_TOKENS, StepPacer
from inference_service.core.sizing import CELL_MULTIPLE

WIN_MARGIN = 0.03
"""By how much a value must be better than the one that is set: less is within what measurements differ by."""

ROUNDS = 3
"""Measurements of each value; the median counts."""

HOPELESS_LOSS = 0.5
"""A value that is so much worse in its first round is not measured again."""

UNSTEADY_SPREAD = 0.3
"""Where measurements of the same differ by more, something else was busy, and what won may not be the best."""

BATCH_TOKENS = (128, 256, 512, 1024)
"""Sizes of a pass to try."""

_MOST_PROMPT_TOKENS = 2048
_MOST_SINGLE_STEPS = 256
_MOST_STREAM_STEPS = 128
_FEWEST_STEPS = 4


@dataclass(frozen=True, slots=True)
class Combination:
    """One way to run the model on this host. The fields are named as the service's settings are."""

    threads: int
    batch_tokens: int
    flash_attention: FlashAttention = FlashAttention.AUTO
    kv_type: KvType = KvType.F16
    memory_map: bool = True
    gpu_layers: int | None = None
    """None: as many as the GPUs hold."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a combination brings, in tokens a second."""

    prompt: float
    """Read of one prompt."""
    single: float
    """Generated for one stream alone."""
    streams: float
    """Generated for as many streams as there are slots, all together."""

    def gain_over(self, other: Rates) -> float:
        """How much better these are: the geometric mean of the three ratios, less 1."""
        ratios = (self.prompt / other.prompt, self.single / other.single, self.streams / other.streams)
        return math.prod(ratios) ** (1 / len(ratios)) - 1


def spread(samples: Sequence[Rates]) -> float:
    """By how much the best of several measurements of the same is better than the worst."""
    gains = [rates.gain_over(samples[0]) for rates in samples]
    return (1 + max(gains)) / (1 + min(gains)) - 1


def median_rates(samples: Sequence[Rates]) -> Rates:
    """The median of each rate."""
    return Rates(
        prompt=statistics.median(rates.prompt for rates in samples),
        single=statistics.median(rates.single for rates in samples),
        streams=statistics.median(rates.streams for rates in samples),
    )


def best_rates(samples: Sequence[Rates]) -> Rates:
    """The highest of each rate."""
    return Rates(
        prompt=max(rates.prompt for rates in samples),
        single=max(rates.single for rates in samples),
        streams=max(rates.streams for rates in samples),
    )


@dataclass(frozen=True, slots=True)
class Workload:
    """What one measurement runs. It is the same for all combinations of a tuning."""

    slots: int
    prompt_tokens: int
    pass_tokens: int
    """Prompt tokens in one pass at most: what the service's own pacing would allow."""
    single_steps: int
    """Tokens to generate for one stream behind the prompt."""
    stream_steps: int
    """Tokens to generate for each of `slots` streams."""
    stream_depth: int
    """Tokens that each of those streams has behind it."""
    limit_seconds: float
    """For each of the three rates. Past this no further pass begins, and what was done until then counts."""

    @property
    def kv_cells(self) -> int:
        """KV cells that it takes, as llama.cpp pads them."""
        cells = max(self.prompt_tokens + self.single_steps, self.slots * (self.stream_depth + self.stream_steps))
        return -(-cells // CELL_MULTIPLE) * CELL_MULTIPLE

    def seconds_at(self, rates: Rates) -> float:
        """How long it takes at these rates."""
        return (
            self.prompt_tokens / rates.prompt
            + self.single_steps / rates.single
            + self.slots * self.stream_steps / rates.streams
        )


def plan_workload(
    rates: Rates, *, seconds: float, slots: int, kv_cells: int, context_length: int, step_seconds: float
) -> Workload:
    """A workload of about `seconds` for each rate, where the host is as fast as `rates` say.

    It fits into `kv_cells` KV cells and the model's `context_length`; `step_seconds` is what a pass of the service
    should take.
    """
    most = min(kv_cells, context_length) // 2
    share = kv_cells // slots
    prompt_tokens = _between(MIN_STEP_TOKENS, int(rates.prompt * seconds), min(_MOST_PROMPT_TOKENS, most))
    stream_steps = _between(_FEWEST_STEPS, int(rates.streams * seconds / slots), min(_MOST_STREAM_STEPS, share // 2))
    return Workload(
        slots=slots,
        prompt_tokens=prompt_tokens,
        pass_tokens=_pass_tokens(rates, step_seconds),
        single_steps=_between(_FEWEST_STEPS, int(rates.single * seconds), min(_MOST_SINGLE_STEPS, most)),
        stream_steps=stream_steps,
        stream_depth=max(0, min(prompt_tokens, share - stream_steps)),
        limit_seconds=4 * seconds,
    )


def _pass_tokens(rates: Rates, step_seconds: float) -> int:
    """The largest pass that the service would plan for a prompt alone."""
    most = BATCH_TOKENS[-1]
    pacer = StepPacer(target_seconds=step_seconds, max_step_tokens=most)
    pacer.observe(MIN_STEP_TOKENS, MIN_STEP_TOKENS / rates.prompt, prompt_tokens=MIN_STEP_TOKENS)
    return pacer.prompt_budget(generating=0, prompt_tokens=most)


def _between(low: int, value: int, high: int) -> int:
    return max(1, min(max(low, value), high))


Alternatives = Callable[[Combination], Iterable[Combination]]
"""The other values of a setting, each with all else as it is in the given combination."""


@dataclass(frozen=True, slots=True)
class Dial:
    """A setting to turn."""

    title: str
    alternatives: Alternatives
    reloads: bool = False
    """The model has to be loaded anew for each value."""


def thread_dial(*, physical: int, logical: int) -> Dial:
    """One thread, half of the physical cores, all of them, all logical ones."""
    values = sorted({1, max(1, physical // 2), physical, logical})
    return Dial("threads", lambda best: [replace(best, threads=value) for value in values])


def flash_attention_dial() -> Dial:
    """Auto and off. Auto is on wherever the device can, so on would be the same or run beside the device."""

    def alternatives(best: Combination) -> list[Combination]:
        if best.kv_type is KvType.Q8_0:
            return []  # llama.cpp keeps such values for flash attention only
        return [replace(best, flash_attention=value) for value in (FlashAttention.AUTO, FlashAttention.OFF)]

    return Dial("flash attention", alternatives)


def batch_dial(workload: Workload) -> Dial:
    """The sizes of a pass that hold two tokens for each slot, and that this host would fill to different degrees."""
    largest_pass = min(workload.pass_tokens, workload.prompt_tokens)

    def alternatives(best: Combination) -> list[Combination]:
        by_effect = {min(best.batch_tokens, largest_pass): best.batch_tokens}
        for value in BATCH_TOKENS:
            if value >= 2 * workload.slots:
                by_effect.setdefault(min(value, largest_pass), value)
        return [replace(best, batch_tokens=value) for value in by_effect.values()]

    return Dial("batch tokens", alternatives)


def gpu_dial() -> Dial:
    """As many layers on the GPU as fit, or none."""
    values = (None, 0)
    return Dial("GPU layers", lambda best: [replace(best, gpu_layers=value) for value in values], reloads=True)


def memory_map_dial() -> Dial:
    """The model's file mapped, or read."""
    values = (True, False)
    return Dial("memory map", lambda best: [replace(best, memory_map=value) for value in values], reloads=True)


def other_kv_type(combination: Combination) -> Combination:
    """The same with the other type of KV cache."""
    if combination.kv_type is KvType.Q8_0:
        return replace(combination, kv_type=KvType.F16)
    return replace(combination, kv_type=KvType.Q8_0, flash_attention=FlashAttention.AUTO)


class Tuner:
    """Searches for the best combination. `best` is it, once `run` has ended."""

    def __init__(
        self,
        start: Combination,
        measure: Callable[[Combination], Rates],
        *,
        begin: Callable[[str], None] = lambda _title: None,
        rounds: int = ROUNDS,
    ) -> None:
        """`start` is what is set now. `measure` raises InferenceError where a combination does not run here. `begin` is
        told what is turned next.
        """
        self.start = start
        self.best = start
        self.samples: dict[Combination, list[Rates]] = {}
        """Every measurement, in the order of the first ones."""
        self.failures: dict[Combination, str] = {}
        """Why the others could not be measured."""
        self._measure = measure
        self._begin = begin
        self._rounds = rounds

    @property
    def unsteady(self) -> bool:
        """Whether the host was too busy with other things to trust the result."""
        return spread(self.samples[self.start]) > UNSTEADY_SPREAD

    @property
    def medians(self) -> dict[Combination, Rates]:
        """What each combination brought."""
        return {combination: median_rates(samples) for combination, samples in self.samples.items()}

    def run(self, dials: Sequence[Dial], shown: Sequence[Combination] = (), *, compare_kv: bool = True) -> None:
        """Turn one dial after another, then hold the best against the start.

        `shown` are measured beside those two, and so is the other KV type, because it has to be known what they would
        bring; they are not chosen. Raises InferenceError where not even the start runs.
        """
        for dial in dials:
            if self._others(dial):
                self._begin(dial.title)
                self.best = choose(self.best, self._compare([self.best, *self._others(dial)]))
        self._begin("the best, the settings as they are, and the KV types")
        finalists = [self.start, self.best, *shown, *([other_kv_type(self.best)] if compare_kv else [])]
        measured = self._compare(list(dict.fromkeys(finalists)))
        contenders = [self.start, *([self.best] if self.best in measured else [])]
        self.best = choose(self.start, {combination: measured[combination] for combination in contenders})

    def most_measurements(
        self, dials: Sequence[Dial], shown: Sequence[Combination] = (), *, compare_kv: bool = True
    ) -> int:
        """How many measurements `run` takes at most."""
        counts = [1 + len(self._others(dial)) for dial in dials]
        turned = sum(count for count in counts if count > 1)
        return self._rounds * (turned + 2 + len(shown) + compare_kv)

    def _others(self, dial: Dial) -> list[Combination]:
        others = dict.fromkeys(dial.alternatives(self.best))
        return [combination for combination in others if combination != self.best and combination not in self.failures]

    def _compare(self, combinations: list[Combination]) -> dict[Combination, Rates]:
        """The medians of those that run here, whatever was measured before. The first one must run."""
        first = combinations[0]
        measured: dict[Combination, list[Rates]] = {}
        for number in range(self._rounds):
            for combination in combinations:
                if number and (
                    combination in self.failures
                    or measured[combination][0].gain_over(measured[first][0]) < -HOPELESS_LOSS
                ):
                    continue
                try:
                    rates = self._measure(combination)
                except InferenceError as error:
                    if combination == first:
                        raise
                    self.failures[combination] = str(error)
                    measured.pop(combination, None)
                else:
                    measured.setdefault(combination, []).append(rates)
                    self.samples.setdefault(combination, []).append(rates)
        return {combination: median_rates(samples) for combination, samples in measured.items()}


def choose(incumbent: Combination, measured: dict[Combination, Rates]) -> Combination:
    """The best of these, or the incumbent where none is better by more than WIN_MARGIN. The first of equals wins."""
    base = measured[incumbent]
    best = max(measured, key=lambda combination: measured[combination].gain_over(base))
    return best if measured[best].gain_over(base) > WIN_MARGIN else incumbent
