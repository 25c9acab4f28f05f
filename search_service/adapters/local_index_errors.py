"""What can be wrong with a local index.

IndexProblem
├── IndexMissing       there is no index file, or nothing in it yet
├── IndexDamaged       the file is no index, or one whose content is broken
├── IndexOtherVersion  the file was made by another version of Groundwire
├── IndexNotWritable   the file or its folder cannot be written, or the disk is full
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


class IndexNotWritable(IndexProblem):
    """The file or its folder cannot be written, or the disk is full."""


class IndexBusy(IndexProblem):
    """Another process kept the index locked for too long."""


class IndexInterrupted(IndexProblem):
    """The caller's time ran out."""


_REBUILD = "Remove the file that GROUNDWIRE_INDEX_PATH names and run `groundwire index add PATH…` again."


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
    return IndexOtherVersion(
        f"The local index was made by an older Groundwire (its format is {found}, this one needs {known}). {_REBUILD}"
    )


@contextmanager
def translated_errors() -> Iterator[None]:
    """SQLite's errors as IndexProblem."""
    try:
        yield
    except sqlite3.Error as error:
        raise _problem(error) from error


def _problem(error: sqlite3.Error) -> IndexProblem:
    # An extended code keeps its primary code in the low byte; errors of the module itself have none.
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
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
            return IndexNotWritable("The disk that holds the local index is full: make room, then run this again.")
        case sqlite3.SQLITE_IOERR:
            return IndexNotWritable(f"The file that GROUNDWIRE_INDEX_PATH names cannot be read or written ({error}).")
        case _:
            return damaged(str(error))
