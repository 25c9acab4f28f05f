"""The weights that training starts from: circuits written by hand, without which copying takes hours to appear.

Block by block: (0) each token learns which tokens stand before it; (1) in which sentence and source it is; (2) which
of the question's words it repeats, by identity and by meaning; (4) sentences and sources collect that; (6) the answer
looks for the sentence that matches best; (7) the answer's next token is found in it, behind a repetition of the last
ones, and copied. Blocks (3), (5) and (8) are free. What is not written here starts near zero and is learned; where
the heads should look is part of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from models.builtin.training.codes import CONSTANT, EMBEDDING_NORM, MEANING_NORM
from models.builtin.training.marks import Marks
from models.builtin.training.network import Block, Network
from models.builtin.training.shape import ROPE_BASE, Shape

SENTENCE_START: Final = (1, 0)
SOURCE_NUMBER: Final = (1, 1)
SAME_WORD: Final = (2, 0)
CHOICE: Final = (6, 0)
COPY: Final = ((7, 0), (7, 1), (7, 2))
NUMBER: Final = (7, 3)
BEGIN: Final = (7, 4)
"""The supervised heads, as (block, head)."""

_COLLECT: Final = 4
"""The block in which sentences and sources collect what their tokens match."""
_COLLECTED: Final = 16
"""Dimensions of `match` that the circuits use."""
_SHARPNESS: Final = 14.0
"""By how much (in nats) a circuit's score of what it looks for exceeds that of what it does not."""
_COPY_GAIN: Final = 3.0
"""What a copied token's code weighs in the residual stream against that of the token that is already there."""
_LENGTHS: Final = (EMBEDDING_NORM, 1.9, 2.1, 2.1, 2.1, 2.3, 2.3, 2.4, 3.9)
"""Of the residual stream before each block, about. The norm divides by them."""
_BOUNDARY: Final = 40.0
"""By how much (in nats) a place that is looked for exceeds all that is nearer."""
_REGION: Final = 0.5
"""How a token of the question is marked in the stream; one behind it has the opposite."""
_NOISE: Final = 0.005


