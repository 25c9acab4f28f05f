"""A queue in which callers take turns, so that one who asks for much does not keep out one who asks for little."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from inference_service.core.sequence import Sequence


class TurnQueue:
    """Waiting sequences: of each caller first come, first served; between callers one each in turn.

    A caller who comes new is last in the round, so the head stays the head until it is taken or removed.
    """

    def __init__(self) -> None:
        self._by_caller: OrderedDict[str, deque[Sequence]] = OrderedDict()
        """No caller is in here without a sequence."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Sequence]:
        """All of them, in the order in which they would be taken."""
        turns = deque(iter(queue) for queue in self._by_caller.values())
        while turns:
            own = turns.popleft()
            sequence = next(own, None)
            if sequence is not None:
                yield sequence
                turns.append(own)

    @property
    def head(self) -> Sequence:
        """The one whose turn it is. Raises IndexError where nobody waits."""
        for queue in self._by_caller.values():
            return queue[0]
        raise IndexError("nobody waits")

    def append(self, sequence: Sequence) -> None:
        """Add a sequence behind its caller's others."""
        self._by_caller.setdefault(sequence.request.caller, deque()).append(sequence)
        self._length += 1

    def pop_head(self) -> Sequence:
        """Take the head. Its caller's next turn comes when all others have had one. Raises IndexError."""
        sequence = self.head
        self.remove(sequence)
        if sequence.request.caller in self._by_caller:
            self._by_caller.move_to_end(sequence.request.caller)
        return sequence

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is. Raises KeyError or ValueError where it is not in here."""
        caller = sequence.request.caller
        queue = self._by_caller[caller]
        queue.remove(sequence)
        self._length -= 1
        if not queue:
            del self._by_caller[caller]
