"""What Brave's refusals mean. Its `code` decides; the status alone is ambiguous (422 is a bad parameter or token)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from search_service.adapters.brave_params import FIELDS
from search_service.core.errors import (
    InvalidQuery,
    ProviderNotSetUp,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    SearchError,
)
from search_service.core.plain_text import plain_text

TOKEN_SETTING: Final = "BRAVE_API_KEY"  # noqa: S105 - the name of the variable, not its value
BASE_URL_SETTING: Final = "GROUNDWIRE_BRAVE_BASE_URL"
RETRY_AFTER_SECONDS: Final = 1.0
"""Brave sends no Retry-After; its shortest window is a second."""
_MAX_DETAIL_CHARACTERS: Final = 300


class ServerFailed(ProviderUnavailable):
    """Brave failed by itself: worth another try."""


class OptionNotInPlan(ProviderNotSetUp):
    """The plan behind the token lacks something the request asks for."""


def brave_error(status: int, payload: object) -> SearchError:
    """The error that an answer with a status other than 200 means. `payload` is its JSON, or None where it is none."""
    error = _object(_object(payload).get("error"))
    code = error.get("code")
    meta = _object(error.get("meta"))
    if status >= 500:
        return ServerFailed(f"Brave Search failed with status {status}.")
    if code == "RATE_LIMITED" or status == 429:
        return _rate_error(meta)
    if code == "SUBSCRIPTION_TOKEN_INVALID":
        return _token_error()
    if code == "OPTION_NOT_IN_PLAN":
        return OptionNotInPlan(
            f"The Brave plan behind {TOKEN_SETTING} does not include what this request asks for. "
            "Change the plan at https://api-dashboard.search.brave.com, or leave the option out.",
            setting=TOKEN_SETTING,
        )
    if code == "VALIDATION" or status == 422:
        return _validation_error(error, meta)
    if status in (401, 403):
        return _token_error()
    if status == 402:
        return QuotaExhausted(
            "The Brave account has no credit left or has reached its spending limit.",
            subject="brave:account",
            retry_after_seconds=None,
        )
    if status == 404:
        return ProviderNotSetUp(
            f"There is no Brave Search API where {BASE_URL_SETTING} points (status 404).", setting=BASE_URL_SETTING
        )
    return ProviderUnavailable(f"Brave Search answered with status {status}.")


def _token_error() -> ProviderNotSetUp:
    return ProviderNotSetUp(
        f"Brave Search does not accept the token in {TOKEN_SETTING}, or its plan does not include this search. "
        "Set it to a valid key from https://api-dashboard.search.brave.com and restart the search service.",
        setting=TOKEN_SETTING,
    )


def _rate_error(meta: Mapping[object, object]) -> SearchError:
    limit, current = meta.get("quota_limit"), meta.get("quota_current")
    if isinstance(limit, (int, float)) and isinstance(current, (int, float)) and 0 < limit <= current:
        return QuotaExhausted(
            "The Brave plan's quota for this month is spent.", subject="brave:month", retry_after_seconds=None
        )
    return RateLimited("Brave Search is asked too often.", retry_after_seconds=RETRY_AFTER_SECONDS)


def _validation_error(error: Mapping[object, object], meta: Mapping[object, object]) -> SearchError:
    violations: list[tuple[str, str]] = []
    entries = meta.get("errors")
    for entry in map(_object, entries if isinstance(entries, list) else []):
        location = entry.get("loc")
        where = [str(part).lower() for part in location] if isinstance(location, list) else []
        if where[:1] == ["header"]:
            if "x-subscription-token" in where:
                return _token_error()
            return ProviderUnavailable("Brave Search did not accept the headers of the request.")
        field = next((FIELDS[part] for part in where if part in FIELDS), "query")
        violations.append((field, f"Brave refused it: {_detail(entry.get('msg'))}"))
    return InvalidQuery(violations or [("query", f"Brave refused the request: {_detail(error.get('detail'))}")])


def _detail(value: object) -> str:
    text = plain_text(value, max_characters=_MAX_DETAIL_CHARACTERS) if isinstance(value, str) else ""
    return text or "it does not say why"


def _object(value: object) -> Mapping[object, object]:
    return value if isinstance(value, dict) else {}
