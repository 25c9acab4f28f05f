from __future__ import annotations

from contextlib import aclosing, suppress

import pytest

from gateway.core.answer import RETRY_PAUSE_SECONDS, Answerer
from gateway.core.circuit import Circuit
from gateway.core.errors import (
    AnswerError,
    BackendBroken,
    BackendExhausted,
    BackendFailed,
    BackendNotSetUp,
    BackendUnavailable,
    CircuitOpen,
    DeadlinePassed,
)
from gateway.core.events import AnswerEvent, Citation, Context, Finished, Outcome, Progress, Sources, Stage, TextDelta
from gateway.core.retries import RETRIES
from gateway.core.types import (
    RESULTS_FETCHED,
    Call,
    Findings,
    FoundResult,
    GivenSource,
    Provider,
    Question,
    SearchOptions,
)
from tests.support.fake_backends import (
    FINISHED,
    Asked,
    FakeFinder,
    FakeGenerator,
    SteppingClock,
    answer_events,
    context,
)

QUESTION = Question("What is it?")
FOUND = Findings((FoundResult("T", "example.org", "It is this."),), Provider.LOCAL, from_cache=True)
METADATA = (("x-request-id", "1"),)
DOWN = BackendUnavailable("inference", "down")
BUSY = BackendExhausted("inference", "busy", retry_after_seconds=0.5)


class Bench:
    def __init__(
        self,
        *scripts: list[object],
        found: Findings | Exception = FOUND,
        failures_to_open: int = 100,
    ) -> None:
        self.clock = SteppingClock()
        self.finder = FakeFinder(found)
        self.generator = FakeGenerator(*scripts)
        search_circuit, self.inference_circuit = (
            Circuit(service, clock=self.clock, failures_to_open=failures_to_open, open_seconds=5)
            for service in ("search", "inference")
        )
        self.answerer = Answerer(
            self.finder,
            self.generator,
            search_circuit=search_circuit,
            inference_circuit=self.inference_circuit,
            clock=self.clock,
            max_search_seconds=10,
            sleep=self.sleep,
        )
        self.other_call_fails_meanwhile = False

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
        if self.other_call_fails_meanwhile:
            with suppress(BackendUnavailable), self.inference_circuit.passage():
                raise BackendUnavailable("inference", "down for others too")

    async def answer(self, question: Question = QUESTION, seconds: float = 60) -> list[AnswerEvent]:
        call = Call(self.clock() + seconds, METADATA)
        return [event async for event in self.answerer.answer(question, call)]

    async def fails(self, seconds: float = 60) -> AnswerError:
        with pytest.raises(AnswerError) as caught:
            await self.answer(seconds=seconds)
        assert self.answerer.running == 0
        assert self.generator.open == 0
        return caught.value


async def test_the_events_come_in_their_order() -> None:
    reading = Progress(Stage.READING, 5, 10)
    script = [context(1), reading, TextDelta("It is [1"), TextDelta("]."), FINISHED]
    events = await Bench(script).answer()
    assert [type(event) for event in events] == [
        *[Progress, Sources, Context, Progress, TextDelta, TextDelta, Citation, Finished],
    ]
    assert events[0] == Progress(Stage.SEARCHING)
    sources, last = events[1], events[-1]
    assert isinstance(sources, Sources)
    assert (sources.query, sources.provider, sources.from_cache) == ("What is it?", Provider.LOCAL, True)
    assert isinstance(last, Finished)
    assert (last.outcome, last.model, last.generation) == (Outcome.ANSWERED, "tiny", FINISHED)


async def test_a_citation_held_by_a_backtick_comes_before_the_end() -> None:
    events = await Bench(answer_events("the ` key [1]")).answer()
    assert [type(event) for event in events[-3:]] == [TextDelta, Citation, Finished]
    assert isinstance(events[-1], Finished)
    assert events[-1].outcome is Outcome.ANSWERED


