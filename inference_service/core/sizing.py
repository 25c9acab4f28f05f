"""How much of the model and of its KV cache goes where, if nobody says: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from inference_service.core.errors import ModelError
from inference_service.core.options import ALL_LAYERS, KvType

CELL_MULTIPLE = 256
"""llama.cpp pads a context to this many cells."""

MEMORY_SHARE = 0.5
"""Of the host's memory that is free once the weights are in. The rest is for compute buffers, the other services and
the page cache."""

DEVICE_RESERVE_BYTES = 2**30
"""Of each GPU's memory, for its library's work space and the compute buffers: what llama.cpp's own fitting leaves."""

PREFIX_CACHE_SHARE = 0.25
"""Of the host's memory that is free beside the weights and the KV cache."""

MAX_PREFIX_CACHE_BYTES = 8 * 2**30
"""What is kept of finished requests where nobody says how much: llama-server's own default."""

AUTO_KV_CELLS = 8192
"""What a choice of GPU layers leaves room for where no context is set: two full contexts of Phi-3-mini."""

_F16_BYTES = 2
_Q8_0_BLOCK = 32
_Q8_0_BLOCK_BYTES = 34
"""ggml's block_q8_0: 32 values in a byte each and an f16 scale."""
_OUTPUT_FINENESS = 1.5
"""Quantized files often keep the output matrix finer than the rest: Q6_K in Q4_K_M, 6.6 bits against 4.8."""


@dataclass(frozen=True, slots=True)
class KvShape:
    """What one token takes in a KV cache, in values."""

    layers: int
    heads: int
    """Key-value heads of one layer."""
    key_size: int
    value_size: int
    """Of one head."""

    def bytes_per_cell(self, kv_type: KvType) -> int:
        """Bytes that one token takes, over all layers. Raises ModelError where the type does not suit the heads."""
        values = self.layers * self.heads * (self.key_size + self.value_size)
        if kv_type is KvType.F16:
            return values * _F16_BYTES
        if self.key_size % _Q8_0_BLOCK or self.value_size % _Q8_0_BLOCK:
            raise ModelError(
                f"This model's heads hold {self.key_size} values for a key and {self.value_size} for a value; a KV "
                f"cache of type {kv_type} needs multiples of {_Q8_0_BLOCK}. Set GROUNDWIRE_INFERENCE_KV_TYPE=f16."
            )
        return values // _Q8_0_BLOCK * _Q8_0_BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class KvRoom:
    """Memory for KV cells in one place: the host, or the GPUs."""

    budget_bytes: int
    bytes_per_cell: int
    """What a cell takes of it: the layers that are there."""

    @property
    def cells(self) -> int:
        """Cells that it holds."""
        return self.budget_bytes // max(1, self.bytes_per_cell)


def host_room(*, free_bytes: int, bytes_per_cell: int) -> KvRoom:
    """The host's memory for KV cells, of what is free once the weights are in."""
    return KvRoom(int(free_bytes * MEMORY_SHARE), bytes_per_cell)


def default_kv_cells(*rooms: KvRoom, slots: int, training_context_length: int) -> int:
    """KV cells for `slots` sequences of the model's full context, or as many as the tightest room holds.

    Raises ModelError where that is less than the smallest useful context.
    """
    rooms = tuple(room for room in rooms if room.bytes_per_cell)
    cells = min([slots * training_context_length, *(room.cells for room in rooms)]) // CELL_MULTIPLE * CELL_MULTIPLE
    if cells < CELL_MULTIPLE:
        tightest = min(rooms, key=lambda room: room.cells)
        raise ModelError(
            f"There is no memory for a KV cache: {tightest.budget_bytes / 2**20:,.0f} MiB are left for it beside the "
            f"model and a token takes {tightest.bytes_per_cell / 1024:,.0f} KiB. Use a smaller model, free memory, or "
            "set GROUNDWIRE_INFERENCE_CONTEXT."
        )
    return cells


def default_prefix_cache_bytes(free_bytes: int) -> int:
    """Host memory for prompts of finished requests, of what is free beside the weights and the KV cache."""
    return max(0, min(MAX_PREFIX_CACHE_BYTES, int(free_bytes * PREFIX_CACHE_SHARE)))


def device_reserve_bytes(*, devices: int, batch_tokens: int, vocabulary_size: int) -> int:
    """Memory of all GPUs together that is left to other things than weights and KV cells."""
    return devices * DEVICE_RESERVE_BYTES + batch_tokens * vocabulary_size * 4  # the logits, in f32


@dataclass(frozen=True, slots=True)
class WeightShape:
    """What the weights take."""

    tensor_bytes: int
    parameter_count: int
    layers: int
    """Repeating ones; the output counts as one more."""
    vocabulary_size: int
    embedding_length: int

    def gpu_layers_within(self, free_bytes: int, *, kv_bytes: int) -> int:
        """As many layers as `free_bytes` hold, each with its part of a KV cache of `kv_bytes` over all layers.

        Returns ALL_LAYERS where everything fits, 0 where no repeating layer does. llama.cpp offloads the output first,
        then layers from the last one; the token embedding stays on the host.
        """
        table_bytes = self.vocabulary_size * self.embedding_length * self.tensor_bytes // max(1, self.parameter_count)
        layer_bytes = (max(0, self.tensor_bytes - table_bytes) + kv_bytes) // self.layers + 1
        fitting = (free_bytes - int(table_bytes * _OUTPUT_FINENESS)) // layer_bytes
        if fitting >= self.layers:
            return ALL_LAYERS
        return fitting + 1 if fitting > 0 else 0

    def share_on_gpu(self, gpu_layers: int) -> float:
        """Which part of the repeating layers, and so of the KV cache, is on the GPU: 0 to 1."""
        if gpu_layers < 0 or gpu_layers > self.layers:
            return 1.0
        return max(0, gpu_layers - 1) / self.layers
