"""Building a damaged index anew from the files that it was made of."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from search_service.adapters.local_index_errors import (
    IndexBusy,
    IndexDamaged,
    IndexInterrupted,
    IndexNotWritable,
)
from search_service.adapters.local_index_roots import read_roots, roots_file
from search_service.adapters.local_index_store import APPLICATION_ID, IndexWriter
from search_service.adapters.local_indexer import Changes, Indexer, Progress, ignore_progress

_POLL_SECONDS: Final = 0.05
_PARTS: Final = ("-wal", "-shm")


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild did."""

    changes: Changes = field(default_factory=Changes)
    missing: list[Path] = field(default_factory=list)
    """What was added once and is not there any more."""
    kept: Path | None = None
    """Where the old file is."""


def rebuild(
    path: Path,
    *,
    progress: Progress = ignore_progress,
    is_stopped: Callable[[], bool] = lambda: False,
    is_needed: Callable[[], bool] = lambda: True,
) -> Rebuilt:
    """Build the index anew beside the old one, and put it in its place once it is whole.

    The old file is kept as `<path>.damaged`. Killed at any moment, it leaves the old index or the new one. One process
    at a time rebuilds; the others wait, and then ask is_needed(). Raises IndexProblem: IndexDamaged where nothing tells
    what was added, IndexInterrupted once is_stopped() is true.
    """
    with _alone(path, is_stopped):
        if not is_needed():
            return Rebuilt()
        roots = known_roots(path)
        if roots is None:
            raise beyond_repair()
        draft = Path(f"{path}.rebuilding")
        _remove(draft)
        try:
            result = _built(draft, roots, progress, is_stopped)
            result.kept = _put_in_place(draft, path)
        finally:
            _remove(draft)
        return result


def known_roots(path: Path) -> list[Path] | None:
    """What was added to the index, as far as anything tells it still. None: nothing does."""
    roots = read_roots(path)
    return roots if roots is not None else _salvaged_roots(path) or None


def beyond_repair() -> IndexDamaged:
    """There is nothing to build it anew from."""
    return IndexDamaged(
        "The local index is damaged or none of Groundwire's, and nothing tells what was added to it. Remove the file "
        "that GROUNDWIRE_INDEX_PATH names, or set it to another, and run `groundwire index add PATH…`."
    )


def _built(draft: Path, roots: list[Path], progress: Progress, is_stopped: Callable[[], bool]) -> Rebuilt:
    result = Rebuilt()
    with IndexWriter(draft) as writer:
        indexer = Indexer(writer, progress=progress, is_stopped=is_stopped)
        for root in roots:
            try:
                result.changes += indexer.add(root)
            except FileNotFoundError:
                result.missing.append(root)
            if is_stopped():
                raise IndexInterrupted("The local index was not built anew in time.")
    return result


def _put_in_place(draft: Path, path: Path) -> Path:
    kept = Path(f"{path}.damaged")
    try:
        if path.exists():
            kept.unlink(missing_ok=True)
            try:
                os.link(path, kept)  # so that there is a file at every moment
            except OSError:  # this file system has no links
                path.replace(kept)
        # A log of the old file must not be read as one of the new. The old one is damaged anyway.
        for part in _PARTS:
            Path(f"{path}{part}").unlink(missing_ok=True)
        draft.replace(path)
        roots_file(draft).replace(roots_file(path))
    except OSError as error:
        raise IndexNotWritable(f"The local index cannot be put in place: {error.strerror}.") from error
    return kept


def _salvaged_roots(path: Path) -> list[Path]:
    """What the damaged file itself still tells. It may be another program's, or of another version."""
    address = f"{path.absolute().as_uri()}?mode=ro"
    with suppress(sqlite3.Error, ValueError), closing(sqlite3.connect(address, uri=True)) as old:
        if old.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
            return []
        return [Path(name) for (name,) in old.execute("SELECT path FROM roots") if isinstance(name, str)]
    return []


def _remove(draft: Path) -> None:
    for name in (draft, *(Path(f"{draft}{part}") for part in _PARTS), roots_file(draft)):
        with suppress(OSError):
            name.unlink(missing_ok=True)


@contextmanager
def _alone(path: Path, is_stopped: Callable[[], bool]) -> Iterator[None]:
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise IndexNotWritable(
            f"The local index cannot be built anew ({error.strerror}): give this user write access to the folder of "
            "the file that GROUNDWIRE_INDEX_PATH names."
        ) from error
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if is_stopped():
                    raise IndexBusy("Another process is building the local index anew.") from None
                time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)  # which unlocks it
