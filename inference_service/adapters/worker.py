"""The bridge between the one engine thread and asyncio.

Requests go to the thread through an inbox. What each step brings back crosses into the event loop in one hand-over,
however many sequences it concerns. A slow caller's waiting deltas are merged; where too much waits, the request ends.

A step that does not end holds the thread inside native code, where nothing can stop it. The event loop then answers
every request and tells so; only the end of the process ends the thread.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import structlog

from inference_service.adapters.doorbell import Doorbell
from inference_service.core.admission import Admission
from inference_service.core.engine import Departed, Engine, Output
from inference_service.core.errors import (
    DeadlinePassed,
    EngineFailed,
    EngineStuck,
    EngineUnavailable,
    InferenceError,
    ReaderTooSlow,
)
from inference_service.core.sequence import EngineRequest, Sequence
from inference_service.core.stopping import TextAssembler
from inference_service.core.types import Delta, EngineStatus, Event, Finished, Progress, Started

log = structlog.get_logger(__name__)

FIRST_STEP_PATIENCE = 10.0
"""The first step may take so many times as long as others: a GPU's kernels may be compiled in it."""

_TOKEN_BYTES = 3
_LOGPROB_BYTES = 20
"""What a token id, and a token's log probability, take on the wire."""

_WATCH_SHARE = 0.25
_WATCH_SECONDS = 1.0
"""How often is looked whether a step takes too long: a share of what it may take, and at least this often."""

_REST_SECONDS = 1.0
"""How long nothing must have run before cells are copied out meanwhile: who comes back at once finds them in place, and
the cores free."""

_COPYING_PAUSE_SECONDS = 0.02
"""Between two pieces that are copied out while nothing runs."""


