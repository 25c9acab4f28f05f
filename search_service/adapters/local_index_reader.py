"""Searching the local index's file. A reader lives for one search: it sees what was committed before, no restart."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from search_service.adapters.local_index_errors import damaged, missing, translated_errors
from search_service.adapters.local_index_store import IndexStats, read_stats, verify
from search_service.core.passages import Passage

MAX_CANDIDATES: Final = 500
"""Passages ranked for one query: more than the 200 results that all pages together may hold."""
_TITLE_WEIGHT: Final = 4.0
_HEADING_WEIGHT: Final = 3.0
_BODY_WEIGHT: Final = 1.0
_BUSY_TIMEOUT_SECONDS: Final = 1.0
"""Readers wait for no writer, but while the file is made or mended."""
_OPS_BETWEEN_CHECKS: Final = 2_000
"""Of SQLite's virtual machine, some tens of microseconds, between looks at the deadline."""
_FULL: Final = frozenset({sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_FULL})
_MAX_INTEGER: Final = 2**63 - 1
_MAX_SECONDS: Final = 253_402_300_799
"""The last second of the year 9999, the last that a date can show."""

_CANDIDATES: Final = """
WITH hits AS (
    SELECT terms.rowid AS chunk_id, bm25(terms, ?, ?, ?) AS score
    FROM terms {dated}
    WHERE terms MATCH ? {within}
    ORDER BY score LIMIT ?
)
SELECT document_id, path, documents.title, chunks.heading, text, modified_ns,
       terms.title || ' ' || terms.heading || ' ' || terms.body, -score
FROM hits
JOIN chunks ON chunks.id = chunk_id
JOIN documents ON documents.id = document_id
JOIN terms ON terms.rowid = chunk_id
"""
_ANY_AGE: Final = _CANDIDATES.format(dated="", within="")
_WITHIN: Final = _CANDIDATES.format(
    dated="JOIN chunks ON chunks.id = terms.rowid JOIN documents ON documents.id = document_id",
    within="AND modified_ns >= ? AND modified_ns < ?",
)


class IndexReader:
    """The index opened to search it. Used from one thread; every method may raise IndexProblem."""

    def __init__(self, path: Path, *, is_cut_off: Callable[[], bool] = lambda: False) -> None:
        """Open an index that exists. Whatever runs ends with IndexInterrupted once is_cut_off() is true."""
        try:
            status = path.stat()
        except FileNotFoundError:
            raise missing() from None
        except OSError as error:
            raise damaged(error.strerror or "it cannot be opened") from error
        if not stat.S_ISREG(status.st_mode):
            raise damaged("it is no file")
        if status.st_size == 0:
            raise missing()
        with translated_errors():
            self._connection = open_to_read(path)
            try:
                self._connection.set_progress_handler(is_cut_off, _OPS_BETWEEN_CHECKS)
                self._connection.execute("BEGIN")
                if not verify(self._connection):
                    raise missing()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def stats(self) -> IndexStats:
        """How much the index holds."""
        with translated_errors():
            return read_stats(self._connection)

    def paths(self) -> set[str]:
        """The documents' paths, each relative to its root."""
        with translated_errors():
            return {str(row[0]) for row in self._connection.execute("SELECT path FROM documents")}

    def chunks_with(self, terms: Sequence[str]) -> dict[str, int]:
        """How many chunks hold each term, those that none holds left out."""
        counts = {}
        with translated_errors():
            for term in terms:
                row = self._connection.execute("SELECT doc FROM vocabulary WHERE term = ?", (term,)).fetchone()
                if row is not None:
                    counts[term] = int(row[0])
        return counts

    def candidates(self, terms: Sequence[str], *, modified_ns: range | None = None) -> list[Passage]:
        """The passages that hold any of the terms, of files changed within the nanoseconds since 1970 where given."""
        if not terms:
            return []
        weights = (_TITLE_WEIGHT, _HEADING_WEIGHT, _BODY_WEIGHT)
        match = " OR ".join(f'"{term}"' for term in terms)
        with translated_errors():
            if modified_ns is None:
                rows = self._connection.execute(_ANY_AGE, (*weights, match, MAX_CANDIDATES))
            else:
                bounds = (max(modified_ns.start, -_MAX_INTEGER), min(modified_ns.stop, _MAX_INTEGER))
                rows = self._connection.execute(_WITHIN, (*weights, match, *bounds, MAX_CANDIDATES))
            return [_passage(row) for row in rows]


def _passage(row: tuple[int, str, str, str, str, int, str, float]) -> Passage:
    document_id, path, title, heading, text, modified_ns, terms, relevance = row
    return Passage(
        document_id=document_id,
        path=path,
        title=title,
        heading=heading,
        text=text,
        modified_time=datetime.fromtimestamp(min(max(modified_ns // 1_000_000_000, 0), _MAX_SECONDS), UTC),
        terms=f" {terms} ",
        relevance=relevance,
    )


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises sqlite3.Error."""
    address = path.absolute().as_uri()
    try:
        return _connected(f"{address}?mode=ro")
    except sqlite3.OperationalError as error:
        # In a folder that may not be written, or on a full disk, SQLite cannot share memory with a writer; nor can
        # there be one. What a writer left in a log would not be seen, and would matter.
        if error.sqlite_errorcode not in _FULL and (os.access(path.parent, os.W_OK) or not os.access(path, os.R_OK)):
            raise
        log = Path(f"{path}-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _connected(f"{address}?mode=ro&immutable=1")


def _connected(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema")
    except BaseException:
        connection.close()
        raise
    return connection
