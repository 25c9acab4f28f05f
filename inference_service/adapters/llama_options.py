"""The operator's settings, resolved for this host: where the layers go, how large the KV cache is, how many threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inference_service.adapters.devices import Device, gpu_devices
from inference_service.adapters.host import free_memory_bytes, usable_cores
from inference_service.adapters.llama_model import LlamaModel, ModelShape
from inference_service.config import InferenceConfig
from inference_service.core.options import MAX_SLOTS, ContextOptions, LoadOptions
from inference_service.core.sizing import (
    AUTO_KV_CELLS,
    KvRoom,
    default_kv_cells,
    default_prefix_cache_bytes,
    device_reserve_bytes,
    host_room,
)

CPU_ATTENTION_TILE = 64
"""GGML_FA_TILE_Q in ggml-cpu/common.h: from this many tokens on, flash attention on the CPU works by tiles."""

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a loaded model's engine is made with."""

    context: ContextOptions
    parking_slots: int
    """Of the context's slots, those beyond the running ones: finished sequences may be kept there."""
    draft_tokens: int
    """Drafted tokens that are verified for a sequence in one pass at most; 0: no drafts."""
    prefix_cache_bytes: int
    """Host memory for prompts of finished requests; 0: none are kept."""


def load_options(
    config: InferenceConfig, path: Path, *, devices: Callable[[], list[Device]] = gpu_devices
) -> LoadOptions:
    """How to load this file on this host. Reads the file's head where GPUs are to share its layers with the host."""
    layers = config.inference_gpu_layers
    if layers is None:
        layers = _fitting_gpu_layers(config, path, devices())
    return LoadOptions(
        gpu_layers=layers,
        memory_map=config.inference_memory_map,
        memory_lock=config.inference_memory_lock,
    )


def _fitting_gpu_layers(config: InferenceConfig, path: Path, devices: list[Device]) -> int:
    if not devices:
        return 0
    head = LlamaModel(path, LoadOptions(head_only=True))
    try:
        shape = head.shape
    finally:
        head.close()
    free_bytes = _device_bytes(devices, _batch_tokens(config), shape)
    cells = config.inference_context or AUTO_KV_CELLS
    kv_bytes = cells * shape.kv.bytes_per_cell(config.inference_kv_type)
    return shape.weights.gpu_layers_within(free_bytes, kv_bytes=kv_bytes)


def engine_options(
    config: InferenceConfig,
    shape: ModelShape,
    loaded: LoadOptions,
    *,
    free_bytes: Callable[[], int] = free_memory_bytes,
    devices: Callable[[], list[Device]] = gpu_devices,
) -> EngineOptions:
    """How to run a model that has been loaded so. Raises ModelError where there is no memory for a KV cache."""
    slots = config.inference_slots
    cell_bytes = shape.kv.bytes_per_cell(config.inference_kv_type)
    on_gpu = shape.weights.share_on_gpu(loaded.gpu_layers) if devices() else 0.0
    # Where the weights are mapped, not read, what is free now must still take them in.
    host_free = free_bytes() - int(shape.weights.tensor_bytes * (1 - on_gpu)) * loaded.memory_map
    host_cell_bytes = int(cell_bytes * (1 - on_gpu))
    cells = config.inference_context
    if cells is None:
        rooms = [host_room(free_bytes=host_free, bytes_per_cell=host_cell_bytes)]
        if on_gpu:
            budget = _device_bytes(devices(), _batch_tokens(config), shape)
            rooms.append(KvRoom(budget, int(cell_bytes * on_gpu)))
        cells = default_kv_cells(*rooms, slots=slots, training_context_length=shape.training_context_length)
    kept = config.inference_prefix_cache_mib
    keeps = shape.cells_can_be_moved
    cache_bytes = default_prefix_cache_bytes(host_free - cells * host_cell_bytes) if kept is None else kept * _MIB
    parking_slots = min(slots, MAX_SLOTS - slots) if keeps and cache_bytes else 0
    draft_tokens = config.inference_draft_tokens if shape.cells_can_be_moved else 0
    return EngineOptions(
        ContextOptions(
            slots=slots + parking_slots,
            kv_cells=cells,
            batch_tokens=_batch_tokens(config),
            output_tokens=slots * (1 + draft_tokens),
            threads=config.inference_threads or usable_cores(),
            attention_tile=0 if on_gpu else CPU_ATTENTION_TILE,
            flash_attention=config.inference_flash_attention,
            kv_type=config.inference_kv_type,
        ),
        parking_slots,
        draft_tokens,
        cache_bytes if keeps else 0,
    )


def _batch_tokens(config: InferenceConfig) -> int:
    # Every running sequence takes a token of a pass, and prompts must get on beside them.
    return max(config.inference_batch_tokens, 2 * config.inference_slots)


def _device_bytes(devices: list[Device], batch_tokens: int, shape: ModelShape) -> int:
    reserve = device_reserve_bytes(
        devices=len(devices), batch_tokens=batch_tokens, vocabulary_size=shape.weights.vocabulary_size
    )
    return sum(device.free_bytes for device in devices) - reserve
