import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.errors import ModelError
from inference_service.core.options import ALL_LAYERS, KvType
from inference_service.core.sizing import (
    CELL_MULTIPLE,
    DEVICE_RESERVE_BYTES,
    MAX_PREFIX_CACHE_BYTES,
    KvRoom,
    KvShape,
    WeightShape,
    default_kv_cells,
    default_prefix_cache_bytes,
    device_reserve_bytes,
    host_room,
)

GIB = 2**30
PHI3 = KvShape(layers=32, heads=32, key_size=96, value_size=96)
PHI3_CELL = 393_216
"""Bytes of Phi-3-mini's KV cache a token: 32 layers × 3072 × 2 × 2 bytes."""


def cells(*rooms: KvRoom, slots: int = 8) -> int:
    return default_kv_cells(*rooms, slots=slots, training_context_length=4096)


def test_every_slot_gets_the_full_context_where_memory_allows():
    assert cells(host_room(free_bytes=2**40, bytes_per_cell=PHI3_CELL)) == 8 * 4096


def test_half_of_the_free_memory_is_the_limit():
    sized = cells(host_room(free_bytes=8 * GIB, bytes_per_cell=PHI3_CELL))
    assert sized * PHI3_CELL <= 4 * GIB
    assert sized == 10_752


@pytest.mark.parametrize("free_bytes", [-5, 0, 2 * 255 * PHI3_CELL])
def test_no_room_says_what_to_set(free_bytes):
    with pytest.raises(ModelError, match="GROUNDWIRE_INFERENCE_CONTEXT"):
        cells(host_room(free_bytes=free_bytes, bytes_per_cell=PHI3_CELL), slots=1)


def test_the_tightest_room_decides_and_is_named_where_it_is_too_tight():
    wide, tight = KvRoom(100 * GIB, PHI3_CELL // 2), KvRoom(GIB, PHI3_CELL // 2)
    assert cells(wide, tight) == cells(tight, wide) == 5376
    with pytest.raises(ModelError, match=r"40 MiB are left for it .* takes 192 KiB"):
        cells(wide, KvRoom(40 * 2**20, PHI3_CELL // 2))


def test_a_room_where_no_layer_is_sets_no_limit():
    assert cells(KvRoom(-GIB, 0), KvRoom(100 * GIB, PHI3_CELL)) == 8 * 4096


@given(st.integers(0, 2**40), st.integers(1, 10**6), st.integers(1, 64))
def test_cells_are_whole_pads_within_every_limit(free_bytes, bytes_per_cell, slots):
    try:
        sized = cells(host_room(free_bytes=free_bytes, bytes_per_cell=bytes_per_cell), slots=slots)
    except ModelError:
        assert free_bytes / 2 < CELL_MULTIPLE * bytes_per_cell
        return
    assert sized % CELL_MULTIPLE == 0
    assert sized <= slots * 4096
    assert sized * bytes_per_cell <= free_bytes / 2


def test_q8_0_cells_take_34_bytes_for_32_values():
    assert PHI3.bytes_per_cell(KvType.F16) == PHI3_CELL
    assert PHI3.bytes_per_cell(KvType.Q8_0) == PHI3_CELL // 2 * 34 // 32


@pytest.mark.parametrize(("key_size", "value_size"), [(80, 64), (64, 80), (100, 100)])
def test_q8_0_needs_heads_of_whole_blocks_and_says_what_to_set(key_size, value_size):
    shape = KvShape(layers=2, heads=2, key_size=key_size, value_size=value_size)
    assert shape.bytes_per_cell(KvType.F16) == 2 * 2 * (key_size + value_size) * 2
    with pytest.raises(ModelError, match="GROUNDWIRE_INFERENCE_KV_TYPE=f16"):
        shape.bytes_per_cell(KvType.Q8_0)


@pytest.mark.parametrize(
    ("free_bytes", "kept"),
    [(8 * GIB, 2 * GIB), (32 * GIB, 8 * GIB), (2**40, MAX_PREFIX_CACHE_BYTES), (0, 0), (-GIB, 0)],
)
def test_a_quarter_of_what_is_free_is_for_prompts_within_bounds(free_bytes, kept):
    assert default_prefix_cache_bytes(free_bytes) == kept


def test_each_gpu_keeps_a_reserve_and_one_of_them_the_logits():
    reserve = device_reserve_bytes(devices=2, batch_tokens=512, vocabulary_size=32_064)
    assert reserve == 2 * DEVICE_RESERVE_BYTES + 512 * 32_064 * 4


WEIGHTS = WeightShape(tensor_bytes=11_000, parameter_count=5_500, layers=10, vocabulary_size=50, embedding_length=10)
"""The table of 50 × 10 values takes 1,000 bytes, each of ten layers another 1,000 (and one: it is rounded up)."""
OUTPUT = 1_500
"""The output may be half as large again as the table."""


@pytest.mark.parametrize(
    ("free_bytes", "kv_bytes", "layers"),
    [
        (0, 0, 0),
        (-1, 0, 0),
        (OUTPUT + 1_000, 0, 0),
        (OUTPUT + 1_001, 0, 2),
        (OUTPUT + 5 * 1_001, 0, 6),
        (OUTPUT + 10 * 1_001 - 1, 0, 10),
        (OUTPUT + 10 * 1_001, 0, ALL_LAYERS),
        (10**9, 0, ALL_LAYERS),
        (OUTPUT + 10 * 1_001, 10_000, 6),
        (OUTPUT + 10 * 2_001, 10_000, ALL_LAYERS),
    ],
)
def test_as_many_layers_as_fit_with_their_part_of_the_kv_cache(free_bytes, kv_bytes, layers):
    assert WEIGHTS.gpu_layers_within(free_bytes, kv_bytes=kv_bytes) == layers


@pytest.mark.parametrize(
    ("gpu_layers", "share"),
    [(0, 0.0), (1, 0.0), (2, 0.1), (6, 0.5), (10, 0.9), (11, 1.0), (99, 1.0), (ALL_LAYERS, 1.0)],
)
def test_the_output_counts_as_a_layer_that_has_no_kv_cache(gpu_layers, share):
    assert WEIGHTS.share_on_gpu(gpu_layers) == pytest.approx(share)


@given(st.integers(-1000, 40_000), st.integers(0, 30_000))
def test_what_is_put_on_the_gpu_fits_there(free_bytes, kv_bytes):
    layers = WEIGHTS.gpu_layers_within(free_bytes, kv_bytes=kv_bytes)
    if layers:
        assert OUTPUT + WEIGHTS.share_on_gpu(layers) * (10_000 + kv_bytes) <= free_bytes
