"""A streamed HTTP/1.1 answer at the least cost: what the measuring process spends is taken from the system under test.

httpx takes about twice the time of gRPC's client for each token. This takes about as much, so that neither system is
slowed more than the other by being measured.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_OK = b"200"
_LARGEST_LINE = 1 << 20


class HttpFailed(RuntimeError):
    """The answer is an error, or no HTTP as expected; the message has what came."""


@contextlib.asynccontextmanager
async def posted(host: str, port: int, path: str, body: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
    """Post JSON on a connection of its own; inside the block, the chunks of the answer as they come.

    Leaving the block early closes the connection. Raises HttpFailed, or OSError.
    """
    reader, writer = await asyncio.open_connection(host, port, limit=_LARGEST_LINE)
    try:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        status, headers = await _head(reader)
        if status != _OK:
            raise HttpFailed(f"status {status.decode()}: {(await reader.read()).decode(errors='replace')}")
        if headers.get(b"transfer-encoding", b"").lower() != b"chunked":
            raise HttpFailed(f"the answer is not chunked: {headers}")
        yield _chunks(reader)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _head(reader: asyncio.StreamReader) -> tuple[bytes, dict[bytes, bytes]]:
    """The status and the headers, their names in lower case."""
    try:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
    except asyncio.IncompleteReadError as error:
        raise HttpFailed(f"the connection was closed before an answer; it had sent {error.partial!r}") from error
    fields = (line.partition(b":") for line in lines)
    return first.split(b" ")[1], {name.lower(): value.strip() for name, _, value in fields}


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    try:
        while size := int(await reader.readline(), 16):
            yield (await reader.readexactly(size + 2))[:-2]
    except (asyncio.IncompleteReadError, ValueError) as error:
        raise HttpFailed("the connection was closed before the answer's end") from error
