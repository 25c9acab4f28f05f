"""The sides of a contest: each settles on the best of its candidates and is then measured in every round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from benchmarks.engine.batched_bench import BatchedBench
from benchmarks.engine.metrics import Figure
from benchmarks.engine.processes import SystemFailed
from benchmarks.engine.requests import Client, ask, until_idle
from benchmarks.engine.results import Sample
from benchmarks.engine.systems import System
from benchmarks.engine.works.plain import plain_request
from benchmarks.engine.works.work import Load, Work

Report = Callable[[str], None]
Wanted = Callable[[str, int], bool]
"""Whether a work of this name with so many streams is to be measured."""

_WARM_UP_PROMPT_TOKENS, _WARM_UP_ANSWER_TOKENS = 128, 16
_TRIAL_PROMPT_TOKENS, _TRIAL_ANSWER_TOKENS = 64, 32


class Side(Protocol):
    """One side of a contest."""

    @property
    def role(self) -> str:
        """Its part in the comparison."""
        ...

    def loads(self) -> Iterator[tuple[str, int, Load]]:
        """What it does in a round: the work's name, its streams, and how much it is."""
        ...

    def trial_loads(self) -> Iterator[tuple[int, Load]]:
        """What it does to settle: streams, and how much it is."""
        ...

    def restricted(self, wanted: Wanted) -> Side | None:
        """The same side with the wanted works alone; None without any."""
        ...

    async def settled(self, seed: str, report: Report) -> Side:
        """The same side with its best candidate alone."""
        ...

    async def measure(self, seed: str) -> list[Sample]:
        """One round, on a process of its own. Only of a settled side."""
        ...


@dataclass(frozen=True, slots=True)
class ServerSide:
    """A server that does works one after the other on one process."""

    role: str
    model: str
    """The model's name in the results."""
    contest: str
    """The work under which its peak memory is noted."""
    streams: int
    """Its slots."""
    candidates: Sequence[System]
    """Ways to set it, of which the one with the best trial is measured."""
    works: Sequence[Work]
    trial: Work
    """What the candidates are tried by."""
    trial_metric: str = "throughput"
    """Of the trial; higher is better."""
    preparation: Work | None = None
    """Done before the works in every round, and not measured."""

    def loads(self) -> Iterator[tuple[str, int, Load]]:
        """Its preparation and its works."""
        for work in (self.preparation, *self.works):
            if work is not None:
                yield work.name, work.streams, work.load

    def trial_loads(self) -> Iterator[tuple[int, Load]]:
        """One trial for each candidate, where there is a choice."""
        if len(self.candidates) > 1:
            yield from ((self.trial.streams, self.trial.load) for _ in self.candidates)

    def restricted(self, wanted: Wanted) -> ServerSide | None:
        """Without the works that are not wanted."""
        works = tuple(work for work in self.works if wanted(work.name, work.streams))
        return replace(self, works=works) if works else None

    async def settled(self, seed: str, report: Report) -> ServerSide:
        """Try each candidate once. One that does not start at all is out, if another does."""
        if len(self.candidates) == 1:
            return self
        scores: dict[int, float] = {}
        failures: list[SystemFailed] = []
        for index, candidate in enumerate(self.candidates):
            try:
                scores[index] = await self._try(candidate, seed)
            except SystemFailed as failure:
                failures.append(failure)
                report(f"  trial: {candidate.name}: did not work")
            else:
                report(f"  trial: {candidate.name}: {scores[index]:.1f} tokens/s")
        if not scores:
            raise failures[0]
        best = max(scores, key=lambda index: scores[index])
        return replace(self, candidates=(self.candidates[best],))

    async def _try(self, candidate: System, seed: str) -> float:
        async with candidate.start() as running:
            await _warm_up(running.client, seed)
            figures = await self.trial.run(running.client, seed)
        return next(figure.value for figure in figures if figure.metric == self.trial_metric)

    async def measure(self, seed: str) -> list[Sample]:
        """Start it, do all works, and note its peak memory."""
        (system,) = self.candidates
        samples: list[Sample] = []
        async with system.start() as running:
            await _warm_up(running.client, seed)
            if self.preparation is not None:
                await self.preparation.run(running.client, seed)
            for work in self.works:
                figures = await _observe(running.client, work, seed)
                samples += [self._sample(work.name, work.streams, figure, system.name) for figure in figures]
            peak = Figure("peak_memory", running.process.peak_memory_mib())
        return [*samples, self._sample(self.contest, self.streams, peak, system.name)]

    def _sample(self, work: str, streams: int, figure: Figure, system: str) -> Sample:
        role = self.role if figure.role is None else figure.role
        name = system if figure.role is None else figure.role
        return Sample(work, self.model, streams, figure.metric, role, name, figure.value)


async def _warm_up(client: Client, seed: str) -> None:
    """Touch all weights and every path once."""
    await ask(client, plain_request(f"warm-up/{seed}", 0, _WARM_UP_PROMPT_TOKENS, _WARM_UP_ANSWER_TOKENS))
    await until_idle(client)


async def _observe(client: Client, work: Work, seed: str) -> list[Figure]:
    """The work's own figures, and what it took of the engine's time and of this process's."""
    await until_idle(client)
    before, cpu_before = await client.engine_seconds(), time.process_time()
    figures = await work.run(client, seed)
    cpu, after = time.process_time() - cpu_before, await client.engine_seconds()
    figures = [*figures, Figure("client_cpu", 1000 * cpu / work.load.answer_tokens)]
    if before is None or after is None:
        return figures
    share = 1 - (after.forward - before.forward) / (after.steps - before.steps)
    return [*figures, Figure("outside_decode", share)]


@dataclass(frozen=True, slots=True)
class BenchSide:
    """llama-batched-bench, which is one work by itself."""

    role: str
    model: str
    candidates: Sequence[BatchedBench]
    work: str
    """Whose throughput it is compared with."""

    def loads(self) -> Iterator[tuple[str, int, Load]]:
        """Its one run."""
        bench = self.candidates[0]
        load = Load(bench.streams * bench.prompt_tokens, bench.streams * bench.answer_tokens)
        yield self.work, bench.streams, load

    def trial_loads(self) -> Iterator[tuple[int, Load]]:
        """A short run of each candidate."""
        for bench in self.candidates:
            yield bench.streams, Load(bench.streams * _TRIAL_PROMPT_TOKENS, bench.streams * _TRIAL_ANSWER_TOKENS)

    def restricted(self, wanted: Wanted) -> BenchSide | None:
        """All or nothing."""
        return self if wanted(self.work, self.candidates[0].streams) else None

    async def settled(self, seed: str, report: Report) -> BenchSide:  # noqa: ARG002 - it draws its own tokens
        """Run each candidate once, shortly."""
        scores = []
        for candidate in self.candidates:
            short = replace(candidate, prompt_tokens=_TRIAL_PROMPT_TOKENS, answer_tokens=_TRIAL_ANSWER_TOKENS)
            scores.append(await short.throughput())
            report(f"  trial: {candidate.name}: {scores[-1]:.1f} tokens/s")
        return replace(self, candidates=(self.candidates[scores.index(max(scores))],))

    async def measure(self, seed: str) -> list[Sample]:  # noqa: ARG002
        """Run it."""
        (bench,) = self.candidates
        value = await bench.throughput()
        return [Sample(self.work, self.model, bench.streams, "throughput", self.role, bench.name, value)]
