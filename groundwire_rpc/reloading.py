"""Values that are made of files, and made again when the files change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from groundwire_rpc.settings import SettingsError

log = structlog.get_logger(__name__)

T = TypeVar("T")

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Reloading(Generic[T]):
    """Holds what `load` made of the files. Any thread may ask it to look again."""

    def __init__(self, paths: Sequence[Path], load: Callable[[], T], *, logs: bool = True) -> None:
        """Loads at once. `logs`: whether changes are logged. Raises the SettingsError of `load`."""
        self._paths = tuple(paths)
        self._load = load
        self._logs = logs
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._refused: _Stamp | None = None
        self.value = load()

    def refresh(self) -> bool:
        """Load again where a file has changed. Returns whether `value` is a new one.

        Files that are no good change nothing: the last good value stays, and a warning is logged once. While someone
        is replacing a certificate and then its key, they do not belong together for a moment.
        """
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp:
                return False
            try:
                value = self._load()
            except SettingsError as error:
                if stamp != self._refused and self._logs:
                    log.warning("changed files are not taken", problem=str(error))
                self._refused = stamp
                return False
            if self._look() != stamp:  # they changed while they were read: what was read may be half of each
                return False
            self._stamp, self.value = stamp, value
        if self._logs:
            log.info("files loaded again", files=[str(path) for path in self._paths])
        return True

    def _look(self) -> _Stamp:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
