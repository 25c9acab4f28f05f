"""The sample index: this project's own docs, so that a search answers before anything was indexed."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from search_service.adapters.local_index_errors import (
    IndexDamaged,
    IndexInterrupted,
    IndexNotWritable,
    IndexOtherVersion,
    missing,
)
from search_service.adapters.local_index_store import IndexWriter
from search_service.adapters.local_indexer import Indexer

_POLL_SECONDS: Final = 0.02


class SampleIndex:
    """An index of one folder in a file of its own beside the user's, brought up to date once a process."""

    def __init__(self, index_path: Path, folder: Path, *, is_stopped: Callable[[], bool]) -> None:
        """`index_path` is the user's index. A build ends between two files once is_stopped() is true."""
        self.path = index_path.with_name(f"{index_path.stem}-sample{index_path.suffix}")
        self._folder = folder
        self._is_stopped = is_stopped
        self._lock = threading.Lock()
        self._is_current = False

    def ready(self, *, is_cut_off: Callable[[], bool]) -> Path:
        """The path of the index, built or brought up to date by the first call; others wait for it.

        Raises IndexProblem: IndexInterrupted once is_cut_off() is true while another thread or process is at work.
        """
        while not self._lock.acquire(timeout=_POLL_SECONDS):
            if is_cut_off():
                raise IndexInterrupted("The sample index was not built in time.")
        try:
            if not self._is_current or not self.path.exists():
                with self._alone(is_cut_off):
                    self._build()
        finally:
            self._lock.release()
        return self.path

    def discard(self) -> None:
        """Have the next call build it anew: it holds nothing that cannot be made again."""
        with self._lock:
            self._is_current = False
            self._remove()

    def _build(self) -> None:
        try:
            self._update()
        except (IndexDamaged, IndexOtherVersion):
            self._remove()
            self._update()

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def _update(self) -> None:
        with IndexWriter(self.path) as writer:
            try:
                Indexer(writer, is_stopped=self._is_stopped).add(self._folder)
            except FileNotFoundError:
                raise missing() from None
            self._is_current = not self._is_stopped()
            if not writer.stats().documents:
                raise missing()

    @contextmanager
    def _alone(self, is_cut_off: Callable[[], bool]) -> Iterator[None]:
        """Keep other processes out."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise IndexNotWritable(
                f"The sample index cannot be made ({error.strerror}): give this user write access to the folder of the "
                "file that GROUNDWIRE_INDEX_PATH names, or set it to another."
            ) from error
        try:
            while not _try_lock(descriptor):
                if is_cut_off() or self._is_stopped():
                    raise IndexInterrupted("Another process was still building the sample index.")
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)  # which unlocks it


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
