"""What the core needs from the outside."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from search_service.core.types import Provider, ProviderStatus, SearchPage, SearchQuery


class SearchProvider(Protocol):
    """Somewhere to search."""

    @property
    def provider(self) -> Provider:
        """Which one it is."""

    async def search(self, query: SearchQuery, *, timeout_seconds: float) -> SearchPage:
        """Answer one query within the time. Raises SearchError; a cancelled call leaves nothing behind."""

    def status(self) -> ProviderStatus:
        """How it is, from memory: this must not block."""

    async def close(self) -> None:
        """Give back what it holds."""


class Clock(Protocol):
    """Time, so that tests need not wait for it."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""

    def now(self) -> datetime:
        """The time of day, timezone-aware."""

    async def sleep(self, seconds: float) -> None:
        """Let this many seconds pass."""
