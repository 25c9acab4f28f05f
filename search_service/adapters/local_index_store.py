"""The local index's file: one SQLite database that is written here and read while it is written.

A folder or file that was added is a root; a root has documents, a document has chunks. The full-text table holds
for every chunk the terms (core/terms.py) of its document's title and path, its headings and its text, so that
SQLite only ever sees terms: words and, for scripts without spaces, characters and their pairs.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Self

from search_service.adapters.local_index_errors import IndexNotWritable, damaged, other_version, translated_errors
from search_service.adapters.local_index_roots import Root, write_roots
from search_service.core.chunking import Chunk
from search_service.core.terms import index_terms

SCHEMA_VERSION: Final = 3
"""Raised whenever the tables, or the terms made of a text, change."""
APPLICATION_ID: Final = 0x47574958
"""Marks an SQLite file as an index of ours ("GWIX")."""
BUSY_TIMEOUT_SECONDS: Final = 10.0
"""How long a write waits for another process's transaction, which lasts one file."""

# The tokenizer only splits at spaces and ASCII marks, of which terms have none.
_SCHEMA: Final = f"""
CREATE TABLE roots (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    is_folder INTEGER NOT NULL
);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    root_id INTEGER NOT NULL REFERENCES roots ON DELETE CASCADE,
    path TEXT NOT NULL,
    title TEXT NOT NULL,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    indexed_ns INTEGER NOT NULL,
    chunk_count INTEGER NOT NULL,
    content_sha256 BLOB NOT NULL,
    UNIQUE (root_id, path)
);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,
    document_id INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    heading TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX chunks_of_document ON chunks (document_id);
CREATE VIRTUAL TABLE terms USING fts5 (title, heading, body, tokenize = 'ascii');
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (terms, 'row');
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """What the index knows about a file."""

    id: int
    path: str
    """Relative to its root, with forward slashes."""
    title: str
    size: int
    modified_ns: int
    sha256: bytes
    indexed_ns: int
    """When it was read last, in nanoseconds since 1970."""
    chunk_count: int


@dataclass(frozen=True, slots=True)
class IndexStats:
    """How much an index holds."""

    documents: int
    chunks: int
    document_bytes: int
    """Of the files, as they are on disk."""


def verify(connection: sqlite3.Connection) -> bool:
    """Whether the file has the tables; False for one that is still empty. Raises IndexProblem for any other file."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id == APPLICATION_ID:
        if version != SCHEMA_VERSION:
            raise other_version(version, SCHEMA_VERSION)
        return True
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables or application_id or version:
        raise damaged("the file is a database of something else")
    return False


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database."""
    for statement in filter(str.strip, _SCHEMA.split(";\n")):
        connection.execute(statement)


def content_sha256(title: str, passages: Iterable[tuple[str, str]]) -> bytes:
    """A digest of what the index keeps of a document: its title, and heading and text of each passage in order.

    SQLite itself does not notice a changed byte inside a text.
    """
    digest = hashlib.sha256()
    for text in (title, *(text for passage in passages for text in passage)):
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()


def read_stats(connection: sqlite3.Connection) -> IndexStats:
    """Counts of all roots together."""
    row = connection.execute("SELECT count(*), total(chunk_count), total(size) FROM documents").fetchone()
    return IndexStats(int(row[0]), int(row[1]), int(row[2]))


class IndexWriter:
    """The index opened to change it. Used from one thread; every method may raise IndexProblem."""

    def __init__(self, path: Path) -> None:
        """Open the index, or make an empty one with its folder."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise IndexNotWritable(f"The folder of the local index cannot be made: {error.strerror}.") from error
        self._path = path
        with translated_errors():
            self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        # Made in the file's first transaction: who sees a file with content sees all tables.
        with self._transaction():
            if not verify(self._connection):
                make_tables(self._connection)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")

    def close(self) -> None:
        """Give the file back."""
        with translated_errors():
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def roots(self) -> list[Root]:
        """Everything that was added, by path."""
        with translated_errors():
            rows = self._connection.execute("SELECT id, path, is_folder FROM roots ORDER BY path").fetchall()
        return [Root(id_, Path(path), bool(is_folder)) for id_, path, is_folder in rows]

    def documents(self, root: Root) -> list[DocumentRow]:
        """The documents of a root, by path."""
        with translated_errors():
            rows = self._connection.execute(
                "SELECT id, path, title, size, modified_ns, sha256, indexed_ns, chunk_count"
                " FROM documents WHERE root_id = ? ORDER BY path",
                (root.id,),
            ).fetchall()
        return [DocumentRow(*row) for row in rows]

    def stats(self) -> IndexStats:
        """Counts of all roots together."""
        with translated_errors():
            return read_stats(self._connection)

    def add_root(self, path: Path, *, is_folder: bool, absorbed: Sequence[Root] = ()) -> Root:
        """A new root. The documents of `absorbed`, roots inside the new folder, move to it as they are."""
        with self._transaction():
            root = self._upsert_root(path, is_folder)
            for old in absorbed:
                folder = old.path if old.is_folder else old.path.parent
                prefix = folder.relative_to(path).as_posix()
                prefix = "" if prefix == "." else prefix + "/"
                for document in self.documents(old):
                    self._delete(root, prefix + document.path)
                    self._connection.execute(
                        "UPDATE documents SET root_id = ?, path = ? WHERE id = ?",
                        (root.id, prefix + document.path, document.id),
                    )
                self._connection.execute("DELETE FROM roots WHERE id = ?", (old.id,))
        write_roots(self._path, self.roots())
        return root

    def _upsert_root(self, path: Path, is_folder: bool) -> Root:
        try:
            os.fspath(path).encode()
        except UnicodeEncodeError:
            raise IndexNotWritable(
                "A name in this path is no UTF-8, which the local index cannot keep. Rename it."
            ) from None
        # The same path may be there already: added by another process, or once a file and now a folder.
        (id_,) = self._connection.execute(
            "INSERT INTO roots (path, is_folder) VALUES (?, ?)"
            " ON CONFLICT (path) DO UPDATE SET is_folder = excluded.is_folder RETURNING id",
            (os.fspath(path), is_folder),
        ).fetchone()
        return Root(id_, path, is_folder)

    def remove_root(self, root: Root) -> int:
        """Remove a root with all its documents; returns how many there were."""
        with self._transaction():
            self._connection.execute(
                "DELETE FROM terms WHERE rowid IN (SELECT chunks.id FROM chunks JOIN documents"
                " ON documents.id = document_id WHERE root_id = ?)",
                (root.id,),
            )
            removed = self._connection.execute("DELETE FROM documents WHERE root_id = ?", (root.id,)).rowcount
            self._connection.execute("DELETE FROM roots WHERE id = ?", (root.id,))
        write_roots(self._path, self.roots())
        return removed

    def put_document(self, root: Root, document: DocumentRow, chunks: Sequence[Chunk]) -> None:
        """Add a document or replace the one of its path, in one transaction. Its id is not looked at."""
        named = f"{document.title} {PurePosixPath(document.path).with_suffix('')}"
        title_terms = " ".join(index_terms(named))
        rows = [(c, " ".join(index_terms(c.heading)), " ".join(index_terms(c.text))) for c in chunks]
        with self._transaction():
            self._delete(root, document.path)
            document_id = self._connection.execute(
                "INSERT INTO documents (root_id, path, title, size, modified_ns, sha256, indexed_ns, chunk_count,"
                " content_sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    root.id,
                    document.path,
                    document.title,
                    document.size,
                    document.modified_ns,
                    document.sha256,
                    document.indexed_ns,
                    len(rows),
                    content_sha256(document.title, ((chunk.heading, chunk.text) for chunk in chunks)),
                ),
            ).lastrowid
            for chunk, heading_terms, body_terms in rows:
                chunk_id = self._connection.execute(
                    "INSERT INTO chunks (document_id, heading, text) VALUES (?, ?, ?)",
                    (document_id, chunk.heading, chunk.text),
                ).lastrowid
                self._connection.execute(
                    "INSERT INTO terms (rowid, title, heading, body) VALUES (?, ?, ?, ?)",
                    (chunk_id, title_terms, heading_terms, body_terms),
                )

    def touch_document(self, document: DocumentRow, *, modified_ns: int) -> None:
        """Note that a file was written again with the same content."""
        with self._transaction():
            self._connection.execute("UPDATE documents SET modified_ns = ? WHERE id = ?", (modified_ns, document.id))

    def remove_document(self, root: Root, path: str) -> None:
        """Remove the document of this path, if it is there."""
        with self._transaction():
            self._delete(root, path)

    def _delete(self, root: Root, path: str) -> None:
        self._connection.execute(
            "DELETE FROM terms WHERE rowid IN (SELECT chunks.id FROM chunks JOIN documents"
            " ON documents.id = document_id WHERE root_id = ? AND documents.path = ?)",
            (root.id, path),
        )
        self._connection.execute("DELETE FROM documents WHERE root_id = ? AND path = ?", (root.id, path))
