"""How much of the gateway may be in use at once: answers that run, and bytes held for them.

There is a limit of each for all callers together, and a part of it that one caller may have, so that one cannot keep
the others out. What does not fit is refused at once: a line without an end would only hide an overload, and the model
has a queue of its own. Pure policy, without a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gateway.core.errors import GatewayBusy

ASKS: Final = "concurrent_asks"
BYTES: Final = "held_bytes"
"""What the limits are called."""

STREAM_BYTES: Final = 256 * 1024
"""What a running answer is counted for beside its question and its text: what gRPC buffers of it on both sides of the
gateway. groundwire_rpc.connections bounds that to 64 KiB and a message at each."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How much may be in use."""

    asks: int
    """Answers that may run at once, at least 1."""
    bytes: int
    """Bytes that may be held for them, at least 1."""
    caller_share: float
    """The part of both that one caller may have: above 0, to 1. At least one answer, whatever its size."""


class Admission:
    """Counts what is in use and refuses what does not fit beside it."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self.limits = limits
        self._caller_asks_limit = max(1, int(limits.asks * limits.caller_share))
        self._caller_bytes_limit = int(limits.bytes * limits.caller_share)
        self._asks: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._all_asks = 0
        self._all_bytes = 0

    @property
    def running_asks(self) -> int:
        """Answers that run now."""
        return self._all_asks

    @property
    def held_bytes(self) -> int:
        """Bytes that are held now."""
        return self._all_bytes

    @contextmanager
    def holding(self, caller: str) -> Iterator[Holding]:
        """What a call of this caller will hold; all of it is given back at the end of the block."""
        holding = Holding(self, caller)
        try:
            yield holding
        finally:
            self._give_back(caller, holding.held_bytes)

    def _check(self, caller: str, size: int) -> None:
        limits = self.limits
        if self._all_asks >= limits.asks:
            raise GatewayBusy(ASKS, limits.asks)
        if self._asks[caller] >= self._caller_asks_limit:
            raise GatewayBusy(ASKS, self._caller_asks_limit, of_caller=True)
        # Where nothing is held, anything fits: what could never be taken is no matter of how busy the gateway is.
        if self._all_bytes and self._all_bytes + size > limits.bytes:
            raise GatewayBusy(BYTES, limits.bytes)
        if self._bytes[caller] and self._bytes[caller] + size > self._caller_bytes_limit:
            raise GatewayBusy(BYTES, self._caller_bytes_limit, of_caller=True)

    def _take(self, caller: str, size: int) -> None:
        self._bytes[caller] += size
        self._all_bytes += size

    def _give_back(self, caller: str, size: int) -> None:
        self._all_bytes -= size
        _subtract(self._bytes, caller, size)

    def _begin(self, caller: str) -> None:
        self._asks[caller] += 1
        self._all_asks += 1

    def _end(self, caller: str) -> None:
        self._all_asks -= 1
        _subtract(self._asks, caller, 1)


class Holding:
    """What one call holds."""

    def __init__(self, admission: Admission, caller: str) -> None:
        self._admission = admission
        self._caller = caller
        self.held_bytes = 0

    @contextmanager
    def answering(self, request_bytes: int) -> Iterator[None]:
        """A place for an answer for the length of the block. Raises GatewayBusy where there is none.

        The bytes of the question stay counted when the block has ended, until the holding ends.
        """
        size = request_bytes + STREAM_BYTES
        self._admission._check(self._caller, size)
        self.take(size)
        self._admission._begin(self._caller)
        try:
            yield
        finally:
            self._admission._end(self._caller)

    def take(self, size: int) -> None:
        """So many bytes more are held. They are never refused: an answer's length has limits of its own."""
        self.held_bytes += size
        self._admission._take(self._caller, size)


def _subtract(counter: Counter[str], caller: str, amount: int) -> None:
    counter[caller] -= amount
    if counter[caller] <= 0:
        del counter[caller]  # else every caller that ever was would be remembered
