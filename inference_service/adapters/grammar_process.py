"""Grammars that run in a process of their own, seen from the service: nothing they do can end it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from inference_service.adapters.frames import CHECK, OK, READY, REFUSED, RUN, read_frame, send_frame
from inference_service.core.errors import EngineUnavailable, InvalidRequest

START_SECONDS: Final = 60.0
"""For the probe to import llama.cpp and read the vocabulary: about a second, more on a cold disk."""
OPEN_SECONDS: Final = 0.1
"""What the engine's thread, and so every running stream, waits at most for the process to be free for one more."""
PATIENCE_SECONDS: Final = 5.0
"""What one grammar may make the engine wait in all, beyond FREE_SECONDS for each token."""
FREE_SECONDS: Final = 0.1
_TOO_MUCH: Final = "takes too much time or memory to follow; it is too ambiguous"


class GrammarSession:
    """A grammar in use by one sequence. The next tokens are worked out while the model is busy with the last one."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._patience_seconds = PATIENCE_SECONDS

    def allowed(self, vocabulary_size: int) -> npt.NDArray[np.bool_]:
        """Which tokens may come next; at the end of the grammar, the model's end tokens. Waits for the answer.

        All false: no token of the model can go on. Raises InvalidRequest where the grammar takes too long.
        """
        started = time.monotonic()
        self._link.settimeout(FREE_SECONDS + self._patience_seconds)
        try:
            frame = read_frame(self._link)
        except TimeoutError:
            frame = b""
        waited = time.monotonic() - started
        self._patience_seconds = max(0.0, self._patience_seconds - max(0.0, waited - FREE_SECONDS))
        if frame[:1] != OK:
            raise InvalidRequest([("response_format", frame[1:].decode() or _TOO_MUCH)])
        bits = np.frombuffer(frame, np.uint8, offset=1)
        return np.unpackbits(bits, count=vocabulary_size).view(np.bool_)

    def accept(self, token: int) -> None:
        """Go on by a token that was allowed. Does not wait; a failure shows at the next `allowed`."""
        with contextlib.suppress(OSError):
            send_frame(self._link, token.to_bytes(4, "big"))

    def close(self) -> None:
        """End the grammar's process."""
        self._link.close()


class GrammarProcess:
    """The probe process, started when first needed and again after a death. Safe to use from several threads."""

    def __init__(self, model_path: Path, *, timeout_seconds: float) -> None:
        self._model_path = model_path
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False

    def check(self, gbnf: str) -> str | None:
        """Compile and dry-run a grammar. None where it is fit for use, else what is wrong with it.

        Raises EngineUnavailable where the probe itself cannot run.
        """
        for _ in range(2):
            with self._connect() as link:
                try:
                    send_frame(link, CHECK + gbnf.encode())
                    answer = read_frame(link)
                except TimeoutError:
                    return _TOO_MUCH
                except OSError:
                    answer = b""
            if answer:
                return None if answer[:1] == OK else answer[1:].decode()
            if self.is_running():
                return _TOO_MUCH
        raise EngineUnavailable("The process that checks grammars ends as soon as it is used; see the log.")

    def start(self) -> None:
        """Start the process where it does not run. Raises EngineUnavailable."""
        with self._lock:
            self._running()

    def open(self, gbnf: str) -> GrammarSession:
        """Run a grammar that has passed `check`, for one sequence. Raises EngineUnavailable.

        Never waits for the process to start, for the caller may be the engine's thread: `check` and `start` do that.
        """
        link, theirs = socket.socketpair()
        link.settimeout(OPEN_SECONDS)
        try:
            self._hand_to_running(theirs)
            send_frame(link, RUN + gbnf.encode())
        except OSError:
            link.close()
            raise EngineUnavailable("The process that runs grammars is gone; try again.") from None
        return GrammarSession(link)

    def is_running(self) -> bool:
        """Whether the probe process is alive."""
        process = self._process
        return process is not None and process.poll() is None

    def close(self) -> None:
        """End the process. It is not started again."""
        with self._lock:
            self._closed = True
            self._stop()

    def _hand_to_running(self, theirs: socket.socket) -> None:
        """Give the process a socket to serve. Raises OSError where it does not run, or is just being started."""
        with theirs:
            if not self._lock.acquire(timeout=OPEN_SECONDS):
                raise TimeoutError
            try:
                if self._control is None or not self.is_running():
                    raise ConnectionError
                socket.send_fds(self._control, [b"F"], [theirs.fileno()])
            finally:
                self._lock.release()

    def _connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(self._timeout_seconds)
        try:
            with self._lock, theirs:
                try:
                    socket.send_fds(self._running(), [b"F"], [theirs.fileno()])
                except OSError:
                    self._stop()
                    socket.send_fds(self._running(), [b"F"], [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise EngineUnavailable(f"The process that runs grammars cannot be used: {error}.") from error
        except BaseException:
            ours.close()
            raise
        return ours

    def _running(self) -> socket.socket:
        if self._control is not None and self.is_running():
            return self._control
        self._stop()
        if self._closed:
            raise EngineUnavailable("The service is stopping.")
        ours, theirs = socket.socketpair()
        ours.settimeout(START_SECONDS)
        command = [sys.executable, "-m", "inference_service.adapters.grammar_probe"]
        with theirs:
            # A session of its own: Ctrl-C in a terminal is for the service, which then closes the control socket.
            self._process = subprocess.Popen(
                [*command, str(self._model_path), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._control = ours
        try:
            answer = ours.recv(4096)
        except OSError:
            answer = b""
        if answer != READY:
            self._stop()
            reason = answer[1:].decode(errors="replace") if answer[:1] == REFUSED else "it did not start; see the log"
            raise EngineUnavailable(f"The process that runs grammars cannot be used: {reason}.")
        return ours

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            # It holds nothing that could be lost, and may be stuck where a closed socket is not seen.
            self._process.kill()
            self._process.wait()
            self._process = None
