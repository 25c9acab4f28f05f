"""Runs contests: each side settles on its settings, then all are measured in turn, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from benchmarks.engine.contests import Contest
from benchmarks.engine.results import Row, Sample, aggregate
from benchmarks.engine.sides import Report, Side
from benchmarks.engine.works.work import Load

_START_SECONDS = 5.0
"""To start a process, load a model whose file is in memory, warm up, and stop."""

_READ_RATES = {"60m": 2000.0, "builtin": 8000.0}
_GENERATION_RATES = {
    "60m": {1: 430.0, 8: 560.0, 16: 700.0},
    "builtin": {1: 700.0, 8: 1500.0},
}
"""Tokens a second by streams, on two cores. They tell how long a run will take, and nothing else."""
_LARGE_READ_RATE = 60.0
_LARGE_GENERATION_RATES = {1: 17.0, 4: 31.0, 8: 35.0}


async def run_contest(contest: Contest, *, rounds: int, seed: int, commit: str, report: Report) -> list[Row]:
    """Measure the contest. All sides get the same tokens in a round, and others in the next.

    Any failure is raised: half a comparison is none.
    """
    report(f"{contest.name}: choosing settings")
    sides = [await side.settled(f"trial/{seed}", report) for side in contest.sides]
    measured: list[list[Sample]] = []
    for number in range(rounds):
        samples: list[Sample] = []
        for side in rotated(sides, number):
            report(f"{contest.name}: round {number + 1} of {rounds}: {side.role}")
            samples += await side.measure(f"{seed}/{number}")
        measured.append(samples)
    return aggregate(measured, commit=commit)


def rotated(sides: Sequence[Side], round_number: int) -> list[Side]:
    """The sides in the order of this round: a different one goes first each time."""
    first = round_number % len(sides)
    return [*sides[first:], *sides[:first]]


def expected_seconds(contest: Contest, rounds: int) -> float:
    """About how long it takes on two cores."""
    trials = [_START_SECONDS + _load_seconds(contest.model, *trial) for trial in _trials(contest)]
    one_round = sum(
        _START_SECONDS + sum(_load_seconds(contest.model, streams, load) for _, streams, load in side.loads())
        for side in contest.sides
    )
    return sum(trials) + rounds * one_round


def _trials(contest: Contest) -> chain[tuple[int, Load]]:
    return chain.from_iterable(side.trial_loads() for side in contest.sides)


def _load_seconds(model: str, streams: int, load: Load) -> float:
    rates = _GENERATION_RATES.get(model, _LARGE_GENERATION_RATES)
    rate = rates[max(known for known in rates if known <= streams)]
    return load.prompt_tokens / _READ_RATES.get(model, _LARGE_READ_RATE) + load.answer_tokens / rate
