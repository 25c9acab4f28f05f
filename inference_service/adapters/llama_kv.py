"""KV cells of a llama.cpp context: shared between sequences, copied to host memory and back."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import llama_cpp
import numpy as np
import numpy.typing as npt

_BYTES = ctypes.POINTER(ctypes.c_ubyte)


@dataclass(frozen=True, slots=True)
class SavedCells:
    """KV cells in host memory, in llama.cpp's own format for a sequence's state."""

    state: npt.NDArray[np.uint8]

    @property
    def size_bytes(self) -> int:
        """Host memory that they take."""
        return self.state.nbytes


class KvCells:
    """The cells of a unified cache, where sequences may share cells and copies between sequences move no data."""

    def __init__(self, context: object, *, scratch_id: int) -> None:
        """`scratch_id` is a sequence id that nothing else uses: a part of a sequence is moved by way of it."""
        self._context = context
        self._memory = llama_cpp.llama_get_memory(context)
        self._scratch_id = scratch_id

    def share(self, source: int, target: int, start: int, end: int) -> None:
        """Let `target` have the cells of positions `start` up to `end` of `source`, too."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, start, end)

    def remove(self, sequence_id: int, start: int = 0) -> None:
        """Take the cells from position `start` on from a sequence. Those that no other one shares are free."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence_id, start, -1)

    def clear(self) -> None:
        """Empty the cache."""
        llama_cpp.llama_memory_clear(self._memory, True)

    def save(self, sequence_id: int, start: int, end: int) -> SavedCells | None:
        """Copy the cells of positions `start` up to `end` to host memory. None: llama.cpp cannot, or memory is out."""
        scratch = self._scratch_id
        self.share(sequence_id, scratch, start, end)
        try:
            size = llama_cpp.llama_state_seq_get_size(self._context, scratch)
            state = np.empty(size, np.uint8)
            written = llama_cpp.llama_state_seq_get_data(self._context, state.ctypes.data_as(_BYTES), size, scratch)
        except MemoryError:
            return None
        finally:
            self.remove(scratch)
        return SavedCells(state) if 0 < written == size else None

    def restore(self, sequence_id: int, saved: SavedCells, start: int, end: int) -> bool:
        """Give a sequence positions `start` up to `end` of what was saved. False: there are not enough free cells."""
        scratch = self._scratch_id
        try:
            read = llama_cpp.llama_state_seq_set_data(
                self._context, saved.state.ctypes.data_as(_BYTES), saved.size_bytes, scratch
            )
            if read == 0:
                return False
            self.share(scratch, sequence_id, start, end)
        finally:
            self.remove(scratch)
        return True
