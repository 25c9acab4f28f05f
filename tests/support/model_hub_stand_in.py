"""A Hugging Face hub on the loopback interface, as far as a download needs one, faults included.

Like the real one it answers HEAD of /{repo}/resolve/{revision}/{file} with the file's size and SHA-256 and sends GET on
to a content server: /cdn/… here, on `localhost` rather than 127.0.0.1, so that it counts as another host.
"""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE_BYTES = 16_384


@dataclass
class Served:
    """One request, as it was answered."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    sent_bytes: int = 0


@dataclass
class HubState:
    """What the hub holds, how it misbehaves, and what it was asked. Tests change it while it runs."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By repository and file, such as "owner/name/file.gguf"."""
    token: str | None = None
    """Asked for where it is set."""
    gated: bool = False
    cuts: list[int] = field(default_factory=list)
    """For each GET of content to come: so many bytes, then the connection is cut."""
    statuses: list[int] = field(default_factory=list)
    """For each HEAD to come: this status instead of an answer; 0 for a usual one."""
    ignores_ranges: bool = False
    sends_instead: bytes | None = None
    """Content to send in place of the right one, under its headers."""
    hides_sha256: bool = False
    piece_pause_seconds: float = 0.0
    served: list[Served] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def content_requests(self) -> list[Served]:
        return [request for request in self.served if request.path.startswith("/cdn/")]

    @property
    def content_bytes(self) -> int:
        return sum(request.sent_bytes for request in self.content_requests)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: HubState

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def do_HEAD(self) -> None:
        self._resolve(self._noted())

    def do_GET(self) -> None:
        request = self._noted()
        if self.path.startswith("/cdn/"):
            self._content(request)
        else:
            self._resolve(request)

    def _noted(self) -> Served:
        request = Served(self.command, self.path, self.headers["Range"], self.headers["Authorization"])
        self.state.served.append(request)
        return request

    def _resolve(self, request: Served) -> None:
        state = self.state
        status = state.statuses.pop(0) if state.statuses and self.command == "HEAD" else 0
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
        name = f"{match[1]}/{match[2]}" if match else ""
        if status:
            self._answer(status)
        elif state.token is not None and request.authorization != f"Bearer {state.token}":
            self._answer(401, {"X-Error-Code": "GatedRepo"} if state.gated else {})
        elif name not in state.files:
            self._answer(404, {"X-Error-Code": "EntryNotFound"})
        else:
            content = state.files[name]
            etag = "W/somewhere" if state.hides_sha256 else hashlib.sha256(content).hexdigest()
            headers = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{etag}"'}
            self._answer(302, {**headers, "Location": f"http://localhost:{state.port}/cdn/{name}"})

    def _answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": "0"}.items():
            self.send_header(key, value)
        self.end_headers()

    def _content(self, request: Served) -> None:
        state = self.state
        whole = state.files[self.path.removeprefix("/cdn/")] if state.sends_instead is None else state.sends_instead
        start = 0
        match = re.fullmatch(r"bytes=(\d+)-", request.range or "")
        if match and not state.ignores_ranges:
            start = int(match[1])
            if start >= len(whole):
                self._answer(416, {"Content-Range": f"bytes */{len(whole)}"})
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(whole) - start))
        self.end_headers()
        cut = state.cuts.pop(0) if state.cuts else None
        body = whole[start:] if cut is None else whole[start : start + cut]
        try:
            for at in range(0, len(body), PIECE_BYTES):
                self.wfile.write(body[at : at + PIECE_BYTES])
                request.sent_bytes += len(body[at : at + PIECE_BYTES])
                time.sleep(state.piece_pause_seconds)
        except OSError:  # the client went away
            self.close_connection = True
        if cut is not None:
            self.close_connection = True


@contextmanager
def model_hub() -> Iterator[HubState]:
    """Run a hub on a free port until the block ends."""
    state = HubState()
    handler = type("Handler", (_Handler,), {"state": state})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
