"""A disk that fills up while an index is written: the command says so, and what was indexed stays and is found."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.search_faults.documents import ChangingFolder
from benchmarks.search_faults.indexing import REFUSED, start_indexing
from search_service.adapters.local_index_check import check_index
from search_service.adapters.local_index_errors import IndexDamaged
from search_service.adapters.local_index_reader import IndexReader

_DEADLINE_SECONDS: Final = 60.0
_FIRST: Final = 20
_MORE: Final = 400


class NotPermitted(Exception):
    """This user may not mount a small disk."""


@dataclass(slots=True)
class FullDiskTally:
    """What came of filling the disk."""

    rounds: int = 0
    """In which the disk, or the user's limit, was full before all was indexed."""
    lost: int = 0
    """Documents that were in the index before and are not any more, over all rounds."""
    corrupt: int = 0
    unreadable: int = 0
    """Rounds after which the index could not be searched while the disk was still full."""
    untyped: int = 0
    """Rounds that ended otherwise than by saying that the index cannot be written."""
    messages: set[str] = field(default_factory=set)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A disk of that size, in memory. Raises NotPermitted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotPermitted("A tmpfs of limited size cannot be mounted by this user.") from error
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True, timeout=10)  # noqa: S607


def fill_disk_while_indexing(folder: Path, rounds: int, seed: int) -> FullDiskTally:
    """Index onto a disk that is full soon, on disks of many sizes. Raises NotPermitted."""
    chance = random.Random(seed)
    tally = FullDiskTally()
    for number in range(rounds):
        documents = ChangingFolder(folder / f"documents{number}", chance)
        documents.grow(_FIRST, 0)
        with small_disk(folder / f"disk{number}", chance.randrange(1_500_000, 4_000_000)) as disk:
            index = disk / "index.sqlite3"
            _index(index, documents.folder)
            documents.grow(_MORE, _FIRST // 2)
            if chance.random() < 0.5:  # full before it begins
                _fill(disk / "filler")
            _judge(index, documents.folder, tally, max_file_bytes=0)
    return tally


def reach_the_largest_file_while_indexing(folder: Path, rounds: int, seed: int) -> FullDiskTally:
    """The same with a limit of the user's on the size of a file, which needs no disk of its own."""
    chance = random.Random(seed)
    tally = FullDiskTally()
    for number in range(rounds):
        documents = ChangingFolder(folder / f"documents{number}", chance)
        documents.grow(_FIRST, 0)
        index = folder / f"index{number}.sqlite3"
        _index(index, documents.folder)
        documents.grow(_MORE, _FIRST // 2)
        limit = index.stat().st_size + chance.randrange(4_096, 200_000)
        _judge(index, documents.folder, tally, max_file_bytes=limit)
    return tally


def _judge(index: Path, folder: Path, tally: FullDiskTally, *, max_file_bytes: int) -> None:
    before = indexed_paths_read_only(index)
    code, message = _index(index, folder, max_file_bytes=max_file_bytes)
    tally.rounds += 1
    tally.messages.add(message.strip())
    tally.untyped += code != REFUSED or "IndexNotWritable" not in message
    try:
        with IndexReader(index) as reader:
            if not reader.candidates(["rain"]):
                tally.unreadable += 1
    except Exception:  # noqa: BLE001 - whatever it is, it is counted
        tally.unreadable += 1
    try:
        check_index(index)
    except IndexDamaged:
        tally.corrupt += 1
    tally.lost += len(before - indexed_paths_read_only(index))


def indexed_paths_read_only(index: Path) -> set[str]:
    """The documents that the index holds; nothing is written for it."""
    with IndexReader(index) as reader:
        return reader.paths()


def _index(index: Path, folder: Path, *, max_file_bytes: int = 0) -> tuple[int, str]:
    with start_indexing(index, folder, max_file_bytes=max_file_bytes) as process:
        try:
            _, message = process.communicate(timeout=_DEADLINE_SECONDS)
        finally:
            process.kill()
        return process.returncode, message


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(4_096))
