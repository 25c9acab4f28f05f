"""Examples as arrays, made ahead in processes of their own."""

from __future__ import annotations

import multiprocessing
import queue
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.builtin.training import circuits
from models.builtin.training.examples import Example
from models.builtin.training.network import NO_TARGET

Integers = NDArray[np.int64]

_SORTED_TOGETHER: Final = 4
"""Batches of examples that are sorted by length together, so that little is padded."""
_AHEAD: Final = 24
_MOST_ROWS: Final = 24
"""Of each supervised head and example: positions drawn from those that have a place to look at."""
_SHARE_OF_EASY: Final = 0.7
"""Most of an answer is copied and soon right: of its tokens of weight 1 some are left out, for logits are costly."""
_WAIT_SECONDS: Final = 300.0


class BatchesEnded(RuntimeError):
    """No batch came: the processes that make them failed. Says why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples padded to one length."""

    ids: Integers
    """(batch, time)"""
    places: Integers
    """(answers): the places in the flattened ids that predict a token of an answer."""
    targets: Integers
    """(answers): that token."""
    weights: NDArray[np.float32]
    """(answers), in the loss."""
    firsts: NDArray[np.bool_]
    """(answers): whether it is its answer's first."""
    rows: dict[int, dict[int, tuple[Integers, Integers]]]
    """By block and supervised head: positions (batch, rows), and where each should look, NO_TARGET for nowhere."""


def collate(examples: Sequence[Example], draw: random.Random) -> Batch:
    """One batch of examples."""
    count, time = len(examples), max(len(example.ids) for example in examples)
    ids = np.zeros((count, time), np.int64)
    places: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    firsts: list[bool] = []
    for number, example in enumerate(examples):
        ids[number, : len(example.ids)] = example.ids
        for place, weight in enumerate(example.weights, example.prompt):
            if weight > 1 or draw.random() < _SHARE_OF_EASY:
                places.append(number * time + place - 1)
                targets.append(example.ids[place])
                weights.append(weight)
                firsts.append(place == example.prompt)
    rows: dict[int, dict[int, tuple[Integers, Integers]]] = {}
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
    return Batch(ids, np.array(places), np.array(targets), np.array(weights, np.float32), np.array(firsts), rows)


def _rows(lists: Sequence[list[tuple[int, int]]], draw: random.Random) -> tuple[Integers, Integers]:
    positions = np.zeros((len(lists), _MOST_ROWS), np.int64)
    places = np.full((len(lists), _MOST_ROWS), NO_TARGET, np.int64)
    for number, pairs in enumerate(lists):
        chosen = pairs if len(pairs) <= _MOST_ROWS else draw.sample(pairs, _MOST_ROWS)
        if chosen:
            positions[number, : len(chosen)], places[number, : len(chosen)] = np.array(chosen).T
    return positions, places


class BatchStream:
    """Batches of examples, made by forked processes. Use it in a `with` statement, and make it before CUDA is used."""

    def __init__(
        self, examples: Callable[[random.Random], Iterator[Example]], tokens: int, seeds: Sequence[int]
    ) -> None:
        """One process for each seed, which draws from `examples`. A batch holds about `tokens`, padding included."""
        context = multiprocessing.get_context("fork")
        self._batches: Any = context.Queue(_AHEAD)
        self._processes = [
            context.Process(target=_make, args=(examples, tokens, seed, self._batches), daemon=True) for seed in seeds
        ]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        self._batches.close()
        self._batches.cancel_join_thread()

    def next(self) -> Batch:
        """The next batch. Raises BatchesEnded."""
        try:
            batch = self._batches.get(timeout=_WAIT_SECONDS)
        except queue.Empty:
            raise BatchesEnded(f"no batch came within {_WAIT_SECONDS:.0f} s") from None
        if isinstance(batch, Batch):
            return batch
        raise BatchesEnded(batch)


def _make(examples: Callable[[random.Random], Iterator[Example]], tokens: int, seed: int, batches: Any) -> None:
    try:
        draw = random.Random(seed)
        stream = examples(draw)
        while True:
            for batch in _some(stream, tokens, draw):
                batches.put(batch)
    except Exception as error:  # noqa: BLE001 - told where the batch is taken
        batches.put(repr(error))


def _some(stream: Iterator[Example], tokens: int, draw: random.Random) -> list[Batch]:
    taken: list[Example] = []
    held = 0
    while held < tokens * _SORTED_TOGETHER:
        some = list(islice(stream, 16))
        if not some:
            raise BatchesEnded("there are no more examples")
        taken += some
        held += sum(len(example.ids) for example in some)
    taken.sort(key=lambda example: len(example.ids))
    batches, start = [], 0
    while start < len(taken):
        end = start + 1
        while end < len(taken) and len(taken[end].ids) * (end + 1 - start) <= tokens:
            end += 1
        batches.append(collate(taken[start:end], draw))
        start = end
    draw.shuffle(batches)
    return batches
