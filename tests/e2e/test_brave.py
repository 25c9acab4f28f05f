"""The web path: a search service that asks a stand-in for Brave over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.gateway.v1.gateway_pb2 import AskRequest
from groundwire_rpc.channels import open_channel
from tests.support.brave_stand_in import BraveStandIn, Fault
from tests.support.command_line import groundwire
from tests.support.processes import ServiceProcess
from tests.support.questions import literal, stream
from tests.support.stack import Stack, wiring

QUESTION = "How do rain gauges work?"


@dataclass(frozen=True, slots=True)
class Web:
    """A search service on the stand-in, and a gateway before it."""

    brave: BraveStandIn
    search: ServiceProcess
    gateway: ServiceProcess
    stub: gateway_pb2_grpc.AnswerServiceAsyncStub


@pytest.fixture
async def web(stack: Stack, tmp_path: Path) -> AsyncIterator[Web]:
    async with AsyncExitStack() as resources:
        brave = await resources.enter_async_context(BraveStandIn())
        settings = {
            "BRAVE_API_KEY": brave.token,
            "GROUNDWIRE_BRAVE_BASE_URL": brave.base_url,
            "GROUNDWIRE_INDEX_PATH": str(stack.index_path),
        }
        search = await _running("search", tmp_path, settings, resources)
        gateway = await _running("gateway", tmp_path, wiring(search, stack.inference), resources)
        channel = await resources.enter_async_context(open_channel(gateway.address))
        yield Web(brave, search, gateway, gateway_pb2_grpc.AnswerServiceStub(channel))


async def _running(name: str, folder: Path, settings: dict[str, str], resources: AsyncExitStack) -> ServiceProcess:
    # In threads: the stand-in lives in this event loop.
    service = await asyncio.to_thread(ServiceProcess(name, folder, settings).start)
    resources.push_async_callback(asyncio.to_thread, service.stop)
    return service


async def test_web_sources_are_cited_and_the_token_is_kept(web: Web) -> None:
    request = AskRequest(question=QUESTION, country="DE", response_format=literal("They collect rain [1]."))
    request.freshness.preset = gateway_pb2.FRESHNESS_PRESET_PAST_WEEK
    events = [event async for event in web.stub.Ask(request, timeout=60)]
    [found] = [event.sources for event in events if event.HasField("sources")]
    assert found.provider == gateway_pb2.PROVIDER_BRAVE
    assert len(found.sources) == 5
    assert all(source.url.startswith(("http://", "https://")) and source.host for source in found.sources)
    assert events[-1].finished.outcome == gateway_pb2.OUTCOME_ANSWERED
    [asked] = web.brave.requests
    assert (asked.param("country"), asked.param("freshness")) == ("DE", "pw")
    assert web.brave.token not in web.search.log() + web.gateway.log()


async def test_the_same_question_again_is_not_paid_twice(web: Web) -> None:
    request = AskRequest(question=QUESTION, max_tokens=1)
    for from_cache in (False, True):
        events = [event async for event in web.stub.Ask(request, timeout=60)]
        assert [event.sources.from_cache for event in events if event.HasField("sources")] == [from_cache]
    assert len(web.brave.requests) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.QUOTA_SPENT, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Fault.TOKEN_401, grpc.StatusCode.FAILED_PRECONDITION),
        (Fault.JUNK, grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_what_brave_refuses_reaches_the_caller_typed(web: Web, fault: Fault, code: grpc.StatusCode) -> None:
    status = (await stream(web.stub, AskRequest(question=f"fault:{fault} please"))).failed
    assert status.code is code
    assert status.metadata["service"] == "search"
    assert web.brave.token not in status.message


async def test_quota_in_the_status_command(web: Web, stack: Stack, tmp_path: Path) -> None:
    assert [event async for event in web.stub.Ask(AskRequest(question=QUESTION, max_tokens=1), timeout=60)]
    ran = await groundwire(
        "status",
        folder=tmp_path,
        GROUNDWIRE_GATEWAY_LISTEN=web.gateway.address,
        GROUNDWIRE_SEARCH_LISTEN=web.search.address,
        GROUNDWIRE_INFERENCE_LISTEN=stack.inference.address,
    )
    assert ran.code == 0, ran.stdout
    assert "searches brave by default" in ran.stdout
    assert "14,999 of 15,000 calls left in 30 days" in ran.stdout
    assert web.brave.token not in ran.stdout