class EngineWorker:
    """Owns the engine's thread. All methods are for the event loop's thread."""

    def __init__(
        self,
        engine: Engine,
        admission: Admission,
        *,
        on_failure: Callable[[EngineUnavailable], None],
        stuck_seconds: float,
        mailbox_bytes: int,
    ) -> None:
        """`on_failure` is called, in the event loop, if the engine breaks for good; every request is then answered with
        that error. A step that takes longer than `stuck_seconds` is such a failure. Of one request's answer at most
        `mailbox_bytes` may wait to be taken.
        """
        self._engine = engine
        self._admission = admission
        self._on_failure = on_failure
        self._stuck_seconds = stuck_seconds
        self.mailbox_bytes = mailbox_bytes
        self._doorbell = Doorbell()
        self._inbox: queue.SimpleQueue[Sequence | None] = queue.SimpleQueue()
        self._places: dict[Sequence, _Place] = {}
        self._departing = 0
        """Sequences whose places have been given back, but which the engine still has."""
        self._status = engine.status
        self._stopping = False
        self._failure: EngineUnavailable | None = None
        """Why the engine broke for good."""
        self._outputs: list[Output] = []
        """What happened and was not handed over yet. The engine's thread's own."""
        self._rested = False
        """Whether nothing has run for a while."""
        self._step_began: float | None = None
        """When the step that runs began, in monotonic seconds."""
        self._patience = FIRST_STEP_PATIENCE
        self._ended = asyncio.Event()
        self._watching = asyncio.create_task(self._watch_steps())
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def status(self) -> EngineStatus:
        """How busy the engine is: running sequences as of its last step, and all other places taken as waiting."""
        return replace(self._status, queue_length=max(0, self._admission.taken - self._status.slots_used))

    def reserve(self, caller: str, *, timeout_seconds: float, max_tokens: int) -> _Place:
        """A place in the engine, running or waiting, for a request that has so long.

        Raises Overloaded at once where there is none, or where the answer would come too late.
        """
        if self._failure is not None or self._stopping:
            raise self._why_ended()
        self._admission.enter(caller, now=time.monotonic(), timeout_seconds=timeout_seconds, max_tokens=max_tokens)
        return _Place(self, caller)

    async def close(self) -> None:
        """End every request with EngineUnavailable and wait for the thread, unless it is stuck."""
        self._stopping = True
        self._inbox.put(None)
        await self._ended.wait()  # a step is bounded by its time, or found to be stuck
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        if not isinstance(self._failure, EngineStuck):
            self._thread.join()
            self._doorbell.close()

    # -- for places

    def submit(self, place: _Place, request: EngineRequest) -> Sequence:
        """Send a request to the engine's thread. Raises EngineUnavailable where that has ended meanwhile."""
        if self._ended.is_set():
            raise self._why_ended()
        assembler = TextAssembler(request.stop, strip_leading_space=request.strip_leading_space)
        sequence = Sequence(request, assembler)
        self._places[sequence] = place
        self._inbox.put(sequence)
        return sequence

    def give_back(self, place: _Place) -> None:
        """A place is free again."""
        self._admission.leave(place.caller, now=time.monotonic(), running=place.running_since is not None)

    def depart(self, place: _Place) -> None:
        """The caller has left. Who only waited gives the place back now, and not after the step that runs.

        The engine still has the sequence until then, so no more of those may be there than there are places.
        """
        if place.running_since is None and self._departing < self._status.slots + self._status.queue_capacity:
            self.give_back(place)
            place.given_back = True
            self._departing += 1

    def _end(self, place: _Place) -> None:
        """The engine has let go of a place's sequence, or never will."""
        place.ended = True
        if place.given_back:
            self._departing -= 1
        else:
            self.give_back(place)

    # -- the engine's thread

    def _run(self) -> None:
        try:
            while True:
                self._take_messages()
                if self._stopping:
                    break
                self._step_began = time.monotonic()
                if self._engine.has_work:
                    self._step()
                    self._patience = 1.0
                elif self._engine.has_leftovers:
                    self._engine.copy_out()
                    self._hand_over()
                self._step_began = None
        except Exception:
            log.exception("the engine failed")
            self._doorbell.ring(self._break, EngineFailed("The engine failed, and is started again."))
        finally:
            self._step_began = None
            try:
                self._hand_over()
            finally:
                self._doorbell.ring(self._fail_the_rest)

    def _step(self) -> None:
        """One step. What the last one brought is handed over just before this one's forward pass: then the interpreter
        is the event loop's alone, where right after sampling it would hold up the scheduling of the next pass.
        """
        self._outputs += self._engine.schedule()
        self._hand_over()
        self._outputs = self._engine.run()
        if not self._engine.has_work:
            self._hand_over()
        elif self._engine.has_leftovers:
            self._hand_over()  # nothing of it may wait for the copying
            self._engine.copy_out()

    def _take_messages(self) -> None:
        """Take what is in the inbox, waiting for it where there is nothing else to do."""
        block = not self._engine.has_work
        pause = None
        if self._engine.has_leftovers:
            pause = _COPYING_PAUSE_SECONDS if self._rested else _REST_SECONDS
        while True:
            try:
                sequence = self._inbox.get(block, pause)
            except queue.Empty:
                self._rested = block
                return
            if sequence is None:  # only wakes: the service is stopping
                return
            self._engine.add(sequence)
            block = False

    def _hand_over(self) -> None:
        outputs, self._outputs = self._outputs, []
        self._doorbell.ring(self._deliver, outputs, self._engine.status)

    # -- back in the event loop

    async def _watch_steps(self) -> None:
        """Fail everything where a step does not end."""
        while True:
            await asyncio.sleep(min(_WATCH_SECONDS, self._stuck_seconds * _WATCH_SHARE))
            began, most = self._step_began, self._stuck_seconds * self._patience
            if began is not None and time.monotonic() - began > most:
                log.error("the engine is stuck", seconds=round(time.monotonic() - began, 1), most_seconds=most)
                self._break(EngineStuck(f"A step of the engine did not end within {most:g} s. It is started again."))
                self._fail_the_rest()
                return

    def _break(self, failure: EngineUnavailable) -> None:
        """Nothing runs any more. Only the first reason counts."""
        if self._failure is None:
            self._failure = failure
            self._on_failure(failure)

    def _why_ended(self) -> EngineUnavailable:
        """A new one each time, as each request's task raises its own."""
        if self._failure is None:
            return EngineUnavailable("The service is stopping.")
        return type(self._failure)(str(self._failure))

    def _deliver(self, outputs: list[Output], status: EngineStatus) -> None:
        if self._ended.is_set():  # it was taken for stuck, and everybody has been answered
            return
        self._status = status
        now = time.monotonic()
        for sequence, output in outputs:
            place = self._places[sequence]
            if isinstance(output, Started) and not place.given_back:
                self._admission.start(place.caller)
                place.running_since = now
            if isinstance(output, Finished | InferenceError | Departed):
                if place.running_since is not None and isinstance(output, Finished | DeadlinePassed):
                    self._admission.observe_run(now - place.running_since, tokens=sequence.generated)
                del self._places[sequence]
                self._end(place)
            if isinstance(output, EngineUnavailable):
                log.error("a request was lost", reason=str(output))
            if not isinstance(output, Departed):
                place.post(output)
        # Slots stay free while somebody waits only where there are no KV cells for them.
        runnable = status.slots_used if status.queue_length else status.slots
        self._admission.set_runnable(runnable, now=now)

    def _fail_the_rest(self) -> None:
        """The thread has ended, or is stuck: nobody may wait for it, whether running, queued or still in the inbox."""
        for place in self._places.values():
            self._end(place)
            place.post(self._why_ended())
        self._places.clear()
        self._ended.set()


