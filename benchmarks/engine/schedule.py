"""When nothing else is asked for: which works are run on which models, and how large."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.engine.contests import (
    DRAFT_FLAGS,
    SMALL_BATCHES,
    Bench,
    Contest,
    conversations,
    grounded,
    kept,
    mixed,
    plain,
)

_SMALL_BATCH_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """A contest that can be run, before its models are made."""

    model: str
    works: tuple[str, ...]
    """The names of its works, as results bear them."""
    make: Callable[[Bench], Contest]
    by_default: bool = True
    """Whether it is run where its model is not named."""


FULL = (
    Entry(
        "60m",
        ("plain", "drafts"),
        lambda bench: plain(bench, "60m", {1: 20, 4: 6, 8: 5, 16: 3, 32: 2}, draft_pairs=16),
    ),
    Entry("builtin", ("plain",), lambda bench: plain(bench, "builtin", {1: 30, 8: 8})),
    Entry(
        "3.8b",
        ("plain", "drafts"),
        lambda bench: plain(bench, "3.8b", {1: 1, 4: 1, 8: 1}, draft_pairs=2, with_bench=True),
    ),
    Entry("3.8b-copying", ("grounded",), lambda bench: grounded(bench, "3.8b-copying", {1: 1}, copies=True)),
    Entry("builtin", ("grounded",), lambda bench: grounded(bench, "builtin", {1: 8, 4: 4})),
    Entry("60m", ("conversations",), lambda bench: conversations(bench, "60m", slots=4, count=16)),
    Entry("3.8b", ("conversations",), lambda bench: conversations(bench, "3.8b", slots=1, count=4), by_default=False),
    Entry("60m", ("mixed",), lambda bench: mixed(bench, "60m", repeats=3)),
    Entry("3.8b", ("mixed",), lambda bench: mixed(bench, "3.8b", repeats=1)),
    *(
        Entry(
            model,
            (SMALL_BATCHES,),
            functools.partial(mixed, model=model, repeats=repeats, peer_batch_tokens=_SMALL_BATCH_TOKENS),
            by_default=False,
        )
        for model, repeats in (("60m", 3), ("3.8b", 1))
    ),
    Entry("60m", ("kept",), lambda bench: kept(bench, "60m", waves=3, fill_waves=8, cache_mib=256)),
)
"""All that can be measured."""

QUICK = (
    Entry("builtin", ("plain", "drafts"), lambda bench: plain(bench, "builtin", {1: 1, 2: 1}, draft_pairs=1)),
    Entry(
        "builtin",
        ("grounded",),
        lambda bench: grounded(bench, "builtin", {1: 1}, draft_flags=DRAFT_FLAGS[:2]),
    ),
    Entry("builtin", ("conversations",), lambda bench: conversations(bench, "builtin", slots=2, count=4)),
    Entry("builtin", ("mixed",), lambda bench: mixed(bench, "builtin", repeats=1, long_tokens=1500)),
    Entry("builtin", ("kept",), lambda bench: kept(bench, "builtin", waves=1, fill_waves=4, cache_mib=8)),
)
"""One small run of everything, which shows that it works and measures nothing."""
