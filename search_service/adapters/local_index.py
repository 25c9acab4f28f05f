"""The local provider: searches the operator's own files in the index that `groundwire index add` made."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from search_service.adapters.local_index_errors import (
    IndexBusy,
    IndexDamaged,
    IndexInterrupted,
    IndexMending,
    IndexMissing,
    IndexProblem,
)
from search_service.adapters.local_index_mender import REBUILDABLE, IndexMender
from search_service.adapters.local_index_reader import IndexReader
from search_service.adapters.local_index_store import IndexStats
from search_service.adapters.sample_index import SampleIndex
from search_service.core.errors import InvalidQuery, ProviderNotSetUp, ProviderUnavailable, SearchError, SearchTimeout
from search_service.core.passages import rank_sections, section_result, term_weights
from search_service.core.query_terms import query_terms
from search_service.core.types import DateRange, FreshnessPreset, Provider, ProviderStatus, SearchPage, SearchQuery

PATH_SETTING: Final = "GROUNDWIRE_INDEX_PATH"
_THREADS: Final = 4
"""Searches at a time; SQLite lets go of Python's lock while it works."""
_LAST_PAGE: Final = 9
_STATUS_AGE_SECONDS: Final = 2.0
"""Older counts are read again, behind a call for the status."""
_PRESETS: Final = {
    FreshnessPreset.PAST_DAY: timedelta(days=1),
    FreshnessPreset.PAST_WEEK: timedelta(days=7),
    FreshnessPreset.PAST_MONTH: timedelta(days=31),
    FreshnessPreset.PAST_YEAR: timedelta(days=365),
}
_NS: Final = 1_000_000_000


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Holding:
    """What is known about the index that a search would use."""

    stats: IndexStats | None = None
    is_sample: bool = False
    problem: str = ""


class LocalIndexProvider:
    """Searches the user's index where there is one with documents, else a sample index of `sample_folder`.

    The index is opened anew for every search, which takes well under a millisecond: what was added, removed or
    replaced is found by the next search.
    """

    def __init__(self, index_path: Path, sample_folder: Path | None, *, now: Callable[[], datetime] = _utc_now) -> None:
        """Reads the counts of an index that is there already, and has it looked over in the background.

        Nothing is made before the first search. An index that turns out to be damaged is built anew.
        """
        self._path = index_path
        self._now = now
        self._closed = threading.Event()
        self._sample = SampleIndex(index_path, sample_folder, is_stopped=self._closed.is_set) if sample_folder else None
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="local-index")
        self._mender = IndexMender(index_path, is_stopped=self._closed.is_set)
        self._looked_at = 0.0
        self._holding = _Holding()
        self._look()
        if self._has_own_index():
            self._mender.look_over()

    @property
    def provider(self) -> Provider:
        """The local one."""
        return Provider.LOCAL

    async def search(self, query: SearchQuery, *, timeout_seconds: float) -> SearchPage:
        """Answer a query within the time. A search that ran out of time, or was cancelled, stops in SQLite too."""
        if query.goggles:
            raise InvalidQuery([("goggles", "the local provider takes none; Brave does")])
        if self._closed.is_set():
            raise ProviderUnavailable("The search service is stopping.")
        cutoff = _Cutoff(timeout_seconds, self._closed)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_seconds):
                return await loop.run_in_executor(self._executor, self._answer, query, cutoff)
        except TimeoutError:
            raise _too_slow() from None
        except IndexProblem as problem:
            raise _search_error(problem) from problem
        finally:
            cutoff.cut()

    def status(self) -> ProviderStatus:
        """What the index held a moment ago; has it counted again, for the next call, without waiting for it."""
        if time.monotonic() - self._looked_at > _STATUS_AGE_SECONDS and not self._closed.is_set():
            self._looked_at = time.monotonic()
            self._executor.submit(self._look)
        holding = self._holding
        return ProviderStatus(Provider.LOCAL, available=not holding.problem, detail=holding.problem or _detail(holding))

    async def close(self) -> None:
        """Stop what runs and give the threads back."""
        self._closed.set()
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._mender.join)

    # In a thread of the executor.

    def _answer(self, query: SearchQuery, cutoff: _Cutoff) -> SearchPage:
        if self._sample is None or self._has_own_index():
            try:
                with IndexReader(self._path, is_cut_off=cutoff.is_passed) as reader:
                    stats = reader.stats()
                    if stats.documents or self._sample is None:
                        self._holding = _Holding(stats)
                        return _search(reader, query, self._now())
            except REBUILDABLE as problem:
                raise self._mender.mend(problem) from problem
            # It holds nothing: all of it was removed, or nothing could be added.
        try:
            return self._answer_from_sample(self._sample, query, cutoff)
        except IndexDamaged:
            self._sample.discard()
            return self._answer_from_sample(self._sample, query, cutoff)

    def _answer_from_sample(self, sample: SampleIndex, query: SearchQuery, cutoff: _Cutoff) -> SearchPage:
        with IndexReader(sample.ready(is_cut_off=cutoff.is_passed), is_cut_off=cutoff.is_passed) as reader:
            self._holding = _Holding(reader.stats(), is_sample=True)
            return _search(reader, query, self._now())

    def _has_own_index(self) -> bool:
        try:
            return self._path.stat().st_size > 0
        except OSError:
            return self._path.is_symlink()  # broken, or not ours to look into: worth an error, not the sample

    def _look(self) -> None:
        """Count what the index holds. Never raises."""
        is_sample = self._sample is not None and not self._has_own_index()
        try:
            stats = _stats(self._path) if not is_sample else None
            if self._sample is not None and not (stats and stats.documents):
                is_sample = True
                stats = _stats(self._sample.path)
            self._holding = _Holding(stats, is_sample)
        except IndexMissing as problem:
            self._holding = _Holding(None, is_sample, "" if is_sample else str(problem))
        except IndexBusy:
            pass
        except REBUILDABLE as problem:
            self._holding = _Holding(None, is_sample, str(problem if is_sample else self._mender.mend(problem)))
        except IndexProblem as problem:
            self._holding = _Holding(None, is_sample, str(problem))
        self._looked_at = time.monotonic()


