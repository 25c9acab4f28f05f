"""KV cells that are shared, copied to host memory and copied back, on real weights."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from inference_service.adapters.llama import LlamaRunner
from inference_service.core.options import KvType
from inference_service.core.ports import Chunk, SamplerSpec
from inference_service.core.types import Sampling
from tests.support.builtin_model import loaded_runner

pytestmark = pytest.mark.model

KV_CELLS = 256
NEAR_LOGITS = 0.2
"""The same cells in another order move a logit by some hundredths, because attention sums them in f16. One wrong cell
moves some by more than this.
"""
GREEDY = SamplerSpec(Sampling(), 5, ())
CELL_BYTES = {KvType.F16: 9 * 768 * 2, KvType.Q8_0: 9 * 768 * 34 // 32}
PROMPT = tuple(random.Random(3).randrange(300, 31_000) for _ in range(100))
OTHER = tuple(random.Random(4).randrange(300, 31_000) for _ in range(100))


@pytest.fixture(scope="module", params=list(KvType))
def kv_type(request: pytest.FixtureRequest) -> KvType:
    return request.param


@pytest.fixture(scope="module")
def shared_runner(kv_type: KvType) -> Iterator[LlamaRunner]:
    with loaded_runner(slots=4, kv_cells=KV_CELLS, kv_type=kv_type) as made:
        yield made


@pytest.fixture
def runner(shared_runner: LlamaRunner) -> Iterator[LlamaRunner]:
    yield shared_runner
    for slot in range(4):
        shared_runner.close(slot)


def read(runner: LlamaRunner, slot: int, tokens: tuple[int, ...], position: int = 0) -> npt.NDArray[np.float32]:
    """Run tokens of a slot, and return the logits behind the last."""
    runner.run([Chunk(slot, tokens, position, wants_token=True)])
    return runner.logits(0).copy()


def begin(runner: LlamaRunner, slot: int) -> None:
    runner.open(slot, GREEDY)


def keep(runner: LlamaRunner, slot: int, tokens: tuple[int, ...], *, at: int = 99) -> npt.NDArray[np.float32]:
    """Read a text in a slot, in two passes that part at `at`, and keep all but its last cell. Returns the logits behind
    the whole of it.
    """
    begin(runner, slot)
    read(runner, slot, tokens[:at])
    logits = read(runner, slot, tokens[at:], at)
    runner.retire(slot, len(tokens) - 1)
    return logits


def assert_near(logits: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> None:
    assert np.abs(logits - expected).max() < NEAR_LOGITS


def test_shared_cells_say_the_same_and_outlive_the_one_who_had_them(runner: LlamaRunner) -> None:
    expected = keep(runner, 0, PROMPT)
    begin(runner, 1)
    runner.share(0, 1, 99)
    runner.close(0)
    assert_near(read(runner, 1, PROMPT[99:], 99), expected)


def test_who_shares_a_part_goes_on_differently_without_harm_to_the_other(runner: LlamaRunner) -> None:
    expected = keep(runner, 0, PROMPT)
    begin(runner, 1)
    runner.share(0, 1, 40)
    read(runner, 1, OTHER, 40)
    begin(runner, 2)
    runner.share(0, 2, 99)
    assert_near(read(runner, 2, PROMPT[99:], 99), expected)


def test_shared_cells_take_no_room(runner: LlamaRunner) -> None:
    keep(runner, 0, PROMPT)
    for slot in (1, 2, 3):
        begin(runner, slot)
        runner.share(0, slot, 99)
        read(runner, slot, OTHER[: KV_CELLS // 6], 99)


def test_cells_come_back_from_host_memory_in_pieces(runner: LlamaRunner, kv_type: KvType) -> None:
    expected = keep(runner, 0, PROMPT)
    pieces = [(start, min(start + 32, 99)) for start in range(0, 99, 32)]
    saved = [runner.save(0, start, end) for start, end in pieces]
    runner.close(0)
    keep(runner, 0, OTHER)
    begin(runner, 1)
    for (start, end), segment in zip(pieces, saved, strict=True):
        assert segment is not None
        assert 0 <= segment.size_bytes - (end - start) * CELL_BYTES[kv_type] < 3000
        assert runner.restore(1, segment, start, end)
    assert_near(read(runner, 1, PROMPT[99:], 99), expected)


def test_wrong_cells_would_be_noticed(runner: LlamaRunner) -> None:
    expected = keep(runner, 0, PROMPT)
    begin(runner, 1)
    read(runner, 1, (*PROMPT[:50], OTHER[50], *PROMPT[51:99]))
    assert np.abs(read(runner, 1, PROMPT[99:], 99) - expected).max() > NEAR_LOGITS


def test_what_comes_back_is_what_was_saved_bit_by_bit(runner: LlamaRunner) -> None:
    keep(runner, 0, PROMPT)
    keep(runner, 2, OTHER)
    saved = runner.save(0, 30, 70)
    begin(runner, 1)
    runner.share(0, 1, 30)
    assert runner.restore(1, saved, 30, 70)
    assert np.array_equal(runner.save(1, 30, 70).state, saved.state)
    assert np.array_equal(runner.save(1, 40, 60).state, runner.save(0, 40, 60).state)


def test_a_part_of_a_piece_can_be_put_back(runner: LlamaRunner) -> None:
    expected = keep(runner, 0, PROMPT, at=90)
    first, second, whole = runner.save(0, 0, 60), runner.save(0, 20, 99), runner.save(0, 0, 90)
    runner.close(0)
    begin(runner, 1)
    assert runner.restore(1, first, 0, 30)
    assert runner.restore(1, second, 30, 90)
    assert runner.save(1, 0, 90).size_bytes == whole.size_bytes, "no position is there twice"
    assert_near(read(runner, 1, PROMPT[90:], 90), expected)


def test_what_was_saved_can_be_put_back_behind_shared_cells(runner: LlamaRunner) -> None:
    expected = keep(runner, 0, PROMPT)
    rest = runner.save(0, 64, 99)
    begin(runner, 1)
    runner.share(0, 1, 64)
    assert runner.restore(1, rest, 64, 99)
    runner.close(0)
    assert_near(read(runner, 1, PROMPT[99:], 99), expected)


def test_saving_changes_nothing_and_takes_no_room(runner: LlamaRunner) -> None:
    keep(runner, 0, PROMPT)
    keep(runner, 1, OTHER)
    begin(runner, 2)
    runner.share(0, 2, 99)
    before = runner.save(0, 0, 99)
    after = runner.save(0, 0, 99)
    assert np.array_equal(before.state, after.state)
    read(runner, 2, OTHER[: KV_CELLS - 2 * 99], 99)  # exactly what is left


def test_there_may_be_no_room_to_put_cells_back_and_nothing_is_lost_by_it(runner: LlamaRunner) -> None:
    expected = keep(runner, 0, PROMPT)
    saved = runner.save(0, 0, 99)
    keep(runner, 1, OTHER)
    begin(runner, 2)
    assert not runner.restore(2, saved, 0, 99), "58 cells are left"
    begin(runner, 3)
    runner.share(0, 3, 99)
    assert_near(read(runner, 3, PROMPT[99:], 99), expected)
    runner.close(1)
    runner.close(3)
    assert runner.restore(2, saved, 0, 99), "and nothing stays behind of the attempt"
    assert_near(read(runner, 2, PROMPT[99:], 99), expected)


def test_a_reset_empties_the_cache(runner: LlamaRunner) -> None:
    keep(runner, 0, PROMPT)
    begin(runner, 1)
    read(runner, 1, OTHER)
    runner.reset()
    begin(runner, 0)
    read(runner, 0, (PROMPT + OTHER + PROMPT)[:KV_CELLS])
