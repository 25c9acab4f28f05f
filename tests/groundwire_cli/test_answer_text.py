from __future__ import annotations

import pytest
from rich.text import Text

from groundwire.gateway.v1 import gateway_pb2
from groundwire_cli import answer_text
from tests.support.answer_events import GUIDE, RAIN, citation, context, finished, reading, searching, sources


def plain(lines: list[Text]) -> str:
    return "\n".join(line.plain for line in lines)


def test_progress_says_how_far() -> None:
    assert answer_text.progress(searching().progress).plain == "Searching"
    assert "45 % of 1,000 tokens" in answer_text.progress(reading(455, 1000).progress).plain
    assert "%" not in answer_text.progress(reading(0, 0).progress).plain


def test_sources_piped_have_their_address() -> None:
    assert plain(answer_text.sources(sources(RAIN, GUIDE).sources, terminal=False)) == (
        "Sources from the local index for “rain”\n"
        "  [1] Rain gauges  example.org\n"
        "      https://example.org/rain?a=1\n"
        "  [2] Guide  guide.md › Guide > Rain"
    )


def test_old_sources_are_flagged_with_their_age() -> None:
    event = sources(RAIN).sources
    event.from_cache = True
    assert "(cached)" in plain(answer_text.sources(event, terminal=False))
    event.stale_age.FromMilliseconds(83_200)
    assert "(search is down; found 83 s ago)" in plain(answer_text.sources(event, terminal=False))


def test_sources_on_a_terminal_are_links() -> None:
    lines = answer_text.sources(sources(RAIN, GUIDE).sources, terminal=True)
    assert "https://" not in plain(lines)
    links = [span.style.link for line in lines for span in line.spans if not isinstance(span.style, str)]
    assert links == ["https://example.org/rain?a=1"]


def test_a_link_that_is_no_web_address_is_not_shown() -> None:
    evil = gateway_pb2.Source(index=1, title="x", url="javascript:alert(1)", host="example.org")
    for terminal in (True, False):
        lines = answer_text.sources(sources(evil).sources, terminal=terminal)
        assert "javascript" not in plain(lines)
        assert not any(not isinstance(span.style, str) for line in lines for span in line.spans)


def test_titles_cannot_act_on_the_terminal_or_forge_a_line() -> None:
    evil = gateway_pb2.Source(index=1, title="a\x1b[2Jb\n  [2] forged", url="https://example.org", host="h\x07")
    assert answer_text.source_lines(evil, terminal=True)[0].plain == "  [1] ab [2] forged  h"


def test_titles_are_no_markup() -> None:
    source = gateway_pb2.Source(index=1, title="[red]not red[/red] :smile:", host="local")
    assert "[red]not red[/red] :smile:" in plain(answer_text.source_lines(source, terminal=True))


def test_what_the_model_did_not_see_is_told() -> None:
    assert answer_text.context(context(1, 2).context) == []
    told = plain(answer_text.context(context(1, 2, cut=(2,), dropped=(3, 4)).context))
    assert "whose context is full: [3], [4]" in told
    assert "only in part: [2]" in told


def test_citations_tell_resolved_from_unresolved() -> None:
    cited = [citation(9, resolved=False).citation, citation(1).citation, citation(1).citation]
    lines = answer_text.citations(cited, {1: RAIN, 2: GUIDE}, terminal=False)
    assert plain(lines) == (
        "\nCited\n"
        "  [1] Rain gauges  example.org  2 times\n"
        "  [9] names no source that was shown to the model: do not rely on it."
    )


def test_no_citations_no_heading() -> None:
    assert answer_text.citations([], {1: RAIN}, terminal=False) == []


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (gateway_pb2.OUTCOME_UNCITED, "The model cited none of the sources: treat this as unverified."),
        (gateway_pb2.OUTCOME_NOT_IN_SOURCES, "The model found no answer to the question in these sources."),
        (
            gateway_pb2.OUTCOME_NO_RESULTS,
            "The search found nothing, so the model was not asked. Try other words.",
        ),
    ],
)
def test_every_outcome_but_answered_is_told(outcome: gateway_pb2.Outcome.ValueType, sentence: str) -> None:
    assert sentence in plain(answer_text.verdict(finished(outcome).finished))


def test_a_good_answer_needs_no_words() -> None:
    assert answer_text.verdict(finished().finished) == []


def test_uncited_sentences_are_counted() -> None:
    assert "1 sentence cites no source." in plain(answer_text.verdict(finished(uncited_sentences=1).finished))
    assert "3 sentences cite no source." in plain(answer_text.verdict(finished(uncited_sentences=3).finished))


def test_a_cut_answer_is_told() -> None:
    cut = finished(reason=gateway_pb2.FINISH_REASON_MAX_TOKENS).finished
    assert "cut after 101 tokens (--max-tokens)" in plain(answer_text.verdict(cut))
    full = finished(reason=gateway_pb2.FINISH_REASON_CONTEXT_FULL).finished
    assert "the model's context was full" in plain(answer_text.verdict(full))


def test_timings() -> None:
    assert plain(answer_text.timings(finished().finished)).strip() == (
        "search 250 ms · queue 0 ms · prompt 1.5 s (1,234 tokens, 34 of them cached) · first token 1.8 s · "
        "50.0 tokens/s · total 3.8 s · tiny"
    )


def test_drafts_that_were_right_are_told() -> None:
    drafted = finished().finished
    drafted.usage.drafted_tokens = 75
    assert "drafted" not in plain(answer_text.timings(drafted))
    drafted.usage.accepted_tokens = 60
    assert " · 50.0 tokens/s (60 of 75 drafted tokens right) · " in plain(answer_text.timings(drafted))


def test_timings_without_a_model() -> None:
    nothing = finished(gateway_pb2.OUTCOME_NO_RESULTS).finished
    assert plain(answer_text.timings(nothing)).strip() == "search 250 ms · total 3.8 s"


def test_one_token_has_no_rate() -> None:
    one = finished().finished
    one.usage.completion_tokens = 1
    assert answer_text.tokens_per_second(one) is None
