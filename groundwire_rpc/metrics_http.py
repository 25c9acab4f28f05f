"""The HTTP port that Prometheus reads a service's metrics from. It runs in the service's own event loop, so that a
collector may look at what the loop owns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from groundwire_rpc.server import AddressInUse

log = structlog.get_logger(__name__)

PATH: Final = "/metrics"
MAX_HEAD_BYTES: Final = 8 * 1024
REQUEST_SECONDS: Final = 5.0
"""For a request to arrive, and for its answer to be taken."""
MAX_CONNECTIONS: Final = 16
"""At once. Further ones are closed unread."""


@asynccontextmanager
async def metrics_endpoint(listen: str, registry: CollectorRegistry) -> AsyncIterator[str]:
    """Serve the registry at http://`listen`/metrics while the block runs. Yields HOST:PORT. Raises AddressInUse."""
    host, _, port = listen.rpartition(":")
    running: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(running) >= MAX_CONNECTIONS:
            writer.close()
            return
        running.add(task)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await _answer(reader, writer, registry)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked is gone, or never asked
        finally:
            running.discard(task)
            writer.close()

    try:
        server = await asyncio.start_server(connected, host.strip("[]"), int(port), limit=MAX_HEAD_BYTES)
    except OSError:
        raise AddressInUse(listen) from None
    address = f"{host}:{server.sockets[0].getsockname()[1]}"
    log.info("metrics", address=address, path=PATH)
    try:
        yield address
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), REQUEST_SECONDS)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, registry: CollectorRegistry) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = head[0].split(" ")
    method, target = (words[0], words[1].partition("?")[0]) if len(words) == 3 else ("", "")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if method not in ("GET", "HEAD"):
        status, content_type, body = "405 Method Not Allowed", "text/plain; charset=utf-8", b"Only GET is answered.\n"
    elif target != PATH:
        status, content_type, body = "404 Not Found", "text/plain; charset=utf-8", f"Metrics are at {PATH}.\n".encode()
    else:
        encoder: tuple[Callable[[CollectorRegistry], bytes], str] = choose_encoder(headers.get("accept", ""))
        status, content_type, body = "200 OK", encoder[1], encoder[0](registry)
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode("latin-1")
    )
    if method != "HEAD":
        writer.write(body)
    await writer.drain()
