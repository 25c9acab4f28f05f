"""Whether an index is whole: everything in it is read once and held against what was noted when it was written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Final

from search_service.adapters.local_index_errors import damaged, translated_errors
from search_service.adapters.local_index_reader import open_to_read
from search_service.adapters.local_index_store import BUSY_TIMEOUT_SECONDS, content_sha256, make_tables, verify

_OPS_BETWEEN_CHECKS: Final = 100_000
_PASSAGES: Final = """
SELECT documents.id, title, chunk_count, content_sha256, chunks.id, chunks.heading, chunks.text
FROM documents LEFT JOIN chunks ON document_id = documents.id ORDER BY documents.id, chunks.id
"""

Row = tuple[int, str, int, bytes, int | None, str, str]


def check_index(path: Path, *, words: bool = False, is_stopped: Callable[[], bool] = lambda: False) -> None:
    """Raise IndexDamaged where a byte of what the index keeps is not what it was, IndexProblem where it cannot be told.

    `words`: whether the full-text table is held against the texts too, which keeps other writers out for that long.
    Takes about a hundredth of a second for each MiB, and holds up nobody who reads. Ends with IndexInterrupted once
    is_stopped() is true.
    """
    with translated_errors(), closing(open_to_read(path)) as connection:
        connection.set_progress_handler(is_stopped, _OPS_BETWEEN_CHECKS)
        if not verify(connection):
            return
        if _tables(connection) != _tables_as_made():
            raise damaged("its tables are not as they were made")
        for (fault,) in connection.execute("PRAGMA integrity_check(1)"):
            if fault != "ok":
                raise damaged("its structure is broken")
        if next(_not_as_written(connection.execute(_PASSAGES)), None) is not None:
            raise damaged("a text in it is not as it was written")
    if words:
        _check_words(path)


def _tables(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


def _tables_as_made() -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(":memory:")) as fresh:
        make_tables(fresh)
        return _tables(fresh)


def _check_words(path: Path) -> None:
    with translated_errors(), closing(_open(path)) as connection:
        try:
            connection.execute("INSERT INTO terms (terms, rank) VALUES ('integrity-check', 1)")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT:
                raise damaged("its words do not match its texts") from error
            raise


def _not_as_written(rows: Iterator[Row]) -> Iterator[int]:
    """The ids of documents whose title or passages changed."""
    for (id_, title, count, noted), passages in groupby(rows, key=lambda row: row[:4]):
        kept = [(heading, text) for *_, chunk_id, heading, text in passages if chunk_id is not None]
        try:
            if len(kept) != count or content_sha256(title, kept) != noted:
                yield id_
        except (AttributeError, TypeError):  # no text any more
            yield id_


def _open(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
