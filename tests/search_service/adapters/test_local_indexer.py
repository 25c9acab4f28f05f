"""Bringing an index up to date with files."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from search_service.adapters.local_index_errors import IndexNotWritable
from search_service.adapters.local_index_files import MAX_FILE_BYTES
from search_service.adapters.local_index_reader import IndexReader
from search_service.adapters.local_index_store import IndexWriter
from search_service.adapters.local_indexer import Changes, Indexer
from tests.support.corpus import FILES, index_files, write_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "docs")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "data" / "index.sqlite3"


def counts(changes: Changes) -> tuple[int, int, int, int, int]:
    return changes.added, changes.updated, changes.unchanged, changes.removed, len(changes.skipped)


def reasons(changes: Changes) -> dict[str, str]:
    return {file.path: file.reason for file in changes.skipped}


def indexed(index: Path) -> dict[str, list[str]]:
    with IndexWriter(index) as writer:
        return {str(root.path): [d.path for d in writer.documents(root)] for root in writer.roots()}


def holds(index: Path, term: str) -> bool:
    with IndexReader(index) as reader:
        return bool(reader.candidates([term]))


def assert_sound(index: Path) -> None:
    """Every chunk has its terms and a document, and nothing else is left."""
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.execute("INSERT INTO terms (terms) VALUES ('integrity-check')")
        chunks = {row[0] for row in connection.execute("SELECT id FROM chunks")}
        assert {row[0] for row in connection.execute("SELECT rowid FROM terms")} == chunks
        (counted,) = connection.execute("SELECT total(chunk_count) FROM documents").fetchone()
        assert counted == len(chunks)


def test_a_folder_is_added_once_and_then_only_what_changed(folder: Path, index: Path) -> None:
    assert counts(index_files(index, folder)) == (len(FILES), 0, 0, 0, 0)
    assert counts(index_files(index, folder)) == (0, 0, len(FILES), 0, 0)
    (folder / "engine.md").write_text("# The engine\n\nIt purrs.\n")
    (folder / "new.txt").write_text("A newcomer.")
    (folder / "page.html").unlink()
    assert counts(index_files(index, folder)) == (1, 1, len(FILES) - 2, 1, 0)
    assert holds(index, "purr")
    assert not holds(index, "cancel")
    assert not holds(index, "coffe")
    assert_sound(index)


def test_unchanged_files_are_not_even_opened(folder: Path, index: Path) -> None:
    index_files(index, folder)
    file = folder / "ports.md"
    before = file.stat()
    file.write_bytes(b"x" * before.st_size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert counts(index_files(index, folder)) == (0, 0, len(FILES), 0, 0)


def test_a_file_written_again_with_the_same_content_is_unchanged_but_its_date(folder: Path, index: Path) -> None:
    index_files(index, folder)
    os.utime(folder / "ports.md", ns=(0, 5_000_000_000))
    assert counts(index_files(index, folder)) == (0, 0, len(FILES), 0, 0)
    with IndexReader(index) as reader:
        (passage,) = reader.candidates(["loopback"])
    assert passage.modified_time.timestamp() == 5


def test_hidden_binary_huge_and_other_files_are_skipped_with_the_reason(folder: Path, index: Path) -> None:
    (folder / ".hidden.md").write_text("hidden")
    (folder / ".git").mkdir()
    (folder / ".git" / "a.md").write_text("hidden")
    (folder / "binary.txt").write_bytes(b"\x00\x01" * 50)
    (folder / "empty.md").touch()
    (folder / "program.py").write_text("print()")
    with (folder / "huge.txt").open("wb") as huge:
        huge.truncate(MAX_FILE_BYTES + 1)
    os.mkfifo(folder / "pipe.txt")
    assert reasons(index_files(index, folder)) == {
        "binary.txt": "binary",
        "empty.md": "empty",
        "huge.txt": "larger than 8 MiB",
        "pipe.txt": "not a regular file",
        "program.py": "not Markdown, text or HTML",
    }


def test_links_in_circles_and_out_of_the_folder_are_skipped(folder: Path, index: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("# Secret\n\nPassphrase.")
    (folder / "notes" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "secret.md").symlink_to(tmp_path / "secret.md")
    changes = index_files(index, folder)
    assert changes.added == len(FILES)
    assert reasons(changes) == {"notes/up": "symbolic link", "secret.md": "symbolic link"}
    assert not holds(index, "passphras")


def test_a_link_named_by_hand_is_followed(folder: Path, index: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    assert index_files(index, tmp_path / "link").added == len(FILES)
    assert list(indexed(index)) == [str(folder)]


def test_a_name_that_is_no_text_is_skipped(folder: Path, index: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.md")).write_text("text")
    assert reasons(index_files(index, folder)) == {"bad?.md": "name is not UTF-8"}


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path, index: Path) -> None:
    folder = tmp_path / "bad\udcff"
    folder.mkdir()
    with pytest.raises(IndexNotWritable, match="UTF-8"):
        index_files(index, folder)


def test_a_document_that_became_binary_goes(folder: Path, index: Path) -> None:
    index_files(index, folder)
    (folder / "ports.md").write_bytes(b"\x00" * 100)
    assert counts(index_files(index, folder)) == (0, 0, len(FILES) - 1, 1, 1)
    assert not holds(index, "loopback")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_just_now_stays_in_the_index(folder: Path, index: Path) -> None:
    index_files(index, folder)
    (folder / "ko").chmod(0)
    try:
        changes = index_files(index, folder)
    finally:
        (folder / "ko").chmod(0o755)
    assert changes.removed == 0
    assert reasons(changes) == {"ko/": "cannot be read"}


def test_a_file_is_added_by_name_whatever_its_suffix(tmp_path: Path, index: Path) -> None:
    file = tmp_path / "settings.conf"
    file.write_text("colour = turquoise")
    assert index_files(index, file).added == 1
    assert indexed(index) == {str(file): ["settings.conf"]}
    assert holds(index, "turquois")


def test_a_part_of_an_added_folder_is_brought_up_to_date_within_it(folder: Path, index: Path) -> None:
    index_files(index, folder)
    (folder / "ko" / "seoul.md").unlink()
    (folder / "ko" / "busan.md").write_text("# 부산\n\n부산은 항구 도시이다.")
    (folder / "engine.md").write_text("changed, but not looked at")
    assert counts(index_files(index, folder / "ko")) == (1, 0, 1, 1, 0)
    assert list(indexed(index)) == [str(folder)]
    assert "ko/busan.md" in indexed(index)[str(folder)]
    (folder / "ko" / "busan.md").write_text("# 부산\n\n부산은 바다에 있다.")
    assert counts(index_files(index, folder / "ko" / "busan.md")) == (0, 1, 0, 0, 0)


def test_a_folder_takes_over_what_was_added_inside_it(folder: Path, index: Path) -> None:
    index_files(index, folder / "ko", folder / "notes" / "cafe.txt")
    assert counts(index_files(index, folder)) == (len(FILES) - 3, 0, 3, 0, 0)
    assert indexed(index) == {str(folder): sorted(FILES)}
    assert_sound(index)


def test_two_folders_may_hold_the_same_names(tmp_path: Path, index: Path) -> None:
    one = write_files(tmp_path / "one", {"README.md": "# One\n\nalpha"})
    two = write_files(tmp_path / "two", {"README.md": "# Two\n\nbeta"})
    assert index_files(index, one, two).added == 2
    with IndexWriter(index) as writer:
        assert writer.remove_root(writer.roots()[0]) == 1
    assert not holds(index, "alpha")
    assert holds(index, "beta")
    assert_sound(index)


def test_a_folder_with_nothing_in_it_leaves_no_trace(tmp_path: Path, index: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert counts(index_files(index, tmp_path / "empty")) == (0, 0, 0, 0, 0)
    assert indexed(index) == {}


def test_a_root_that_is_gone_is_an_error_and_removes_nothing(folder: Path, index: Path) -> None:
    index_files(index, folder)
    folder.rename(folder.with_name("moved"))
    with pytest.raises(FileNotFoundError):
        index_files(index, folder)
    assert len(indexed(index)[str(folder)]) == len(FILES)


def test_progress_counts_every_file(folder: Path, index: Path) -> None:
    seen: list[tuple[int, int, str]] = []

    def note(*, done: int, total: int, path: str) -> None:
        seen.append((done, total, path))

    with IndexWriter(index) as writer:
        Indexer(writer, progress=note).add(folder)
    assert [done for done, _, _ in seen] == list(range(len(FILES) + 1))
    assert {total for _, total, _ in seen} == {len(FILES)}
    assert seen[-1][2] == ""


def test_stopping_keeps_what_was_done(folder: Path, index: Path) -> None:
    left = iter([False, False, False, True])
    with IndexWriter(index) as writer:
        assert Indexer(writer, is_stopped=lambda: next(left)).add(folder).added == 3
    assert counts(index_files(index, folder)) == (len(FILES) - 3, 0, 3, 0, 0)


_ADD = """
import sys
from pathlib import Path
from tests.support.corpus import index_files
print("ready", flush=True)
index_files(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def start_adding(index: Path, folder: Path) -> "subprocess.Popen[str]":
    repository = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", _ADD, str(index), str(folder)], stdout=subprocess.PIPE, text=True, cwd=repository
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_killed_add_leaves_whole_documents_and_the_next_goes_on(tmp_path: Path, index: Path) -> None:
    text = "# Part\n\n" + "Every document is whole or absent. " * 100
    folder = write_files(tmp_path / "many", {f"{n}.md": f"{text}{n}" for n in range(400)})
    with start_adding(index, folder) as process:
        while not (index.exists() and index.stat().st_size and Path(f"{index}-wal").exists()):
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(0.03)
        process.kill()
    assert_sound(index)
    with IndexWriter(index) as writer:
        done = writer.stats().documents
    assert 0 <= done < 400
    changes = index_files(index, folder)
    assert (changes.added, changes.unchanged) == (400 - done, done)
    assert_sound(index)


def test_two_adds_of_one_folder_at_once_agree(tmp_path: Path, index: Path) -> None:
    folder = write_files(tmp_path / "many", {f"{n}.md": f"# Part {n}\n\nSome text." for n in range(60)})
    with start_adding(index, folder) as one, start_adding(index, folder) as two:
        assert (one.wait(30), two.wait(30)) == (0, 0)
    assert len(indexed(index)[str(folder)]) == 60
    assert_sound(index)
