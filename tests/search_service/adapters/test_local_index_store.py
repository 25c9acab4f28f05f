"""The index file: what is wrong with one is said clearly."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.adapters.local_index_errors import (
    IndexBusy,
    IndexDamaged,
    IndexInterrupted,
    IndexMissing,
    IndexNotWritable,
    IndexOtherVersion,
    IndexProblem,
    translated_errors,
)
from search_service.adapters.local_index_reader import IndexReader
from search_service.adapters.local_index_store import SCHEMA_VERSION, IndexWriter
from search_service.core.query_terms import query_terms
from tests.support.corpus import index_files, write_files


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "index.sqlite3"
    index_files(path, write_files(tmp_path / "docs"))
    return path


def replace_by_another_programs(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE theirs (a)")


def opened_both_ways(path: Path) -> list[Callable[[], object]]:
    return [lambda: IndexReader(path), lambda: IndexWriter(path)]


def search_all(path: Path) -> None:
    with IndexReader(path) as reader:
        reader.stats()
        reader.chunks_with(["gateway"])
        reader.candidates(["gateway"])


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_fresh_index_is_in_wal_mode_and_empty(tmp_path: Path) -> None:
    with IndexWriter(tmp_path / "new" / "index.sqlite3") as writer:
        assert writer.roots() == []
        assert writer.stats().documents == 0
    with closing(sqlite3.connect(tmp_path / "new" / "index.sqlite3")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(IndexMissing, match="groundwire index add"):
        IndexReader(tmp_path / "index.sqlite3")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, SCHEMA_VERSION - 1])
def test_an_index_of_another_version_is_refused(index: Path, version: int) -> None:
    execute(index, f"PRAGMA user_version = {version}")
    for open_index in opened_both_ways(index):
        with pytest.raises(IndexOtherVersion, match=f"format is {version}"):
            open_index()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"This is a letter and no database. " * 500),
        lambda path: path.write_bytes(path.read_bytes()[: 4096 * 3]),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096 * 20),
        lambda path: replace_by_another_programs(path),
    ],
    ids=["not a database", "cut off", "overwritten", "another program's"],
)
def test_a_damaged_file_is_refused_with_the_way_out(index: Path, spoil: Callable[[Path], object]) -> None:
    spoil(index)
    with pytest.raises(IndexDamaged, match=r"groundwire index rebuild.*GROUNDWIRE_INDEX_PATH"):
        search_all(index)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    for open_index in opened_both_ways(tmp_path):
        with pytest.raises(IndexProblem, match="GROUNDWIRE_INDEX_PATH"):
            open_index()


def test_an_index_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IndexNotWritable):
        IndexWriter(tmp_path / "file" / "index.sqlite3")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_index_in_a_folder_without_write_access_is_read_but_not_written(index: Path) -> None:
    index.parent.chmod(0o500)
    index.chmod(0o400)
    try:
        with IndexReader(index) as reader:
            assert reader.candidates(["gateway"])
        with pytest.raises(IndexNotWritable, match="write access"):
            index_files(index, index.parent / "docs")
    finally:
        index.parent.chmod(0o700)


def test_reading_needs_no_lock_while_another_process_writes(index: Path) -> None:
    with closing(sqlite3.connect(index, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM documents")
        with IndexReader(index) as reader:
            assert reader.candidates(["gateway"])
        other.execute("ROLLBACK")


def test_a_reader_sees_one_state_and_the_next_reader_the_next(index: Path) -> None:
    with IndexReader(index) as before:
        index_files(index, write_files(index.parent / "more", {"a.md": "An aardvark."}))
        assert not before.candidates(["aardvark"])
        with IndexReader(index) as after:
            assert after.candidates(["aardvark"])


def test_a_search_ends_once_it_is_cut_off(index: Path) -> None:
    cut_off = False
    with IndexReader(index, is_cut_off=lambda: cut_off) as reader:
        assert reader.candidates(["gateway"])
        text = {f"{n}.md": "gateway " * 200 for n in range(200)}
        index_files(index, write_files(index.parent / "more", text))
        with IndexReader(index, is_cut_off=lambda: cut_off) as late:
            cut_off = True
            with pytest.raises(IndexInterrupted):
                late.candidates(["gateway"])


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (sqlite3.SQLITE_BUSY, IndexBusy),
        (sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY, IndexBusy),
        (sqlite3.SQLITE_FULL, IndexNotWritable),
        (sqlite3.SQLITE_IOERR_WRITE, IndexNotWritable),
        (sqlite3.SQLITE_READONLY, IndexNotWritable),
        (sqlite3.SQLITE_CORRUPT_VTAB, IndexDamaged),
    ],
)
def test_errors_of_sqlite_are_told_apart_by_their_code(code: int, problem: type[IndexProblem]) -> None:
    error = sqlite3.OperationalError("told by SQLite")
    error.sqlite_errorcode = code
    with pytest.raises(problem), translated_errors():
        raise error


@pytest.fixture(scope="module")
def shared_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    index_files(folder / "index.sqlite3", write_files(folder / "docs"))
    return folder / "index.sqlite3"


_HOSTILE = st.one_of(
    st.text(max_size=100),
    st.text(alphabet=st.characters(), max_size=50),  # lone surrogates too
    st.lists(
        st.sampled_from([*"\"'*^()-+\0\ud800a", "NEAR(", "NOT", "AND", "OR", "title:", "{body}", "서울"]),
        max_size=12,
    ).map(" ".join),
)


@given(_HOSTILE)
def test_no_query_is_an_operator(shared_index: Path, query: str) -> None:
    terms = query_terms(query)
    with IndexReader(shared_index) as reader:
        reader.chunks_with(terms)
        for passage in reader.candidates(terms):
            assert any(f" {term} " in passage.terms for term in terms)
