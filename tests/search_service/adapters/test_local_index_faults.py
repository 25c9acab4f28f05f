"""The index under kill -9 and on a full disk. `make search-faults` does the same many more times."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.search_faults.full_disk import (
    FullDiskTally,
    NotPermitted,
    fill_disk_while_indexing,
    reach_the_largest_file_while_indexing,
)
from benchmarks.search_faults.kills import kill_while_indexing


def test_killed_again_and_again_it_loses_nothing(tmp_path: Path) -> None:
    tally = kill_while_indexing(tmp_path, kills=6, seed=1)
    assert (tally.lost, tally.corrupt, tally.not_found) == (0, 0, 0)
    assert tally.documents >= 6 * 12


def assert_nothing_was_lost(tally: FullDiskTally) -> None:
    assert (tally.lost, tally.corrupt, tally.unreadable, tally.untyped) == (0, 0, 0, 0), tally
    assert all("What was indexed is kept." in message for message in tally.messages)


def test_a_full_disk_is_told_and_what_was_indexed_is_still_found(tmp_path: Path) -> None:
    try:
        tally = fill_disk_while_indexing(tmp_path, rounds=3, seed=3)
    except NotPermitted as error:
        pytest.skip(str(error))
    assert_nothing_was_lost(tally)
    assert any("disk that holds the local index is full" in message for message in tally.messages)


def test_a_limit_on_file_sizes_is_told_and_what_was_indexed_is_still_found(tmp_path: Path) -> None:
    assert_nothing_was_lost(reach_the_largest_file_while_indexing(tmp_path, rounds=2, seed=4))
