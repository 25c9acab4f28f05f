from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.citations import CitationParser
from gateway.core.sources import (
    MAX_HOST_BYTES,
    MAX_TEXT_BYTES,
    MAX_TITLE_BYTES,
    from_given,
    from_results,
    host_of,
    one_line,
    tidy,
)
from gateway.core.types import FoundResult, GivenSource, Location
from inference_service.core import rendering

TEXTS = (
    st.lists(
        st.sampled_from(
            [
                "[1]",
                "[",
                "]",
                "1",
                "[ 2 ,3]",
                "٣",
                "[1-2]",
                "\n",
                "\r",
                "\u2028",
                "\x85",
                "\x00",
                "\t",
                "\u00a0",
                " ",
                "a",
                "é",
                ",",
                ";",
            ]
        )
    ).map("".join)
    | st.text()
)


@given(TEXTS)
def test_the_rule_is_the_inference_services_own(text: str) -> None:
    assert one_line(text) == rendering.one_line(text)


@given(TEXTS)
def test_a_tidy_text_is_rendered_unchanged(text: str) -> None:
    cleaned = tidy(text)
    assert tidy(cleaned) == cleaned == rendering.one_line(cleaned)
    assert len(cleaned.splitlines()) <= 1
    assert cleaned == cleaned.strip()


@given(TEXTS)
def test_no_text_can_cite(text: str) -> None:
    parser = CitationParser({1, 2, 3})
    assert [*parser.feed(tidy(text)), *parser.finish()] == []


def test_a_result_becomes_its_description_and_snippets_without_duplicates() -> None:
    result = FoundResult(
        title="A\ntitle [2]",
        host="example.org",
        description="First  line\nsecond [1].",
        extra_snippets=("More.", "second [1].", "First line second [1].", "", "More."),
        url="https://example.org/",
    )
    (source,) = from_results([result], 5)
    assert (source.index, source.title, source.text) == (1, "A title (2)", "First line second (1). More.")
    assert (source.host, source.url) == ("example.org", "https://example.org/")


def test_brackets_that_meet_between_passages_do_not_cite() -> None:
    (source,) = from_results([FoundResult("T", "example.org", "open [1", ("] shut",))], 5)
    assert source.text == "open (1 ) shut"


def test_results_without_text_are_left_out_and_the_rest_is_numbered_on() -> None:
    results = [FoundResult("A", "a.org"), FoundResult("B", "b.org", "Text."), FoundResult("C", "c.org", " \n")]
    assert [(s.index, s.title) for s in from_results(results, 5)] == [(1, "B")]


def test_where_none_has_text_the_titles_are_offered() -> None:
    results = [FoundResult("A", "a.org"), FoundResult("B", "b.org")]
    assert [(s.index, s.text) for s in from_results(results, 1)] == [(1, "A")]
    assert from_results([], 5) == ()


def test_a_local_result_keeps_its_location() -> None:
    where = Location("docs/a.md", "A > B")
    (source,) = from_results([FoundResult("", "local", "Text.", location=where)], 5)
    assert (source.location, source.url, source.host, source.title) == (where, None, "local", "local")


@given(st.text(min_size=1).map(lambda text: text * 3_000), st.text(max_size=3000), st.text(max_size=900))
def test_a_source_fits_what_the_inference_service_takes(text: str, title: str, host: str) -> None:
    for source in from_results([FoundResult(title, host, text)], 5) + from_given([GivenSource(title, text)]):
        assert len(source.text.encode()) <= MAX_TEXT_BYTES
        assert 1 <= len(source.title.encode()) <= MAX_TITLE_BYTES
        assert 1 <= len(source.host.encode()) <= MAX_HOST_BYTES
        assert source.text == tidy(source.text)


def test_given_sources_keep_their_order_and_get_a_host() -> None:
    given_sources = [GivenSource("A", "Text\n1.", "https://WWW.Example.org:8443/x?y"), GivenSource("B", "Text 2.")]
    assert [(s.index, s.host, s.url, s.text) for s in from_given(given_sources)] == [
        (1, "example.org", "https://WWW.Example.org:8443/x?y", "Text 1."),
        (2, "local", None, "Text 2."),
    ]


def test_an_address_that_cannot_be_read_has_no_host() -> None:
    assert host_of("https://[nowhere") == "local"
