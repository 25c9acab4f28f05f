"""The lean HTTP client, against a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.engine.http_stream import HttpFailed, posted

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[int, list[bytes]]]:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        heard.append(head + await reader.readexactly(length))
        try:
            await answer(writer)
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()
        await server.wait_closed()


async def gathered(port: int) -> list[bytes]:
    async with posted("127.0.0.1", port, "/completion", b'{"a": 1}') as pieces:
        return [piece async for piece in pieces]


async def test_chunks_come_as_they_are_sent():
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"5\r\nhello\r\n")
        await writer.drain()
        writer.write(b"3;name=value\r\n\r\n!\r\n"[:1])
        await writer.drain()
        writer.write(b"\r\n\r\n!\r\n0\r\n\r\n")

    async with serving(answer) as (port, heard):
        assert await gathered(port) == [b"hello", b"\r\n!"]
    assert heard[0].startswith(b"POST /completion HTTP/1.1\r\n")
    assert heard[0].endswith(b'\r\n\r\n{"a": 1}')


async def test_an_error_has_the_servers_own_words():
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 15\r\n\r\n{"error":"big"}')

    async with serving(answer) as (port, _):
        with pytest.raises(HttpFailed, match=r'400.*"big"'):
            await gathered(port)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", OK, OK + b"5\r\nhel", OK + b"5\r\nhello\r\n"])
async def test_an_answer_without_an_end_is_a_failure(sent):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)

    async with serving(answer) as (port, _):
        with pytest.raises(HttpFailed, match="closed before"):
            await gathered(port)


async def test_an_answer_that_is_not_chunked_is_refused():
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with serving(answer) as (port, _):
        with pytest.raises(HttpFailed, match="not chunked"):
            await gathered(port)


async def test_leaving_early_closes_the_connection():
    closed = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        try:
            while not writer.is_closing():
                writer.write(b"5\r\nhello\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        closed.set()

    async with serving(answer) as (port, _):
        async with posted("127.0.0.1", port, "/", b"{}") as pieces:
            async for piece in pieces:
                assert piece == b"hello"
                break
        async with asyncio.timeout(10):
            await closed.wait()