def write(network: Network, marks: Marks, seed: int = 0) -> None:
    """Write the circuits into a new network. Its embeddings must be set."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        _start_near_zero(network, random)
        _Circuits(network, marks, random).write()


def _start_near_zero(network: Network, random: torch.Generator) -> None:
    for block in network.blocks:
        for name, parameter in block.named_parameters():
            if parameter.dim() > 1:
                scale = _NOISE * 2 if name.startswith(("up", "qkv")) else _NOISE / 2
                parameter.copy_(scale * torch.randn(parameter.shape, generator=random))


class _Circuits:
    def __init__(self, network: Network, marks: Marks, random: torch.Generator) -> None:
        self._marks = marks
        self._embeddings = network.embeddings
        self._blocks: list[Block] = list(network.blocks)
        self._norm = network.norm
        self._shape: Shape = network.shape
        self._layout = network.shape.layout
        self._random = random
        layout = self._layout
        self._code = self._rotation(layout.identity)
        """Rows are orthonormal: the first ones reduce an identity to a shorter code."""

    def write(self) -> None:
        layout = self._layout
        identity = layout.span("identity")
        for head, (distance, part) in enumerate(((1, "previous"), (2, "before"))):
            self._look_back(0, head, distance)
            span = layout.span(part)
            self._move(0, head, identity, span, self._code[: span.stop - span.start])
        self._question_region()
        self._places()
        self._sentence_codes()
        self._number_codes()
        self._same_word()
        for head in (0, 1):
            self._compare(_COLLECT, head, [("sentence", "sentence", self._eye(layout.sentence), 1.0)])
        self._compare(_COLLECT, 2, [("number", "number", self._eye(layout.number), 1.0)])
        match = layout.span("match")
        collected = slice(match.start, match.start + _COLLECTED)
        for head in (0, 1, 2):
            self._move(_COLLECT, head, collected, collected, 0.3 * self._eye(_COLLECTED))
        self._choice()
        self._copy()
        self._begin()
        self._cite()
        keep = torch.zeros(self._shape.width)
        keep[identity] = 1.5
        self._norm.weight.copy_(keep)

    def _question_region(self) -> None:
        """Head 2 of the first block tells tokens of the question (by what they see of the frame) from all others."""
        layout = self._layout
        marks = self._marks
        begin, user, sources = (self._identity_of(mark) for mark in (marks.begin, marks.user, marks.sources))
        self._favour(0, 2, begin + 2 * user + 3 * sources, _SHARPNESS)
        value = torch.zeros(1, self._shape.width)
        value[0, layout.span("identity")] = user - sources
        self._write_value(0, 2, value)
        start = layout.span("match").start
        self._write_output(0, 2, slice(start, start + 1), _REGION * self._eye(1))

    def _identity_of(self, token_id: int) -> Tensor:
        return self._embeddings[token_id, self._layout.span("identity")]

    def _favour(self, block: int, head: int, identity: Tensor, nats: float) -> None:
        """Attend, from everywhere, to tokens by their identity."""
        direction = torch.zeros(self._shape.width)
        direction[self._layout.span("identity")] = identity
        self._prefer(block, head, direction, nats)

    def _prefer(self, block: int, head: int, direction: Tensor, nats: float, row: int = 1) -> None:
        """Attend, from everywhere, where the stream has `direction`: by `nats` where it has it once.

        `row` is the row of the head's that is used, from its last, 1. Comparisons leave the last two free.
        """
        shape = self._shape
        strength = math.sqrt(nats * math.sqrt(shape.head_width)) / self._gain(block)
        weights = self._blocks[block].qkv.weight
        at = (head + 1) * shape.head_width - row
        weights[at, self._layout.span("features").start] = strength / CONSTANT
        weights[at + shape.heads * shape.head_width] += strength * direction

    def _sentence_codes(self) -> None:
        """A sentence's code is made of its first token and the two before it."""
        layout = self._layout
        size = layout.sentence
        sentence = layout.span("sentence")
        sources = (("identity", layout.identity), ("previous", layout.previous), ("before", layout.before))
        whole = torch.zeros(size, self._shape.width)
        for part, width in sources:
            whole[:, layout.span(part)] = self._rotation(max(width, size))[:size, :width] * 1.05
        self._write_value(*SENTENCE_START, whole)
        self._write_output(*SENTENCE_START, sentence, self._eye(size))

    def _places(self) -> None:
        """Find the last sentence's start, which is behind an end, and the last source's number, behind a bracket."""
        self._prefer(*SENTENCE_START, self._behind(self._marks.ends), _BOUNDARY)
        self._stay_near(*SENTENCE_START, {2: 5.0, 3: 20.0, 4: 20.0})
        self._prefer(*SOURCE_NUMBER, self._behind_number(), 1.5 * _BOUNDARY)
        self._stay_near(*SOURCE_NUMBER, {4: 25.0, 5: 50.0})

    def _stay_near(self, block: int, head: int, nats: Mapping[int, float]) -> None:
        """Prefer what is near: the score falls with the cosine of each given rotary pair, by up to twice its nats."""
        shape = self._shape
        constant = self._layout.span("features").start
        weights = self._blocks[block].qkv.weight
        for pair, fall in nats.items():
            strength = math.sqrt(fall * math.sqrt(shape.head_width)) / (CONSTANT * self._gain(block))
            row = head * shape.head_width + pair
            weights[row, constant] = strength
            weights[row + shape.heads * shape.head_width, constant] = strength

    def _number_codes(self) -> None:
        """Each of the digits has a dimension of its own."""
        layout = self._layout
        digits = torch.stack([self._identity_of(token_id) for token_id in self._marks.digits])
        matrix = torch.zeros(layout.number, layout.identity)
        matrix[: len(digits)] = torch.linalg.pinv(digits).T
        self._move(*SOURCE_NUMBER, layout.span("identity"), layout.span("number"), matrix)

    def _choice(self) -> None:
        """What is chosen brings its sentence's and its source's code. Which one is chosen is left to training."""
        layout = self._layout
        both = torch.zeros(layout.sentence + layout.number, self._shape.width)
        both[: layout.sentence, layout.span("sentence")] = self._eye(layout.sentence)
        both[layout.sentence :, layout.span("number")] = self._eye(layout.number)
        self._write_value(*CHOICE, both)
        start = CHOICE[1] * self._shape.head_width
        output = self._blocks[CHOICE[0]].output.weight
        output[layout.span("sentence"), start : start + layout.sentence] = self._eye(layout.sentence)
        end = start + layout.sentence
        output[layout.span("number"), end : end + layout.number] = self._eye(layout.number)

    def _begin(self) -> None:
        """Where a quotation begins, the chosen sentence's first token is copied; elsewhere the head does nothing."""
        where = self._rotation(self._layout.sentence)
        self._compare(*BEGIN, [("sentence", "sentence", where, 0.8)])
        self._prefer(*BEGIN, self._behind(self._marks.ends), 1.4 * _SHARPNESS, row=2)
        self._copy_only_behind(*BEGIN, self._marks.before_quote)

    def _cite(self) -> None:
        """Behind a bracket that opens a citation, the number of the chosen sentence's source is copied."""
        self._compare(*NUMBER, [("number", "number", self._eye(self._layout.number), 1.5)])
        self._prefer(*NUMBER, self._behind_number(), 1.4 * _SHARPNESS, row=2)
        self._copy_only_behind(*NUMBER, (self._marks.before_number,))

    def _copy_only_behind(self, block: int, head: int, tokens: Sequence[int]) -> None:
        """The head's value is the identity; where the current token is none of `tokens`, it looks at the beginning."""
        layout, shape = self._layout, self._shape
        identity = layout.span("identity")
        beginning = self._identity_of(self._marks.begin)
        direction = torch.zeros(shape.width)
        direction[identity] = beginning
        nats = 6 * _SHARPNESS
        self._prefer(block, head, direction, nats)
        row = (head + 1) * shape.head_width - 1
        gate = torch.stack([self._identity_of(token_id) for token_id in tokens]).sum(0)
        strength = math.sqrt(nats * math.sqrt(shape.head_width)) / self._gain(block)
        self._blocks[block].qkv.weight[row, identity] -= 2 * strength * gate
        # The beginning itself brings nothing.
        kept = self._rotation(layout.identity)[: shape.head_width]
        nothing = torch.outer(beginning, beginning)
        self._write_value(block, head, self._from(identity, kept @ (self._eye(layout.identity) - nothing)))
        self._write_output(block, head, identity, _COPY_GAIN * kept.T)

    def _behind(self, tokens: Sequence[int]) -> Tensor:
        """The direction that the stream has behind one of the tokens."""
        direction = torch.zeros(self._shape.width)
        for token_id in tokens:
            code = self._code[: self._layout.previous] @ self._identity_of(token_id)
            direction[self._layout.span("previous")] += code / (code @ code)
        return direction

    def _behind_number(self) -> Tensor:
        """The direction that the stream has at a source's number: behind a bracket that begins a line."""
        direction = torch.zeros(self._shape.width)
        for part, token_id in (("previous", self._marks.bracket), ("before", self._marks.line_end)):
            code = self._code[: getattr(self._layout, part)] @ self._identity_of(token_id)
            direction[self._layout.span(part)] = code / (code @ code) / 2
        return direction

    def _same_word(self) -> None:
        layout = self._layout
        content = self._content
        self._compare(*SAME_WORD, [("identity", "identity", self._rotation(layout.identity)[: content - 1], 1.0)])
        self._compare(2, 1, [("meaning", "meaning", self._rotation(layout.meaning)[: content - 1], 0.7)])
        match = layout.span("match")
        question = torch.zeros(self._shape.width)
        question[match.start] = 1 / _REGION
        nothing = self._identity_of(self._marks.begin)
        for head in (SAME_WORD[1], SAME_WORD[1] + 1):
            self._prefer(SAME_WORD[0], head, question, _SHARPNESS / 2)
            self._favour(SAME_WORD[0], head, nothing, _SHARPNESS)
        half = _COLLECTED // 2
        for head, start in ((0, match.start), (1, match.start + half)):
            whole = torch.zeros(half, self._shape.width)
            whole[:, layout.span("features")] = 0.08 * torch.randn(half, layout.features, generator=self._random)
            self._write_value(2, head, whole)
            self._write_output(2, head, slice(start, start + half), self._eye(half))

    def _copy(self) -> None:
        """Three heads find the same place; each copies a third of the code."""
        layout = self._layout
        identity = layout.span("identity")
        thirds = torch.chunk(self._rotation(layout.identity), len(COPY))
        code = self._code
        for (block, head), third in zip(COPY, thirds, strict=True):
            one = self._rotation(layout.previous)[:20]
            two = self._rotation(layout.before)[:12]
            where = self._rotation(layout.sentence)[:16]
            self._compare(
                block,
                head,
                [
                    ("identity", "previous", (one @ code[: layout.previous], one), 0.9),
                    ("previous", "before", (two @ self._eye(layout.previous)[: layout.before], two), 0.5),
                    ("sentence", "sentence", where, 0.35),
                ],
            )
            self._write_value(block, head, self._from(identity, third))
            self._write_output(block, head, identity, _COPY_GAIN * third.T)

    @property
    def _content(self) -> int:
        return self._shape.head_width - self._shape.rotary

    def _look_back(self, block: int, head: int, distance: int) -> None:
        """Attend to the token `distance` before: the key is turned as if it stood that much later."""
        shape = self._shape
        half = shape.rotary // 2
        frequencies = ROPE_BASE ** (-torch.arange(half).float() / half)
        constant = self._layout.span("features").start
        # The pairs that turn fastest tell neighbours apart by half a radian's cosine, 0.5 in all.
        strength = math.sqrt(2 * _SHARPNESS * math.sqrt(shape.head_width)) / (CONSTANT * self._gain(block))
        query = torch.zeros(shape.head_width, shape.width)
        key = torch.zeros(shape.head_width, shape.width)
        query[:half, constant] = strength
        key[:half, constant] = strength * torch.cos(distance * frequencies)
        key[half : shape.rotary, constant] = strength * torch.sin(distance * frequencies)
        self._set_rows(block, 0, head, query)
        self._set_rows(block, 1, head, key)

    def _compare(
        self,
        block: int,
        head: int,
        parts: list[tuple[str, str, Tensor | tuple[Tensor, Tensor], float]],
    ) -> None:
        """Attend where parts of the query's and the key's stream are alike, reduced by matrices and weighted."""
        shape, layout = self._shape, self._layout
        query = torch.zeros(shape.head_width, shape.width)
        key = torch.zeros(shape.head_width, shape.width)
        row = shape.rotary
        for of_query, of_key, matrices, weight in parts:
            left, right = matrices if isinstance(matrices, tuple) else (matrices, matrices)
            end = row + left.shape[0]
            # What the reduction leaves of a code's squared length.
            kept = right.shape[0] / right.shape[1] * self._squared_length(of_key)
            strength = math.sqrt(weight * _SHARPNESS * math.sqrt(shape.head_width) / kept) / self._gain(block)
            query[row:end, layout.span(of_query)] = strength * left
            key[row:end, layout.span(of_key)] = strength * right
            row = end
        self._set_rows(block, 0, head, query)
        self._set_rows(block, 1, head, key)

    def _move(self, block: int, head: int, source: slice, target: slice, matrix: Tensor) -> None:
        """What is attended to brings `matrix` times its `source` part into `target`."""
        self._write_value(block, head, self._from(source, matrix))
        self._write_output(block, head, target, self._eye(matrix.shape[0]))

    def _from(self, source: slice, matrix: Tensor) -> Tensor:
        whole = torch.zeros(matrix.shape[0], self._shape.width)
        whole[:, source] = matrix
        return whole

    def _write_value(self, block: int, head: int, matrix: Tensor) -> None:
        # Values are of the normed stream; the result is to have the length that the code has in the stream.
        self._set_rows(block, 2, head, matrix / self._gain(block))

    def _write_output(self, block: int, head: int, target: slice, matrix: Tensor) -> None:
        start = head * self._shape.head_width
        self._blocks[block].output.weight[target, start : start + matrix.shape[1]] = matrix

    def _set_rows(self, block: int, which: int, head: int, matrix: Tensor) -> None:
        """Query (0), key (1) or value (2) of a head."""
        start = (which * self._shape.heads + head) * self._shape.head_width
        self._blocks[block].qkv.weight[start : start + matrix.shape[0]] = matrix

    def _squared_length(self, part: str) -> float:
        """Of a code in the stream."""
        layout = self._layout
        shortened = {"meaning": MEANING_NORM**2, "previous": layout.previous / layout.identity}
        return {**shortened, "before": layout.before / layout.identity}.get(part, 1.0)

    def _gain(self, block: int) -> float:
        """What the norm before a block multiplies the stream by, about."""
        return math.sqrt(self._shape.width) / _LENGTHS[block]

    def _rotation(self, size: int) -> Tensor:
        return torch.linalg.qr(torch.randn(size, size, generator=self._random))[0]

    def _eye(self, size: int) -> Tensor:
        return torch.eye(size)
