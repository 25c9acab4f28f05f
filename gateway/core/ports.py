"""What the core needs from the outside.

All raise BackendFailed, or a kind of it, within `timeout_seconds`; a cancelled call is cancelled in the service too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from gateway.core.events import GenerationEvent
from gateway.core.types import BackendStatus, Findings, Prompt, SourceQuery

Metadata = tuple[tuple[str, str], ...]
"""What travels beside a request: keys in lower case, and their values."""


class SourceFinder(Protocol):
    """Somewhere to search."""

    async def find(self, query: SourceQuery, *, timeout_seconds: float, metadata: Metadata) -> Findings:
        """Search once."""


class AnswerGenerator(Protocol):
    """A language model."""

    def generate(
        self, prompt: Prompt, *, timeout_seconds: float, metadata: Metadata
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Answer once: Context, Progress*, TextDelta*, GenerationFinished. Ends with the last or raises.

        Closing the generator stops the model.
        """


class BackendProbe(Protocol):
    """One service behind the gateway, to ask how it is."""

    async def probe(self, *, timeout_seconds: float) -> BackendStatus:
        """How it is; never raises but for cancellation."""


class Clock(Protocol):
    """A monotonic clock."""

    def __call__(self) -> float:
        """Seconds from an arbitrary start."""
