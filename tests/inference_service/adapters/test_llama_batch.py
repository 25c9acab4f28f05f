from __future__ import annotations

from inference_service.adapters.llama_batch import Batch
from inference_service.core.ports import Chunk


def laid_out(batch: Batch) -> list[tuple[int, int, int, int, bool]]:
    """What llama.cpp reads of each token: the token, its position, how many sequences it has, its sequence, whether its
    logits are wanted.
    """
    struct = batch.struct
    return [
        (struct.token[i], struct.pos[i], struct.n_seq_id[i], struct.seq_id[i][0], bool(struct.logits[i]))
        for i in range(struct.n_tokens)
    ]


def test_chunks_lie_one_behind_the_other():
    batch = Batch(16)
    batch.fill(
        [
            Chunk(3, (11, 12, 13), 40, wants_token=True),
            Chunk(0, (21,), 7, wants_token=True),
            Chunk(5, (31, 32), 0, wants_token=False),
        ]
    )
    assert laid_out(batch) == [
        (11, 40, 1, 3, False),
        (12, 41, 1, 3, False),
        (13, 42, 1, 3, True),
        (21, 7, 1, 0, True),
        (31, 0, 1, 5, False),
        (32, 1, 1, 5, False),
    ]
    assert batch.output_rows == [2, 3]


def test_logits_are_wanted_behind_the_token_before_a_draft_and_behind_each_of_its_tokens():
    batch = Batch(16)
    batch.fill(
        [Chunk(1, (9, 8, 7), 5, wants_token=True, drafted=2), Chunk(2, (1, 2, 3), 0, wants_token=True, drafted=1)]
    )
    assert [wanted for *_, wanted in laid_out(batch)] == [True, True, True, False, True, True]
    assert batch.output_rows == [0, 1, 2, 4, 5]


def test_nothing_is_left_of_the_pass_before():
    batch = Batch(16)
    batch.fill([Chunk(7, tuple(range(16)), 100, wants_token=True, drafted=15)])
    batch.fill([Chunk(1, (5, 6), 0, wants_token=False)])
    assert laid_out(batch) == [(5, 0, 1, 1, False), (6, 1, 1, 1, False)]
    assert batch.output_rows == []


def test_a_batch_may_be_full():
    batch = Batch(4)
    batch.fill([Chunk(0, (1, 2, 3, 4), 0, wants_token=True)])
    assert batch.struct.n_tokens == 4
