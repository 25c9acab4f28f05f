"""Questions whose answers a test can foretell: a grammar writes the answer, whatever the model knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.gateway.v1.gateway_pb2 import AskRequest
from groundwire_rpc.status import RichStatus, from_rpc_error

ABOUT_RAIN = "What does a rain gauge measure?"
ABOUT_NOTHING = "Xyzzyquux florbwimble?"

CITED_ANSWER = "Größe – 비 [1]. No more [1, 7]."


def literal(text: str) -> gateway_pb2.ResponseFormat:
    """A grammar that allows this text alone."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return gateway_pb2.ResponseFormat(gbnf=f'root ::= "{escaped}"')


def endless() -> gateway_pb2.ResponseFormat:
    """A grammar whose text is far longer than any max_tokens."""
    return gateway_pb2.ResponseFormat(gbnf="root ::= " + " ".join(["[a-z ]{900}"] * 10))


def cited() -> AskRequest:
    """A question that is answered with CITED_ANSWER."""
    return AskRequest(question=ABOUT_RAIN, response_format=literal(CITED_ANSWER))


def long_answer() -> AskRequest:
    """A question whose answer takes seconds."""
    return AskRequest(question=ABOUT_RAIN, response_format=endless(), max_tokens=1500, max_sources=1)


@dataclass(slots=True)
class Streamed:
    """An answer as far as it came."""

    events: list[gateway_pb2.AskResponse] = field(default_factory=list)
    failure: RichStatus | None = None
    """Why it failed. None where it ended as it should."""

    @property
    def kinds(self) -> list[str | None]:
        """The events' names in order."""
        return [event.WhichOneof("event") for event in self.events]

    @property
    def failed(self) -> RichStatus:
        """The failure that a test expects."""
        assert self.failure is not None, self.kinds
        assert "finished" not in self.kinds
        return self.failure


async def stream(
    gateway: gateway_pb2_grpc.AnswerServiceAsyncStub,
    request: AskRequest,
    *,
    timeout_seconds: float = 60,
    at_first_delta: Callable[[], None] = lambda: None,
    metadata: tuple[tuple[str, str], ...] = (),
) -> Streamed:
    """Ask, and take what comes, a failure included."""
    streamed = Streamed()
    try:
        async for event in gateway.Ask(request, timeout=timeout_seconds, metadata=metadata):
            if event.HasField("delta") and "delta" not in streamed.kinds:
                at_first_delta()
            streamed.events.append(event)
    except grpc.aio.AioRpcError as error:
        streamed.failure = from_rpc_error(error)
    return streamed
