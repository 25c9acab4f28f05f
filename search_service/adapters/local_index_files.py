"""Finding the files of a folder that can be indexed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from search_service.adapters.documents import Kind, kind_of

MAX_FILE_BYTES: Final = 8 * 1024 * 1024
"""Larger files are skipped."""

NOT_TAKEN: Final = "not Markdown, text or HTML"
TOO_LARGE: Final = f"larger than {MAX_FILE_BYTES // 2**20} MiB"
LINK: Final = "symbolic link"
BAD_NAME: Final = "name is not UTF-8"
UNREADABLE: Final = "cannot be read"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to index."""

    path: str
    """Relative to the root, with forward slashes."""
    file: Path
    kind: Kind
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file or folder that is not indexed."""

    path: str
    """As of FoundFile."""
    reason: str


def find_files(folder: Path, prefix: str = "") -> Iterator[FoundFile | SkippedFile]:
    """Everything below a folder, by name; what is hidden (a leading dot) is passed over without a word.

    Symbolic links are skipped: inside the folder they would give a document twice or go round in a circle, and out of
    it they would take in files that nobody named. `prefix` is put before every path.
    """
    pending = [(folder, prefix)]
    while pending:
        current, prefix = pending.pop()
        try:
            with os.scandir(current) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            yield SkippedFile(prefix, UNREADABLE)
            continue
        folders = []
        for entry in listed:
            path = prefix + entry.name
            if entry.name.startswith("."):
                continue
            if not _is_utf8(entry.name):
                yield SkippedFile(path.encode(errors="replace").decode(), BAD_NAME)
            elif entry.is_symlink():
                yield SkippedFile(path, LINK)
            elif entry.is_dir(follow_symlinks=False):
                folders.append((Path(entry.path), path + "/"))
            else:
                yield find_file(Path(entry.path), path, kind_of(PurePosixPath(entry.name)))
        pending.extend(reversed(folders))


def find_file(file: Path, path: str, kind: Kind | None) -> FoundFile | SkippedFile:
    """One file, known to the index as `path`."""
    if kind is None:
        return SkippedFile(path, NOT_TAKEN)
    try:
        status = file.stat(follow_symlinks=False)
    except OSError:
        return SkippedFile(path, UNREADABLE)
    if not stat.S_ISREG(status.st_mode):
        return SkippedFile(path, "not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        return SkippedFile(path, TOO_LARGE)
    return FoundFile(path, file, kind, status.st_size, status.st_mtime_ns)


def is_hidden(path: PurePosixPath) -> bool:
    """Whether a relative path has a part that find_files passes over."""
    return any(part.startswith(".") for part in path.parts)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that the file system gave and no encoding explains
        return False
    return True
