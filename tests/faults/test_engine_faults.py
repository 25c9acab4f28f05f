"""An engine that throws, fails, hangs or dies under its callers, in the real process with real weights."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.faults.calls import Outcome, generate, own_channel, sized_request
from benchmarks.soak.afterwards import settle
from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc
from tests.support.processes import clean_environment

ROOT = Path(__file__).parents[2]
SLOTS = 2
CALLERS = 4
"""As many as run, and as many that wait."""
SETTINGS = {
    "GROUNDWIRE_MODEL": "builtin",
    "GROUNDWIRE_INFERENCE_LISTEN": "127.0.0.1:0",
    "GROUNDWIRE_INFERENCE_SLOTS": str(SLOTS),
    "GROUNDWIRE_INFERENCE_CONTEXT": "1024",
    "GROUNDWIRE_INFERENCE_THREADS": "1",
    "GROUNDWIRE_INFERENCE_STUCK_SECONDS": "3",
    "GROUNDWIRE_INFERENCE_PREFIX_CACHE_MIB": "0",
    "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}",
}


@dataclass(slots=True)
class Faulty:
    """A running service whose engine can be told to fail."""

    folder: Path
    process: asyncio.subprocess.Process
    address: str
    stub: inference_pb2_grpc.InferenceServiceAsyncStub

    def fault(self, name: str) -> None:
        """Have the next forward pass fail so."""
        made = self.folder / "fault.new"
        made.write_text(name, encoding="utf-8")
        made.rename(self.folder / "fault")

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    async def fail_under_callers(self, name: str) -> list[Outcome]:
        """Let callers run and wait, then fail. How each of their answers ended."""
        random = Random(1)
        calls = [
            asyncio.create_task(generate(self.stub, sized_request(random, prompt=20, answer=400), timeout_seconds=60))
            for _ in range(CALLERS)
        ]
        async with asyncio.timeout(40):
            while True:
                status = await self.stub.GetStatus(pb.GetStatusRequest(), timeout=5)
                if status.slots_used == SLOTS and status.queue_length == CALLERS - SLOTS:
                    break
                await asyncio.sleep(0.01)
            self.fault(name)
            outcomes = await asyncio.gather(*calls)
        assert all(outcome.honest for outcome in outcomes), "a half answer looks whole"
        return outcomes

    async def is_well(self) -> bool:
        """Whether a request is answered, and nothing is left of those before."""
        answer = await generate(self.stub, sized_request(Random(2), prompt=5, answer=3), timeout_seconds=20)
        settled = await settle(self.stub)
        left = settled.status.slots_used, settled.status.queue_length, settled.status.kv_cells_reserved
        return answer.whole and left == (0, 0, 0)


@asynccontextmanager
async def faulty_service(folder: Path) -> AsyncIterator[Faulty]:
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.faulty_inference",
            cwd=folder,
            env=clean_environment(**SETTINGS),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        assert line.startswith("inference serving on "), (folder / "log").read_text()
        address = line.split()[-1]
        async with own_channel(address) as stub:
            yield Faulty(folder, process, address, stub)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def reasons(outcomes: list[Outcome]) -> list[str]:
    assert all(outcome.code is grpc.StatusCode.UNAVAILABLE for outcome in outcomes), outcomes
    return [outcome.status.reason for outcome in outcomes if outcome.status is not None]


async def test_a_pass_that_fails_ends_what_runs_and_the_queue_goes_on(tmp_path: Path) -> None:
    async with faulty_service(tmp_path) as service:
        for fault, told in (("decode", "llama_decode returned -1"), ("fill-cells", "no room in the KV cache")):
            outcomes = await service.fail_under_callers(fault)
            lost = [outcome for outcome in outcomes if outcome.code is not grpc.StatusCode.OK]
            assert reasons(lost) == ["ENGINE_UNAVAILABLE"] * SLOTS
            assert all(told in outcome.status.message for outcome in lost if outcome.status)
            assert len(outcomes) - len(lost) == CALLERS - SLOTS
            assert await service.is_well()
        assert "a request was lost" in service.log()

        service.fault("decode-always")
        for _ in range(2):
            outcome = await generate(service.stub, sized_request(Random(3), prompt=5, answer=3), timeout_seconds=20)
            assert reasons([outcome]) == ["ENGINE_UNAVAILABLE"]
        outcome = await generate(service.stub, sized_request(Random(3), prompt=5, answer=3), timeout_seconds=20)
        assert reasons([outcome]) == ["ENGINE_FAILED"]
        assert await asyncio.wait_for(service.process.wait(), 20) == 70


async def test_an_engine_that_throws_tells_everyone_and_ends_the_process(tmp_path: Path) -> None:
    async with faulty_service(tmp_path) as service:
        outcomes = await service.fail_under_callers("throw")
        assert reasons(outcomes) == ["ENGINE_FAILED"] * CALLERS
        assert await asyncio.wait_for(service.process.wait(), 20) == 70
        assert "ZeroDivisionError" in service.log()
        assert not any("ZeroDivisionError" in outcome.status.message for outcome in outcomes if outcome.status)


async def test_a_step_that_hangs_is_told_to_everyone_and_ends_the_process(tmp_path: Path) -> None:
    async with faulty_service(tmp_path) as service, grpc.aio.insecure_channel(service.address) as channel:
        # Something that the process would leave behind if it did not clean up: its grammars' process.
        constrained = sized_request(Random(4), prompt=5, answer=2)
        constrained.ignore_eos = False
        constrained.response_format.gbnf = 'root ::= "yes" | "no"'
        assert (await generate(service.stub, constrained, timeout_seconds=20)).whole
        children = psutil.Process(service.process.pid).children(recursive=True)
        assert children
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        states = [(await watched.read()).status]

        outcomes = await service.fail_under_callers("hang")
        assert reasons(outcomes) == ["ENGINE_STUCK"] * CALLERS
        states.append((await watched.read()).status)
        serving = health_pb2.HealthCheckResponse
        assert states == [serving.SERVING, serving.NOT_SERVING]
        assert await asyncio.wait_for(service.process.wait(), 20) == 71
        assert "the engine is stuck" in service.log()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive


async def test_a_native_crash_is_told_to_everyone(tmp_path: Path) -> None:
    async with faulty_service(tmp_path) as service:
        outcomes = await service.fail_under_callers("abort")
        assert [outcome.code for outcome in outcomes] == [grpc.StatusCode.UNAVAILABLE] * CALLERS
        assert await asyncio.wait_for(service.process.wait(), 20) == -signal.SIGABRT
