"""The operator's settings, resolved for hosts that are made up."""

from __future__ import annotations

import pytest

from inference_service.adapters.devices import Device
from inference_service.adapters.llama_model import ModelShape
from inference_service.adapters.llama_options import EngineOptions, engine_options, load_options
from inference_service.config import InferenceConfig
from inference_service.core.errors import ModelError
from inference_service.core.options import ALL_LAYERS, MAX_SLOTS, FlashAttention, KvType, LoadOptions
from inference_service.core.sizing import KvShape, WeightShape
from tests.support.builtin_model import BUILTIN_MODEL

GIB = 2**30
LAYER_CELL = 2**14
"""Bytes of a token in one layer's KV cache."""
SHAPE = ModelShape(
    architecture="made-up",
    weights=WeightShape(
        tensor_bytes=4 * GIB, parameter_count=4 * 10**9, layers=32, vocabulary_size=32_000, embedding_length=4096
    ),
    kv=KvShape(layers=32, heads=32, key_size=128, value_size=128),
    training_context_length=4096,
    quantization="Q8_0",
    cells_can_be_moved=True,
)
CELL = 32 * LAYER_CELL


def options(
    *,
    free_bytes: int = 1000 * GIB,
    devices: tuple[Device, ...] = (),
    loaded: LoadOptions | None = None,
    shape: ModelShape = SHAPE,
    **settings: object,
) -> EngineOptions:
    return engine_options(
        InferenceConfig(**settings),
        shape,
        loaded or LoadOptions(memory_map=False),
        free_bytes=lambda: free_bytes,
        devices=lambda: list(devices),
    )


def gpu(free_bytes: int) -> Device:
    return Device("GPU", free_bytes, shares_host_memory=False)


def test_the_defaults_on_a_host_with_plenty_of_memory():
    made = options()
    context = made.context
    assert (context.slots, made.parking_slots) == (16, 8), "as many finished sequences may be kept as run"
    assert context.kv_cells == 8 * 4096
    assert context.batch_tokens == 512
    assert made.draft_tokens == 15
    assert context.output_tokens == 8 * (1 + 15), "each running sequence may have a whole draft verified in one pass"
    assert made.prefix_cache_bytes == 8 * GIB
    assert context.threads >= 1
    assert (context.flash_attention, context.kv_type) == (FlashAttention.AUTO, KvType.F16)


def test_every_setting_arrives():
    made = options(
        inference_slots=3,
        inference_context=1024,
        inference_threads=7,
        inference_flash_attention=FlashAttention.ON,
        inference_kv_type=KvType.Q8_0,
        inference_batch_tokens=100,
        inference_draft_tokens=5,
        inference_prefix_cache_mib=9,
    )
    context = made.context
    assert (context.slots, made.parking_slots, context.kv_cells, context.threads) == (6, 3, 1024, 7)
    assert (context.flash_attention, context.kv_type) == (FlashAttention.ON, KvType.Q8_0)
    assert (context.batch_tokens, context.output_tokens, made.draft_tokens) == (100, 3 * 6, 5)
    assert made.prefix_cache_bytes == 9 * 2**20


def test_half_of_the_host_s_free_memory_is_for_cells_and_a_quarter_of_the_rest_for_kept_prompts():
    made = options(free_bytes=8 * GIB)
    assert made.context.kv_cells == 4 * GIB // CELL
    assert made.prefix_cache_bytes == GIB


@pytest.mark.parametrize(("memory_map", "free_bytes"), [(False, 8 * GIB), (True, 12 * GIB)])
def test_mapped_weights_are_still_to_come_into_memory(memory_map, free_bytes):
    made = options(free_bytes=free_bytes, loaded=LoadOptions(memory_map=memory_map))
    assert made.context.kv_cells == 4 * GIB // CELL


def test_q8_0_cells_are_more_cells():
    made = options(free_bytes=4 * GIB, inference_kv_type=KvType.Q8_0)
    assert made.context.kv_cells == 2 * GIB * 32 // (CELL // 2 * 34) // 256 * 256


