"""The engine: each step schedules, runs what was chosen, and postprocesses what was sampled.

It belongs to one thread. It knows no asyncio and no llama.cpp: the worker feeds it, the runner computes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from inference_service.core.drafting import CopyChances, Drafter, allot_drafts
from inference_service.core.errors import (
    DeadlinePassed,
    DeadlineTooShort,
    EngineFailed,
    EngineUnavailable,
    InferenceError,
    RequestFailed,
)
from inference_service.core.pacing import StepPacer
from inference_service.core.ports import Chunk, ModelRunner, Sampled, SampledToken, SamplerSpec
from inference_service.core.reuse import KvReuse
from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import Sequence
from inference_service.core.types import (
    Delta,
    EngineStatus,
    EngineTotals,
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

MAX_FAILED_PASSES = 3
"""So many forward passes that fail one after the other, each with an empty model state, and the engine gives up."""


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
        reuse: KvReuse,
        *,
        draft_tokens: int,
        queue_capacity: int,
        clock: Callable[[], float],
    ) -> None:
        """`draft_tokens` a pass are verified for each sequence at most; 0: no drafts. `clock` gives monotonic seconds;
        `queue_capacity` is only reported.
        """
        self._runner = runner
        self._scheduler = scheduler
        self._pacer = pacer
        self._reuse = reuse
        self._draft_tokens = draft_tokens
        self._experience = CopyChances()
        self._queue_capacity = queue_capacity
        self._clock = clock
        self._totals = EngineTotals()
        self._busy_since: float | None = None
        self._planned: list[tuple[Sequence, Chunk]] = []
        """What the step that was begun is to run."""
        self._pass_seconds = 0.0
        """What the last step's pass took."""
        self._failed_passes = 0
        """The last ones, in a row."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._scheduler.running or self._scheduler.waiting)

    @property
    def has_leftovers(self) -> bool:
        """Whether there is something to copy out, work or not."""
        return self._reuse.has_work

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
            kv_cells_cached=self._scheduler.parked_cells,
            prefix_cache_bytes=self._reuse.size_bytes,
            prefix_cache_limit_bytes=self._reuse.limit_bytes,
            totals=self._totals.snapshot(),
        )

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence for the next step."""
        self._scheduler.add(sequence)

    def schedule(self) -> list[Output]:
        """Begin a step: let go of who left or is late, admit who fits, choose what to run, and report what happened."""
        if self._busy_since is None:
            self._busy_since = self._clock()
        outputs = self._let_go()
        outputs += self._admit()
        outputs += self._restore()
        self._planned = self._plan()
        return outputs

    def run(self) -> list[Output]:
        """End the step: run what was scheduled, and report what it brought.

        A pass that fails ends what runs. Raises EngineFailed where passes do nothing but fail.
        """
        planned, self._planned = self._planned, []
        self._pass_seconds = 0.0
        outputs = self._run(planned) if planned else []
        now = self._clock()
        if self._busy_since is not None and (planned or self._scheduler.running):
            self._totals.step_seconds += now - self._busy_since
            self._totals.forward_seconds = self._runner.forward_seconds
        self._busy_since = now if self._scheduler.running else None
        return outputs

    def copy_out(self) -> None:
        """Copy some of what finished sequences left to host memory. To be called when a step's outputs are on their
        way, so that none of them waits for it.
        """
        if self._scheduler.running:
            self._reuse.save(self._pass_seconds)
        else:
            self._reuse.save_one_while_idle()

    def _run(self, planned: list[tuple[Sequence, Chunk]]) -> list[Output]:
        """One pass, and what it brought."""
        started = self._clock()
        try:
            results = iter(self._runner.run([chunk for _, chunk in planned]))
        except EngineUnavailable as error:
            self._failed_passes += 1
            if self._failed_passes >= MAX_FAILED_PASSES:
                raise EngineFailed(f"{self._failed_passes} forward passes in a row failed: {error}") from error
            return self._fail(list(self._scheduler.running), error)
        self._failed_passes = 0
        now = self._clock()
        tokens = sum(len(chunk.tokens) for _, chunk in planned)
        prompt_tokens = sum(len(chunk.tokens) for sequence, chunk in planned if not sequence.answer)
        self._pacer.observe(tokens, now - started, prompt_tokens=prompt_tokens)
        self._totals.prompt_tokens += prompt_tokens
        outputs: list[Output] = []
        for sequence, chunk in planned:
            if not sequence.answer:
                sequence.processed += len(chunk.tokens)
                outputs.append((sequence, Progress(sequence.processed, sequence.prompt_length)))
            if chunk.wants_token:
                outputs += self._accept_or_fail(sequence, chunk, next(results), now)
        self._pass_seconds = now - started
        return outputs

    def _plan(self) -> list[tuple[Sequence, Chunk]]:
        """The next step: every sequence that generates, and prompt tokens up to the budget.

        Drafts run only where no prompt is read: prompt tokens fill a pass as cheaply, and are sure to be needed.
        """
        generating = self._scheduler.generating
        first = self._scheduler.next_prompt
        if first is None:
            return self._plan_generation(generating)
        budget = self._pacer.prompt_budget(generating=len(generating), prompt_tokens=first.prompt_length - first.cached)
        planned = [(sequence, _generation_chunk(sequence, [])) for sequence in generating]
        return planned + self._scheduler.plan_prompts(budget)

    def _plan_generation(self, generating: list[Sequence]) -> list[tuple[Sequence, Chunk]]:
        drafts = [self._propose(sequence) for sequence in generating]
        if any(drafts):
            room = min(sum(map(len, drafts)), self._pacer.max_step_tokens - len(generating))
            lengths = allot_drafts(
                [
                    sequence.drafter.chances(len(draft)) if sequence.drafter is not None else []
                    for sequence, draft in zip(generating, drafts, strict=True)
                ],
                self._pacer.generation_seconds(len(generating), room),
                generating=len(generating),
            )
            drafts = [draft[:length] for draft, length in zip(drafts, lengths, strict=True)]
        return [
            (sequence, _generation_chunk(sequence, draft)) for sequence, draft in zip(generating, drafts, strict=True)
        ]

    def _propose(self, sequence: Sequence) -> list[int]:
        # The token behind the draft is sampled too, and must be wanted.
        most = min(self._draft_tokens, sequence.tokens_left - 1)
        return sequence.drafter.propose(most) if sequence.drafter is not None and most > 0 else []

    def _fail(self, sequences: Iterable[Sequence], error: InferenceError) -> list[Output]:
        """End these sequences and start over with an empty model state."""
        outputs: list[Output] = []
        for sequence in sequences:
            self._scheduler.remove(sequence)
            outputs.append((sequence, error))
        self._reuse.forget_resident()
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
            elif sequence.prompt_left and (hopeless := self._hopeless(sequence, now)):
                outputs.append((sequence, hopeless))
            else:
                continue
            self._end(sequence)
        return outputs

    def _hopeless(self, sequence: Sequence, now: float) -> DeadlineTooShort | None:
        """Why the sequence cannot have a first token in time, if that is certain."""
        left = sequence.request.deadline - now
        if self._pacer.least_prompt_seconds(sequence.prompt_left) <= left:
            return None
        if sequence.slot is None:
            coming_back = self._reuse.kept_length(sequence)
        else:
            coming_back = sum(part.end - part.start for part in sequence.restorations)
        unread = sequence.prompt_left - coming_back
        needed = self._pacer.least_prompt_seconds(unread)
        if needed <= left:
            return None
        return DeadlineTooShort(
            f"The answer cannot begin before the request's deadline: reading the {unread:,} tokens left of its prompt "
            f"takes {needed:.1f} s or more here, and {max(0.0, left):.1f} s are left."
        )

    def _admit(self) -> list[Output]:
        outputs: list[Output] = []
        while (sequence := self._scheduler.next_waiting) is not None:
            if not self._scheduler.admit_next():
                if not self._reuse.unpark_one(hurry=bool(self._scheduler.generating)):
                    break
                continue
            sequence.admitted_at = self._clock()
            request = sequence.request
            spec = SamplerSpec(
                sampling=request.sampling,
                seed=request.seed,
                prompt_tail=request.prompt.token_ids[-PENALTY_WINDOW:],
                ignore_eos=request.ignore_eos,
                grammar=request.grammar,
                logprobs=request.logprobs,
            )
            try:
                self._runner.open(sequence.running_slot, spec)
                self._reuse.prepare(sequence)
            except Exception as error:  # noqa: BLE001 - one request's fault must not end the others
                self._remove(sequence)
                outputs.append((sequence, error if isinstance(error, InferenceError) else RequestFailed.by(error)))
        return outputs

    def _restore(self) -> list[Output]:
        """Copy kept cells back, and report who is ready to begin."""
        starting = [sequence for sequence in self._scheduler.running if not sequence.started]
        if not starting:
            return []
        self._reuse.restore(starting, hurry=bool(self._scheduler.generating))
        outputs: list[Output] = []
        for sequence in starting:
            if not sequence.restorations:
                sequence.started = True
                self._totals.cached_tokens += sequence.cached
                queue_seconds = sequence.admitted_at - sequence.request.arrived
                outputs.append((sequence, Started(sequence.request.prompt, sequence.cached, queue_seconds)))
        return outputs

    def _accept_or_fail(self, sequence: Sequence, chunk: Chunk, sampled: Sampled, now: float) -> list[Output]:
        try:
            return self._accept(sequence, chunk, sampled, now)
        except Exception as fault:  # noqa: BLE001 - one request's fault must not end the others
            self._remove(sequence)
            return [(sequence, RequestFailed.by(fault))]

    def _accept(self, sequence: Sequence, chunk: Chunk, sampled: Sampled, now: float) -> list[Output]:
        """Take the sequence's next tokens: their text, and whether one of them was the last."""
        tokens = [item for item in sampled if isinstance(item, SampledToken)]
        right = max(0, len(tokens) - 1)
        if chunk.drafted and sequence.drafter is not None:
            sequence.drafter.observe(chunk.drafted, right)
        if tokens and not sequence.answer:
            sequence.first_token_at = now
        text, taken, reason = "", 0, None
        for item in tokens:
            text += self._take(sequence, item.token_id)
            taken += 1
            reason = self._finish_reason(sequence)
            if reason is not None:
                break
        sequence.drafted += chunk.drafted
        sequence.accepted += min(right, taken)
        self._totals.drafted_tokens += chunk.drafted
        self._totals.accepted_tokens += min(right, taken)
        self._totals.completion_tokens += taken
        if reason is not None:
            text += sequence.assembler.flush()
            if sequence.assembler.matched is not None:  # the flush completed a stop string
                reason = FinishReason.STOP_SEQUENCE
        outputs: list[Output] = []
        if taken:
            logprobs = tuple(item.logprobs for item in tokens[:taken] if item.logprobs is not None)
            outputs.append((sequence, Delta(text, tuple(item.token_id for item in tokens[:taken]), logprobs)))
        if reason is not None:
            outputs.append((sequence, self._finished(sequence, reason, now)))
            self._end(sequence)
        elif isinstance(sampled[-1], InferenceError):
            outputs.append((sequence, sampled[-1]))
            self._remove(sequence)
        elif self._draft_tokens and sequence.request.speculation:
            self._index(sequence, taken)
        return outputs

    def _take(self, sequence: Sequence, token: int) -> str:
        sequence.answer.append(token)
        if self._runner.is_end_of_generation(token) and not sequence.request.ignore_eos:
            return ""
        return sequence.assembler.push(self._runner.token_bytes(token))

    def _index(self, sequence: Sequence, taken: int) -> None:
        """Let drafts see the tokens that were just taken."""
        if sequence.drafter is None:
            sequence.drafter = Drafter(sequence.request.prompt.token_ids, self._experience)
        sequence.drafter.extend(sequence.answer[-taken:])

    def _finish_reason(self, sequence: Sequence) -> FinishReason | None:
        """Why the sequence ends behind the token that it took last, if it does."""
        if self._runner.is_end_of_generation(sequence.answer[-1]) and not sequence.request.ignore_eos:
            return FinishReason.STOP
        if sequence.assembler.matched is not None:
            return FinishReason.STOP_SEQUENCE
        prompt = sequence.request.prompt
        if sequence.tokens_left <= 0:
            return FinishReason.CONTEXT_FULL if prompt.max_tokens_limited_by_context else FinishReason.MAX_TOKENS
        return None

    def _finished(self, sequence: Sequence, reason: FinishReason, now: float) -> Finished:
        request = sequence.request
        return Finished(
            reason=reason,
            usage=Usage(
                prompt_tokens=sequence.prompt_length,
                cached_tokens=sequence.cached,
                completion_tokens=sequence.generated,
                drafted_tokens=sequence.drafted,
                accepted_tokens=sequence.accepted,
            ),
            timings=Timings(
                queue_seconds=sequence.admitted_at - request.arrived,
                prompt_seconds=sequence.first_token_at - sequence.admitted_at,
                time_to_first_token_seconds=sequence.first_token_at - request.arrived,
                generation_seconds=now - sequence.first_token_at,
            ),
            seed=request.seed,
            matched_stop=sequence.assembler.matched,
        )

    def _end(self, sequence: Sequence) -> None:
        """Let a sequence go whose cells are good, and keep them for others."""
        if sequence.slot is not None and self._reuse.can_park(sequence):
            self._reuse.park(sequence)
        else:
            self._remove(sequence)

    def _remove(self, sequence: Sequence) -> None:
        """Let a sequence go, and all that it has."""
        slot = self._scheduler.remove(sequence)
        if slot is not None:
            self._runner.close(slot)


def _generation_chunk(sequence: Sequence, draft: list[int]) -> Chunk:
    """The sequence's last token, which is not in the KV cache yet, and a draft of what follows it."""
    return Chunk(
        sequence.running_slot,
        (sequence.answer[-1], *draft),
        sequence.prompt_length + sequence.generated - 1,
        wants_token=True,
        drafted=len(draft),
    )
