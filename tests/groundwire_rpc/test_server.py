from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from groundwire_rpc.channels import open_channel
from groundwire_rpc.connections import MAX_MESSAGE_BYTES
from groundwire_rpc.server import AddressInUse, RpcServer, local_address
from tests.support.scripted_service import SCRIPTED_METHOD, SCRIPTED_SERVICE, add_scripted_service

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ROOT = Path(__file__).resolve().parents[2]


async def slowly(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    await asyncio.sleep(float(request[:8] or b"0"))
    return b"done"


@pytest.fixture
async def server() -> AsyncIterator[tuple[RpcServer, str]]:
    made = RpcServer("127.0.0.1:0", [SCRIPTED_SERVICE])
    add_scripted_service(made.grpc_server, slowly)
    address = await made.start()
    yield made, address
    await made.stop(0)


async def states(channel: grpc.aio.Channel) -> list[int]:
    stub = health_pb2_grpc.HealthStub(channel)
    names = ("", SCRIPTED_SERVICE)
    return [(await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)).status for name in names]


async def test_health_for_the_server_and_each_service(server: tuple[RpcServer, str]) -> None:
    rpc_server, address = server
    async with open_channel(address) as channel:
        assert await states(channel) == [NOT_SERVING, NOT_SERVING]
        await rpc_server.set_serving(True)
        assert await states(channel) == [SERVING, SERVING]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="no.Such"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services(server: tuple[RpcServer, str]) -> None:
    _, address = server
    async with open_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5)
        answer = await call.read()
        names = {service.name for service in answer.list_services_response.service}
        assert names == {SCRIPTED_SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


async def test_a_port_in_use_is_refused(server: tuple[RpcServer, str]) -> None:
    _, address = server
    with pytest.raises(AddressInUse, match=f"Cannot listen on {address}: it is in use"):
        await RpcServer(address, []).start()


@pytest.mark.parametrize("address", ["203.0.113.1:0", "no-such-host.invalid:1"])
async def test_an_address_of_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(AddressInUse, match="not an address of this host"):
        await RpcServer(address, []).start()


async def test_stopping_lets_running_calls_finish_and_says_not_serving(server: tuple[RpcServer, str]) -> None:
    rpc_server, address = server
    await rpc_server.set_serving(True)
    async with open_channel(address) as channel:
        running = channel.unary_unary(SCRIPTED_METHOD)(b"0.6", timeout=5)
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(rpc_server.stop(3))
        await asyncio.sleep(0.05)
        assert await states(channel) == [NOT_SERVING, NOT_SERVING]
        assert await running == b"done"
        await stopping
    async with open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(SCRIPTED_METHOD)(b"", timeout=1)
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_what_outlasts_the_grace_is_cancelled(server: tuple[RpcServer, str]) -> None:
    rpc_server, address = server
    async with open_channel(address) as channel:
        running = channel.unary_unary(SCRIPTED_METHOD)(b"60", timeout=60)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await rpc_server.stop(0.1)
        assert time.monotonic() - began < 30
        with pytest.raises(grpc.aio.AioRpcError):
            await running


async def test_large_messages_pass_and_larger_ones_do_not(server: tuple[RpcServer, str]) -> None:
    _, address = server
    async with open_channel(address) as channel:
        call = channel.unary_unary(SCRIPTED_METHOD)
        assert await call(b"0" * 8_000_000, timeout=10) == b"done"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"0" * (MAX_MESSAGE_BYTES + 1), timeout=10)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("0.0.0.0:5", "127.0.0.1:5"),
        ("[::]:5", "[::1]:5"),
        ("127.0.0.2:5", "127.0.0.2:5"),
        ("search:5", "search:5"),
    ],
)
def test_local_addresses(address: str, local: str) -> None:
    assert local_address(address) == local


PROCESS = """
import asyncio, sys
sys.path[:0] = sys.argv[2:]
from groundwire_rpc.server import RpcServer, serve_until_stopped
from tests.support.scripted_service import SCRIPTED_SERVICE, add_scripted_service
from tests.groundwire_rpc.test_server import slowly
async def load():
    print("loading", file=sys.stderr, flush=True)
    await asyncio.sleep(float(sys.argv[1]))
async def main():
    server = RpcServer("127.0.0.1:0", [SCRIPTED_SERVICE])
    add_scripted_service(server.grpc_server, slowly)
    await serve_until_stopped("example", server, grace_seconds=30, work=load)
asyncio.run(main())
"""


@contextmanager
def process(load_seconds: float) -> Iterator[subprocess.Popen[str]]:
    """`serve_until_stopped` as a process of its own."""
    paths = [str(ROOT), str(ROOT / "protos" / "gen")]
    started = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(load_seconds), *paths],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate(timeout=5)


def first_line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    line = started.stdout.readline()
    assert line.startswith("example serving on 127.0.0.1:")
    return line.split()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_running_calls_finish(number: signal.Signals) -> None:
    with process(0) as started:
        address = first_line(started)
        async with open_channel(address) as channel:
            assert await states(channel) == [SERVING, SERVING]
            running = channel.unary_unary(SCRIPTED_METHOD)(b"0.6", timeout=5)
            await asyncio.sleep(0.2)
            started.send_signal(number)
            assert await running == b"done"
        assert started.wait(timeout=5) == 0


async def test_a_second_signal_ends_at_once() -> None:
    with process(0) as started:
        address = first_line(started)
        async with open_channel(address) as channel:
            running = channel.unary_unary(SCRIPTED_METHOD)(b"60", timeout=60)
            await asyncio.sleep(0.2)
            started.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.4)
            assert started.poll() is None
            started.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError):
                await running
        assert started.wait(timeout=5) == 0


def test_a_signal_while_it_loads_ends_it_without_serving() -> None:
    with process(60) as started:
        assert started.stderr is not None
        assert started.stderr.readline() == "loading\n"
        started.send_signal(signal.SIGTERM)
        out, _ = started.communicate(timeout=10)
        assert "serving on" not in out
        assert started.returncode == 0


async def test_a_port_that_another_program_has_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AddressInUse):
            await RpcServer(address, []).start()
