"""Examples as tensors, made ahead in a thread of their own."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

import torch
from torch import Tensor

from models.builtin.training import circuits
from models.builtin.training.examples import Example
from models.builtin.training.network import NO_TARGET, Rows

NO_TOKEN: Final = -100
_SORTED_TOGETHER: Final = 8
"""Batches of examples that are sorted by length together, so that little is padded."""
_AHEAD: Final = 16
_MOST_ROWS: Final = 24
"""Of each supervised head and example: positions drawn from those that have a place to look at."""
_WAIT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples padded to one length."""

    ids: Tensor
    """(batch, time)"""
    targets: Tensor
    """(batch, time): the next token where it is the answer's, NO_TOKEN elsewhere."""
    weights: Tensor
    """(batch, time), of the targets."""
    rows: dict[int, Rows]
    """By block."""
    firsts: Tensor
    """(batch): the position that predicts the answer's first token."""


def collate(examples: Sequence[Example], draw: random.Random) -> Batch:
    """One batch of examples."""
    count, time = len(examples), max(len(example.ids) for example in examples)
    ids = torch.zeros(count, time, dtype=torch.long)
    targets = torch.full((count, time), NO_TOKEN)
    weights = torch.zeros(count, time)
    for number, example in enumerate(examples):
        length, prompt = len(example.ids), example.prompt
        ids[number, :length] = torch.tensor(example.ids)
        targets[number, prompt - 1 : length - 1] = torch.tensor(example.ids[prompt:])
        weights[number, prompt - 1 : length - 1] = torch.tensor(example.weights)
    rows: dict[int, dict[int, tuple[Tensor, Tensor]]] = {}
    pairs = {
        circuits.SENTENCE_START: [example.starts for example in examples],
        circuits.SOURCE_NUMBER: [example.numbers_of_sources for example in examples],
        circuits.SAME_WORD: [example.same_words for example in examples],
        circuits.CHOICE: [example.choices for example in examples],
        circuits.NUMBER: [example.numbers for example in examples],
        circuits.BEGIN: [example.begins for example in examples],
        **{head: [example.copies for example in examples] for head in circuits.COPY},
    }
    for (block, head), lists in pairs.items():
        rows.setdefault(block, {})[head] = _rows(lists, draw)
    firsts = torch.tensor([example.prompt - 1 for example in examples])
    return Batch(ids, targets, weights, dict(rows), firsts)


def _rows(lists: Sequence[list[tuple[int, int]]], draw: random.Random) -> tuple[Tensor, Tensor]:
    most = max(1, min(_MOST_ROWS, max(map(len, lists))))
    positions = torch.full((len(lists), most), 0)
    places = torch.full((len(lists), most), NO_TARGET)
    for number, pairs in enumerate(lists):
        chosen = pairs if len(pairs) <= most else draw.sample(pairs, most)
        if chosen:
            positions[number, : len(chosen)], places[number, : len(chosen)] = torch.tensor(chosen).T
    return positions, places


class BatchStream:
    """Batches of a stream of examples, made in a thread. Close it, or use it in a `with` statement."""

    def __init__(self, examples: Iterator[Example], tokens: int, draw: random.Random) -> None:
        """`tokens` is about what a batch holds, padding included."""
        self._examples = examples
        self._tokens = tokens
        self._draw = draw
        self._batches: queue.Queue[Batch | BaseException] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._make, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def next(self) -> Batch:
        """The next batch. Raises what making it raised."""
        batch = self._batches.get()
        if isinstance(batch, BaseException):
            raise batch
        return batch

    def _make(self) -> None:
        try:
            while not self._closed.is_set():
                for batch in self._some():
                    self._put(batch)
        except Exception as error:  # noqa: BLE001 - raised again where the batch is taken
            self._put(error)

    def _some(self) -> list[Batch]:
        taken: list[Example] = []
        while sum(len(example.ids) for example in taken) < self._tokens * _SORTED_TOGETHER:
            taken += islice(self._examples, 16)
        taken.sort(key=lambda example: len(example.ids))
        batches, start = [], 0
        while start < len(taken):
            end = start + 1
            while end < len(taken) and len(taken[end].ids) * (end + 1 - start) <= self._tokens:
                end += 1
            batches.append(collate(taken[start:end], self._draw))
            start = end
        self._draw.shuffle(batches)
        return batches

    def _put(self, batch: Batch | BaseException) -> None:
        while not self._closed.is_set():
            try:
                self._batches.put(batch, timeout=_WAIT_SECONDS)
            except queue.Full:
                continue
            return
