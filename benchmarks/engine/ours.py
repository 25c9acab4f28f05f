"""Groundwire's inference service as a system under test, driven through its own contract."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.engine.processes import RunningProcess, clean_environment, running_process
from benchmarks.engine.requests import TOP_K, TOP_P, EngineSeconds, Request, Tokens, Usage
from benchmarks.engine.systems import Running, Terms
from groundwire.inference.v1 import inference_pb2, inference_pb2_grpc
from groundwire_rpc.channels import open_channel

_ROOT = Path(__file__).parents[2]
_SERVICE = "groundwire.inference.v1.InferenceService"
_ANNOUNCEMENT = "inference serving on "
_REQUEST_TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Ours:
    """The inference service with its own defaults, but for the terms of the contest."""

    terms: Terms
    name: str = "Groundwire"

    @contextlib.asynccontextmanager
    async def start(self) -> AsyncIterator[Running]:
        """Run `python -m inference_service`."""
        settings = {
            "GROUNDWIRE_MODEL": str(self.terms.model),
            "GROUNDWIRE_INFERENCE_LISTEN": "127.0.0.1:0",
            "GROUNDWIRE_INFERENCE_SLOTS": str(self.terms.slots),
            "GROUNDWIRE_INFERENCE_CONTEXT": str(self.terms.context),
            "GROUNDWIRE_INFERENCE_THREADS": str(self.terms.threads),
            "GROUNDWIRE_INFERENCE_PREFIX_CACHE_MIB": str(self.terms.prompt_cache_mib),
            "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'protos' / 'gen'}",
        }
        environment = clean_environment(("GROUNDWIRE_",), settings)
        command = [sys.executable, "-m", "inference_service"]
        # In a folder of its own, so that no .env of this checkout is read.
        with tempfile.TemporaryDirectory() as folder:
            async with (
                running_process(self.name, command, environment=environment, folder=Path(folder)) as process,
                open_channel(await _address(process)) as channel,
            ):
                await _until_serving(process, channel)
                yield Running(OurClient(channel), process)


async def _address(process: RunningProcess) -> str:
    """Where it says that it serves, on the first line that it prints."""
    found: list[str] = []

    async def announced() -> bool:
        lines = process.log_text().split("\n")[:-1]
        found.extend(line.removeprefix(_ANNOUNCEMENT) for line in lines if line.startswith(_ANNOUNCEMENT))
        return bool(found)

    await process.until(announced)
    return found[0]


async def _until_serving(process: RunningProcess, channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)

    async def serving() -> bool:
        answer = await health.Check(  # type: ignore[attr-defined]  # the published stubs leave it out
            health_pb2.HealthCheckRequest(service=_SERVICE), timeout=5
        )
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    await process.until(serving)


class OurClient:
    """Calls Generate, one message of the contract at a time."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._service: inference_pb2_grpc.InferenceServiceAsyncStub = inference_pb2_grpc.InferenceServiceStub(channel)

    async def stream(self, request: Request) -> AsyncIterator[Tokens | Usage]:
        """Yield the tokens of each delta, and what `finished` tells."""
        call = self._service.Generate(
            inference_pb2.GenerateRequest(
                token_ids=inference_pb2.TokenIds(ids=request.token_ids),
                sampling=inference_pb2.Sampling(
                    temperature=request.temperature, top_k=TOP_K, top_p=TOP_P, seed=request.seed
                ),
                max_tokens=request.max_tokens,
                ignore_eos=True,
                speculation=request.drafts,
            ),
            timeout=_REQUEST_TIMEOUT_SECONDS,
        )
        try:
            async for message in call:
                event = message.WhichOneof("event")
                if event == "delta":
                    ids = tuple(message.delta.token_ids)
                    yield Tokens(len(ids), ids)
                elif event == "finished":
                    usage = message.finished.usage
                    yield Usage(usage.prompt_tokens, usage.cached_tokens, usage.drafted_tokens, usage.accepted_tokens)
        finally:
            call.cancel()

    async def status(self) -> inference_pb2.GetStatusResponse:
        """What the service says of itself."""
        return await self._service.GetStatus(inference_pb2.GetStatusRequest(), timeout=30)

    async def busy(self) -> bool:
        """Whether a request is running or waiting."""
        status = await self.status()
        return bool(status.slots_used or status.queue_length)

    async def engine_seconds(self) -> EngineSeconds:
        """What the engine has spent since it started."""
        status = await self.status()
        return EngineSeconds(status.step_seconds_total, status.forward_seconds_total)
