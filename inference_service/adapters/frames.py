"""What the service and the process that runs grammars say to each other: frames of length and bytes."""

from __future__ import annotations

import socket
from typing import Final

READY: Final = b"R"
"""On the control socket: the vocabulary is loaded."""
CHECK: Final = b"C"
RUN: Final = b"S"
OK: Final = b"+"
REFUSED: Final = b"-"
"""Followed by the reason."""

_LENGTH_BYTES: Final = 4


def send_frame(link: socket.socket, payload: bytes) -> None:
    """Send one frame. Raises OSError where the other end is gone."""
    link.sendall(len(payload).to_bytes(_LENGTH_BYTES, "big") + payload)


def read_frame(link: socket.socket) -> bytes:
    """Read one frame; empty where the other end is gone. Raises TimeoutError after the socket's timeout."""
    header = _read(link, _LENGTH_BYTES)
    return _read(link, int.from_bytes(header, "big")) if header else b""


def _read(link: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = link.recv(size - len(parts))
        except ConnectionResetError:
            return b""
        if not part:
            return b""
        parts += part
    return bytes(parts)
