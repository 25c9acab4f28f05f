"""llama-server as a system under test, driven through its own /completion endpoint."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.engine.http_stream import posted
from benchmarks.engine.peers import Peers
from benchmarks.engine.processes import RunningProcess, clean_environment, running_process
from benchmarks.engine.requests import TOP_K, TOP_P, Request, Tokens, Usage
from benchmarks.engine.systems import MAX_BATCH_TOKENS, Running, Terms

_SILENCE_SECONDS = 60.0
"""How long an answer to a question about the server may take: a pass over a large batch comes first."""
_EVENT_START = b"data: "
_EVENT_END = b"\n\n"


class RefusedByServer(RuntimeError):
    """llama-server answered with an error; the message is its own."""


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """llama-server with the terms of the contest, and what may be chosen for it beside them."""

    peers: Peers
    terms: Terms
    unified: bool
    """One KV buffer for all slots (--kv-unified), or an equal part for each."""
    drafts: tuple[str, ...] = ()
    """The flags that let it draft, from --spec-type on; none: it does not."""
    batch_tokens: int = MAX_BATCH_TOKENS
    """Tokens in a pass at most. Fewer make gaps shorter beside a long prompt, and the prompt slower."""

    @property
    def name(self) -> str:
        """`llama-server` with what was chosen."""
        chosen = ["unified KV" if self.unified else "split KV"]
        if self.batch_tokens != MAX_BATCH_TOKENS:
            chosen.append(f"-b {self.batch_tokens}")
        return " ".join(["llama-server", *self.drafts, f"({', '.join(chosen)})"])

    def flags(self, port: int) -> list[str]:
        """Its command line."""
        terms = self.terms
        return [
            *("--model", str(terms.model), "--host", "127.0.0.1", "--port", str(port)),
            *("--ctx-size", str(terms.context), "--parallel", str(terms.slots)),
            "--kv-unified" if self.unified else "--no-kv-unified",
            *("--threads", str(terms.threads), "--threads-batch", str(terms.threads)),
            *("--batch-size", str(self.batch_tokens), "--ubatch-size", str(self.batch_tokens)),
            *("--cache-ram", str(terms.prompt_cache_mib)),
            # The context is given, so there is nothing to fit; fitting would only load the file twice.
            *("--fit", "off", "--no-ui", "--offline"),
            *self.drafts,
        ]

    @contextlib.asynccontextmanager
    async def start(self) -> AsyncIterator[Running]:
        """Run llama-server."""
        port = _free_port()
        environment = clean_environment(("LLAMA_ARG_", "LLAMA_API_"), self.peers.environment)
        # No kept connections: the server closes them now and then, just as one is to be reused.
        limits = httpx.Limits(max_keepalive_connections=0)
        with tempfile.TemporaryDirectory() as folder:
            async with (
                running_process(
                    self.name,
                    [str(self.peers.llama_server), *self.flags(port)],
                    environment=environment,
                    folder=Path(folder),
                ) as process,
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=_SILENCE_SECONDS, trust_env=False
                ) as http,
            ):
                await _until_healthy(process, http)
                yield Running(LlamaClient(http, port, reuse=self.terms.prompt_cache_mib > 0), process)


class LlamaClient:
    """Calls /completion, one server-sent event at a time."""

    def __init__(self, http: httpx.AsyncClient, port: int, *, reuse: bool) -> None:
        """With `reuse`, prompts continue what is kept of earlier ones."""
        self._http = http
        self._port = port
        self._reuse = reuse

    async def stream(self, request: Request) -> AsyncIterator[Tokens | Usage]:
        """Yield the tokens of each event, and what the last one tells. Raises HttpFailed or RefusedByServer."""
        events = EventReader()
        body = json.dumps(completion(request, reuse=self._reuse)).encode()
        async with posted("127.0.0.1", self._port, "/completion", body) as pieces:
            async for piece in pieces:
                for item in events.feed(piece):
                    yield item

    async def busy(self) -> bool:
        """Whether a slot is processing."""
        return any(slot["is_processing"] for slot in (await self._http.get("/slots")).raise_for_status().json())

    async def engine_seconds(self) -> None:
        """It does not tell."""


def completion(request: Request, *, reuse: bool) -> dict[str, object]:
    """The body of /completion that asks for this.

    The chain of samplers is the inference service's own, so that neither does work that the other is spared.
    """
    greedy = request.temperature == 0
    return {
        "prompt": list(request.token_ids),
        "n_predict": request.max_tokens,
        "ignore_eos": True,
        "stream": True,
        "return_tokens": True,
        "cache_prompt": reuse,
        "seed": request.seed,
        "samplers": ["top_k"] if greedy else ["top_k", "top_p", "temperature"],
        "temperature": request.temperature,
        "top_k": 1 if greedy else TOP_K,
        "top_p": TOP_P,
        "min_p": 0.0,
    }


class EventReader:
    """Puts server-sent events together from bytes, and reads what /completion says in them."""

    def __init__(self) -> None:
        self._rest = b""
        self._generated = 0

    def feed(self, piece: bytes) -> Iterator[Tokens | Usage]:
        """Yield what has become whole. Raises RefusedByServer where an event is an error."""
        *events, self._rest = (self._rest + piece).split(_EVENT_END)
        for event in events:
            if event.startswith(_EVENT_START):
                yield from self._read(json.loads(event[len(_EVENT_START) :]))
            elif event.startswith(b"error: "):
                raise RefusedByServer(event.decode(errors="replace"))
            # Anything else is a comment that keeps the connection alive.

    def _read(self, event: dict[str, object]) -> Iterator[Tokens | Usage]:
        if "error" in event:
            raise RefusedByServer(json.dumps(event["error"]))
        # Tokens that make no whole character yet are sent with none of their own: the count tells of them.
        generated, ids = event["tokens_predicted"], event["tokens"]
        if not isinstance(generated, int) or not isinstance(ids, list):
            raise RefusedByServer(f"an event is not as documented: {event}")
        if generated > self._generated:
            yield Tokens(generated - self._generated, tuple(ids))
            self._generated = generated
        if event["stop"]:
            yield _usage(event)


def _usage(event: dict[str, object]) -> Usage:
    timings, prompt = event["timings"], event["tokens_evaluated"]
    if not isinstance(timings, dict) or not isinstance(prompt, int):
        raise RefusedByServer(f"an event is not as documented: {event}")
    return Usage(prompt, timings["cache_n"], timings.get("draft_n", 0), timings.get("draft_n_accepted", 0))


async def _until_healthy(process: RunningProcess, http: httpx.AsyncClient) -> None:
    async def healthy() -> bool:
        try:
            return (await http.get("/health")).status_code == httpx.codes.OK
        except httpx.TransportError:  # it does not listen yet
            return False

    await process.until(healthy)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
