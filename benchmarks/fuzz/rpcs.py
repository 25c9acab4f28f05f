"""Every RPC of the three services, real and in this process, with mutated requests over real connections."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import Message

from benchmarks.fuzz.messages import mutate
from benchmarks.fuzz.mutate import mutated
from benchmarks.fuzz.tally import Tally
from gateway.config import GatewayConfig
from gateway.server import build_server as build_gateway
from groundwire.gateway.v1 import gateway_pb2
from groundwire.inference.v1 import inference_pb2, inference_pb2_grpc
from groundwire.search.v1 import search_pb2
from groundwire_rpc.channels import open_channel
from groundwire_rpc.metadata import REQUEST_ID_KEY
from groundwire_rpc.server import RpcServer
from inference_service.config import InferenceConfig
from inference_service.core.generation import Generation
from inference_service.server import open_model
from inference_service.servicer import SERVICE_NAME as INFERENCE
from inference_service.servicer import InferenceServicer
from search_service.config import SearchConfig
from search_service.server import build_searcher
from search_service.server import build_server as build_search

_CONCURRENT: Final = 16
_UNEXPLAINED: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})
_SETTLE_SECONDS: Final = 20.0
_GRAMMAR: Final = inference_pb2.ResponseFormat(gbnf='root ::= "a" | "b"')
_SCHEMA: Final = inference_pb2.ResponseFormat(json_schema='{"type":"integer"}')


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC with requests to begin from."""

    service: str
    """search, inference or gateway: whose channel it is called on."""
    path: str
    streams: bool
    seeds: Sequence[Message]
    timeout_seconds: float
    weight: int = 1

    @property
    def name(self) -> str:
        """For a tally."""
        return f"rpc {self.service}.{self.path.rpartition('/')[2]}"


def methods() -> list[Method]:
    """All RPCs of all services; a test holds this list against the contracts."""
    chat = inference_pb2.Chat(
        messages=[inference_pb2.Message(role=inference_pb2.ROLE_USER, content="Which port?")],
        documents=[inference_pb2.Document(title="Ports", host="local", text="The gateway has port 50051.")],
    )
    warm = inference_pb2.Sampling(temperature=0.5, seed=1, top_p=0.9, repeat_penalty=1.1)
    generate = [
        inference_pb2.GenerateRequest(text="The port is", max_tokens=2, sampling=warm),
        inference_pb2.GenerateRequest(chat=chat, max_tokens=2, stop=["."], logprobs=2, cache_salt="a"),
        inference_pb2.GenerateRequest(token_ids=inference_pb2.TokenIds(ids=[1, 2, 3]), max_tokens=1),
        inference_pb2.GenerateRequest(text="n", max_tokens=2, response_format=_GRAMMAR),
        inference_pb2.GenerateRequest(text="n", max_tokens=2, response_format=_SCHEMA),
    ]
    ask = [
        gateway_pb2.AskRequest(question="Which port does the gateway listen on?", max_tokens=2),
        gateway_pb2.AskRequest(
            question="And the search?",
            history=[
                gateway_pb2.Turn(role=gateway_pb2.ROLE_USER, content="Which port?"),
                gateway_pb2.Turn(role=gateway_pb2.ROLE_ASSISTANT, content="50051 [1]."),
            ],
            sources=[gateway_pb2.GivenSource(title="Ports", text="It is 50052.", url="https://example.org/")],
            max_tokens=2,
            temperature=0.1,
        ),
        gateway_pb2.AskRequest(question="Which port?", provider=gateway_pb2.PROVIDER_LOCAL, max_tokens=1),
    ]
    search = [
        search_pb2.SearchRequest(query="gateway port", page_size=3),
        search_pb2.SearchRequest(
            query="rain",
            provider=search_pb2.PROVIDER_LOCAL,
            freshness=search_pb2.Freshness(range=search_pb2.DateRange(start="2024-01-01", end="2024-02-01")),
            verticals=[search_pb2.VERTICAL_WEB],
            country="US",
        ),
        search_pb2.SearchRequest(query="rain", provider=search_pb2.PROVIDER_BRAVE, goggles=["$discard"]),
    ]
    s, i, g = "/groundwire.search.v1.SearchService/", f"/{INFERENCE}/", "/groundwire.gateway.v1.AnswerService/"
    complete = [inference_pb2.CompleteRequest(generate=request) for request in generate]
    count = [inference_pb2.CountTokensRequest(text="Which port?"), inference_pb2.CountTokensRequest(chat=chat)]
    answer = [gateway_pb2.AnswerRequest(ask=request) for request in ask]
    return [
        Method("search", f"{s}Search", False, search, 5.0, 4),
        Method("search", f"{s}GetStatus", False, [search_pb2.GetStatusRequest()], 5.0),
        Method("inference", f"{i}Generate", True, generate, 2.0, 4),
        Method("inference", f"{i}Complete", False, complete, 2.0, 2),
        Method("inference", f"{i}CountTokens", False, count, 5.0, 2),
        Method("inference", f"{i}GetModel", False, [inference_pb2.GetModelRequest()], 5.0),
        Method("inference", f"{i}GetStatus", False, [inference_pb2.GetStatusRequest()], 5.0),
        Method("gateway", f"{g}Ask", True, ask, 2.0, 4),
        Method("gateway", f"{g}Answer", False, answer, 2.0, 2),
        Method("gateway", f"{g}GetStatus", False, [gateway_pb2.GetStatusRequest()], 5.0),
    ]


