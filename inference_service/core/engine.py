"""The engine: each step schedules, runs one forward pass, and postprocesses what was sampled.

It belongs to one thread. It knows no asyncio and no llama.cpp: the worker feeds it, the runner computes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from inference_service.core.errors import DeadlinePassed, EngineUnavailable, InferenceError, RequestFailed
from inference_service.core.pacing import StepPacer
from inference_service.core.ports import ModelRunner, SampledToken, SamplerSpec
from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import Sequence
from inference_service.core.types import (
    Delta,
    EngineStatus,
    Event,
    Finished,
    FinishReason,
    Progress,
    Started,
    Timings,
    Usage,
)

PENALTY_WINDOW = 64
"""Tokens that repetition penalties look back on; the contract states it."""


@dataclass(frozen=True, slots=True)
class Departed:
    """The sequence was let go because its caller had left."""


Output = tuple[Sequence, Event | InferenceError | Departed]
"""Something that happened to a sequence. Finished, an error and Departed are its last."""


class Engine:
    """Continuous batching: sequences join and leave between forward passes."""

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        pacer: StepPacer,
        *,
        queue_capacity: int,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives monotonic seconds; `queue_capacity` is only reported."""
        self._runner = runner
        self._scheduler = scheduler
        self._pacer = pacer
        self._queue_capacity = queue_capacity
        self._clock = clock
        self._prompt_tokens_total = 0
        self._completion_tokens_total = 0

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._scheduler.running or self._scheduler.waiting)

    @property
    def status(self) -> EngineStatus:
        """How busy the engine is now."""
        return EngineStatus(
            slots=self._scheduler.slots,
            slots_used=len(self._scheduler.running),
            queue_capacity=self._queue_capacity,
            queue_length=len(self._scheduler.waiting),
            kv_cells=self._scheduler.kv_cells,
            kv_cells_reserved=self._scheduler.reserved_cells,
            prompt_tokens_total=self._prompt_tokens_total,
            completion_tokens_total=self._completion_tokens_total,
        )

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence for the next step."""
        self._scheduler.add(sequence)

    def step(self) -> list[Output]:
        """Let go of who left or is late, admit who fits, run one pass, and report what happened."""
        outputs = self._let_go()
        outputs += self._admit()
        planned = self._scheduler.plan(self._pacer.token_budget)
        if not planned:
            return outputs
        started = self._clock()
        try:
            sampled = iter(self._runner.run([chunk for _, chunk in planned]))
        except EngineUnavailable as error:
            return outputs + self._fail(list(self._scheduler.running), error)
        now = self._clock()
        self._pacer.observe(sum(len(chunk.tokens) for _, chunk in planned), now - started)
        for sequence, chunk in planned:
            if not sequence.generated:
                sequence.processed += len(chunk.tokens)
                self._prompt_tokens_total += len(chunk.tokens)
                outputs.append((sequence, Progress(sequence.processed, sequence.prompt_length)))
            if chunk.wants_token:
                outputs += self._accept_or_fail(sequence, next(sampled), now)
        return outputs

    def _fail(self, sequences: Iterable[Sequence], error: InferenceError) -> list[Output]:
        """End these sequences and start over with an empty model state."""
        outputs: list[Output] = []
        for sequence in sequences:
            self._scheduler.remove(sequence)
            outputs.append((sequence, error))
        self._runner.reset()
        return outputs

    def _let_go(self) -> list[Output]:
        now = self._clock()
        outputs: list[Output] = []
        for sequence in self._scheduler:
            if sequence.departed:
                outputs.append((sequence, Departed()))
            elif now >= sequence.request.deadline:
                where = "in the queue" if sequence.slot is None else "while it was being answered"
                outputs.append((sequence, DeadlinePassed(f"The request's deadline passed {where}.")))
            else:
                continue
            self._remove(sequence)
        return outputs

    def _admit(self) -> list[Output]:
        outputs: list[Output] = []
        for sequence in self._scheduler.admit():
            request = sequence.request
            sequence.admitted_at = self._clock()
            assert sequence.slot is not None  # noqa: S101 - for the type checker: admit gave it one
            spec = SamplerSpec(
                sampling=request.sampling,
                seed=request.seed,
                prompt_tail=request.prompt.token_ids[-PENALTY_WINDOW:],
                ignore_eos=request.ignore_eos,
                grammar=request.grammar,
                logprobs=request.logprobs,
            )
            try:
                self._runner.open(sequence.slot, spec)
            except Exception as error:  # noqa: BLE001 - one request's fault must not end the others
                self._remove(sequence)
                outputs.append((sequence, error if isinstance(error, InferenceError) else RequestFailed.by(error)))
            else:
                queue_seconds = sequence.admitted_at - request.arrived
                outputs.append((sequence, Started(request.prompt, 0, queue_seconds)))
        return outputs

    def _accept_or_fail(self, sequence: Sequence, sampled: SampledToken | InferenceError, now: float) -> list[Output]:
        try:
            return self._accept(sequence, sampled, now)
        except Exception as fault:  # noqa: BLE001 - one request's fault must not end the others
            self._remove(sequence)
            return [(sequence, RequestFailed.by(fault))]

    def _accept(self, sequence: Sequence, sampled: SampledToken | InferenceError, now: float) -> list[Output]:
        """Take the sequence's next token: its text, and whether it was the last."""
        if isinstance(sampled, InferenceError):
            self._remove(sequence)
            return [(sequence, sampled)]
        token = sampled.token_id
        sequence.generated += 1
        sequence.last_token = token
        self._completion_tokens_total += 1
        if sequence.generated == 1:
            sequence.first_token_at = now
        ended = self._runner.is_end_of_generation(token) and not sequence.request.ignore_eos
        text = "" if ended else sequence.assembler.push(self._runner.token_bytes(token))
        reason = self._finish_reason(sequence, ended)
        if reason is not None:
            text += sequence.assembler.flush()
            if sequence.assembler.matched is not None:  # the flush completed a stop string
                reason = FinishReason.STOP_SEQUENCE
        logprobs = () if sampled.logprobs is None else (sampled.logprobs,)
        outputs: list[Output] = [(sequence, Delta(text, (token,), logprobs))]
        if reason is not None:
            outputs.append((sequence, self._finished(sequence, reason, now)))
            self._remove(sequence)
        return outputs

    def _finish_reason(self, sequence: Sequence, ended: bool) -> FinishReason | None:
        if ended:
            return FinishReason.STOP
        if sequence.assembler.matched is not None:
            return FinishReason.STOP_SEQUENCE
        prompt = sequence.request.prompt
        if sequence.generated >= prompt.max_tokens:
            return FinishReason.CONTEXT_FULL if prompt.max_tokens_limited_by_context else FinishReason.MAX_TOKENS
        return None

    def _finished(self, sequence: Sequence, reason: FinishReason, now: float) -> Finished:
        request = sequence.request
        return Finished(
            reason=reason,
            usage=Usage(sequence.prompt_length, 0, sequence.generated),
            timings=Timings(
                queue_seconds=sequence.admitted_at - request.arrived,
                prompt_seconds=sequence.first_token_at - sequence.admitted_at,
                time_to_first_token_seconds=sequence.first_token_at - request.arrived,
                generation_seconds=now - sequence.first_token_at,
            ),
            seed=request.seed,
            matched_stop=sequence.assembler.matched,
        )

    def _remove(self, sequence: Sequence) -> None:
        slot = self._scheduler.remove(sequence)
        if slot is not None:
            self._runner.close(slot)
