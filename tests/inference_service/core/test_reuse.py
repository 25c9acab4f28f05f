"""What is kept of finished requests, and what becomes of it."""

import pytest

from inference_service.core.prefixes import SEGMENT_TOKENS
from inference_service.core.sequence import Sequence
from tests.inference_service.engine_bench import FakeBench, finished
from tests.support.fake_runner import CELL_BYTES, FakeRunner, say
from tests.support.sequences import engine_request

PLENTY = 10**6
SAVING_SHARE = 0.05
RESTORING_SECONDS = 0.05
MAKING_ROOM_SECONDS = 0.05


def bench(runner: FakeRunner | None = None, *, cache_bytes: int = PLENTY, **parts: int) -> FakeBench:
    return FakeBench(
        runner or FakeRunner(lambda prompt: say("yes")),
        cache_bytes=cache_bytes,
        step_tokens=512,
        **{"kv_cells": 10_000, **parts},
    )


def cached(made: FakeBench, prompt: object, **fields: object) -> int:
    return finished(made.answer(engine_request(prompt, **fields))).usage.cached_tokens


def spoil_residents(made: FakeBench) -> None:
    """Run something else, so that what is copied out already is given back."""
    made.answer(engine_request(5, first_token=900, salt="other"))
    assert not any(len(cells) > 20 for cells in made.runner.cells.values())


def stream(made: FakeBench) -> Sequence:
    """A sequence that generates for long."""
    item = made.add(engine_request(3, first_token=700, max_tokens=900, salt="stream", ignore_eos=True))
    while not item.answer:
        made.step()
    return item


def test_a_finished_sequence_keeps_its_cells_while_nothing_runs():
    made = bench()
    made.answer(engine_request(40))
    assert made.engine.status.kv_cells_cached == 40 + len("yes"), "all but the token sampled last, which has no cell"
    assert made.runner.used_cells == 43
    assert not made.runner.opened, "its sampler is given back"
    assert made.engine.status.slots_used == made.engine.status.kv_cells_reserved == 0
    assert not made.engine.has_work
    assert not made.engine.has_leftovers


def test_cells_are_kept_however_quickly_they_were_copied_out():
    runner = FakeRunner(lambda prompt: say("yes"), pass_seconds=lambda tokens: 0.25, copy_seconds=0.0001)
    made = bench(runner)
    made.answer(engine_request(40))
    assert made.engine.status.kv_cells_cached == 43


@pytest.mark.parametrize(
    ("then", "shared"),
    [
        (range(1, 41), 39),
        (range(1, 61), 40),
        ((*range(1, 41), *say("yes")[:-1], 77, 78), 43),
        ((*range(1, 21), *range(500, 540)), 20),
        (range(2, 42), 0),
        ((1,), 0),
        ((1, 2), 1),
    ],
    ids=["the same", "longer", "the conversation", "parts midway", "another", "one token", "a short one"],
)
def test_the_common_beginning_of_the_prompt_is_shared_without_a_copy(then, shared):
    made = bench()
    made.answer(engine_request(40))
    assert cached(made, then) == shared, "the last token of a prompt must run, to say what follows"
    assert [length for _, _, length in made.runner.shared] == [shared] * (shared > 0)
    assert not made.runner.restored
    assert sum(len(chunk.tokens) for chunk in made.runner.passes[-4]) == len(then) - shared


@pytest.mark.parametrize(("salt", "shared"), [("", 40), ("other", 0)])
def test_a_running_sequence_shares_its_cells_too(salt, shared):
    made = bench()
    running = made.add(engine_request(range(1, 61), max_tokens=200, ignore_eos=True))
    while not running.answer:
        made.step()
    item = made.add(engine_request((*range(1, 41), 99), salt=salt))
    made.finish()
    assert item.cached == shared
    assert made.empty()


def test_only_what_has_been_read_of_a_running_prompt_is_shared():
    made = FakeBench(cache_bytes=PLENTY, step_tokens=32)
    made.add(engine_request(100))
    made.step()
    item = made.add(engine_request(100))
    made.finish()
    assert item.cached == 32


def test_the_longest_of_several_is_taken():
    made = bench()
    for length in (30, 50, 40):
        made.add(engine_request((*range(1, length), 99)))
    made.finish()
    assert cached(made, range(1, 100)) == 49


@pytest.mark.parametrize("copied", [False, True], ids=["in the KV cache", "in host memory"])
def test_nothing_is_shared_between_salts(copied):
    made = bench()
    made.answer(engine_request(40, salt="one"))
    if copied:
        spoil_residents(made)
    assert cached(made, 40, salt="two") == 0
    assert cached(made, 40) == 0
    assert cached(made, 40, salt="one") == 39


