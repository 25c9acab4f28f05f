"""The options that `ask` and `search` share, as what the contracts want."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from groundwire_cli.errors import BadUsage


class ProviderName(StrEnum):
    """What --provider takes."""

    BRAVE = "brave"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Freshness:
    """A period: either the name of a preset or a range of days."""

    preset: str = ""
    """The contracts' name of it, such as FRESHNESS_PRESET_PAST_DAY. Empty for a range."""
    start: str = ""
    """The first day as YYYY-MM-DD."""
    end: str = ""
    """The last day as YYYY-MM-DD."""


_RANGE: Final = re.compile(r"(\d{4}-\d{2}-\d{2})to(\d{4}-\d{2}-\d{2})")
_PRESETS: Final = {name: f"FRESHNESS_PRESET_PAST_{name.upper()}" for name in ("day", "week", "month", "year")}


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What the options say about the search. None and False: the service's default."""

    provider: ProviderName | None = None
    """Where to search."""
    country: str = ""
    """ISO 3166-1 alpha-2, or ALL."""
    language: str = ""
    """The language of the results."""
    freshness: Freshness | None = None
    """How old the results may be."""
    news: bool = False
    """News articles instead of web pages."""


NO_OPTIONS: Final = SearchOptions()
"""The service's defaults."""


def parse_freshness(value: str | None) -> Freshness | None:
    """What --freshness was given. Raises BadUsage for anything but a preset or a range of days."""
    if value is None:
        return None
    if value in _PRESETS:
        return Freshness(preset=_PRESETS[value])
    match = _RANGE.fullmatch(value)
    if match is None:
        raise BadUsage(
            f"--freshness {value}: give day, week, month, year, or a range of days such as 2025-01-01to2025-06-30."
        )
    return Freshness(start=match[1], end=match[2])
