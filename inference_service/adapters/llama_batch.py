"""A llama_batch over numpy arrays that are made once and filled by slices."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp
import numpy as np

from inference_service.core.ports import Chunk


def apart(chunks: Sequence[Chunk], tile: int) -> list[list[Chunk]]:
    """The chunks of a step as the forward passes to run them in: usually one.

    Where attention works by tiles of tokens, a tile with tokens of many sequences costs as much as if each of them saw
    the cells of all. So from a tile's size on, prompts run in a pass of their own, and the single tokens and drafts of
    running streams in passes too small for tiles.
    """
    if not tile or sum(len(chunk.tokens) for chunk in chunks) < tile:
        return [list(chunks)]
    prompts = [chunk for chunk in chunks if len(chunk.tokens) - chunk.drafted > 1]
    passes: list[list[Chunk]] = [prompts] if prompts else []
    room = 0
    for chunk in chunks:
        if len(chunk.tokens) - chunk.drafted > 1:
            continue
        if len(chunk.tokens) > room:
            passes.append([])
            room = tile - 1
        passes[-1].append(chunk)
        room -= len(chunk.tokens)
    return passes


class Batch:
    """The tokens of one forward pass. `struct` is what llama_decode takes."""

    def __init__(self, capacity: int) -> None:
        """`capacity` tokens fit at most."""
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._sequence_ids = np.zeros(capacity, np.int32)
        self._counts = np.ones(capacity, np.int32)  # every token belongs to one sequence
        self._outputs = np.zeros(capacity, np.int8)
        self.output_rows: list[int] = []
        """The tokens whose logits were asked for, in order."""
        id_size = self._sequence_ids.itemsize
        first_id = self._sequence_ids.ctypes.data
        self._id_pointers = (first_id + id_size * np.arange(capacity, dtype=np.uint64)).astype(np.uint64)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            embd=None,
            pos=self._positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=self._counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._id_pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, chunks: Sequence[Chunk]) -> None:
        """Lay the chunks one behind the other. Logits are asked for where a token is to be sampled."""
        tokens: list[int] = []
        positions: list[int] = []
        sequence_ids: list[int] = []
        rows: list[int] = []
        for chunk in chunks:
            count = len(chunk.tokens)
            tokens.extend(chunk.tokens)
            positions.extend(range(chunk.position, chunk.position + count))
            sequence_ids.extend([chunk.slot] * count)
            if chunk.wants_token:
                rows.extend(range(len(tokens) - chunk.drafted - 1, len(tokens)))
        end = len(tokens)
        # A few assignments however many chunks there are: numpy's own cost is by the call.
        self._tokens[:end] = tokens
        self._positions[:end] = positions
        self._sequence_ids[:end] = sequence_ids
        self._outputs[:end] = 0
        self._outputs[rows] = 1
        self.output_rows = rows
        self.struct.n_tokens = end