def _stats(path: Path) -> IndexStats:
    with IndexReader(path) as reader:
        return reader.stats()


class _Cutoff:
    """When a search must end: at its deadline, when its caller left, when the provider closes."""

    def __init__(self, timeout_seconds: float, closed: threading.Event) -> None:
        self._deadline = time.monotonic() + timeout_seconds
        self._closed = closed
        self._is_cut = False

    def cut(self) -> None:
        self._is_cut = True

    def is_passed(self) -> bool:
        return self._is_cut or self._closed.is_set() or time.monotonic() >= self._deadline


def _search(reader: IndexReader, query: SearchQuery, now: datetime) -> SearchPage:
    terms = query_terms(query.text)
    counts = reader.chunks_with(terms)
    weights = term_weights(counts, reader.stats().chunks)
    sections = rank_sections(reader.candidates(list(weights), modified_ns=_period(query, now)), weights)
    first = query.page * query.page_size
    results = tuple(
        section_result(section, weights, rank=rank, extra_snippets=query.extra_snippets)
        for rank, section in enumerate(sections[first : first + query.page_size], start=first + 1)
    )
    more = len(sections) > first + query.page_size and query.page < _LAST_PAGE
    return SearchPage(results, Provider.LOCAL, more_results_available=more)


def _period(query: SearchQuery, now: datetime) -> range | None:
    """The nanoseconds since 1970 in which a file must have changed. Days are UTC's."""
    match query.freshness:
        case None:
            return None
        case DateRange(start, end):
            midnight = datetime.min.time()
            first = datetime.combine(start, midnight, UTC).timestamp()
            last = datetime.combine(end, midnight, UTC).timestamp() + timedelta(days=1).total_seconds()
            return range(int(first) * _NS, int(last) * _NS)
        case preset:
            return range(int((now - _PRESETS[preset]).timestamp()) * _NS, 2**63 - 1)


def _detail(holding: _Holding) -> str:
    if holding.stats is None:
        return "The sample index, this project's own docs, is made by the first search."
    documents, chunks = holding.stats.documents, holding.stats.chunks
    counts = f"{documents:,} document{'' if documents == 1 else 's'} in {chunks:,} passage{'' if chunks == 1 else 's'}"
    if holding.is_sample:
        return f"The sample index: this project's own docs, {counts}. Add yours with `groundwire index add PATH…`."
    return f"{counts}."


def _too_slow() -> SearchTimeout:
    return SearchTimeout("The local index did not answer in time.")


def _search_error(problem: IndexProblem) -> SearchError:
    match problem:
        case IndexInterrupted():
            return _too_slow()
        case IndexBusy() | IndexMending():
            return ProviderUnavailable(str(problem))
        case _:
            return ProviderNotSetUp(str(problem), setting=PATH_SETTING)
