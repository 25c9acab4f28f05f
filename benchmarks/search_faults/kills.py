"""kill -9 while an index is written: what was through stays, and the file stays whole."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.search_faults.documents import ChangingFolder, indexed_paths, not_found
from benchmarks.search_faults.indexing import start_indexing
from search_service.adapters.local_index_check import check_index
from search_service.adapters.local_index_errors import IndexDamaged
from search_service.adapters.local_index_store import IndexWriter
from search_service.adapters.local_indexer import Indexer

_ADDED: Final = 12
_REWRITTEN: Final = 12
_DEADLINE_SECONDS: Final = 60.0


@dataclass(slots=True)
class KillTally:
    """What came of the kills."""

    kills: int = 0
    """Processes that were killed while they worked."""
    ended_before: int = 0
    """Those that were done before the kill came."""
    lost: int = 0
    """Documents that were through and are not in the index any more, over all kills."""
    corrupt: int = 0
    """Kills after which the index was not whole."""
    not_found: int = 0
    """Documents that the finished index does not find."""
    documents: int = 0
    """That the finished index holds."""


def kill_while_indexing(folder: Path, kills: int, seed: int) -> KillTally:
    """Kill an indexing process so many times, each at another moment, then let one finish."""
    chance = random.Random(seed)
    documents = ChangingFolder(folder / "documents", chance)
    index = folder / "index.sqlite3"
    tally = KillTally()
    while tally.kills < kills:
        documents.grow(_ADDED, _REWRITTEN)
        before = indexed_paths(index)
        through, was_killed = _kill_once(index, documents.folder, chance)
        tally.kills += was_killed
        tally.ended_before += not was_killed
        try:
            if index.exists() and index.stat().st_size:
                check_index(index, words=True)
        except IndexDamaged:
            tally.corrupt += 1
        expected = before | {path.name for path in sorted(documents.folder.iterdir())[:through]}
        tally.lost += len(expected - indexed_paths(index))
    with IndexWriter(index) as writer:
        tally.documents = Indexer(writer).add(documents.folder).found
    check_index(index, words=True)
    tally.not_found = not_found(index, documents.count)
    return tally


def _kill_once(index: Path, folder: Path, chance: random.Random) -> tuple[int, bool]:
    """(files that were through, whether it still ran)."""
    with start_indexing(index, folder) as process:
        if process.stdout is None:
            raise AssertionError("its output is a pipe")
        # Some kills fall into the making of the file, others between any two steps of the writing.
        watchdog = threading.Timer(_DEADLINE_SECONDS, process.kill)
        watchdog.start()
        try:
            process.stdout.readline()
            told = ""
            if chance.random() < 0.3:
                time.sleep(chance.random() * 0.03)
            else:
                wanted = chance.randrange(len(list(folder.iterdir())) + 1)
                for line in process.stdout:
                    told = line
                    if int(line) >= wanted:
                        break
                time.sleep(chance.random() * 0.004)
            was_running = process.poll() is None
            process.kill()
            told += process.stdout.read()
        finally:
            watchdog.cancel()
        # The last line may have been cut short.
        whole = told.split("\n")[:-1]
        return int(whole[-1]) if whole else 0, was_running
