"""Weights that copy from the prompt: an induction circuit written into the first two blocks of a phi3 model.

The residual stream is split into regions. A token's embedding is a constant and a code of random signs. The first block
attends to one and two tokens back and writes down parts of their codes; the second attends to where the last two tokens
stood together before and writes the code of what followed; the output reads that region alone. All heads do the same on
different coordinates, so they vote. The matrices hold ones, zeros and few other values, which the quantized types keep.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

HEAD_SIZE = 96
"""Coordinates of a head, as in Phi-3-mini. The counts below are parts of it."""

ROPE_BASE = 100_000.0
"""Base of the rotary frequencies, ten times phi3's. The slow pairs then turn so little over 4,096 tokens that a match
does not fade with distance, and still enough to prefer the nearer of two equal ones."""

_PAIRS = HEAD_SIZE // 2
_POSITION_PAIRS = 24
"""The fastest rotary pairs: the first block finds its token by them."""
_POSITION_GAIN = 10.0
"""Query and key there: neighbours of the wanted position get a score lower by 12, a weight of some millionths."""
_MATCHED = 12
"""Signs of a code that each head compares, of the last token and again of the one before it."""
_COPIED = 32
"""Signs of the found token's code that each head copies."""
_LAST_GAIN, _BEFORE_GAIN = 16.0, 8.0
"""The last token's match counts more than that of the one before; both together beat either alone by a score of 10."""
_CERTAIN_LOGIT = 32.0
"""The logit of a token that all heads agree on; tokens that none copies have logits near 0."""

Weights = npt.NDArray[np.float32]


class CopyingCircuit:
    """The weight matrices that make a model of this many heads of 96 copy. `heads` is a multiple of 8."""

    def __init__(self, *, heads: int, vocabulary_size: int, random: np.random.PCG64) -> None:
        if heads % 8:
            raise ValueError(f"the copying circuit needs a multiple of 8 heads, not {heads}")
        self._heads = heads
        self._width = heads * HEAD_SIZE
        self._code_size = heads * _COPIED
        self._previous_size = heads * _MATCHED
        # The regions of the residual stream, by their first coordinates.
        self._token = self._width - 2 * (self._code_size + self._previous_size)
        self._previous = self._token + self._code_size
        self._before = self._previous + self._previous_size
        self._copied = self._before + self._previous_size
        words = random.random_raw(vocabulary_size * self._code_size // 64).view(np.uint8)
        self._codes = np.unpackbits(words.reshape(vocabulary_size, -1), axis=1).astype(np.int8) * 2 - 1

    def weights(self, tensor: str) -> Weights | None:
        """The tensor's matrix by its name in the file, one row for each output; None where the circuit sets none."""
        makers = {
            "token_embd.weight": self._embedding,
            "output.weight": self._output,
            "blk.0.attn_norm.weight": lambda: self._undo_norm(self._previous),
            "blk.0.attn_qkv.weight": self._look_back,
            "blk.0.attn_output.weight": self._write_previous,
            "blk.1.attn_norm.weight": lambda: self._undo_norm(self._copied),
            "blk.1.attn_qkv.weight": self._match,
            "blk.1.attn_output.weight": self._write_copied,
        }
        return makers[tensor]() if tensor in makers else None

    def _embedding(self) -> Weights:
        embedding = self._zeros(len(self._codes))
        embedding[:, : self._token] = 1
        embedding[:, self._token : self._previous] = self._codes
        return embedding

    def _output(self) -> Weights:
        output = self._zeros(len(self._codes))
        output[:, self._copied :] = self._codes * (_CERTAIN_LOGIT / self._code_size)
        return output

    def _undo_norm(self, used: int) -> Weights:
        """A norm's weights that give back ones and signs where only the first `used` coordinates hold any."""
        return np.full(self._width, math.sqrt(used / self._width), np.float32)

    def _look_back(self) -> Weights:
        """Queries and keys read the constant alone; the key is turned by as many positions as its head looks back."""
        query, key, value = self._zeros(self._width), self._zeros(self._width), self._zeros(self._width)
        pairs = np.arange(_POSITION_PAIRS)
        frequencies = ROPE_BASE ** (-pairs / _PAIRS)
        for head in range(self._heads):
            start = head * HEAD_SIZE
            distance = 1 if head < self._heads // 2 else 2
            query[start + pairs, 0] = _POSITION_GAIN
            key[start + pairs, 0] = _POSITION_GAIN * np.cos(distance * frequencies)
            key[start + _PAIRS + pairs, 0] = _POSITION_GAIN * np.sin(distance * frequencies)
            carried = np.arange(2 * _MATCHED)
            first = head % (self._heads // 2) * 2 * _MATCHED
            value[start + carried, self._token + first + carried] = 1
        return np.concatenate([query, key, value])

    def _write_previous(self) -> Weights:
        """Half of the heads carry all that is kept of the previous token, the other half the same of the one before."""
        output = self._zeros(self._width)
        kept = np.arange(2 * self._previous_size)
        head, slot = np.divmod(kept, 2 * _MATCHED)
        output[self._previous + kept, head * HEAD_SIZE + slot] = 1
        return output

    def _match(self) -> Weights:
        """Queries read the last two tokens, keys the two before their own; the slowest rotary pairs compare them."""
        query, key, value = self._zeros(self._width), self._zeros(self._width), self._zeros(self._width)
        pairs = np.arange(_PAIRS - _MATCHED, _PAIRS)
        last = np.concatenate([pairs[: _MATCHED // 2], pairs[: _MATCHED // 2] + _PAIRS])
        before = np.concatenate([pairs[_MATCHED // 2 :], pairs[_MATCHED // 2 :] + _PAIRS])
        for head in range(self._heads):
            start = head * HEAD_SIZE
            compared = head * _MATCHED + np.arange(_MATCHED)
            query[start + last, self._token + compared] = _LAST_GAIN
            key[start + last, self._previous + compared] = 1
            query[start + before, self._previous + compared] = _BEFORE_GAIN
            key[start + before, self._before + compared] = 1
            copied = np.arange(_COPIED)
            value[start + copied, self._token + head * _COPIED + copied] = 1
        return np.concatenate([query, key, value])

    def _write_copied(self) -> Weights:
        output = self._zeros(self._width)
        copied = np.arange(self._code_size)
        head, slot = np.divmod(copied, _COPIED)
        output[self._copied + copied, head * HEAD_SIZE + slot] = 1
        return output

    def _zeros(self, rows: int) -> Weights:
        return np.zeros((rows, self._width), np.float32)
