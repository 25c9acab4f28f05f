"""What is run by default: within its time, and enough for every promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.engine.contests import Bench, Contest
from benchmarks.engine.peers import Peers
from benchmarks.engine.rounds import expected_seconds
from benchmarks.engine.schedule import FULL, QUICK, Entry
from benchmarks.engine.selection import Selection, SelectsNothing
from benchmarks.engine.targets import TARGETS
from benchmarks.engine.works.drafts import OFF


class NoPrompts:
    pass


def bench() -> Bench:
    peers = Peers(Path("/peers/llama-server"), Path("/peers/llama-batched-bench"), "0", {})
    return Bench(peers, lambda name: Path(f"/models/{name}.gguf"), NoPrompts, threads=2)


def made(entries: tuple[Entry, ...], selection: Selection) -> list[Contest]:
    contests = [entry.make(bench()).restricted(selection.wants) for entry in entries if selection.may_want(entry)]
    return [contest for contest in contests if contest is not None]


def names(*, works=None, models=None, only=None) -> list[str]:
    return [contest.name for contest in made(FULL, Selection.parse(works=works, models=models, only=only))]


def test_the_default_run_fits_in_some_forty_minutes_on_two_cores():
    assert 30 < sum(expected_seconds(contest, 3) for contest in made(FULL, Selection())) / 60 < 45


def test_every_promise_is_measured_by_default():
    measured = set()
    for contest in made(FULL, Selection()):
        for side in contest.sides:
            measured |= {(work, contest.model, streams, side.role) for work, streams, _ in side.loads()}
    for target in TARGETS:
        for streams in target.streams:
            # Drafts are on and off within one side of their own.
            role = target.role if target.role != OFF else "Groundwire"
            assert (target.work, target.model, streams, role) in measured, target.title


def test_an_entrys_works_and_model_are_those_that_it_makes():
    for entry in (*FULL, *QUICK):
        contest = entry.make(bench())
        works = {work for side in contest.sides for work, _, _ in side.loads()} - {"fill"}
        assert (contest.model, works) == (entry.model, set(entry.works))


def test_both_sides_get_the_same_terms():
    for contest in made(FULL, Selection()):
        if contest.work != "kept":  # which is about the terms
            assert len({candidate.terms for side in contest.sides for candidate in side.candidates}) == 1


def test_parts_are_chosen_by_work_model_and_streams():
    assert names(works=["plain"]) == ["plain/60m", "plain/builtin", "plain/3.8b"]
    assert names(works=["plain", "mixed"], models=["60m"]) == ["plain/60m", "mixed/60m"]
    assert names(only=["grounded"]) == ["grounded/3.8b-copying", "grounded/builtin"]
    (contest,) = made(FULL, Selection.parse(works=None, models=None, only=["plain/3.8b/8"]))
    assert [(side.role, [streams for _, streams, _ in side.loads()]) for side in contest.sides] == [
        ("Groundwire", [8]),
        ("llama-server", [8]),
        ("llama-batched-bench", [8]),
    ]
    (contest,) = made(FULL, Selection.parse(works=None, models=None, only=["drafts/60m"]))
    assert [side.role for side in contest.sides] == ["Groundwire"]


def test_what_takes_long_is_run_where_its_model_is_named():
    assert names(works=["conversations"]) == ["conversations/60m"]
    assert names(works=["conversations"], models=["3.8b"]) == ["conversations/3.8b"]
    assert names(only=["mixed_small_batches/3.8b"]) == ["mixed_small_batches/3.8b"]


def test_nothing_that_is_not_there_is_chosen():
    assert names(only=["plain/60m/3"]) == []
    assert names(works=["plan"]) == []
    with pytest.raises(SelectsNothing, match="'plain/60m/1/2' is not WORK"):
        Selection.parse(works=None, models=None, only=["plain/60m/1/2"])
    with pytest.raises(SelectsNothing, match="'/60m' is not WORK"):
        Selection.parse(works=None, models=None, only=["/60m"])