async def test_times_are_taken_on_the_gateways_clock() -> None:
    bench = Bench(answer_events("a", "b"))
    events = []
    async with aclosing(bench.answerer.answer(QUESTION, Call(bench.clock() + 60))) as stream:
        async for event in stream:
            bench.clock.seconds += 1
            events.append(event)
    last = events[-1]
    assert isinstance(last, Finished)
    # One second passed over each event: progress, sources, context, delta, delta.
    assert (last.search_seconds, last.time_to_first_token_seconds, last.total_seconds) == (1, 3, 5)


async def test_the_search_gets_its_share_of_the_time_and_the_model_the_rest() -> None:
    bench = Bench(answer_events("a"))
    await bench.answer(seconds=60)
    assert bench.finder.asked == [Asked(10, METADATA)]
    assert bench.generator.asked == [Asked(60, METADATA)]
    await Bench(answer_events("a")).answer(seconds=3)
    short = Bench(answer_events("a"))
    await short.answer(seconds=3)
    assert short.finder.asked == [Asked(3, METADATA)]


async def test_ten_results_are_asked_for_and_max_sources_offered() -> None:
    results = tuple(FoundResult(f"T{n}", "example.org", f"Text {n}.") for n in range(10))
    bench = Bench(answer_events("a"), found=Findings(results, Provider.BRAVE))
    options = SearchOptions(country="AT")
    await bench.answer(Question("What is it?", max_sources=3, search=options))
    (query,) = bench.finder.queries
    assert (query.page_size, query.options) == (RESULTS_FETCHED, options)
    assert [source.text for source in bench.generator.prompts[0].documents] == ["Text 0.", "Text 1.", "Text 2."]


async def test_given_sources_are_not_searched_for_nor_counted() -> None:
    bench = Bench(answer_events("a [2]", used=(1, 2, 3)))
    given = tuple(GivenSource(f"T{n}", f"Text {n}.") for n in range(3))
    events = await bench.answer(Question("What is it?", given_sources=given, max_sources=1))
    assert bench.finder.queries == []
    sources = events[0]
    assert isinstance(sources, Sources)
    assert (len(sources.sources), sources.query, sources.provider) == (3, "", None)
    assert isinstance(events[-1], Finished)
    assert events[-1].search_seconds is None


async def test_nothing_found_asks_no_model() -> None:
    bench = Bench(found=Findings((), Provider.BRAVE))
    events = await bench.answer()
    assert [type(event) for event in events] == [Progress, Sources, Finished]
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.outcome, last.generation, last.time_to_first_token_seconds) == (Outcome.NO_RESULTS, None, None)


async def test_a_failed_search_is_raised_as_it_is() -> None:
    refusal = BackendNotSetUp("search", "no key")
    bench = Bench(found=refusal)
    assert await bench.fails() is refusal
    assert bench.generator.prompts == []


async def test_one_more_attempt_after_a_short_pause() -> None:
    bench = Bench([DOWN], answer_events("a [1]"))
    events = await bench.answer()
    assert bench.clock.slept == [RETRY_PAUSE_SECONDS]
    assert [asked.timeout_seconds for asked in bench.generator.asked] == [60, 60 - RETRY_PAUSE_SECONDS]
    assert isinstance(events[-1], Finished)


async def test_the_pushback_is_slept() -> None:
    bench = Bench([BackendExhausted("inference", "busy", retry_after_seconds=9)], answer_events("a"))
    await bench.answer()
    assert bench.clock.slept == [9]


@pytest.mark.parametrize(("pushback", "seconds"), [(60, 60), (61, 60), (None, RETRY_PAUSE_SECONDS)])
async def test_a_pause_past_the_deadline_is_not_waited_for(pushback: float | None, seconds: float) -> None:
    failure = BackendUnavailable("inference", "down", retry_after_seconds=pushback)
    bench = Bench([failure])
    assert await bench.fails(seconds=seconds) is failure
    assert bench.clock.slept == []


