"""The bridge between the one engine thread and asyncio.

Requests go to the thread through an inbox. What each step brings back crosses into the event loop in one hand-over,
however many sequences it concerns. A slow caller's waiting deltas are merged, so its mailbox holds at most its answer.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import structlog

from inference_service.adapters.doorbell import Doorbell
from inference_service.core.engine import Departed, Engine, Output
from inference_service.core.errors import EngineUnavailable, InferenceError, QueueFull
from inference_service.core.sequence import EngineRequest, Sequence
from inference_service.core.stopping import TextAssembler
from inference_service.core.types import Delta, EngineStatus, Event, Finished, Progress

log = structlog.get_logger(__name__)

_MIN_RETRY_SECONDS = 0.5
_MAX_RETRY_SECONDS = 30.0

_REST_SECONDS = 1.0
"""How long nothing must have run before cells are copied out meanwhile: who comes back at once finds them in place, and
the cores free."""

_COPYING_PAUSE_SECONDS = 0.02
"""Between two pieces that are copied out while nothing runs."""


class EngineWorker:
    """Owns the engine's thread. All methods are for the event loop's thread."""

    def __init__(self, engine: Engine, *, capacity: int, on_failure: Callable[[], None]) -> None:
        """`capacity` requests, running and waiting together, are let in. `on_failure` is called, in the event loop, if
        the engine breaks for good; every request has then been answered with EngineUnavailable.
        """
        self._engine = engine
        self._capacity = capacity
        self._on_failure = on_failure
        self._doorbell = Doorbell()
        self._inbox: queue.SimpleQueue[Sequence | None] = queue.SimpleQueue()
        self._places: dict[Sequence, _Place] = {}
        self._taken = 0
        self._mean_seconds = 1.0
        self._status = engine.status
        self._stopping = False
        self._broken = False
        self._outputs: list[Output] = []
        """What happened and was not handed over yet. The engine's thread's own."""
        self._rested = False
        """Whether nothing has run for a while."""
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def status(self) -> EngineStatus:
        """How busy the engine is: running sequences as of its last step, and all other places taken as waiting."""
        return replace(self._status, queue_length=max(0, self._taken - self._status.slots_used))

    def reserve(self) -> _Place:
        """A place in the engine, running or waiting. Raises QueueFull at once where there is none."""
        if self._broken or self._stopping:
            raise EngineUnavailable("The engine has stopped.")
        if self._taken >= self._capacity:
            status = self.status
            # The next place comes free sooner, but others come back for it too: half of the queue's own time.
            half_queue_seconds = self._mean_seconds * (1 + status.queue_length) / (2 * status.slots)
            retry = min(_MAX_RETRY_SECONDS, max(_MIN_RETRY_SECONDS, half_queue_seconds))
            raise QueueFull(
                f"The service has all the requests that it takes: {status.slots_used} of {status.slots} slots are in "
                f"use, and {status.queue_length} requests are waiting.",
                retry_after_seconds=retry,
            )
        self._taken += 1
        return _Place(self)

    async def close(self) -> None:
        """End every request with EngineUnavailable and wait for the thread."""
        self._stopping = True
        self._inbox.put(None)
        await self._ended.wait()  # a step is bounded by its time
        self._thread.join()
        self._doorbell.close()

    # -- for places

    def submit(self, place: _Place, request: EngineRequest) -> Sequence:
        """Send a request to the engine's thread. Raises EngineUnavailable where that has ended meanwhile."""
        if self._ended.is_set():
            raise EngineUnavailable("The engine has stopped.")
        assembler = TextAssembler(request.stop, strip_leading_space=request.strip_leading_space)
        sequence = Sequence(request, assembler)
        self._places[sequence] = place
        self._inbox.put(sequence)
        return sequence

    def give_back(self) -> None:
        """A place without a running sequence is free again."""
        self._taken -= 1

    # -- the engine's thread

    def _run(self) -> None:
        try:
            while True:
                self._take_messages()
                if self._stopping:
                    break
                if self._engine.has_work:
                    self._step()
                elif self._engine.has_leftovers:
                    self._engine.copy_out()
                    self._hand_over()
        except Exception:
            log.exception("the engine failed")
            self._broken = True
            self._doorbell.ring(self._on_failure)
        finally:
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

    def _deliver(self, outputs: list[Output], status: EngineStatus) -> None:
        self._status = status
        for sequence, output in outputs:
            place = self._places[sequence]
            if isinstance(output, Finished):
                timings = output.timings
                seconds = timings.prompt_seconds + timings.generation_seconds
                self._mean_seconds += 0.2 * (seconds - self._mean_seconds)
            if isinstance(output, Finished | InferenceError | Departed):
                del self._places[sequence]
                self.give_back()
                place.ended = True
            if not isinstance(output, Departed):
                place.post(output)

    def _fail_the_rest(self) -> None:
        """The thread has ended: nobody may wait for it, whether running, queued or still in the inbox."""
        for place in self._places.values():
            place.ended = True
            place.post(EngineUnavailable("The engine failed." if self._broken else "The service is stopping."))
            self.give_back()
        self._places.clear()
        self._ended.set()


class _Place:
    """A place in the engine, and the mailbox of the request that runs there."""

    def __init__(self, worker: EngineWorker) -> None:
        self._worker = worker
        self._sequence: Sequence | None = None
        self._released = False
        self._mail: list[Event | InferenceError] = []
        self._arrived = asyncio.Event()
        self.ended = False

    async def run(self, request: EngineRequest) -> AsyncIterator[Event]:
        """Run the request here: Started, Progress*, Delta*, Finished. Raises InferenceError."""
        self._sequence = self._worker.submit(self, request)  # where it raises, `release` still gives the place back
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            mail, self._mail = self._mail, []
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
            self._worker.give_back()
        elif not self.ended:
            self._sequence.departed = True  # the engine's thread lets go, and gives the place back with it

    def post(self, item: Event | InferenceError) -> None:
        """Put an item into the mailbox; it is merged with the one before where that loses nothing."""
        last = self._mail[-1] if self._mail else None
        if isinstance(item, Delta) and isinstance(last, Delta):
            merged = Delta(last.text + item.text, last.token_ids + item.token_ids, last.logprobs + item.logprobs)
            self._mail[-1] = merged
        elif isinstance(item, Progress) and isinstance(last, Progress):
            self._mail[-1] = item
        else:
            self._mail.append(item)
        self._arrived.set()
