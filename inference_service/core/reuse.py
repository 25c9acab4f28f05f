"""KV cells of finished requests: kept while that costs nothing, moved to host memory, and shared with new requests.

A finished sequence stays in the KV cache as long as nothing else runs: a question that is asked again, or a
conversation that goes on, then shares its cells without a copy. But attention runs up to the highest used cell, so idle
cells tax every pass. They are copied out piece by piece between passes, and given back once they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from inference_service.core.ports import ModelRunner
from inference_service.core.prefixes import SEGMENT_TOKENS, PrefixTree, common_prefix_length
from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import KvSegment, Restoration, Sequence

_SAVING_SHARE = 0.05
"""Of a pass's time, what copying cells out may take behind it."""

_RESTORING_SECONDS = 0.05
"""How long copying cells back may hold up running streams between two passes."""

_MAKING_ROOM_SECONDS = 0.05
"""How long copying cells out of a new sequence's way may hold up running streams. What is not out by then is lost."""


@dataclass(slots=True, eq=False)
class _Parked:
    """A finished sequence whose cells are still in the KV cache."""

    slot: int
    salt: str
    tokens: tuple[int, ...]
    saved: bool = False
    """Everything that there is room for is in host memory."""


class KvReuse:
    """Parks finished sequences and prepares new ones from what is kept."""

    def __init__(
        self, runner: ModelRunner, scheduler: Scheduler, *, limit_bytes: int, clock: Callable[[], float]
    ) -> None:
        """`limit_bytes` bounds what is kept in host memory; 0 turns all reuse off."""
        self._runner = runner
        self._scheduler = scheduler
        self._clock = clock
        self._tree: PrefixTree[KvSegment] = PrefixTree(limit_bytes=limit_bytes)
        self._parked: list[_Parked] = []

    @property
    def enabled(self) -> bool:
        """Whether anything is kept."""
        return self._tree.limit_bytes > 0

    @property
    def size_bytes(self) -> int:
        """Host memory that kept prefixes take."""
        return self._tree.size_bytes

    @property
    def limit_bytes(self) -> int:
        """Host memory that kept prefixes may take."""
        return self._tree.limit_bytes

    @property
    def parked_cells(self) -> int:
        """KV cells that finished sequences still take."""
        return sum(len(parked.tokens) for parked in self._parked)

    @property
    def has_work(self) -> bool:
        """Whether there is something to copy out."""
        return any(not parked.saved for parked in self._parked)

    def prepare(self, sequence: Sequence) -> None:
        """Give an admitted sequence the cells that are kept of its prompt, all but the prompt's last token.

        What is in the KV cache is shared at once. What is in host memory becomes its restorations.
        """
        if not self.enabled:
            return
        slot, salt = sequence.running_slot, sequence.request.cache_salt
        prompt = sequence.request.prompt.token_ids[:-1]  # the last one must run, to say what follows it
        shared, source = self._longest_resident(prompt, salt, sequence)
        match = self._tree.match(salt, prompt)
        if source is not None and shared:
            self._runner.share(source, slot, shared)
            sequence.processed = sequence.cached = shared
        end = match.length
        for segment in reversed(match.segments):
            if end > shared:
                sequence.restorations.insert(0, Restoration(segment.handle, max(segment.start, shared), end))
            end = segment.start
        self._drop_saved()

    def _longest_resident(self, prompt: tuple[int, ...], salt: str, newcomer: Sequence) -> tuple[int, int | None]:
        """How many tokens of the prompt are in the KV cache under this salt, and in which slot."""
        candidates: list[tuple[int, tuple[int, ...]]] = [
            (parked.slot, parked.tokens) for parked in self._parked if parked.salt == salt
        ]
        candidates += [
            (other.running_slot, other.cached_prefix)
            for other in self._scheduler.running
            if other is not newcomer and other.request.cache_salt == salt and not other.restorations
        ]
        return max(
            ((common_prefix_length(prompt, tokens), slot) for slot, tokens in candidates),
            key=lambda found: found[0],
            default=(0, None),
        )

    def kept_length(self, sequence: Sequence) -> int:
        """How many of a waiting sequence's prompt tokens are kept now."""
        if not self.enabled:
            return 0
        salt, prompt = sequence.request.cache_salt, sequence.request.prompt.token_ids[:-1]
        return max(self._longest_resident(prompt, salt, sequence)[0], self._tree.match(salt, prompt).length)

    def restore(self, sequences: Iterable[Sequence], *, hurry: bool) -> None:
        """Copy cells back from host memory: all that are asked for, or, in a `hurry`, as long as streams may wait."""
        started = self._clock()
        for sequence in sequences:
            while sequence.restorations:
                if hurry and self._clock() - started > _RESTORING_SECONDS:
                    return
                part = sequence.restorations.pop(0)
                if self._runner.restore(sequence.running_slot, part.segment, part.start, part.end):
                    sequence.processed = sequence.cached = part.end
                else:
                    sequence.restorations.clear()  # no room just now: the rest of the prompt is read anew

    def park(self, sequence: Sequence) -> None:
        """Keep a finished sequence's cells. It is no longer running then, and its slot stays taken."""
        tokens = sequence.cached_prefix
        slot = self._scheduler.park(sequence, len(tokens))
        self._runner.retire(slot, len(tokens))
        self._parked.append(_Parked(slot, sequence.request.cache_salt, tokens))

    def can_park(self, sequence: Sequence) -> bool:
        """Whether keeping a sequence that ends could serve another."""
        return self.enabled and not sequence.restorations and len(sequence.cached_prefix) > 0

    def unpark_one(self, *, hurry: bool) -> bool:
        """Give back the cells and the slot of one parked sequence. False: there is none.

        They are copied out first: all of them, or, in a `hurry`, as many as streams may wait for.
        """
        if not self._parked:
            return False
        parked = next((parked for parked in self._parked if parked.saved), self._parked[0])
        started = self._clock()
        while not parked.saved and not (hurry and self._clock() - started > _MAKING_ROOM_SECONDS):
            self._save_segment(parked)
        self._release(parked)
        return True

    def save(self, pass_seconds: float) -> None:
        """Copy out a part of what is parked behind a pass that took so long, and give back what is copied."""
        if not self._parked:
            return
        started = self._clock()
        while self.has_work:
            self._save_segment(next(parked for parked in self._parked if not parked.saved))
            if self._clock() - started >= _SAVING_SHARE * pass_seconds:
                break
        self._drop_saved()

    def save_one_while_idle(self) -> None:
        """Copy out one segment. Nothing is given back: cells that nobody needs cost nothing while nothing runs."""
        for parked in self._parked:
            if not parked.saved:
                self._save_segment(parked)
                return

    def _save_segment(self, parked: _Parked) -> None:
        match = self._tree.match(parked.salt, parked.tokens)
        tokens = parked.tokens[match.length : match.length + SEGMENT_TOKENS]
        if not tokens:
            parked.saved = True
            return
        segment = self._runner.save(parked.slot, match.length, match.length + len(tokens))
        if segment is None or self._tree.add(parked.salt, match, tokens, segment, segment.size_bytes) is None:
            parked.saved = True

    def _drop_saved(self) -> None:
        for parked in [parked for parked in self._parked if parked.saved]:
            self._release(parked)

    def _release(self, parked: _Parked) -> None:
        self._parked.remove(parked)
        self._runner.close(parked.slot)
        self._scheduler.release(parked.slot, len(parked.tokens))

    def forget_resident(self) -> None:
        """The KV cache has been emptied: nothing is parked any more. What is in host memory stays good."""
        for parked in self._parked:
            self._scheduler.release(parked.slot, len(parked.tokens))
        self._parked.clear()
