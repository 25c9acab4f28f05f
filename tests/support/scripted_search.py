"""A search service that answers what a test tells it to, over real gRPC on the loopback interface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from groundwire.search.v1 import search_pb2, search_pb2_grpc
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import RichStatus, abort

SEARCH = "groundwire.search.v1.SearchService"


class ScriptedSearch(search_pb2_grpc.SearchServiceServicer):
    """Gives one answer to every search, and remembers the requests."""

    def __init__(self, answer: search_pb2.SearchResponse | RichStatus) -> None:
        self.answer = answer
        self.requests: list[search_pb2.SearchRequest] = []
        self.target = ""

    async def Search(  # noqa: N802 - the name in the contract
        self, request: search_pb2.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> search_pb2.SearchResponse:
        self.requests.append(request)
        if isinstance(self.answer, RichStatus):
            await abort(context, self.answer)
        return self.answer


@asynccontextmanager
async def scripted_search(answer: search_pb2.SearchResponse | RichStatus) -> AsyncIterator[ScriptedSearch]:
    """A scripted search service that listens on a free port; `target` says where."""
    server = RpcServer("127.0.0.1:0", [SEARCH])
    search = ScriptedSearch(answer)
    search_pb2_grpc.add_SearchServiceServicer_to_server(search, server.grpc_server)
    search.target = await server.start()
    await server.set_serving(True)
    try:
        yield search
    finally:
        await server.stop(0)
