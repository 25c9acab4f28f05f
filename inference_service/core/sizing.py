"""How large a KV cache to make where nobody says: pure arithmetic."""

from __future__ import annotations

from inference_service.core.errors import ModelError

CELL_MULTIPLE = 256
"""llama.cpp pads a context to this many cells."""

MEMORY_SHARE = 0.5
"""Of the memory that is free once the weights are in. The rest is for compute buffers, the other services and the page
cache."""


def default_kv_cells(*, free_bytes: int, bytes_per_cell: int, slots: int, training_context_length: int) -> int:
    """KV cells for `slots` sequences of the model's full context, or as many as half of the free memory holds.

    Raises ModelError where that is less than the smallest useful context.
    """
    wanted = slots * training_context_length
    affordable = int(free_bytes * MEMORY_SHARE) // max(1, bytes_per_cell)
    cells = min(wanted, affordable) // CELL_MULTIPLE * CELL_MULTIPLE
    if cells < CELL_MULTIPLE:
        raise ModelError(
            f"There is no memory for a KV cache: {free_bytes / 2**20:,.0f} MiB are free beside the model and a token "
            f"takes {bytes_per_cell / 1024:,.0f} KiB. Use a smaller model, free memory, or set "
            "GROUNDWIRE_INFERENCE_CONTEXT."
        )
    return cells
