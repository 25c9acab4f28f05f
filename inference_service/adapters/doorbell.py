"""Wakes the event loop from another thread, without giving up the interpreter.

`call_soon_threadsafe` wakes it by a system call for which Python lets go of the interpreter. The event loop takes it,
and the engine's thread gets it back only when all that it brought has been sent: more than half a millisecond in each
step that no forward pass runs in. Rung by this, the loop begins when the engine's thread waits for the forward pass.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections import deque
from collections.abc import Callable

# Functions of a PyDLL keep the interpreter while they run.
_write = ctypes.PyDLL(None).write
_write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_write.restype = ctypes.c_ssize_t


class Doorbell:
    """Calls of functions in the event loop's thread, in order. Made and closed in that thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._loop.add_reader(self._read_end, self._answer)

    def ring(self, function: Callable[..., None], *arguments: object) -> None:
        """Have the function called in the event loop's thread, soon. From any thread, until it is closed."""
        self._calls.append((function, arguments))
        # Where the pipe is full, the loop has been woken and has not come to it yet.
        _write(self._write_end, b"\0", 1)

    def close(self) -> None:
        """Make all calls that are still to be made, and give back the pipe. Nobody may ring any more."""
        self._loop.remove_reader(self._read_end)
        self._call_all()
        os.close(self._read_end)
        os.close(self._write_end)

    def _answer(self) -> None:
        os.read(self._read_end, 4096)
        self._call_all()

    def _call_all(self) -> None:
        while self._calls:
            function, arguments = self._calls.popleft()
            try:
                function(*arguments)
            except Exception as fault:  # noqa: BLE001 - as the event loop itself does: the next call must be made, too
                self._loop.call_exception_handler({"message": f"{function!r} failed", "exception": fault})
