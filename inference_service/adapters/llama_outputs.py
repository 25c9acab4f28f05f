"""The logits of the last forward pass, seen in place."""

from __future__ import annotations

import ctypes

import llama_cpp
import numpy as np
import numpy.typing as npt

from inference_service.core.errors import EngineUnavailable


class Outputs:
    """Rows of logits, one for each token that asked for them, in the order of the batch."""

    def __init__(self, context: object, vocabulary_size: int) -> None:
        self._context = context
        self._vocabulary_size = vocabulary_size
        self.logits: npt.NDArray[np.float32] = np.empty((0, vocabulary_size), np.float32)
        """Rows × vocabulary: llama.cpp's own memory, which the next pass overwrites."""

    def renew(self, rows: int) -> None:
        """Look at the pass that has just run, which gave so many rows."""
        if not rows:
            return
        pointer = llama_cpp.llama_get_logits(self._context)
        if not pointer:
            raise EngineUnavailable("The model gave no logits for tokens that asked for them.")
        # A tenth of the time that np.ctypeslib.as_array takes, in every pass.
        memory = (ctypes.c_float * (rows * self._vocabulary_size)).from_address(ctypes.addressof(pointer.contents))
        values = np.frombuffer(memory, np.float32)  # type: ignore[call-overload]  # a ctypes array is a buffer
        self.logits = values.reshape(rows, self._vocabulary_size)
