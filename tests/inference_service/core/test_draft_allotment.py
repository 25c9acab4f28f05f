"""How many tokens of each draft are verified in a pass."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.drafting import allot_drafts


def rate(lengths: tuple[int, ...], acceptances: list[float], seconds: list[float], generating: int) -> float:
    """Tokens a second that so much of each draft is expected to bring."""
    tokens = generating + sum(
        acceptance**position
        for length, acceptance in zip(lengths, acceptances, strict=True)
        for position in range(1, length + 1)
    )
    return tokens / seconds[sum(lengths)]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[float], list[int], list[float]]:
    drafts = draw(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=4))
    offered = [count for _, count in drafts]
    room = draw(st.integers(0, sum(offered)))
    seconds = draw(st.lists(st.floats(0.01, 1), min_size=room + 1, max_size=room + 1))
    return [acceptance for acceptance, _ in drafts], offered, seconds


@given(situations())
def test_no_other_allotment_brings_more_tokens_a_second(situation):
    acceptances, offered, seconds = situation
    generating = len(offered)
    lengths = allot_drafts(acceptances, offered, seconds, generating=generating)
    assert all(0 <= length <= count for length, count in zip(lengths, offered, strict=True))
    assert sum(lengths) < len(seconds), "a pass takes no more than there is room for"
    others = itertools.product(*(range(count + 1) for count in offered))
    best = max(rate(other, acceptances, seconds, generating) for other in others if sum(other) < len(seconds))
    assert rate(tuple(lengths), acceptances, seconds, generating) == pytest.approx(best)


@pytest.mark.parametrize(
    ("acceptances", "offered", "seconds", "lengths"),
    [
        ([0.9], [3], [1.0, 1.0, 1.0, 1.0], [3]),
        ([0.9], [3], [1.0, 2.0, 3.0, 4.0], [0]),
        ([0.9], [3], [1.0, 1.1, 1.2, 9.0], [2]),
        ([0.9, 0.1], [3, 3], [1.0, 1.05, 1.1, 1.15, 1.6, 2.0, 2.5], [3, 0]),
        ([0.5, 0.5], [4, 4], [1.0, 1.2, 1.4, 1.8, 2.2, 2.6, 3.0, 3.4, 3.8], [1, 1]),
        ([0.9], [3], [1.0, 1.0], [1]),
        ([0.9], [3], [1.0], [0]),
        ([0.0, 1.0], [2, 2], [1.0] * 5, [0, 2]),
        ([0.9], [0], [1.0], [0]),
    ],
    ids=[
        "tokens cost nothing more",
        "tokens cost in proportion",
        "up to where they cost too much",
        "the likelier draft",
        "the beginnings of both",
        "a room of one",
        "no room",
        "never and always right",
        "no draft",
    ],
)
def test_drafts_are_tried_where_they_pay(acceptances, offered, seconds, lengths):
    assert allot_drafts(acceptances, offered, seconds, generating=len(offered)) == lengths


def test_the_more_streams_run_the_less_a_draft_may_cost():
    seconds = [1.0, 1.2]
    assert allot_drafts([0.5], [1], seconds, generating=1) == [1]
    assert allot_drafts([0.5, 0.0, 0.0, 0.0], [1, 0, 0, 0], seconds, generating=4) == [0, 0, 0, 0]
