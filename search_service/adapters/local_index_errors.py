"""What can be wrong with a local index.

IndexProblem
├── IndexMissing       there is no index file, or nothing in it yet
├── IndexDamaged       the file is no index, or one whose content is broken
├── IndexOtherVersion  the file was made by another version of Groundwire
│   └── IndexOutdated  by an older one: building it anew mends it
├── IndexNotWritable   the file or its folder cannot be written, or the disk is full
├── IndexMending       it was damaged, and is being built anew
├── IndexBusy          another process kept it locked for too long, or changed the same part
└── IndexInterrupted   the caller's time ran out
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


class IndexProblem(Exception):
    """The index cannot be used. The message is one or more sentences that say what to do, and names no path."""


class IndexMissing(IndexProblem):
    """There is no index file, or nothing in it yet."""


class IndexDamaged(IndexProblem):
    """The file is no index, or one whose content is broken."""


class IndexOtherVersion(IndexProblem):
    """The file was made by another version of Groundwire."""


class IndexOutdated(IndexOtherVersion):
    """The file was made by an older version of Groundwire."""


class IndexNotWritable(IndexProblem):
    """The file or its folder cannot be written, or the disk is full."""


class IndexMending(IndexProblem):
    """It was damaged, and is being built anew from the files."""


class IndexBusy(IndexProblem):
    """Another process kept the index locked for too long."""


class IndexInterrupted(IndexProblem):
    """The caller's time ran out."""


_REBUILD = "`groundwire index rebuild` builds the file that GROUNDWIRE_INDEX_PATH names anew from your files."
_DISK_FULL = "The disk that holds the local index is full: make room, then run this again. What was indexed is kept."
_FULL_TOO = frozenset({sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP})
"""What SQLite says of a full disk where it shares memory with other processes by a file on it."""
_NOT_WRITTEN = frozenset(
    {
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
    }
)


def missing() -> IndexMissing:
    """There is nothing to search."""
    return IndexMissing("There is no local index yet: add files with `groundwire index add PATH…`.")


def damaged(reason: str) -> IndexDamaged:
    """`reason` follows "The local index cannot be read: "."""
    return IndexDamaged(f"The local index cannot be read: {reason}. {_REBUILD}")


def other_version(found: int, known: int) -> IndexOtherVersion:
    """`found` and `known` are schema versions."""
    if found > known:
        return IndexOtherVersion(
            f"The local index was made by a newer Groundwire (its format is {found}, this one knows {known}). "
            "Use that one, or let GROUNDWIRE_INDEX_PATH name another file."
        )
    return IndexOutdated(
        f"The local index was made by an older Groundwire (its format is {found}, this one needs {known}). {_REBUILD}"
    )


@contextmanager
def translated_errors() -> Iterator[None]:
    """SQLite's errors as IndexProblem."""
    try:
        yield
    except sqlite3.Error as error:
        raise _problem(error) from error
    except UnicodeDecodeError as error:  # SQLite quotes what it cannot read
        raise damaged("a text in it is no text") from error


def _problem(error: sqlite3.Error) -> IndexProblem:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code in _FULL_TOO:
        return IndexNotWritable(_DISK_FULL)
    if code in _NOT_WRITTEN:
        return IndexNotWritable(
            f"The file that GROUNDWIRE_INDEX_PATH names cannot be written ({error}): its disk, or this user's share of "
            "it, may be full. What was indexed is kept."
        )
    # An extended code keeps its primary code in the low byte; errors of the module itself have none.
    match code & 0xFF:
        case sqlite3.SQLITE_INTERRUPT:
            return IndexInterrupted("The time for the search ran out.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return IndexBusy("Another process keeps the local index locked. Try again when it is done.")
        case sqlite3.SQLITE_CONSTRAINT:
            return IndexBusy("Another process changed the same part of the local index. Try again when it is done.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return IndexNotWritable(
                "The local index cannot be opened or written: give this user write access to the file that "
                "GROUNDWIRE_INDEX_PATH names and to its folder."
            )
        case sqlite3.SQLITE_FULL:
            return IndexNotWritable(_DISK_FULL)
        case sqlite3.SQLITE_IOERR:
            return IndexNotWritable(f"The file that GROUNDWIRE_INDEX_PATH names cannot be read or written ({error}).")
        case _:
            return damaged(str(error))
