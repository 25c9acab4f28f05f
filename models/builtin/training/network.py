"""The network: phi3's architecture, as llama.cpp computes it, with heads whose attention can be supervised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.builtin.training.shape import RMS_EPSILON, ROPE_BASE, Shape

NO_TARGET: Final = -1


Rows = Mapping[int, tuple[Tensor, Tensor]]
"""For each supervised head of a block: positions (batch, rows), and where each should look, NO_TARGET for nowhere."""


class Block(nn.Module):
    """Attention and a gated feed-forward part, each behind an RMS norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        inner = shape.heads * shape.head_width
        self.shape = shape
        self.attention_norm = nn.RMSNorm(shape.width, eps=RMS_EPSILON)
        self.feed_forward_norm = nn.RMSNorm(shape.width, eps=RMS_EPSILON)
        self.qkv = nn.Linear(shape.width, 3 * inner, bias=False)
        self.output = nn.Linear(inner, shape.width, bias=False)
        self.up = nn.Linear(shape.width, 2 * shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor, rows: Rows) -> tuple[Tensor, dict[int, Tensor]]:
        """The new residual stream (batch, time, width), and each supervised head's log-probabilities of `rows`."""
        batch, time, _ = x.shape
        shape = self.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, time, 3, shape.heads, shape.head_width)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query, key = _rotate(query, cosine, sine), _rotate(key, cosine, sine)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        # The sums stay in the stream's own precision where the parts are computed in half of it.
        x = x + self.output(mixed.transpose(1, 2).reshape(batch, time, -1)).to(x.dtype)
        gate, up = self.up(self.feed_forward_norm(x)).chunk(2, -1)
        x = x + self.down(functional.silu(gate) * up).to(x.dtype)
        supervised = {head: _looks(query[:, head], key[:, head], positions) for head, (positions, _) in rows.items()}
        return x, supervised


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions on the first dimensions, pairs half of them apart (NeoX)."""
    rotary = 2 * cosine.shape[-1]
    first, second = x[..., :rotary].chunk(2, -1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine, x[..., rotary:]), -1)


def _looks(query: Tensor, key: Tensor, positions: Tensor) -> Tensor:
    """Log-probabilities (batch, rows, time) of where the rows at `positions` look."""
    taken = query.gather(1, positions.clamp(min=0).unsqueeze(-1).expand(-1, -1, query.shape[-1]))
    scores = taken @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
    later = torch.arange(key.shape[1], device=key.device) > positions.unsqueeze(-1)
    return functional.log_softmax(scores.float().masked_fill(later, float("-inf")), dim=-1)


class Network(nn.Module):
    """The whole network. Its embeddings, which are its output weights as well, are fixed codes and not trained."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("embeddings", torch.zeros(shape.vocabulary, shape.width))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.norm = nn.RMSNorm(shape.width, eps=RMS_EPSILON)
        half = shape.rotary // 2
        frequencies = ROPE_BASE ** (-torch.arange(half).float() / half)
        angles = torch.arange(shape.context).float()[:, None] * frequencies
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, ids: Tensor, rows: Mapping[int, Rows]) -> tuple[Tensor, dict[tuple[int, int], Tensor]]:
        """The normed residual stream (batch, time, width), and supervised heads' log-probabilities by (block, head)."""
        x = functional.embedding(ids, self.embeddings)
        time = ids.shape[1]
        cosine, sine = self.cosine[:time], self.sine[:time]
        found: dict[tuple[int, int], Tensor] = {}
        for number, block in enumerate(self.blocks):
            x, supervised = block(x, cosine, sine, rows.get(number, {}))
            found.update({(number, head): looks for head, looks in supervised.items()})
        return self.norm(x), found

    def logits(self, hidden: Tensor) -> Tensor:
        """Of the next token, from `forward`'s residual stream."""
        return hidden @ self.embeddings.T
