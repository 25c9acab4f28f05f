"""How many second attempts a service behind the gateway is asked for.

One budget for all calls, as in gRPC's own retry throttling: when a service fails everybody, second attempts stop by
themselves instead of doubling what it has to bear.
"""

from __future__ import annotations

from typing import Final

RETRIES: Final = 10
"""Retries that a budget begins with, and holds at most."""

ANSWERS_PER_RETRY: Final = 10
"""Whole answers that give one retry back. So in the long run one call in ten is tried again at most."""


class RetryBudget:
    """A bucket of retries: each takes one out, each whole answer gives a part of one back."""

    def __init__(self) -> None:
        # In whole answers, as tenths of a retry would not add up exactly.
        self._worth = RETRIES * ANSWERS_PER_RETRY
        self._taken = 0

    @property
    def taken(self) -> int:
        """Retries that were made since the start."""
        return self._taken

    @property
    def retries_left(self) -> int:
        """Retries that may be made now: 0 to RETRIES."""
        return self._worth // ANSWERS_PER_RETRY

    def take(self) -> bool:
        """Take one retry out. False, and nothing taken, where none is left."""
        if self.retries_left == 0:
            return False
        self._worth -= ANSWERS_PER_RETRY
        self._taken += 1
        return True

    def give_back(self) -> None:
        """A call was answered whole."""
        self._worth = min(self._worth + 1, RETRIES * ANSWERS_PER_RETRY)
