"""Who runs in the next step: pure policy, without threads, clock or model.

A request is admitted when a slot is free and the KV cells for its whole prompt and all of its max_tokens can be
promised, so an admitted sequence never runs out of either. Callers take turns, and of each caller it is first come,
first served: a large request whose turn it is waits for room and is not overtaken, so it cannot starve. Among the
prompts of admitted sequences the shortest is read first, so that a short question need not wait for a long document.
"""

from __future__ import annotations

from collections.abc import Iterator

from inference_service.core.ports import Chunk
from inference_service.core.sequence import Sequence
from inference_service.core.turns import TurnQueue


class Scheduler:
    """Waiting and running sequences, and the slots and KV cells promised to them."""

    def __init__(self, *, slots: int, kv_cells: int, parking_slots: int = 0) -> None:
        """`slots` sequences may run at once, with `kv_cells` KV cells among them; finished ones may be kept in as many
        further slots as `parking_slots`.
        """
        self.slots = slots
        self.kv_cells = kv_cells
        self.waiting = TurnQueue()
        self.running: list[Sequence] = []
        self.reserved_cells = 0
        """Promised to running sequences."""
        self.parked_cells = 0
        """Taken by parked ones."""
        self._free_slots = list(range(slots + parking_slots - 1, -1, -1))

    def __iter__(self) -> Iterator[Sequence]:
        """Every sequence that the engine has."""
        yield from list(self.running)
        yield from list(self.waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. Its reserved cells must be at most kv_cells."""
        if sequence.reserved_cells > self.kv_cells:
            raise ValueError(f"a sequence of {sequence.reserved_cells} cells can never fit {self.kv_cells}")
        self.waiting.append(sequence)

    @property
    def next_waiting(self) -> Sequence | None:
        """The sequence that is to be admitted next, if one may run now."""
        if not self.waiting or len(self.running) >= self.slots:
            return None
        sequence = self.waiting.head
        # Parked sequences can be made to give way; running ones cannot.
        return sequence if self.reserved_cells + sequence.reserved_cells <= self.kv_cells else None

    def admit_next(self) -> bool:
        """Move `next_waiting` to running and give it its slot and its cells. False: parked ones are in its way."""
        sequence = self.waiting.head
        needed = self.reserved_cells + self.parked_cells + sequence.reserved_cells
        if not self._free_slots or needed > self.kv_cells:
            return False
        self.waiting.pop_head()
        sequence.slot = self._free_slots.pop()
        self.reserved_cells += sequence.reserved_cells
        self.running.append(sequence)
        return True

    @property
    def generating(self) -> list[Sequence]:
        """Running sequences whose prompts have been read."""
        return [sequence for sequence in self.running if sequence.answer]

    @property
    def next_prompt(self) -> Sequence | None:
        """The running sequence whose prompt is to be read next.

        The one with the least left goes first. What is read while another waits counts as if it were read of that
        one, so those that come later overtake a prompt by at most as many tokens as it has itself.
        """
        reading = [sequence for sequence in self.running if sequence.prompt_left and not sequence.restorations]
        return min(reading, key=lambda sequence: sequence.prompt_left - sequence.passed_over, default=None)

    def plan_prompts(self, token_budget: int) -> list[tuple[Sequence, Chunk]]:
        """The parts of prompts to read in the next pass, up to `token_budget` tokens in all."""
        planned: list[tuple[Sequence, Chunk]] = []
        reading = [sequence for sequence in self.running if sequence.prompt_left and not sequence.restorations]
        reading.sort(key=lambda sequence: sequence.prompt_left - sequence.passed_over)
        used = 0
        for sequence in reading:
            count = min(token_budget - used, sequence.prompt_left)
            if count > 0:
                start = sequence.processed
                tokens = sequence.request.prompt.token_ids[start : start + count]
                chunk = Chunk(sequence.running_slot, tokens, start, wants_token=count == sequence.prompt_left)
                planned.append((sequence, chunk))
                used += count
            else:
                sequence.passed_over += used
        return planned

    def park(self, sequence: Sequence, cells: int) -> int:
        """Forget a running sequence that keeps its slot and so many cells until `release`. Returns the slot."""
        slot = sequence.running_slot
        self.running.remove(sequence)
        self.reserved_cells -= sequence.reserved_cells
        self.parked_cells += cells
        sequence.slot = None
        return slot

    def release(self, slot: int, cells: int) -> None:
        """Take back a parked sequence's slot and cells."""
        self.parked_cells -= cells
        self._free_slots.append(slot)

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
