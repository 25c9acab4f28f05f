"""Who runs in the next step: pure policy, without threads, clock or model.

A request is admitted when a slot is free and the KV cells for its whole prompt and all of its max_tokens can be
promised, so an admitted sequence never runs out of either. Admission is first come, first served: a large request at
the head waits for room and is not overtaken, so it cannot starve.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from inference_service.core.ports import Chunk
from inference_service.core.sequence import Sequence


class Scheduler:
    """Waiting and running sequences, and the KV cells promised to them."""

    def __init__(self, *, slots: int, kv_cells: int) -> None:
        """`slots` sequences may run at once, with `kv_cells` KV cells among them."""
        self.slots = slots
        self.kv_cells = kv_cells
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.reserved_cells = 0
        self._free_slots = list(range(slots - 1, -1, -1))

    def __iter__(self) -> Iterator[Sequence]:
        """Every sequence that the engine has."""
        yield from list(self.running)
        yield from list(self.waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. Its reserved cells must be at most kv_cells."""
        if sequence.reserved_cells > self.kv_cells:
            raise ValueError(f"a sequence of {sequence.reserved_cells} cells can never fit {self.kv_cells}")
        self.waiting.append(sequence)

    def admit(self) -> list[Sequence]:
        """Move to running, in order, who fits now, and give each its slot and its cells."""
        admitted = []
        while self.waiting and self._free_slots and self._has_room_for(self.waiting[0]):
            sequence = self.waiting.popleft()
            sequence.slot = self._free_slots.pop()
            self.reserved_cells += sequence.reserved_cells
            self.running.append(sequence)
            admitted.append(sequence)
        return admitted

    def _has_room_for(self, sequence: Sequence) -> bool:
        return self.reserved_cells + sequence.reserved_cells <= self.kv_cells

    def plan(self, token_budget: int) -> list[tuple[Sequence, Chunk]]:
        """The next pass: a token of every sequence that generates, then prompt tokens up to the budget.

        Prompts are read in the order of admission. At least one prompt token runs, so a budget that the generating
        sequences use up delays prompts but never stops them.
        """
        planned: list[tuple[Sequence, Chunk]] = []
        for sequence in self.running:
            if sequence.generated and sequence.slot is not None:
                position = sequence.prompt_length + sequence.generated - 1
                planned.append((sequence, Chunk(sequence.slot, (sequence.last_token,), position, wants_token=True)))
        budget = max(1, token_budget - len(planned))
        for sequence in self.running:
            if sequence.prompt_left and sequence.slot is not None and budget > 0:
                count = min(budget, sequence.prompt_left)
                budget -= count
                start = sequence.processed
                tokens = sequence.request.prompt.token_ids[start : start + count]
                planned.append(
                    (sequence, Chunk(sequence.slot, tokens, start, wants_token=count == sequence.prompt_left))
                )
        return planned

    def remove(self, sequence: Sequence) -> int | None:
        """Forget a sequence, wherever it is, and take back its cells. Returns the slot that it had, now free."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
            return None
        slot = sequence.slot
        self.running.remove(sequence)
        self.reserved_cells -= sequence.reserved_cells
        self._free_slots.append(slot)
        sequence.slot = None
        return slot
