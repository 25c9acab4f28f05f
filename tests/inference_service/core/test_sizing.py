import pytest

from inference_service.core.errors import ModelError
from inference_service.core.sizing import default_kv_cells

PHI3_CELL = 393_216
"""Bytes of Phi-3-mini's KV cache a token: 32 layers × 3072 × 2 × 2 bytes."""


def test_every_slot_gets_the_full_context_where_memory_allows():
    cells = default_kv_cells(free_bytes=2**40, bytes_per_cell=PHI3_CELL, slots=8, training_context_length=4096)
    assert cells == 8 * 4096


def test_half_of_the_free_memory_is_the_limit():
    cells = default_kv_cells(free_bytes=8 * 2**30, bytes_per_cell=PHI3_CELL, slots=8, training_context_length=4096)
    assert cells * PHI3_CELL <= 4 * 2**30
    assert cells == 10_752


def test_no_room_says_what_to_set():
    with pytest.raises(ModelError, match="GROUNDWIRE_INFERENCE_CONTEXT"):
        default_kv_cells(free_bytes=-5, bytes_per_cell=PHI3_CELL, slots=1, training_context_length=4096)
