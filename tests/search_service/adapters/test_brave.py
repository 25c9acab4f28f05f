"""The Brave adapter against a stand-in for Brave on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import AsyncIterator, Callable

import pytest
from pydantic import SecretStr

from search_service.adapters.brave import BraveProvider
from search_service.adapters.brave_http import READ_TIMEOUT_SECONDS
from search_service.adapters.system_clock import SystemClock
from search_service.core.errors import (
    InvalidQuery,
    ProviderNotSetUp,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    SearchError,
    SearchTimeout,
)
from search_service.core.limiter import Limiter, RateWindow
from search_service.core.types import SearchPage, SearchQuery, Vertical
from tests.support.brave_stand_in import BraveStandIn, Fault

TOKEN = "made-up-token-5c1e"


@pytest.fixture
async def brave() -> AsyncIterator[BraveStandIn]:
    async with BraveStandIn(token=TOKEN) as stand_in:
        yield stand_in


@pytest.fixture
async def provider(brave: BraveStandIn) -> AsyncIterator[BraveProvider]:
    made = make_provider(brave)
    yield made
    await made.close()


def make_provider(
    brave: BraveStandIn, token: str = TOKEN, on_reply: Callable[[str], None] | None = None
) -> BraveProvider:
    clock = SystemClock()
    limiter = Limiter("brave", clock)
    # As after a first answer: these tests are about something else than the conservative start.
    limiter.observe([RateWindow(1.0, 50, 50, 0.0)])
    return BraveProvider(
        SecretStr(token),
        base_url=brave.base_url,
        clock=clock,
        limiter=limiter,
        jitter=lambda: 0.0,
        on_reply=on_reply,
    )


async def ask(
    provider: BraveProvider, text: str = "cats", *, timeout_seconds: float = 5.0, **fields: object
) -> SearchPage:
    return await provider.search(SearchQuery(text, **fields), timeout_seconds=timeout_seconds)  # type: ignore[arg-type]


async def test_a_web_search(brave: BraveStandIn, provider: BraveProvider) -> None:
    page = await ask(provider, "teh cats", page_size=5, page=1)
    assert [found.rank for found in page.results] == [6, 7, 8, 9, 10]
    first = page.results[0]
    assert first.title == "teh cats: result 6 & more"
    assert first.description == "Passage 6 about teh cats. It isn't long."
    assert first.extra_snippets == ("More of 6, part 1.", "More of 6, part 2.")
    assert page.altered_query == "the cats"
    assert page.more_results_available
    (request,) = brave.requests
    assert request.path == "/web/search"
    wanted = {"accept": "application/json", "accept-encoding": "gzip", "cache-control": "no-cache"}
    assert wanted.items() <= request.headers.items()
    assert request.headers["x-subscription-token"] == TOKEN


async def test_news_alone_and_both(brave: BraveStandIn, provider: BraveProvider) -> None:
    news = await ask(provider, verticals=(Vertical.NEWS,))
    assert {found.vertical for found in news.results} == {Vertical.NEWS}
    both = await ask(provider, verticals=(Vertical.WEB, Vertical.NEWS))
    assert [found.vertical for found in both.results] == [Vertical.WEB] * 8 + [Vertical.NEWS] * 2
    assert [request.path for request in brave.requests] == ["/news/search", "/web/search"]


async def test_one_connection_serves_many_calls(brave: BraveStandIn, provider: BraveProvider) -> None:
    for _ in range(5):
        await ask(provider)
    assert brave.connections == 1


async def test_a_refused_field_costs_no_call(brave: BraveStandIn, provider: BraveProvider) -> None:
    with pytest.raises(InvalidQuery):
        await ask(provider, country="XX")
    assert brave.requests == []


@pytest.mark.parametrize(
    ("fault", "error", "said", "calls"),
    [
        (Fault.VALIDATION_EMPTY, InvalidQuery, "Unable to validate", 1),
        (Fault.HEADERS_REFUSED, ProviderUnavailable, "headers", 1),
        (Fault.TOKEN_422, ProviderNotSetUp, "BRAVE_API_KEY", 1),
        (Fault.TOKEN_403, ProviderNotSetUp, "BRAVE_API_KEY", 1),
        (Fault.TOKEN_401, ProviderNotSetUp, "BRAVE_API_KEY", 1),
        (Fault.NOT_IN_PLAN, ProviderNotSetUp, "plan", 2),
        (Fault.PAYMENT, QuotaExhausted, "credit", 1),
        (Fault.NOT_FOUND, ProviderNotSetUp, "GROUNDWIRE_BRAVE_BASE_URL", 1),
        (Fault.QUOTA_SPENT, QuotaExhausted, "15,000 calls", 1),
        (Fault.QUOTA_SPENT_BODY, QuotaExhausted, "month", 1),
        (Fault.SERVER_ERROR, ProviderUnavailable, "status 500", 3),
        (Fault.BAD_GATEWAY, ProviderUnavailable, "status 502", 3),
        (Fault.RESET, ProviderUnavailable, "connection", 3),
        (Fault.CUT, ProviderUnavailable, "connection", 3),
        (Fault.JUNK, ProviderUnavailable, "not a JSON object", 1),
        (Fault.NOT_AN_OBJECT, ProviderUnavailable, "not a JSON object", 1),
        (Fault.DEEP, ProviderUnavailable, "not a JSON object", 1),
        (Fault.DAMAGED_GZIP, ProviderUnavailable, "damaged", 1),
        (Fault.ODD_ENCODING, ProviderUnavailable, "encoding", 1),
        (Fault.HUGE, ProviderUnavailable, "more than 4 MiB", 1),
        (Fault.REDIRECT_HOST, ProviderUnavailable, "another host", 1),
        (Fault.REDIRECT_LOOP, ProviderUnavailable, "circles", 4),
    ],
)
async def test_each_failure_has_its_error(
    brave: BraveStandIn, provider: BraveProvider, fault: Fault, error: type[SearchError], said: str, calls: int
) -> None:
    with pytest.raises(error, match=said) as caught:
        await ask(provider, f"fault:{fault}")
    assert len(brave.requests) == calls
    if isinstance(caught.value, ProviderNotSetUp):
        assert caught.value.setting in ("BRAVE_API_KEY", "GROUNDWIRE_BRAVE_BASE_URL")


async def test_a_validation_error_names_our_fields(provider: BraveProvider) -> None:
    with pytest.raises(InvalidQuery) as caught:
        await ask(provider, "fault:validation")
    assert caught.value.violations == (
        ("country", "Brave refused it: Input should be 'AR' or 'AU'"),
        ("goggles", "Brave refused it: Invalid goggle"),
    )


async def test_what_may_pass_is_tried_again(brave: BraveStandIn, provider: BraveProvider) -> None:
    brave.faults.extend([Fault.SERVER_ERROR, Fault.RESET])
    assert len((await ask(provider)).results) == 10
    assert len(brave.requests) == 3


async def test_a_rate_limit_is_waited_out_within_the_deadline(brave: BraveStandIn, provider: BraveProvider) -> None:
    brave.faults.append(Fault.RATE_LIMITED)
    assert len((await ask(provider)).results) == 10
    first, second = (request.at for request in brave.requests)
    assert second - first > 0.95


async def test_a_rate_limit_beyond_the_deadline_is_told_at_once(brave: BraveStandIn, provider: BraveProvider) -> None:
    with pytest.raises(RateLimited) as caught:
        await ask(provider, "fault:rate-limited", timeout_seconds=0.8)
    assert 0 < caught.value.retry_after_seconds <= 1.1
    assert len(brave.requests) == 1


async def test_a_refusal_holds_back_the_next_caller_though_nobody_waits_for_it(
    brave: BraveStandIn, provider: BraveProvider
) -> None:
    brave.faults.append(Fault.RATE_LIMITED_BARE)
    with pytest.raises(RateLimited):
        await ask(provider, timeout_seconds=0.15)
    await ask(provider, "dogs")
    refused, answered = (request.at for request in brave.requests)
    assert answered - refused > 0.9


async def test_a_storm_of_refusals_is_not_hammered(brave: BraveStandIn, provider: BraveProvider) -> None:
    storm = (ask(provider, f"fault:rate-limited-bare {n}", timeout_seconds=2.5) for n in range(10))
    outcomes = await asyncio.gather(*storm, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {RateLimited}
    asked = len(brave.requests)
    assert asked <= 20  # each once, and once more after the first pause
    with pytest.raises(RateLimited):
        await ask(provider, timeout_seconds=0.5)
    assert len(brave.requests) == asked


@pytest.mark.parametrize("fault", [Fault.QUOTA_SPENT_BODY, Fault.PAYMENT])
async def test_a_quota_that_no_header_tells_of_is_remembered(
    brave: BraveStandIn, provider: BraveProvider, fault: Fault
) -> None:
    for _ in range(3):
        with pytest.raises(QuotaExhausted):
            await ask(provider, f"fault:{fault}")
    assert len(brave.requests) == 1
    assert not provider.status().available


async def test_the_first_calls_keep_to_the_smallest_plan(brave: BraveStandIn) -> None:
    brave.enforce_rate = True
    brave.per_second = 1
    provider = BraveProvider(SecretStr(TOKEN), base_url=brave.base_url, clock=SystemClock())
    try:
        await asyncio.gather(*(ask(provider, f"cats {n}") for n in range(3)))
    finally:
        await provider.close()
    assert len(brave.requests) == 3  # not one was refused


async def test_a_spent_quota_is_remembered(brave: BraveStandIn, provider: BraveProvider) -> None:
    brave.month_used = brave.per_month - 1
    await ask(provider)
    with pytest.raises(QuotaExhausted) as caught:
        await ask(provider, "dogs")
    assert caught.value.retry_after_seconds == pytest.approx(1_419_704, abs=5)
    assert len(brave.requests) == 1
    status = provider.status()
    assert not status.available
    assert [quota.remaining for quota in status.quotas] == [49, 0]


async def test_quotas_are_reported(provider: BraveProvider) -> None:
    await ask(provider)
    rate, month = provider.status().quotas
    assert (rate.window.total_seconds(), rate.limit) == (1.0, 50)
    assert (month.window.total_seconds(), month.limit, month.remaining) == (2_592_000.0, 15_000, 14_999)


async def test_extra_snippets_that_the_plan_lacks_are_left_out_and_remembered(
    brave: BraveStandIn, provider: BraveProvider
) -> None:
    brave.extra_snippets = False
    for _ in range(2):
        assert not (await ask(provider)).results[0].extra_snippets
    assert [request.param("extra_snippets") for request in brave.requests] == ["true", None, None]
    assert provider.status().available


async def test_another_option_that_the_plan_lacks_does_not_cost_the_snippets(
    brave: BraveStandIn, provider: BraveProvider
) -> None:
    brave.faults.extend([Fault.NOT_IN_PLAN, Fault.NOT_IN_PLAN])
    with pytest.raises(ProviderNotSetUp, match="does not include"):
        await ask(provider, goggles=("$discard",))
    assert (await ask(provider)).results[0].extra_snippets


async def test_a_refused_token_is_reported_until_it_works(brave: BraveStandIn, provider: BraveProvider) -> None:
    brave.faults.append(Fault.TOKEN_422)
    with pytest.raises(ProviderNotSetUp):
        await ask(provider)
    assert not provider.status().available
    assert "BRAVE_API_KEY" in provider.status().detail
    await ask(provider)
    assert provider.status().available


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.TRICKLE])
async def test_too_slow(provider: BraveProvider, fault: Fault) -> None:
    began = time.monotonic()
    with pytest.raises(SearchTimeout):
        await ask(provider, f"fault:{fault}", timeout_seconds=0.3)
    assert time.monotonic() - began < READ_TIMEOUT_SECONDS / 2


async def test_nobody_there() -> None:
    async with BraveStandIn() as gone:
        pass
    provider = make_provider(gone)
    with pytest.raises(ProviderUnavailable, match="ConnectError"):
        await ask(provider)
    await provider.close()


async def test_a_cancelled_call_frees_its_connection(brave: BraveStandIn, provider: BraveProvider) -> None:
    calls = [asyncio.create_task(ask(provider, f"fault:slow {n}", timeout_seconds=20)) for n in range(25)]
    await asyncio.sleep(0.2)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert len((await ask(provider, timeout_seconds=2)).results) == 10


async def test_a_redirect_within_the_host_is_followed(brave: BraveStandIn, provider: BraveProvider) -> None:
    page = await ask(provider, "fault:redirect-same")
    assert page.results[0].title.startswith("moved")


async def test_a_redirect_to_another_port_is_not(brave: BraveStandIn, provider: BraveProvider) -> None:
    async with BraveStandIn(token=TOKEN) as other:
        brave.redirect_to = f"{other.base_url}/web/search?q=elsewhere"
        with pytest.raises(ProviderUnavailable, match="another host"):
            await ask(provider, "fault:redirect-host")
        assert other.requests == []


async def test_a_gzip_bomb_is_not_unpacked(provider: BraveProvider) -> None:
    with pytest.raises(ProviderUnavailable, match="more than 4 MiB"):
        await ask(provider, "fault:bomb", timeout_seconds=10)


async def test_wrong_types_and_nothing_found(provider: BraveProvider) -> None:
    assert [found.title for found in (await ask(provider, "fault:wrong-types")).results] == ["example.org", "Fine"]
    assert (await ask(provider, "fault:empty")).results == ()


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.BOMB, Fault.TRICKLE, Fault.SLOW)])
async def test_the_token_shows_nowhere(
    brave: BraveStandIn, provider: BraveProvider, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = [repr(provider), repr(vars(provider)), str(provider.status())]
    try:
        shown.append(repr(await ask(provider, f"fault:{fault}", timeout_seconds=1.0)))
    except SearchError as error:
        shown += traceback.format_exception(error)
        linked: BaseException | None = error
        while linked is not None:
            shown += [str(linked), repr(linked), repr(linked.args), repr(vars(linked))]
            assert not hasattr(linked, "request")  # httpx errors carry the request, headers and all
            linked = linked.__cause__ or linked.__context__
    shown.append(str(provider.status()))
    shown.append(caplog.text)
    assert brave.requests[0].headers["x-subscription-token"] == TOKEN
    assert TOKEN not in "\n".join(shown)


@pytest.mark.parametrize(
    ("faults", "replies"),
    [
        ([], ["200"]),
        ([Fault.SERVER_ERROR, Fault.RESET], ["500", "lost", "200"]),
        ([Fault.TOKEN_401], ["401"]),
        ([Fault.REDIRECT_HOST], ["junk"]),
    ],
)
async def test_every_call_that_is_made_is_told(brave: BraveStandIn, faults: list[Fault], replies: list[str]) -> None:
    brave.faults.extend(faults)
    told: list[str] = []
    provider = make_provider(brave, on_reply=told.append)
    try:
        with contextlib.suppress(SearchError):
            await ask(provider)
    finally:
        await provider.close()
    assert told == replies
    assert len(brave.requests) == len(replies)


async def test_a_call_that_is_given_up_is_told_too(brave: BraveStandIn) -> None:
    brave.faults.append(Fault.SLOW)
    told: list[str] = []
    provider = make_provider(brave, on_reply=told.append)
    try:
        with pytest.raises(SearchTimeout):
            await ask(provider, timeout_seconds=0.3)
    finally:
        await provider.close()
    assert told in (["cancelled"], ["timeout"])  # whichever clock is first