def test_too_little_memory_says_what_to_set():
    with pytest.raises(ModelError, match="GROUNDWIRE_INFERENCE_CONTEXT"):
        options(free_bytes=100 * 2**20)
    with pytest.raises(ModelError, match="GROUNDWIRE_INFERENCE_CONTEXT"):
        options(free_bytes=4 * GIB, loaded=LoadOptions(memory_map=True))
    assert options(free_bytes=100 * 2**20, inference_context=1024).context.kv_cells == 1024, "who sets it is believed"


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"inference_prefix_cache_mib": 0}, SHAPE),
        ({"free_bytes": GIB, "inference_context": 2048}, SHAPE),
        ({}, ModelShape("m", SHAPE.weights, SHAPE.kv, 4096, "Q8_0", cells_can_be_moved=False)),
        ({"inference_prefix_cache_mib": 9}, ModelShape("m", SHAPE.weights, SHAPE.kv, 4096, "Q8_0", False)),
    ],
    ids=["turned off", "no memory left", "cells cannot be moved", "nor though it is asked for"],
)
def test_where_nothing_is_kept_no_slots_are_set_apart_for_it(settings, shape):
    made = options(shape=shape, **settings)
    assert (made.parking_slots, made.prefix_cache_bytes, made.context.slots) == (0, 0, 8)


def test_drafts_need_cells_that_can_be_taken_back():
    made = options(shape=ModelShape("m", SHAPE.weights, SHAPE.kv, 4096, "Q8_0", cells_can_be_moved=False))
    assert (made.draft_tokens, made.context.output_tokens) == (0, 8)


@pytest.mark.parametrize(("slots", "parking"), [(1, 1), (127, 127), (128, 127), (200, 55), (255, 0)])
def test_kept_sequences_take_no_slots_from_running_ones(slots, parking):
    made = options(inference_slots=slots)
    assert (made.parking_slots, made.context.slots) == (parking, slots + parking)
    assert made.context.slots <= MAX_SLOTS


def test_a_pass_has_room_for_every_running_sequence_and_as_much_again():
    assert options(inference_slots=200, inference_batch_tokens=16).context.batch_tokens == 400


def test_where_all_layers_are_on_gpus_the_host_sets_no_limit_to_cells():
    made = options(free_bytes=2 * GIB, devices=(gpu(5 * GIB), gpu(5 * GIB)), loaded=LoadOptions(gpu_layers=ALL_LAYERS))
    room = 10 * GIB - 2 * GIB - 512 * 32_000 * 4
    assert made.context.kv_cells == room // CELL // 256 * 256
    assert made.prefix_cache_bytes == GIB // 2, "kept prompts are in the host's memory all the same"


def test_where_layers_are_on_both_sides_the_tighter_one_decides():
    loaded = LoadOptions(gpu_layers=17, memory_map=False)  # the output and half of the layers
    wide, tight = 100 * GIB, 4 * GIB
    on_host = options(free_bytes=tight, devices=(gpu(wide),), loaded=loaded)
    assert on_host.context.kv_cells == tight // 2 // (CELL // 2)
    on_gpu = options(free_bytes=wide, devices=(gpu(tight),), loaded=loaded)
    assert on_gpu.context.kv_cells == (tight - GIB - 512 * 32_000 * 4) // (CELL // 2) // 256 * 256


def test_a_gpu_that_is_not_there_takes_no_layers():
    made = options(free_bytes=8 * GIB, loaded=LoadOptions(gpu_layers=ALL_LAYERS, memory_map=False))
    assert made.context.kv_cells == 4 * GIB // CELL


def test_a_gpu_without_room_says_what_to_set():
    with pytest.raises(ModelError, match="GROUNDWIRE_INFERENCE_CONTEXT"):
        options(devices=(gpu(GIB),), loaded=LoadOptions(gpu_layers=ALL_LAYERS))


@pytest.mark.parametrize("layers", [-1, 0, 7])
def test_how_a_file_is_loaded_is_as_the_operator_says(layers):
    config = InferenceConfig(inference_gpu_layers=layers, inference_memory_map=False, inference_memory_lock=True)
    assert load_options(config, BUILTIN_MODEL) == LoadOptions(layers, memory_map=False, memory_lock=True)