class _Place:
    """A place in the engine, and the mailbox of the request that runs there."""

    def __init__(self, worker: EngineWorker, caller: str) -> None:
        self.caller = caller
        self.running_since: float | None = None
        """When its request started, in monotonic seconds."""
        self.given_back = False
        """Before the engine let go of it."""
        self._worker = worker
        self._sequence: Sequence | None = None
        self._released = False
        self._mail: list[Event | InferenceError] = []
        self._waiting_bytes = 0
        """Of the answer, in the mailbox."""
        self._arrived = asyncio.Event()
        self.ended = False

    async def run(self, request: EngineRequest) -> AsyncIterator[Event]:
        """Run the request here: Started, Progress*, Delta*, Finished. Raises InferenceError."""
        self._sequence = self._worker.submit(self, request)  # where it raises, `release` still gives the place back
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            mail, self._mail, self._waiting_bytes = self._mail, [], 0
            for item in mail:
                if isinstance(item, InferenceError):
                    raise item
                yield item
                if isinstance(item, Finished):
                    return

    def release(self) -> None:
        """Stop what still runs before the next step and give the place back. May be called twice."""
        if self._released:
            return
        self._released = True
        if self._sequence is None:
            self._worker.give_back(self)
        elif not self.ended:
            self._sequence.departed = True  # the engine's thread lets go before its next step
            self._worker.depart(self)

    def post(self, item: Event | InferenceError) -> None:
        """Put an item into the mailbox; it is merged with the one before where that loses nothing.

        Where too much waits there already, the request ends with ReaderTooSlow.
        """
        last = self._mail[-1] if self._mail else None
        if isinstance(last, ReaderTooSlow):
            return
        if isinstance(item, Delta):
            self._waiting_bytes += delta_bytes(item)
            if self._waiting_bytes > self._worker.mailbox_bytes:
                self._overflow()
                return
        if isinstance(item, Delta) and isinstance(last, Delta):
            merged = Delta(last.text + item.text, last.token_ids + item.token_ids, last.logprobs + item.logprobs)
            self._mail[-1] = merged
        elif isinstance(item, Progress) and isinstance(last, Progress):
            self._mail[-1] = item
        else:
            self._mail.append(item)
        self._arrived.set()

    def _overflow(self) -> None:
        """Let go of the answer, and of the slot before the next step."""
        most = self._worker.mailbox_bytes
        self._mail = [
            ReaderTooSlow(
                f"The answer was not taken as fast as it was written: more than {most:,} bytes of it were waiting.",
                limit_name="stream_buffer_bytes",
                limit=most,
            )
        ]
        if self._sequence is not None:
            self._sequence.departed = True
        self._arrived.set()


def delta_bytes(delta: Delta) -> int:
    """About what a piece of an answer takes on the wire."""
    size = len(delta.text.encode()) + _TOKEN_BYTES * len(delta.token_ids)
    return size + sum(_LOGPROB_BYTES * (1 + len(position.top)) for position in delta.logprobs)
