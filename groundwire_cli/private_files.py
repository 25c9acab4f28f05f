"""Files that hold secrets: never readable by others, not even while they are written."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644


def replace_file(path: Path, content: bytes, *, mode: int) -> None:
    """Put a file in the place of what is there, all at once. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # O_EXCL: a file, or a link to one, that someone has put there is not written to.
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123 - of a number
            os.fchmod(file.fileno(), mode)  # whatever the umask is
            file.write(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line, and a line end before it where the file ends without one. A new file is private. Raises OSError."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE_MODE), "r+b") as file:  # noqa: PTH123 - of a number
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
        before = b"\n" if size and file.read(1) != b"\n" else b""
        file.write(before + line.encode() + b"\n")