class LoggedCauses:
    """The request ids of calls whose unexpected error is in the log. A structlog processor."""

    def __init__(self) -> None:
        self.request_ids: set[str] = set()

    def __call__(self, _: Any, name: str, event: Any) -> Any:  # Any: structlog's own types
        """Note an error, and write nothing."""
        if name in ("error", "exception", "critical"):
            self.request_ids.add(str(event.get("request_id", "")))
        raise structlog.DropEvent


@dataclass(frozen=True, slots=True)
class Fleet:
    """The three services, and what their logs told."""

    channels: dict[str, grpc.aio.Channel]
    causes: LoggedCauses


@asynccontextmanager
async def fleet(folder: Path, model: Path) -> AsyncIterator[Fleet]:
    """Start the real services on any free ports; nothing they log is shown."""
    causes = LoggedCauses()
    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, causes], cache_logger_on_first_use=False)
    async with AsyncExitStack() as resources:
        resources.callback(structlog.configure, **before)
        index = folder / "index.sqlite3"
        search_config = SearchConfig(search_listen="127.0.0.1:0", index_path=index, search_provider="local")
        searcher = build_searcher(search_config)
        resources.push_async_callback(searcher.close)
        generation = Generation(clock=time.monotonic)
        inference_server = RpcServer("127.0.0.1:0", [INFERENCE])
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(
            InferenceServicer(generation, default_timeout_seconds=30, stall_seconds=20), inference_server.grpc_server
        )
        targets = {
            "search": await _start(build_search(search_config, searcher), resources),
            "inference": await _start(inference_server, resources),
        }
        inference_config = InferenceConfig(
            model=str(model),
            inference_slots=_CONCURRENT,
            inference_context=8_192,
            inference_threads=1,
            inference_prefix_cache_mib=64,
        )
        generation.attach(await open_model(inference_config, resources, lambda _: None))
        gateway_config = GatewayConfig(
            gateway_listen="127.0.0.1:0", search_target=targets["search"], inference_target=targets["inference"]
        )
        targets["gateway"] = await _start(build_gateway(gateway_config, resources), resources)
        channels = {name: await resources.enter_async_context(open_channel(target)) for name, target in targets.items()}
        yield Fleet(channels, causes)


async def _start(server: RpcServer, resources: AsyncExitStack) -> str:
    target = await server.start()
    resources.push_async_callback(server.stop, 0)
    await server.set_serving(True)
    return target


async def fuzz_rpcs(fleet: Fleet, tally: Tally, inputs: int, seconds: float, chance: random.Random) -> None:
    """Send so many mutated requests, or for so long; then see that the services are idle and well."""
    ends = time.monotonic() + seconds
    chosen = [method for method in methods() for _ in range(method.weight)]
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: tally.crashed("event loop", b"", _told(context)))
    tries: Iterable[int] = iter(range(inputs))
    numbers = itertools.count()

    async def worker() -> None:
        for _ in tries:
            if time.monotonic() > ends:
                return
            method = chance.choice(chosen)
            await attempt(fleet, tally, method, _request(method, chance), f"fuzz-{next(numbers)}")

    await asyncio.gather(*(worker() for _ in range(_CONCURRENT)))
    await _settle(fleet, tally)


def _told(context: dict[str, Any]) -> str:
    return f"{context.get('message')}: {context.get('exception')!r}"


def _request(method: Method, chance: random.Random) -> bytes:
    message = type(method.seeds[0])()
    message.CopyFrom(chance.choice(method.seeds))
    if chance.random() < 0.7:
        mutate(message, chance)
    data = message.SerializeToString()
    if chance.random() < 0.4:
        data = mutated(data, [seed.SerializeToString() for seed in method.seeds], chance)
    return data


async def attempt(fleet: Fleet, tally: Tally, method: Method, data: bytes, request_id: str) -> None:
    """Send one request, and count how it ended."""
    channel: Any = fleet.channels[method.service]  # Any: typed for messages, and these are bytes
    metadata = ((REQUEST_ID_KEY, request_id),)
    # Its deadline ends a call unless this process is busy. On a busy machine it may also just not be run.
    began, worked = time.monotonic(), time.process_time()
    code = grpc.StatusCode.OK
    try:
        if method.streams:
            stream = channel.unary_stream(method.path)(data, timeout=method.timeout_seconds, metadata=metadata)
            async for _ in stream:
                pass
        else:
            await channel.unary_unary(method.path)(data, timeout=method.timeout_seconds, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        code = error.code()
        if code in _UNEXPLAINED and request_id not in fleet.causes.request_ids:
            tally.unexplained(method.name, data, f"{code.name}: {error.details()}")
        elif code in _UNEXPLAINED:
            tally.crashed(method.name, data, f"{code.name}: {error.details()}")
    late = min(time.monotonic() - began - method.timeout_seconds, time.process_time() - worked)
    tally.tried(method.name, code.name, late, data)


async def _settle(fleet: Fleet, tally: Tally) -> None:
    """All slots are free again soon, no question is being answered, and a good one is."""
    inference = inference_pb2_grpc.InferenceServiceStub(fleet.channels["inference"])
    ends = time.monotonic() + _SETTLE_SECONDS
    while True:
        status = await inference.GetStatus(inference_pb2.GetStatusRequest(), timeout=5)
        if (status.slots_used, status.queue_length) == (0, 0):
            break
        if time.monotonic() > ends:
            tally.crashed("afterwards", b"", f"{status.slots_used} slots and {status.queue_length} places are not free")
            return
        await asyncio.sleep(0.05)
    for method in methods():
        fresh = Tally(tally.folder)
        await attempt(fleet, fresh, method, method.seeds[0].SerializeToString(), f"afterwards-{method.name}")
        if fresh.outcomes[method.name, "OK"] != 1:
            tally.crashed("afterwards", b"", f"{method.name} ended {dict(fresh.outcomes)}")