@pytest.mark.parametrize(
    "failure",
    [
        BackendNotSetUp("inference", "no"),
        BackendExhausted("inference", "busy, and it does not say for how long"),
        BackendBroken("inference", "no", code_name="INTERNAL"),
    ],
)
async def test_other_failures_are_final(failure: BackendFailed) -> None:
    bench = Bench([failure])
    assert await bench.fails() is failure


async def test_no_second_attempt_after_a_delta() -> None:
    bench = Bench([context(1), TextDelta("a"), DOWN])
    assert await bench.fails() is DOWN
    assert len(bench.generator.prompts) == 1


async def test_the_context_is_told_once_over_two_attempts() -> None:
    events = await Bench([context(1), DOWN], answer_events("a [1]")).answer()
    assert sum(isinstance(event, Context) for event in events) == 1


async def test_another_context_at_the_second_attempt_ends_it_with_the_first_failure() -> None:
    bench = Bench([context(1), DOWN], [context(1, model="other"), TextDelta("a"), FINISHED])
    assert await bench.fails() is DOWN


async def test_attempts_beyond_the_budget_are_not_made() -> None:
    bench = Bench(*([BUSY] for _ in range(2 * RETRIES + 1)), [BUSY])
    for _ in range(RETRIES):
        assert await bench.fails() is BUSY
    assert len(bench.generator.prompts) == 2 * RETRIES
    assert await bench.fails() is BUSY
    assert len(bench.generator.prompts) == 2 * RETRIES + 1


async def test_whole_answers_give_attempts_back() -> None:
    bench = Bench(*([BUSY] for _ in range(2 * RETRIES)), *(answer_events("a") for _ in range(10)), [BUSY], [BUSY])
    for _ in range(RETRIES):
        await bench.fails()
    for _ in range(10):
        await bench.answer()
    await bench.fails()
    assert bench.generator.scripts == []


async def test_an_open_circuit_of_the_model_refuses_before_the_search() -> None:
    bench = Bench([DOWN], answer_events("a"), failures_to_open=1)
    assert await bench.fails() is DOWN  # at once: a second attempt would be refused
    assert bench.clock.slept == []
    refused = await bench.fails()
    assert isinstance(refused, CircuitOpen)
    assert (refused.service, refused.reason) == ("inference", "INFERENCE_CIRCUIT_OPEN")
    assert refused.retry_after_seconds == 5
    assert len(bench.finder.queries) == 1
    bench.clock.seconds += 5
    await bench.answer()


async def test_a_circuit_that_opens_in_the_pause_leaves_the_first_failure_standing() -> None:
    bench = Bench([DOWN], failures_to_open=2)
    bench.other_call_fails_meanwhile = True
    assert await bench.fails() is DOWN
    assert len(bench.generator.prompts) == 1
    assert isinstance(await bench.fails(), CircuitOpen)


async def test_an_open_circuit_of_the_search_asks_neither_service_and_lets_given_sources_pass() -> None:
    missing = BackendUnavailable("search", "down")
    bench = Bench(answer_events("a"), found=missing, failures_to_open=1)
    assert await bench.fails() is missing
    refused = await bench.fails()
    assert isinstance(refused, CircuitOpen)
    assert refused.reason == "SEARCH_CIRCUIT_OPEN"
    assert len(bench.finder.queries) == 1
    await bench.answer(Question("What is it?", given_sources=(GivenSource("T", "Text."),)))


async def test_no_time_left_is_a_passed_deadline() -> None:
    bench = Bench(answer_events("a"))
    assert isinstance(await bench.fails(seconds=0), DeadlinePassed)
    assert bench.finder.queries == []


@pytest.mark.parametrize("events_taken", range(1, 7))
async def test_giving_up_at_any_event_gives_everything_back(events_taken: int) -> None:
    bench = Bench([context(1), Progress(Stage.READING), TextDelta("a [1]"), FINISHED])
    stream = bench.answerer.answer(QUESTION, Call(bench.clock() + 60))
    for _ in range(events_taken):
        await anext(stream)
    assert bench.answerer.running == 1
    await stream.aclose()
    assert bench.answerer.running == 0
    assert bench.generator.open == 0
