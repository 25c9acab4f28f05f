"""How a model is loaded and run: the operator's choices, resolved for this host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ALL_LAYERS = -1
"""llama.cpp's own value for as many layers on the GPU as there are."""

MAX_SLOTS = 255
"""llama.cpp's limit of 256 sequences, less the one by way of which KV cells are moved."""


class FlashAttention(StrEnum):
    """Whether attention runs in llama.cpp's fused kernel, which never holds a whole row of scores in memory."""

    AUTO = "auto"
    """Wherever the device that holds the layer can."""
    ON = "on"
    OFF = "off"


class KvType(StrEnum):
    """What keys and values are stored as in the KV cache."""

    F16 = "f16"
    Q8_0 = "q8_0"
    """Blocks of 32 values in 8 bits each with a common scale: about half of f16. Logits change a little."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How the weights come into memory."""

    gpu_layers: int = 0
    """Layers to put on the GPU, the output counted as one: ALL_LAYERS for all, 0 for none."""
    memory_map: bool = True
    """Map the file instead of reading it: a fast start, and memory that the system may take back and read again."""
    memory_lock: bool = False
    """Keep the weights from being swapped out or dropped."""
    head_only: bool = False
    """Read what the file says of the model, and no weights: such a model cannot run."""


@dataclass(frozen=True, slots=True)
class ContextOptions:
    """The KV cache and the forward passes over it."""

    slots: int
    """Sequences in the KV cache at once: 1 to MAX_SLOTS."""
    kv_cells: int
    """Tokens of all sequences together."""
    batch_tokens: int
    """Tokens in one forward pass at most."""
    output_tokens: int
    """Tokens in one forward pass that something may be sampled behind: what memory for logits is kept for."""
    threads: int
    attention_tile: int = 0
    """Tokens that attention takes together, whole: what any of them sees is computed for all. 0: each for itself."""
    flash_attention: FlashAttention = FlashAttention.AUTO
    kv_type: KvType = KvType.F16
    """Q8_0 needs flash attention, and head sizes that are multiples of 32."""
