"""Bringing the local index up to date with folders and files."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol, Self

from search_service.adapters.document_text import Unreadable
from search_service.adapters.documents import Kind, kind_of, read_document
from search_service.adapters.local_index_files import (
    MAX_FILE_BYTES,
    TOO_LARGE,
    UNREADABLE,
    FoundFile,
    SkippedFile,
    find_file,
    find_files,
    is_hidden,
)
from search_service.adapters.local_index_roots import Root
from search_service.adapters.local_index_store import DocumentRow, IndexWriter
from search_service.core.chunking import chunk_blocks
from search_service.core.plain_text import one_line


class Progress(Protocol):
    """Told how far an update is."""

    def __call__(self, *, done: int, total: int, path: str) -> None:
        """`done` of `total` files are through, the next is `path` (empty at the end)."""


@dataclass(slots=True)
class Changes:
    """What an update did."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[SkippedFile] = field(default_factory=list)

    @property
    def found(self) -> int:
        """Documents that are in the index now."""
        return self.added + self.updated + self.unchanged

    def __iadd__(self, other: Changes) -> Self:
        self.added += other.added
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.removed += other.removed
        self.skipped += other.skipped
        return self


def ignore_progress(*, done: int, total: int, path: str) -> None:
    """For callers that show none."""


class Indexer:
    """Adds folders and files: reads what is new or changed, removes what is gone, one transaction a file."""

    def __init__(
        self,
        writer: IndexWriter,
        *,
        progress: Progress = ignore_progress,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """It stops between two files once is_stopped() is true; what was done stays."""
        self._writer = writer
        self._progress = progress
        self._is_stopped = is_stopped

    def add(self, path: Path) -> Changes:
        """Bring a folder, with all below it, or a file up to date. Raises IndexProblem, and OSError where it is gone.

        A path inside a folder that was added before is brought up to date as a part of that folder.
        """
        path = path.resolve(strict=True)
        is_folder = path.is_dir()
        root = self._covering_root(path, is_folder=is_folder)
        is_new = root is None
        if root is None:
            root = self._writer.add_root(path, is_folder=is_folder, absorbed=self._absorbed(path) if is_folder else ())
        try:
            changes = self._update(root, path, is_folder=is_folder)
        finally:
            if is_new and not self._writer.documents(root):
                self._writer.remove_root(root)
        return changes

    def _covering_root(self, path: Path, *, is_folder: bool) -> Root | None:
        """The root that holds this path; None where a look through no root would find it."""
        for root in self._writer.roots():
            if root.path == path and root.is_folder == is_folder:
                return root
            if root.is_folder and path.is_relative_to(root.path):
                inside = PurePosixPath(path.relative_to(root.path).as_posix())
                if not is_hidden(inside) and (is_folder or kind_of(inside) is not None):
                    return root
        return None

    def _absorbed(self, folder: Path) -> list[Root]:
        """The roots that a look through this folder finds too."""
        absorbed = []
        for root in self._writer.roots():
            if root.path != folder and root.path.is_relative_to(folder):
                inside = PurePosixPath(root.path.relative_to(folder).as_posix())
                if not is_hidden(inside) and (root.is_folder or kind_of(inside) is not None):
                    absorbed.append(root)
        return absorbed

    def _update(self, root: Root, path: Path, *, is_folder: bool) -> Changes:
        inside = path.relative_to(root.path).as_posix() if root.is_folder else path.name
        if is_folder:
            prefix = "" if inside == "." else inside + "/"
            found = list(find_files(path, prefix))
            known = {d.path: d for d in self._writer.documents(root) if d.path.startswith(prefix)}
        else:
            # A file named by hand is taken as text whatever its name says.
            found = [find_file(path, inside, kind_of(PurePosixPath(inside)) or Kind.TEXT)]
            known = {d.path: d for d in self._writer.documents(root) if d.path == inside}
        return self._apply(root, found, known)

    def _apply(self, root: Root, found: Sequence[FoundFile | SkippedFile], known: dict[str, DocumentRow]) -> Changes:
        changes = Changes()
        kept: set[str] = set()
        unread: list[str] = []
        for done, file in enumerate(found):
            if self._is_stopped():
                return changes
            self._progress(done=done, total=len(found), path=file.path)
            outcome = file if isinstance(file, SkippedFile) else self._take(root, file, known.get(file.path), changes)
            if outcome is None:
                kept.add(file.path)
            else:
                changes.skipped.append(outcome)
                if outcome.reason == UNREADABLE:
                    unread.append(outcome.path)
        for path in known.keys() - kept:
            # What cannot be read just now is not gone; for a folder, `path` is its prefix.
            if not any(path == u or ((u.endswith("/") or not u) and path.startswith(u)) for u in unread):
                self._writer.remove_document(root, path)
                changes.removed += 1
        self._progress(done=len(found), total=len(found), path="")
        return changes

    def _take(self, root: Root, file: FoundFile, known: DocumentRow | None, changes: Changes) -> SkippedFile | None:
        """Index a file where it changed. Returns why not, where it cannot be."""
        if known and (known.size, known.modified_ns) == (file.size, file.modified_ns):
            changes.unchanged += 1
            return None
        try:
            with file.file.open("rb") as opened:
                data = opened.read(MAX_FILE_BYTES + 1)
        except OSError:
            return SkippedFile(file.path, UNREADABLE)
        if len(data) > MAX_FILE_BYTES:  # it grew since it was found
            return SkippedFile(file.path, TOO_LARGE)
        sha256 = hashlib.sha256(data).digest()
        if known and known.sha256 == sha256:
            self._writer.touch_document(known, modified_ns=file.modified_ns)
            changes.unchanged += 1
            return None
        try:
            document = read_document(data, file.kind)
        except Unreadable as error:
            return SkippedFile(file.path, str(error))
        chunks = list(chunk_blocks(document.blocks))
        row = DocumentRow(
            id=0,
            path=file.path,
            title=one_line(document.title) or PurePosixPath(file.path).name,
            size=len(data),
            modified_ns=file.modified_ns,
            sha256=sha256,
            indexed_ns=time.time_ns(),
            chunk_count=len(chunks),
        )
        self._writer.put_document(root, row, chunks)
        if known:
            changes.updated += 1
        else:
            changes.added += 1
        return None
