"""How many tokens of each draft are verified in a pass."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.drafting import allot_drafts


def rate(lengths: tuple[int, ...], chances: list[list[float]], seconds: list[float], generating: int) -> float:
    """Tokens a second that so much of each draft is expected to bring."""
    tokens = generating + sum(sum(of_draft[:length]) for length, of_draft in zip(lengths, chances, strict=True))
    return tokens / seconds[sum(lengths)]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[list[float]], list[float]]:
    falling = st.lists(st.floats(0, 1), max_size=5).map(lambda chances: sorted(chances, reverse=True))
    drafts = draw(st.lists(falling, min_size=1, max_size=4))
    room = draw(st.integers(0, sum(map(len, drafts))))
    seconds = draw(st.lists(st.floats(0.01, 1), min_size=room + 1, max_size=room + 1))
    return drafts, seconds


@given(situations())
def test_no_other_allotment_brings_more_tokens_a_second(situation):
    chances, seconds = situation
    generating = len(chances)
    lengths = allot_drafts(chances, seconds, generating=generating)
    assert all(0 <= length <= len(of_draft) for length, of_draft in zip(lengths, chances, strict=True))
    assert sum(lengths) < len(seconds), "a pass takes no more than there is room for"
    others = itertools.product(*(range(len(of_draft) + 1) for of_draft in chances))
    best = max(rate(other, chances, seconds, generating) for other in others if sum(other) < len(seconds))
    assert rate(tuple(lengths), chances, seconds, generating) == pytest.approx(best)


def falling(acceptance: float, count: int) -> list[float]:
    """Chances of a draft each of whose tokens is right as often where those before it are."""
    return [acceptance**place for place in range(1, count + 1)]


@pytest.mark.parametrize(
    ("chances", "seconds", "lengths"),
    [
        ([falling(0.9, 3)], [1.0, 1.0, 1.0, 1.0], [3]),
        ([falling(0.9, 3)], [1.0, 2.0, 3.0, 4.0], [0]),
        ([falling(0.9, 3)], [1.0, 1.1, 1.2, 9.0], [2]),
        ([falling(0.9, 3), falling(0.1, 3)], [1.0, 1.05, 1.1, 1.15, 1.6, 2.0, 2.5], [3, 0]),
        ([falling(0.5, 4), falling(0.5, 4)], [1.0, 1.2, 1.4, 1.8, 2.2, 2.6, 3.0, 3.4, 3.8], [1, 1]),
        ([falling(0.9, 3)], [1.0, 1.0], [1]),
        ([falling(0.9, 3)], [1.0], [0]),
        ([falling(0.0, 2), falling(1.0, 2)], [1.0] * 5, [0, 2]),
        ([[]], [1.0], [0]),
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
def test_drafts_are_tried_where_they_pay(chances, seconds, lengths):
    assert allot_drafts(chances, seconds, generating=len(chances)) == lengths


def test_the_more_streams_run_the_less_a_draft_may_cost():
    seconds = [1.0, 1.2]
    assert allot_drafts([[0.5]], seconds, generating=1) == [1]
    assert allot_drafts([[0.5], [], [], []], seconds, generating=4) == [0, 0, 0, 0]
