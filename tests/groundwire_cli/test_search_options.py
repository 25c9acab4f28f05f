from __future__ import annotations

import pytest

from groundwire.gateway.v1 import gateway_pb2
from groundwire.search.v1 import search_pb2
from groundwire_cli.errors import BadUsage
from groundwire_cli.gateway_client import Question, ask_request, call_metadata
from groundwire_cli.search_client import Query, search_request
from groundwire_cli.search_options import Freshness, ProviderName, SearchOptions, parse_freshness


@pytest.mark.parametrize("name", ["day", "week", "month", "year"])
def test_presets_are_known_to_both_contracts(name: str) -> None:
    freshness = parse_freshness(name)
    assert freshness is not None
    options = SearchOptions(freshness=freshness)
    assert ask_request(Question("q", options)).freshness.preset == gateway_pb2.FreshnessPreset.Value(freshness.preset)
    assert search_request(Query("q", options)).freshness.preset == search_pb2.FreshnessPreset.Value(freshness.preset)


def test_a_range_of_days() -> None:
    assert parse_freshness("2025-01-01to2025-06-30") == Freshness(start="2025-01-01", end="2025-06-30")
    options = SearchOptions(freshness=Freshness(start="2025-01-01", end="2025-06-30"))
    for request in (ask_request(Question("q", options)), search_request(Query("q", options))):
        assert (request.freshness.range.start, request.freshness.range.end) == ("2025-01-01", "2025-06-30")


@pytest.mark.parametrize("value", ["", "decade", "2025-01-01", "2025-1-1to2025-2-2", "Day"])
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(BadUsage, match="--freshness"):
        parse_freshness(value)


def test_only_what_was_given_is_sent() -> None:
    assert ask_request(Question("q")) == gateway_pb2.AskRequest(question="q")
    assert search_request(Query("q")) == search_pb2.SearchRequest(query="q")


def test_a_given_zero_is_sent() -> None:
    request = ask_request(Question("q", temperature=0.0, seed=0))
    assert request.HasField("temperature")
    assert request.HasField("seed")


def test_everything_that_was_given_is_sent() -> None:
    options = SearchOptions(ProviderName.BRAVE, "DE", "de", None, news=True)
    assert ask_request(Question("q", options, 3, 64, 0.5, 7)) == gateway_pb2.AskRequest(
        question="q",
        max_sources=3,
        provider=gateway_pb2.PROVIDER_BRAVE,
        country="DE",
        search_language="de",
        verticals=[gateway_pb2.VERTICAL_NEWS],
        max_tokens=64,
        temperature=0.5,
        seed=7,
    )
    assert search_request(Query("q", options, 5, 2)) == search_pb2.SearchRequest(
        query="q",
        page_size=5,
        page=2,
        provider=search_pb2.PROVIDER_BRAVE,
        country="DE",
        search_language="de",
        verticals=[search_pb2.VERTICAL_NEWS],
    )


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(BadUsage):
        ask_request(Question("lone \ud800 surrogate"))
    with pytest.raises(BadUsage):
        search_request(Query("lone \ud800 surrogate"))


def test_a_request_id_travels_as_metadata() -> None:
    assert dict(call_metadata("mine-1"))["x-request-id"] == "mine-1"
    assert dict(call_metadata(None))["x-request-id"] != dict(call_metadata(None))["x-request-id"]


@pytest.mark.parametrize("request_id", ["line\nend", "two words", "", "x" * 129, "한국"])
def test_a_request_id_that_the_services_would_replace_is_refused(request_id: str) -> None:
    with pytest.raises(BadUsage, match="--request-id"):
        call_metadata(request_id)
