"""Calls of the inference service whose length is known, and what came of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import grpc

from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc
from groundwire_rpc.callers import CALLER_KEY
from groundwire_rpc.channels import CHANNEL_OPTIONS
from groundwire_rpc.status import PUSHBACK_TRAILER, RichStatus, from_rpc_error

SMALL_WINDOW = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
"""Options of a channel whose client takes little at a time that it has not asked for."""

_numbers = itertools.count()
_HIGHEST_TOKEN = 28_000
"""Below it are no control tokens in the vocabularies that models here have."""


def sized_request(random: Random, *, prompt: int, answer: int, logprobs: int | None = None) -> pb.GenerateRequest:
    """A request of exactly so many tokens, which shares nothing with any other."""
    return pb.GenerateRequest(
        token_ids=pb.TokenIds(ids=random.choices(range(300, _HIGHEST_TOKEN), k=prompt)),
        max_tokens=answer,
        ignore_eos=True,
        speculation=False,
        cache_salt=f"drill {next(_numbers)}",
        logprobs=logprobs,
    )


@asynccontextmanager
async def own_channel(
    address: str, *options: tuple[str, int | str]
) -> AsyncIterator[inference_pb2_grpc.InferenceServiceAsyncStub]:
    """A stub on a connection that it shares with nobody."""
    own = ("grpc.use_local_subchannel_pool", 1)
    async with grpc.aio.insecure_channel(address, options=(*CHANNEL_OPTIONS, own, *options)) as channel:
        await asyncio.wait_for(channel.channel_ready(), 30)
        yield inference_pb2_grpc.InferenceServiceStub(channel)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a call."""

    code: grpc.StatusCode
    seconds: float
    tokens: int = 0
    """Received."""
    whole: bool = False
    """Its last event came."""
    status: RichStatus | None = None
    """How it failed. None where it ended as it should."""
    began: float = 0.0
    """When its first token came, in monotonic seconds."""
    ended: float = 0.0
    """When, in monotonic seconds."""
    pushback: bool = False
    """It had the trailer that tells gRPC's own clients when to come back."""

    @property
    def honest(self) -> bool:
        """Whether only a whole answer looks like one."""
        return self.whole == (self.code is grpc.StatusCode.OK)


async def generate(
    stub: inference_pb2_grpc.InferenceServiceAsyncStub,
    request: pb.GenerateRequest,
    *,
    timeout_seconds: float,
    caller: str = "",
    pause_seconds: float = 0.0,
) -> Outcome:
    """Take a whole answer, pausing behind each message, or a failure."""
    started = time.monotonic()
    tokens, whole, began = 0, False, 0.0
    metadata = ((CALLER_KEY, caller),) if caller else None
    try:
        async for event in stub.Generate(request, timeout=timeout_seconds, metadata=metadata):
            assert not whole, "nothing comes behind the last event"  # noqa: S101 - what the drill is to find
            if event.delta.token_ids:
                began = began or time.monotonic()
                tokens += len(event.delta.token_ids)
            whole = event.HasField("finished")
            if pause_seconds:
                await asyncio.sleep(pause_seconds)
    except grpc.aio.AioRpcError as error:
        pushback = any(key == PUSHBACK_TRAILER for key, _ in error.trailing_metadata() or ())
        now = time.monotonic()
        return Outcome(error.code(), now - started, tokens, whole, from_rpc_error(error), began, now, pushback)
    now = time.monotonic()
    return Outcome(grpc.StatusCode.OK, now - started, tokens, whole, began=began, ended=now)


def goodput(outcomes: Sequence[Outcome], *, since: float, seconds: float) -> float:
    """Tokens a second of whole answers, within so long after `since`: a part of those written across its borders."""
    tokens = 0.0
    for outcome in outcomes:
        if outcome.code is grpc.StatusCode.OK:
            writing = max(1e-9, outcome.ended - outcome.began)
            within = min(outcome.ended, since + seconds) - max(outcome.began, since)
            tokens += outcome.tokens * max(0.0, within) / writing
    return tokens / seconds
