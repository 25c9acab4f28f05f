"""The values that the search service works with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum


class Provider(Enum):
    """Where results come from."""

    BRAVE = "brave"
    LOCAL = "local"


class Vertical(Enum):
    """A kind of result."""

    WEB = "web"
    NEWS = "news"
    LOCAL = "local"
    """A passage of a local document. Only the local provider has them."""


class SafeSearch(Enum):
    """How strictly adult content is filtered."""

    OFF = "off"
    MODERATE = "moderate"
    STRICT = "strict"


class FreshnessPreset(Enum):
    """A period that ends now."""

    PAST_DAY = "day"
    PAST_WEEK = "week"
    PAST_MONTH = "month"
    PAST_YEAR = "year"


@dataclass(frozen=True, slots=True)
class DateRange:
    """A span of calendar days, both ends included."""

    start: date
    end: date
    """Not before start."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """One query, checked against the contract's own limits. Hashable: it is the cache's key."""

    text: str
    """1 to 2,000 characters, with its white space collapsed."""
    page_size: int = 10
    """1 to 20."""
    page: int = 0
    """0 to 9, in pages of page_size."""
    country: str = ""
    """Upper case, or empty for the provider's default."""
    search_language: str = ""
    """Lower case, as the provider spells it, or empty."""
    ui_language: str = ""
    safe_search: SafeSearch = SafeSearch.MODERATE
    freshness: FreshnessPreset | DateRange | None = None
    verticals: tuple[Vertical, ...] = (Vertical.WEB,)
    """The kinds wanted, each at most once, in the order of the enum. The local provider takes any."""
    extra_snippets: bool = True
    goggles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Location:
    """Where in a local index a passage stands."""

    path: str
    """Relative to the folder that was added, with forward slashes."""
    heading: str
    """Headings above the passage, joined by " > "; may be empty."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One result. Every text is one line of plain text."""

    rank: int
    """From 1, over all pages."""
    vertical: Vertical
    title: str
    host: str
    """Host name in lower case without "www.", or "local"."""
    url: str | None = None
    """http or https; None for a local document."""
    location: Location | None = None
    description: str = ""
    extra_snippets: tuple[str, ...] = ()
    published_time: datetime | None = None
    """Timezone-aware."""
    language: str = ""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """What a provider answers to one query."""

    results: tuple[SearchResult, ...]
    provider: Provider
    altered_query: str | None = None
    more_results_available: bool = False


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """A provider's page, and how this call came by it."""

    page: SearchPage
    from_cache: bool
    """True where this call did not ask the provider: the cache had the page, or it was already on its way."""
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class Quota:
    """What a provider's plan leaves for one window of time."""

    window: timedelta
    limit: int
    remaining: int
    reset_time: datetime
    """Timezone-aware."""


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """One provider and how it is."""

    provider: Provider
    available: bool
    detail: str = ""
    """A sentence: why it is not available, or what it holds. Never a secret."""
    quotas: tuple[Quota, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The state of the search service."""

    default_provider: Provider
    providers: tuple[ProviderStatus, ...]
    cached_queries: int
    running_searches: int = 0
    max_searches: int = 0
    """How many may run at once."""
