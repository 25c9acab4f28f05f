"""The metrics port over real sockets: what it answers, and that nobody can hold it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from groundwire_rpc.metrics_http import MAX_CONNECTIONS, MAX_HEAD_BYTES, metrics_endpoint
from groundwire_rpc.server import AddressInUse


@pytest.fixture
async def address() -> AsyncIterator[str]:
    registry = CollectorRegistry(auto_describe=True)
    Counter("things", "Things.", registry=registry).inc(3)
    async with metrics_endpoint("127.0.0.1:0", registry) as served:
        yield served


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def answer(address: str, request: bytes) -> tuple[str, str, str]:
    """The status line, the head and the body. Empty where the connection was closed without an answer."""
    reader, writer = await connect(address)
    try:
        writer.write(request)
        await writer.drain()
        received = (await asyncio.wait_for(reader.read(), 10)).decode()
    except ConnectionError:
        received = ""
    finally:
        writer.close()
    head, _, body = received.partition("\r\n\r\n")
    return head.partition("\r\n")[0], head, body


async def test_prometheus_finds_its_metrics(address: str) -> None:
    status, head, body = await answer(address, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == "HTTP/1.1 200 OK"
    assert "text/plain; version=" in head
    assert f"Content-Length: {len(body)}" in head
    families = text_string_to_metric_families(body)
    assert [each.value for family in families for each in family.samples if each.name == "things_total"] == [3]


async def test_who_asks_for_open_metrics_gets_them(address: str) -> None:
    accept = b"Accept: application/openmetrics-text; version=1.0.0\r\n"
    _, head, body = await answer(address, b"GET /metrics HTTP/1.1\r\n" + accept + b"\r\n")
    assert "application/openmetrics-text" in head
    assert body.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"HEAD /metrics HTTP/1.1", "HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.1", "HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.1", "HTTP/1.1 405 Method Not Allowed"),
        (b"nonsense", "HTTP/1.1 405 Method Not Allowed"),
        (b"\xff\xfe \x00 \x01", "HTTP/1.1 405 Method Not Allowed"),
    ],
)
async def test_anything_else_is_told_so(address: str, request_line: bytes, status: str) -> None:
    found, _, body = await answer(address, request_line + b"\r\n\r\n")
    assert found == status
    assert bool(body) == (not request_line.startswith(b"HEAD"))


async def test_a_head_without_an_end_is_not_kept(address: str) -> None:
    assert (await answer(address, b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 4 * MAX_HEAD_BYTES))[0] == ""
    assert (await answer(address, b"GET /metrics HTTP/1.1\r\n\r\n"))[0] == "HTTP/1.1 200 OK"


async def test_those_who_connect_and_say_nothing_are_let_go(address: str) -> None:
    silent = [await connect(address) for _ in range(MAX_CONNECTIONS + 4)]
    ends = [asyncio.create_task(reader.read()) for reader, _ in silent]
    _, waiting = await asyncio.wait(ends, timeout=2)
    assert len(waiting) == MAX_CONNECTIONS  # one too many is closed at once
    _, waiting = await asyncio.wait(ends, timeout=10)
    assert not waiting
    for _, writer in silent:
        writer.close()
    assert (await answer(address, b"GET /metrics HTTP/1.1\r\n\r\n"))[0] == "HTTP/1.1 200 OK"


async def test_the_port_is_given_back_whoever_is_connected() -> None:
    async with metrics_endpoint("127.0.0.1:0", CollectorRegistry()) as address:
        _, writer = await connect(address)
        with pytest.raises(AddressInUse, match=address):
            async with metrics_endpoint(address, CollectorRegistry()):
                pass
    writer.close()
    async with metrics_endpoint(address, CollectorRegistry()) as again:
        assert again == address
