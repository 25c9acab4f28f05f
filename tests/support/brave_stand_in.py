"""A stand-in for the Brave Search API: a real HTTP server on loopback that behaves, and misbehaves, as Brave does.

In a test: `async with BraveStandIn() as brave:` and `brave.base_url`. As a process of its own:
`python -m tests.support.brave_stand_in --port 0` prints its base URL as the first line.

Faults are asked for by a word in the query, `fault:NAME` (see Fault), or once by appending to `faults`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import time
import zlib
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from tests.support import brave_answers as answers

MONTH_SECONDS = 2_592_000
DEFAULT_TOKEN = "stand-in-token"


class Fault(StrEnum):
    SLOW = "slow"  # says nothing for slow_seconds
    TRICKLE = "trickle"  # a byte now and then, for ever
    CUT = "cut"  # half an answer, then the connection ends
    RESET = "reset"  # no answer at all
    RATE_LIMITED = "rate-limited"
    RATE_LIMITED_BARE = "rate-limited-bare"  # without the rate headers
    QUOTA_SPENT = "quota-spent"
    QUOTA_SPENT_BODY = "quota-spent-body"  # only the body says so, no headers
    VALIDATION = "validation"
    VALIDATION_EMPTY = "validation-empty"
    HEADERS_REFUSED = "headers-refused"
    TOKEN_422 = "token-422"
    TOKEN_403 = "token-403"
    TOKEN_401 = "token-401"
    TOKEN_ECHOED = "token-echoed"
    NOT_IN_PLAN = "not-in-plan"
    PAYMENT = "payment"
    NOT_FOUND = "not-found"
    SERVER_ERROR = "server-error"
    BAD_GATEWAY = "bad-gateway"
    JUNK = "junk"
    NOT_AN_OBJECT = "not-an-object"
    DEEP = "deep"
    DAMAGED_GZIP = "damaged-gzip"
    ODD_ENCODING = "odd-encoding"
    HUGE = "huge"
    ENDLESS = "endless"  # 100 MB, as fast as they are taken
    BOMB = "bomb"
    REDIRECT_HOST = "redirect-host"
    REDIRECT_SAME = "redirect-same"
    REDIRECT_LOOP = "redirect-loop"
    WRONG_TYPES = "wrong-types"
    EMPTY = "empty"
    WRONG_TYPE = "wrong-type"  # JSON that says that it is HTML
    A_PAGE = "a-page"  # HTML, with status 200
    BAD_UTF8 = "bad-utf8"
    SURROGATES = "surrogates"  # halves of characters as JSON escapes
    INTERNAL_LINKS = "internal-links"
    TOO_MANY_HEADERS = "too-many-headers"


@dataclass(frozen=True)
class Recorded:
    """One request as it came."""

    path: str
    params: list[tuple[str, str]]
    headers: dict[str, str]
    at: float

    def param(self, name: str) -> str | None:
        return dict(self.params).get(name)


@dataclass
class Reply:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    encode: bool = True
    """Whether the body is sent as gzip where the caller takes it."""


class BraveStandIn:
    def __init__(
        self,
        *,
        token: str = DEFAULT_TOKEN,
        per_second: int = 50,
        per_month: int = 15_000,
        extra_snippets: bool = True,
    ) -> None:
        self.token = token
        self.per_second = per_second
        self.per_month = per_month
        self.extra_snippets = extra_snippets
        self.enforce_rate = False
        self.month_used = 0
        self.slow_seconds = 30.0
        self.redirect_to = "https://example.com/res/v1/web/search?q=elsewhere"
        self.requests: list[Recorded] = []
        self.faults: deque[Fault] = deque()
        self.connections = 0
        self.bytes_sent = 0
        """Of bodies, as far as the operating system took them."""
        self._successes: deque[float] = deque()
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self.base_url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/res/v1"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        try:
            while request := await self._read(reader):
                self.requests.append(request)
                if not await self._answer(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._handlers.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> Recorded | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.rstrip().split("\r\n")
        target = urlsplit(first.split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        params = parse_qsl(target.query, keep_blank_values=True)
        return Recorded(target.path.removeprefix("/res/v1"), params, headers, time.monotonic())

    async def _answer(self, request: Recorded, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be used again."""
        fault = self._fault(request)
        if fault is Fault.RESET:
            writer.transport.abort()
            return False
        if fault is Fault.SLOW:
            await asyncio.sleep(self.slow_seconds)
        if fault is Fault.ENDLESS:
            return await self._send_without_end(writer)
        reply = self._reply(request, fault)
        body = reply.body
        headers = {"Content-Type": "application/json", **self._rate_headers(fault), **reply.headers}
        if reply.encode and "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {reply.status} Status\r\n{lines}\r\n".encode("latin-1"))
        if fault is Fault.CUT:
            writer.write(body[: len(body) // 2])
            await writer.drain()
            return False
        if fault is Fault.TRICKLE:
            for position in range(len(body)):
                writer.write(body[position : position + 1])
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.write(body)
        await writer.drain()
        return True

    async def _send_without_end(self, writer: asyncio.StreamWriter) -> bool:
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n"
        writer.write(head.encode("latin-1"))
        writer.transport.set_write_buffer_limits(high=0)
        for _ in range(1_000):
            writer.write(b"[" + b" " * 99_999)
            await writer.drain()
            self.bytes_sent += 100_000
        return True

    def _fault(self, request: Recorded) -> Fault | None:
        if self.faults:
            return self.faults.popleft()
        words = (request.param("q") or "").split()
        return next((Fault(word[6:]) for word in words if word.startswith("fault:")), None)

    def _reply(self, request: Recorded, fault: Fault | None) -> Reply:
        refusal = self._header_refusal(request)
        if refusal is not None:
            return refusal
        if fault is not None and (reply := self._fault_reply(fault, request)) is not None:
            return reply
        if violations := answers.parameter_violations(request.path, request.params):
            return _error(422, "VALIDATION", "Unable to validate request parameter(s)", {"errors": violations})
        if request.param("extra_snippets") == "true" and not self.extra_snippets:
            return _error(400, "OPTION_NOT_IN_PLAN", "The option is not subscribed in the plan.")
        now = time.monotonic()
        while self._successes and now - self._successes[0] >= 1.0:
            self._successes.popleft()
        if self.month_used >= self.per_month or (self.enforce_rate and len(self._successes) >= self.per_second):
            return self._rate_limited()
        self._successes.append(now)
        self.month_used += 1
        if request.path == "/web/search":
            return Reply(body=json.dumps(answers.web_answer(request.params)).encode())
        if request.path == "/news/search":
            return Reply(body=json.dumps(answers.news_answer(request.params)).encode())
        return Reply(404, b"not found")

    def _header_refusal(self, request: Recorded) -> Reply | None:
        token = request.headers.get("x-subscription-token")
        errors = []
        if token is None:
            errors.append(answers.violation(["header", "x-subscription-token"], "Field required", None, "missing"))
        for name, wanted in (("accept", "application/json"), ("cache-control", "no-cache")):
            if request.headers.get(name) != wanted:
                errors.append(answers.violation(["header", name], f"Input should be '{wanted}'", None))
        if errors:
            return _error(422, "VALIDATION", "Unable to validate request parameter(s)", {"errors": errors})
        return None if token == self.token else _token_invalid(422)

    def _fault_reply(self, fault: Fault, request: Recorded) -> Reply | None:
        match fault:
            case Fault.RATE_LIMITED | Fault.RATE_LIMITED_BARE:
                return self._rate_limited()
            case Fault.QUOTA_SPENT | Fault.QUOTA_SPENT_BODY:
                self.month_used = self.per_month
                return self._rate_limited()
            case Fault.VALIDATION:
                errors = [
                    answers.violation(["query", "country"], "Input should be 'AR' or <b>'AU'</b>", "XX", "enum"),
                    answers.violation(["query", "goggles", "0"], "Invalid goggle", "$boost", "goggle"),
                ]
                return _error(422, "VALIDATION", "Unable to validate request parameter(s)", {"errors": errors})
            case Fault.VALIDATION_EMPTY:
                return _error(422, "VALIDATION", "Unable to validate request parameter(s)")
            case Fault.HEADERS_REFUSED:
                errors = [answers.violation(["header", "accept"], "Input should be 'application/json'", "*/*")]
                return _error(422, "VALIDATION", "Unable to validate request parameter(s)", {"errors": errors})
            case Fault.TOKEN_422 | Fault.TOKEN_403:
                return _token_invalid(int(fault[-3:]))
            case Fault.TOKEN_401:
                return Reply(401, b"unauthorized")
            case Fault.TOKEN_ECHOED:
                errors = [
                    answers.violation(["query", "q"], f"no good with {request.headers['x-subscription-token']}", "")
                ]
                return _error(422, "VALIDATION", "Unable", {"errors": errors})
            case Fault.NOT_IN_PLAN:
                return _error(400, "OPTION_NOT_IN_PLAN", "The option is not subscribed in the plan.")
            case Fault.PAYMENT:
                return Reply(402, b"{}")
            case Fault.NOT_FOUND:
                return Reply(404, b"<html>not found</html>")
            case Fault.SERVER_ERROR:
                return _error(500, "INTERNAL", "Internal error")
            case Fault.BAD_GATEWAY:
                return Reply(502, b"<html>bad gateway</html>")
            case Fault.JUNK:
                return Reply(body=b'{"type": "search", "web": {')
            case Fault.NOT_AN_OBJECT:
                return Reply(body=b'["search"]')
            case Fault.DEEP:
                return Reply(body=b"[" * 200_000)
            case Fault.DAMAGED_GZIP:
                damaged = gzip.compress(b"{}" * 1_000)[:-12]
                return Reply(body=damaged, headers={"Content-Encoding": "gzip"}, encode=False)
            case Fault.ODD_ENCODING:
                return Reply(headers={"Content-Encoding": "br"}, encode=False)
            case Fault.HUGE:
                return Reply(body=b'"' + b"x" * 6_000_000 + b'"', encode=False)
            case Fault.BOMB:
                return Reply(body=_bomb(), headers={"Content-Encoding": "gzip"}, encode=False)
            case Fault.REDIRECT_HOST:
                return Reply(302, headers={"Location": self.redirect_to})
            case Fault.REDIRECT_SAME:
                return Reply(307, headers={"Location": "/res/v1/web/search?q=moved&count=5&offset=0"})
            case Fault.REDIRECT_LOOP:
                return Reply(302, headers={"Location": "/res/v1/web/search?q=fault:redirect-loop"})
            case Fault.WRONG_TYPES:
                return Reply(body=json.dumps(WRONG_TYPES).encode())
            case Fault.WRONG_TYPE:
                body = json.dumps(answers.web_answer(request.params)).encode()
                return Reply(body=body, headers={"Content-Type": "text/html; charset=utf-16"})
            case Fault.A_PAGE:
                return Reply(body=b"<!doctype html><title>Sign in</title>", headers={"Content-Type": "text/html"})
            case Fault.BAD_UTF8:
                body = (
                    json.dumps(BROKEN_TEXTS, ensure_ascii=False).encode().replace(b"BYTES", b"\xff\xc0\xaf\xed\xa0\x80")
                )
                return Reply(body=body)
            case Fault.SURROGATES:
                return Reply(body=json.dumps(BROKEN_TEXTS).replace("BYTES", "\\ud800 \\udfff \\u0000").encode())
            case Fault.INTERNAL_LINKS:
                return Reply(body=json.dumps(INTERNAL_LINKS).encode())
            case Fault.TOO_MANY_HEADERS:
                return Reply(headers={f"X-Filler-{n}": "x" * 1_000 for n in range(2_000)})
            case Fault.EMPTY:
                return Reply(body=b'{"type": "search"}')
        return None

    def _rate_limited(self) -> Reply:
        current = {"rate_limit": self.per_second, "rate_current": self.per_second}
        quota = {"quota_limit": self.per_month, "quota_current": self.month_used}
        meta: dict[str, object] = {"plan": "Free", **current, **quota, "component": "rate_limiter"}
        return _error(429, "RATE_LIMITED", "Request rate limit exceeded for plan", meta)

    def _rate_headers(self, fault: Fault | None) -> dict[str, str]:
        if fault in (Fault.QUOTA_SPENT_BODY, Fault.RATE_LIMITED_BARE):
            return {}
        left = (
            0 if fault is Fault.RATE_LIMITED else self.per_second - (len(self._successes) if self.enforce_rate else 1)
        )
        return {
            "X-RateLimit-Limit": f"{self.per_second}, {self.per_month}",
            "X-RateLimit-Policy": f"{self.per_second};w=1, {self.per_month};w={MONTH_SECONDS}",
            "X-RateLimit-Remaining": f"{max(0, left)}, {max(0, self.per_month - self.month_used)}",
            "X-RateLimit-Reset": "1, 1419704",
        }


WRONG_TYPES = {
    "type": "search",
    "query": {"altered": 7, "more_results_available": "yes"},
    "mixed": {"main": [{"type": "web", "index": "first"}, 3, {"type": "web", "index": 99}]},
    "infobox": [{"title": None}],
    "web": {
        "results": [
            None,
            {"title": "No address"},
            {"title": 5, "url": "https://example.org/five"},
            {"title": "Script", "url": "javascript:alert(1)"},
            {"title": "", "url": "https://www.example.org/untitled", "description": ["x"], "extra_snippets": "one"},
            {"title": "Fine", "url": "https://example.org/fine", "page_age": "last week", "language": {"code": "en"}},
        ]
    },
}


BROKEN_TEXTS = {
    "type": "search",
    "query": {"altered": "BYTES other"},
    "web": {
        "results": [
            {
                "title": "Broken BYTES title",
                "url": "https://example.org/broken",
                "description": "BYTES text",
                "extra_snippets": ["BYTES more"],
                "language": "BYTES",
            }
        ]
    },
}

INTERNAL_LINKS = {
    "type": "search",
    "web": {
        "results": [
            {"title": f"Inside {n}", "url": url}
            for n, url in enumerate(
                [
                    "http://127.0.0.1:8900/",
                    "http://169.254.169.254/latest/meta-data",
                    "http://[::1]/",
                    "http://0x7f.1/",
                    "https://router/",
                    "http://localhost:50051",
                    "file:///etc/passwd",
                    "javascript:alert(1)",
                    "https://example.org/fine",
                ]
            )
        ]
    },
}


def _bomb() -> bytes:
    """A string of 50 MB as gzip, made without ever holding it."""
    packer = zlib.compressobj(wbits=31)
    parts = [packer.compress(b'"'), *(packer.compress(b"x" * 100_000) for _ in range(500)), packer.compress(b'"')]
    return b"".join(parts) + packer.flush()


def _error(status: int, code: str, detail: str, meta: dict[str, object] | None = None) -> Reply:
    return Reply(status, answers.error_body(status, code, detail, meta))


def _token_invalid(status: int) -> Reply:
    return _error(status, "SUBSCRIPTION_TOKEN_INVALID", "The provided subscription token is invalid.")


async def _serve(port: int, token: str) -> None:
    stand_in = BraveStandIn(token=token)
    await stand_in.start(port)
    print(stand_in.base_url, flush=True)  # noqa: T201 - whoever started it reads the address
    try:
        await asyncio.Event().wait()
    finally:
        await stand_in.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for the Brave Search API on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default=DEFAULT_TOKEN)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(given.port, given.token))


if __name__ == "__main__":
    main()
