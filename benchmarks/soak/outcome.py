"""What came of one call, as its caller saw it."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc

from groundwire.inference.v1 import inference_pb2 as pb


@dataclass(slots=True)
class Received:
    """The messages of a call so far, joined. Grows while the call runs."""

    events: list[str] = field(default_factory=list)
    """The names of the events, in order."""
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[pb.PositionLogprobs] = field(default_factory=list)
    started: pb.Started | None = None
    finished: pb.Finished | None = None
    first_delta_seconds: float | None = None
    """From sending to the first delta."""

    def add(self, message: pb.GenerateResponse, seconds: float) -> None:
        """Take the next message, `seconds` after sending."""
        event = message.WhichOneof("event") or "none"
        self.events.append(event)
        if event == "started":
            self.started = message.started
        elif event == "delta":
            self.text += message.delta.text
            self.token_ids.extend(message.delta.token_ids)
            self.logprobs.extend(message.delta.logprobs)
            if self.first_delta_seconds is None:
                self.first_delta_seconds = seconds
        elif event == "finished":
            self.finished = message.finished

    def add_gathered(self, response: pb.CompleteResponse) -> None:
        """Take the answer of a Complete call."""
        self.events += ["started", "delta", "finished"]
        self.started, self.finished = response.started, response.finished
        self.text, self.token_ids = response.text, list(response.token_ids)
        self.logprobs = list(response.logprobs)


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ended."""

    code: grpc.StatusCode | None
    """None: it had not ended long after its deadline."""
    message: str = ""
    """The service's own."""
    details: frozenset[str] = frozenset()
    """Names of the google.rpc messages that came with the status, such as RetryInfo."""
    pushback_ms: int | None = None
    """The trailer grpc-retry-pushback-ms, where it is a number."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a call, and what had come until then."""

    status: Status
    received: Received
    seconds: float
    """From sending to the end."""

    @property
    def code(self) -> grpc.StatusCode | None:
        """The status's code."""
        return self.status.code

    @property
    def code_name(self) -> str:
        """The status's name, or NONE."""
        return self.code.name if self.code is not None else "NONE"
