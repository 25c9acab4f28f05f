"""One soak: start the service, warm it up, load it for the time, let it settle, and look at what is left."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.soak.afterwards import (
    Settled,
    Together,
    run_together,
    settle,
    settled_footprint,
    take_whole_context,
)
from benchmarks.soak.calls import Caller
from benchmarks.soak.conversations import Conversations
from benchmarks.soak.plan import PlannedCall, Shape, plan
from benchmarks.soak.probes import ProbeBook
from benchmarks.soak.progress import Progress
from benchmarks.soak.service import LogSummary, Service, read_log, running_service
from benchmarks.soak.tally import Tally
from benchmarks.soak.warm_up import ask_references, warm_up
from benchmarks.soak.watch import Footprint, Sample, Watch
from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc
from groundwire_rpc.channels import open_channel


@dataclass(frozen=True, slots=True)
class Options:
    """What to run."""

    seconds: float
    """Of load."""
    seed: int
    model: str = "builtin"
    """A path of a GGUF file, or a name in models/manifest.toml."""
    slots: int = 8
    context: int = 2048
    """KV cells, in tokens. No more than the model's own context, so that one request can take them all."""
    prefix_cache_mib: int = 64
    """Small, so that kept prompts have to give way."""
    threads: int = 1
    patience_seconds: float = 120.0
    """Deadline of a caller that waits for the end."""

    @property
    def queue(self) -> int:
        """Requests that may wait: few, so that the service has to refuse."""
        return 2 * self.slots

    def settings(self) -> dict[str, str]:
        """The service's environment."""
        model = Path(self.model)
        return {
            "GROUNDWIRE_MODEL": str(model.resolve()) if model.is_file() else self.model,
            "GROUNDWIRE_INFERENCE_LISTEN": "127.0.0.1:0",
            "GROUNDWIRE_INFERENCE_SLOTS": str(self.slots),
            "GROUNDWIRE_INFERENCE_CONTEXT": str(self.context),
            "GROUNDWIRE_INFERENCE_QUEUE": str(self.queue),
            # All of its callers are one, and those that read slowly must not be cut off.
            "GROUNDWIRE_INFERENCE_CALLER_QUEUE": str(self.queue),
            "GROUNDWIRE_INFERENCE_STREAM_BUFFER_BYTES": str(2**22),
            "GROUNDWIRE_INFERENCE_PREFIX_CACHE_MIB": str(self.prefix_cache_mib),
            "GROUNDWIRE_INFERENCE_THREADS": str(self.threads),
        }


@dataclass(frozen=True, slots=True)
class Result:
    """All that a soak has seen."""

    options: Options
    tally: Tally
    book: ProbeBook
    samples: Sequence[Sample]
    status_problems: Sequence[str]
    before: Footprint
    after: Footprint
    settled: Settled
    whole_context: str
    """What went wrong with the request that takes it; empty: nothing."""
    together: Together
    exit_status: int
    log: LogSummary


class ServiceDied(Exception):
    """The service ended under the load. The message has its exit status and the last lines of its log."""


async def soak(options: Options, folder: Path, *, report: Callable[[str], None]) -> Result:
    """Run it. The service's log is left in `folder`. Raises NotStarted and ServiceDied."""
    async with running_service(folder, options.settings()) as service, open_channel(service.address) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        model = await stub.GetModel(pb.GetModelRequest())
        caller = Caller(service.address, seed=options.seed, patience_seconds=options.patience_seconds)
        async with caller:
            report(
                f"{model.name}, {options.slots} slots, {options.queue} in the queue, seed {options.seed}: warming up"
            )
            book = ProbeBook(await ask_references(stub))
            await warm_up(stub, places=options.slots + options.queue)
            await settle(stub)
            # One process stays, which runs grammars; those of single grammars end a moment after their answers.
            before = await settled_footprint(service.pid, enough=lambda taken: taken.children <= 1)
            tally = Tally(book, seed=options.seed)
            watch = Watch(service.pid, channel, each=Progress(tally, report))
            watching = asyncio.create_task(watch.run())
            try:
                await _load(options, model, caller, tally, service)
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
            settled = await settle(stub)
            whole_context = await take_whole_context(stub, model, seed=options.seed)
            together = await run_together(stub, model, seed=options.seed)
            await settle(stub)
            after = await settled_footprint(service.pid, enough=lambda taken: _no_more_than(taken, before))
        exit_status = await service.stop()
        log = read_log(service.log_path.read_text(errors="replace").splitlines())
    return Result(
        options,
        tally,
        book,
        watch.samples,
        watch.problems,
        before,
        after,
        settled,
        whole_context,
        together,
        exit_status,
        log,
    )


def _no_more_than(taken: Footprint, before: Footprint) -> bool:
    return (
        taken.open_files <= before.open_files and taken.threads <= before.threads and taken.children <= before.children
    )


async def _load(options: Options, model: pb.GetModelResponse, caller: Caller, tally: Tally, service: Service) -> None:
    """Send the planned calls for the time, and wait for all of them to end."""
    shape = Shape(model.context_length, model.vocabulary_size, places=options.slots + options.queue)
    conversations = Conversations()
    running: set[asyncio.Task[None]] = set()
    started = time.monotonic()
    try:
        for planned in plan(options.seed, shape):
            if planned.at_seconds > options.seconds:
                break
            await asyncio.sleep(max(0.0, started + planned.at_seconds - time.monotonic()))
            if not service.is_running:
                break
            tally.sent += 1
            task = asyncio.create_task(_call(caller, planned, conversations, tally))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.sleep(max(0.0, started + options.seconds - time.monotonic()))
        while running and service.is_running:
            await asyncio.wait(running, timeout=1.0)
    finally:
        for task in running:
            task.cancel()
    if not service.is_running:
        tail = os.linesep.join(service.log_path.read_text(errors="replace").splitlines()[-20:])
        raise ServiceDied(f"The service ended with status {service.process.returncode}. Its last log lines:\n{tail}")


async def _call(caller: Caller, planned: PlannedCall, conversations: Conversations, tally: Tally) -> None:
    outcome = await caller.make(planned, conversations.request(planned))
    tally.add(planned, outcome)
    if outcome.code is grpc.StatusCode.OK:
        conversations.learn(planned, outcome.received.text)
