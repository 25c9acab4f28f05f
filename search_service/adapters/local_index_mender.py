"""Keeps the index that a service searches whole: looks it over once, and builds it anew behind the searches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from search_service.adapters.local_index_check import check_index
from search_service.adapters.local_index_errors import (
    IndexDamaged,
    IndexInterrupted,
    IndexMending,
    IndexMissing,
    IndexOutdated,
    IndexProblem,
)
from search_service.adapters.local_index_rebuild import beyond_repair, known_roots, rebuild

log = structlog.get_logger(__name__)

REBUILDABLE: Final = (IndexDamaged, IndexOutdated)
"""What building anew mends."""

Signature = tuple[int, int, int]


class IndexMender:
    """One for a process and an index. Safe to use from any thread."""

    def __init__(self, path: Path, *, is_stopped: Callable[[], bool]) -> None:
        """What runs in the background ends soon after is_stopped() is true."""
        self._path = path
        self._is_stopped = is_stopped
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_mending = False
        self._gave_up: tuple[Signature | None, IndexProblem] | None = None

    def look_over(self) -> None:
        """Check the whole index in the background, once, and mend it where it needs to be."""
        with self._lock:
            if self._thread is None and not self._is_stopped():
                self._run(self._check)

    def mend(self, problem: IndexProblem) -> IndexProblem:
        """Begin to build the index anew, unless that runs already. Returns what to tell those who wait for it.

        A file of which a rebuild failed is not tried again: then `problem` is that failure.
        """
        with self._lock:
            if self._is_stopped():
                return problem
            if not self._is_mending:
                if known_roots(self._path) is None:
                    return beyond_repair()
                if self._gave_up is not None and self._gave_up[0] == self._signature():
                    return self._gave_up[1]
                self._is_mending = True
                self._run(lambda: self._rebuild(problem))
        return IndexMending(
            "The local index was damaged, or made by an older Groundwire, and is being built anew from your files. "
            "Try again in a while; the search service's log tells when it is done."
        )

    def join(self) -> None:
        """Wait for what runs in the background."""
        with self._lock:
            running = self._thread
        if running is not None:
            running.join()

    def _run(self, work: Callable[[], None]) -> None:
        before = self._thread

        def after() -> None:
            if before is not None:
                before.join()
            work()

        self._thread = threading.Thread(target=after, name="index-mender", daemon=True)
        self._thread.start()

    def _check(self) -> None:
        problem = self._problem()
        if problem is not None:
            self.mend(problem)

    def _problem(self) -> IndexProblem | None:
        try:
            check_index(self._path, is_stopped=self._is_stopped)
        except REBUILDABLE as problem:
            return problem
        except IndexMissing:
            return None
        except IndexProblem as problem:
            if not isinstance(problem, IndexInterrupted):
                log.warning("index not checked", index=str(self._path), problem=str(problem))
        return None

    def _rebuild(self, problem: IndexProblem) -> None:
        log.warning("index damaged", index=str(self._path), problem=str(problem))
        signature = self._signature()
        try:
            result = rebuild(self._path, is_stopped=self._is_stopped, is_needed=lambda: signature == self._signature())
        except IndexInterrupted:
            self._done(None)
        except IndexProblem as failure:
            log.error("index not rebuilt", index=str(self._path), problem=str(failure))
            self._done((signature, failure))
        except Exception:
            log.exception("index not rebuilt", index=str(self._path))
            self._done((signature, problem))
        else:
            log.warning(
                "index rebuilt",
                index=str(self._path),
                documents=result.changes.found,
                missing=[str(root) for root in result.missing],
                kept=str(result.kept or ""),
            )
            self._done(None)

    def _done(self, gave_up: tuple[Signature | None, IndexProblem] | None) -> None:
        with self._lock:
            self._is_mending = False
            self._gave_up = gave_up

    def _signature(self) -> Signature | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
