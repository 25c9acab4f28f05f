"""The best tokens of a row of logits, laid before a sampler chain in place of the whole vocabulary.

A chain that begins with top-k drops all but k tokens, but llama.cpp first writes down every token of the vocabulary for
it, which costs more than all else that is done for a token outside the forward pass.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

_ROWS = 64
"""The vocabulary is looked at as so many rows: one maximum of each column stands for that many tokens."""

_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""llama_token_data in llama.h."""


class Candidates:
    """Room for candidates, and the array of them that llama.cpp's samplers work on."""

    def __init__(self, vocabulary_size: int) -> None:
        self._columns = vocabulary_size // _ROWS
        self._data = np.zeros(vocabulary_size, _TOKEN_DATA)
        # The binding declares an array of no length where llama.h has a pointer.
        self._pointer: Any = ctypes.cast(self._data.ctypes.data, ctypes.POINTER(llama_cpp.llama_token_data))
        self._array = llama_cpp.llama_token_data_array()

    def fill(self, logits: npt.NDArray[np.float32], count: int) -> bool:
        """Take at least the `count` best tokens, and no others than those at least as good as a bound below them.

        False where that is no saving, or where there are no such tokens (a row of NaN).
        """
        if count > self._columns:
            return False
        maxima = logits[: _ROWS * self._columns].reshape(_ROWS, self._columns).max(axis=0)
        # `count` columns hold a token at least as good as this, so the `count` best tokens of all are.
        bound = np.partition(maxima, self._columns - count)[self._columns - count]
        tokens = np.flatnonzero(logits >= bound)
        if not len(tokens):
            return False
        taken = self._data[: len(tokens)]
        taken["id"] = tokens
        taken["logit"] = logits[tokens]
        self._array.data = self._pointer
        self._array.size = len(tokens)
        self._array.selected = -1
        self._array.sorted = False
        return True

    def choose(self, chain: object) -> int:
        """The token that the chain chooses among them."""
        llama_cpp.llama_sampler_apply(chain, ctypes.byref(self._array))
        return int(self._array.data[self._array.selected].id)
