"""What can go wrong with a search.

SearchError
├── InvalidQuery          the provider does not take this query; names the fields
├── ProviderNotSetUp      a setting of this server must be mended; the caller did nothing wrong
├── SearchBusy            as many searches run as may; says when to try again
├── RateLimited           too many calls for now; says when to try again
├── QuotaExhausted        the plan's long window is spent
├── ProviderUnavailable   the provider failed, cannot be reached, or answered junk
└── SearchTimeout         the deadline passed
"""

from __future__ import annotations

from collections.abc import Sequence


class SearchError(Exception):
    """A search failed. The message is for a person and holds no secret."""


class InvalidQuery(SearchError):
    """The provider does not take this query."""

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        """`violations` are (field of SearchRequest, what is wrong with the limit)."""
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{field}: {description}" for field, description in violations))


class ProviderNotSetUp(SearchError):
    """A setting of this server must be mended."""

    def __init__(self, message: str, *, setting: str) -> None:
        """`setting` is the environment variable to fix."""
        self.setting = setting
        super().__init__(message)


class SearchBusy(SearchError):
    """As many searches run as this server takes, of all callers or of one."""

    def __init__(self, limit: int, *, retry_after_seconds: float, of_caller: bool = False) -> None:
        """`of_caller`: it is the limit for one caller that is reached."""
        self.limit = limit
        self.of_caller = of_caller
        self.retry_after_seconds = retry_after_seconds
        of_whom = " of one caller" if of_caller else ""
        super().__init__(
            f"This server runs {limit:,} searches{of_whom} at once, and as many run. Try again in a moment."
        )


class RateLimited(SearchError):
    """Too many calls for now."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class QuotaExhausted(SearchError):
    """The plan's long window is spent."""

    def __init__(self, message: str, *, subject: str, retry_after_seconds: float | None) -> None:
        """`subject` names the quota, such as brave:month."""
        self.subject = subject
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class ProviderUnavailable(SearchError):
    """The provider failed, cannot be reached, or answered junk."""


class SearchTimeout(SearchError):
    """The deadline passed before the provider answered."""
