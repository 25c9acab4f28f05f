"""Each service as a process that is told to stop: in which order it goes, and with which exit status."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundwire.gateway.v1 import gateway_pb2_grpc
from groundwire.inference.v1 import inference_pb2, inference_pb2_grpc
from groundwire.search.v1 import search_pb2, search_pb2_grpc
from groundwire_rpc.channels import open_channel
from tests.support.brave_stand_in import BraveStandIn, Fault
from tests.support.fake_services import FakeInference, FakeSearch, answer_script, delta, serving, started
from tests.support.processes import ServiceProcess
from tests.support.stack import INFERENCE
from tests.support.wired_gateway import QUESTION, TWO_SOURCES

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ("search", "inference", "gateway")


@dataclass
class Busy:
    """A service that has a call to answer."""

    service: ServiceProcess
    channel: grpc.aio.Channel
    answer: asyncio.Future[None]
    """The running call: raises AioRpcError where it fails."""
    finish: Callable[[], None]
    """Lets it end, where it does not by itself."""

    def signal(self) -> None:
        os.kill(self.service.pid, signal.SIGTERM)

    async def exit_code(self, seconds: float = 30) -> int:
        """The exit status, of a process that ends by itself within so many seconds."""
        async with asyncio.timeout(seconds):
            while self.service.is_running():
                await asyncio.sleep(0.02)
        return self.service.stop()


async def _searching(channel: grpc.aio.Channel, begun: asyncio.Event) -> None:
    request = search_pb2.SearchRequest(query="rain", provider=search_pb2.PROVIDER_BRAVE)
    call = search_pb2_grpc.SearchServiceStub(channel).Search(request, timeout=60)
    asyncio.get_running_loop().call_later(0.3, begun.set)
    assert (await call).results


async def _generating(channel: grpc.aio.Channel, begun: asyncio.Event) -> None:
    request = inference_pb2.GenerateRequest(text="The rain", max_tokens=1_200, ignore_eos=True)
    kinds = []
    async for event in inference_pb2_grpc.InferenceServiceStub(channel).Generate(request, timeout=100):
        kinds.append(event.WhichOneof("event"))
        begun.set()
    assert kinds[-1] == "finished"


async def _asking(channel: grpc.aio.Channel, begun: asyncio.Event) -> None:
    kinds = []
    async for event in gateway_pb2_grpc.AnswerServiceStub(channel).Ask(QUESTION, timeout=60):
        kinds.append(event.WhichOneof("event"))
        if kinds[-1] == "delta":
            begun.set()
    assert kinds[-1] == "finished"


@asynccontextmanager
async def busy(name: str, folder: Path, *, settle: float, grace: float) -> AsyncIterator[Busy]:
    """A real process of the service, with a call that it has begun to answer."""
    settings = {
        "GROUNDWIRE_SHUTDOWN_SETTLE_SECONDS": str(settle),
        "GROUNDWIRE_SHUTDOWN_GRACE_SECONDS": str(grace),
        "GROUNDWIRE_INDEX_PATH": str(folder / "index.sqlite3"),
    }
    go_on, begun = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as resources:
        if name == "search":
            brave = await resources.enter_async_context(BraveStandIn())
            brave.faults.append(Fault.SLOW)
            brave.slow_seconds = 4.0
            settings |= {"BRAVE_API_KEY": brave.token, "GROUNDWIRE_BRAVE_BASE_URL": brave.base_url}
        elif name == "inference":
            settings |= INFERENCE
        else:
            model = FakeInference([started(1), delta("Vienna"), go_on, *answer_script(" [1].")[2:]])
            settings["GROUNDWIRE_SEARCH_TARGET"] = await resources.enter_async_context(
                serving(FakeSearch([TWO_SOURCES]))
            )
            settings["GROUNDWIRE_INFERENCE_TARGET"] = await resources.enter_async_context(serving(model))
        service = ServiceProcess(name, folder, settings)
        await asyncio.to_thread(service.start)
        resources.callback(lambda: service.is_running() and service.kill())
        channel = await resources.enter_async_context(open_channel(service.address))
        call = {"search": _searching, "inference": _generating, "gateway": _asking}[name]
        answer = asyncio.ensure_future(call(channel, begun))
        try:
            await asyncio.wait_for(begun.wait(), 30)
            yield Busy(service, channel, answer, go_on.set)
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)


async def watched(channel: grpc.aio.Channel, wanted: int) -> float:
    """The moment at which health tells so of the whole server, to one who watches."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
    async for answer in watch:
        if answer.status == wanted:
            watch.cancel()
            return time.monotonic()
    raise AssertionError("health was never like that")


async def checked(address: str) -> int | None:
    """The health that a new connection is told. None: there is none to be had."""
    alone: Any = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(address, alone) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return None
        return int(answer.status)


@pytest.mark.parametrize("name", SERVICES)
async def test_not_serving_first_then_no_new_calls_then_the_running_one_ends_then_exit_0(
    name: str, tmp_path: Path
) -> None:
    async with busy(name, tmp_path, settle=0.6, grace=60) as stopping:
        await watched(stopping.channel, SERVING)
        not_serving = asyncio.ensure_future(watched(stopping.channel, NOT_SERVING))
        await asyncio.sleep(0.1)
        stopping.signal()
        told = await asyncio.wait_for(not_serving, 20)
        while (state := await checked(stopping.service.address)) is not None:
            assert state == NOT_SERVING
            await asyncio.sleep(0.05)
        assert time.monotonic() - told > 0.3  # calls were taken for the time to settle
        assert not stopping.answer.done()
        stopping.finish()
        await stopping.answer
        assert await stopping.exit_code() == 0


@pytest.mark.parametrize("name", SERVICES)
async def test_a_second_signal_ends_it_at_once_even_while_it_settles(name: str, tmp_path: Path) -> None:
    async with busy(name, tmp_path, settle=60, grace=60) as stopping:
        stopping.signal()
        await watched(stopping.channel, NOT_SERVING)
        assert stopping.service.is_running()
        stopping.signal()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stopping.answer
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert await stopping.exit_code(20) == 0


@pytest.mark.parametrize("name", ["inference", "gateway"])
async def test_what_outlasts_the_grace_gets_a_status(name: str, tmp_path: Path) -> None:
    async with busy(name, tmp_path, settle=0, grace=0.3) as stopping:
        stopping.signal()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stopping.answer
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert await stopping.exit_code() == 0