def test_a_limit_of_nothing_turns_all_of_it_off():
    made = bench(cache_bytes=0, parking_slots=4)
    made.answer(engine_request(40))
    assert not made.runner.cells
    assert cached(made, 40) == 0
    assert [*made.runner.saved, *made.runner.shared, *made.runner.restored] == []


def test_while_nothing_runs_cells_are_copied_out_piece_by_piece_and_stay():
    made = bench(FakeRunner(lambda prompt: say("yes"), copy_seconds=1.0))
    item = made.add(engine_request(300))
    while not made.reuse.parked_cells:
        made.step()
    assert item.slot is None
    del made.runner.saved[:]
    while made.engine.has_leftovers:
        copied = len(made.runner.saved)
        made.step()
        assert len(made.runner.saved) <= copied + 1, "a request that comes waits for one piece at most"
    assert made.engine.status.kv_cells_cached == 303
    assert made.engine.status.prefix_cache_bytes == 303 * CELL_BYTES


def test_the_pieces_are_whole_segments_in_order():
    made = bench()
    made.answer(engine_request(2 * SEGMENT_TOKENS + 10))
    assert [(start, end) for _, start, end in made.runner.saved] == [
        (0, SEGMENT_TOKENS),
        (SEGMENT_TOKENS, 2 * SEGMENT_TOKENS),
        (2 * SEGMENT_TOKENS, 2 * SEGMENT_TOKENS + 13),
    ]


def test_what_is_kept_already_is_not_copied_again():
    made = bench()
    made.answer(engine_request(200))
    copied = made.engine.status.prefix_cache_bytes
    made.answer(engine_request(range(1, 201)))
    assert made.engine.status.prefix_cache_bytes == copied
    made.answer(engine_request((*range(1, 101), 999)))
    assert made.engine.status.prefix_cache_bytes == copied + CELL_BYTES * (1 + len("yes"))


@pytest.mark.parametrize(
    ("pass_seconds", "copy_seconds", "pieces"), [(1.0, 0.02, 3), (1.0, 0.6, 1), (0.1, 0.02, 1), (4.0, 0.021, 10)]
)
def test_copying_out_behind_a_pass_takes_its_share_of_the_pass(pass_seconds, copy_seconds, pieces):
    made = bench()
    made.answer(engine_request(100, first_token=700))
    stream(made)
    assert made.reuse.parked_cells == 0
    made.add(engine_request(40 * SEGMENT_TOKENS, salt="long"))
    while not made.reuse.parked_cells:
        made.step()
    made.runner.pass_seconds, made.runner.copy_seconds = (lambda tokens: pass_seconds), copy_seconds
    copied = len(made.runner.saved)
    made.step()
    assert len(made.runner.saved) - copied == pieces
    assert (pieces - 1) * copy_seconds < SAVING_SHARE * pass_seconds


def test_what_is_copied_out_gives_its_cells_back_while_others_run():
    made = bench()
    running = stream(made)
    item = made.add(engine_request(2 * SEGMENT_TOKENS))
    while not made.reuse.parked_cells:
        made.step()
    slot = next(slot for slot in made.runner.cells if slot != running.slot)
    assert made.engine.status.kv_cells_cached == 2 * SEGMENT_TOKENS + 3
    for _ in range(5):
        made.step()
    assert (made.reuse.parked_cells, slot in made.runner.cells) == (0, False)
    assert made.engine.status.prefix_cache_bytes == CELL_BYTES * (2 * SEGMENT_TOKENS + 3)
    assert item.answer


def test_what_is_copied_out_gives_its_cells_back_once_another_begins():
    made = bench()
    made.answer(engine_request(40))
    made.runner.peak_cells = 0
    made.add(engine_request(4, first_token=900))
    made.step()
    assert made.runner.peak_cells == 4, "before its first pass"
    assert made.reuse.parked_cells == 0
    assert len(made.runner.cells) == 1


def test_cells_that_cannot_be_copied_are_shared_while_nothing_else_runs():
    made = bench(FakeRunner(lambda prompt: say("yes"), can_copy=False))
    made.answer(engine_request(100))
    assert cached(made, 100) == 99
    spoil_residents(made)
    assert cached(made, 100) == 0


def test_host_memory_has_a_limit():
    made = bench(cache_bytes=CELL_BYTES * 2 * SEGMENT_TOKENS)
    made.answer(engine_request(10 * SEGMENT_TOKENS))
    assert made.engine.status.prefix_cache_bytes == made.engine.status.prefix_cache_limit_bytes
    made.answer(engine_request(10 * SEGMENT_TOKENS, first_token=5000))
    assert made.engine.status.prefix_cache_bytes == made.engine.status.prefix_cache_limit_bytes
    spoil_residents(made)
    assert cached(made, range(5000, 5640)) > 0, "the latest is kept"
