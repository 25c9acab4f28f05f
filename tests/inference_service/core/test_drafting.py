"""What is proposed, and how likely it is held to be right."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.drafting import Acceptance, CopyChances, Drafter

FARTHEST = 24
"""Tokens that a match is compared over."""
CANDIDATES = 16
"""Earlier places that are looked at."""


def propose(text: str, most: int = 5) -> str:
    """What is proposed behind a text of one-letter tokens."""
    return "".join(map(chr, Drafter(list(map(ord, text)), CopyChances()).propose(most)))


@pytest.mark.parametrize(
    ("text", "most", "proposed"),
    [
        ("", 5, ""),
        ("a", 5, ""),
        ("abcde", 5, ""),
        ("abcd-b", 5, ""),  # one token in common is not enough
        ("abcd-ab", 2, "cd"),
        ("abcd-ab", 1, "c"),
        ("abc1 abc2 abc", 1, "2"),  # equally long matches: the latest
        ("xabc1 yabc2 xabc", 1, "1"),  # the longest, though it is not the latest
        ("abcd-ab", 9, "cd-abcd-a"),  # what repeats itself goes on repeating itself
        ("no no no no", 7, " no no "),
        ("aaa", 4, "aaaa"),
        ("ab", 4, ""),
    ],
)
def test_what_followed_the_last_tokens_before_is_proposed(text, most, proposed):
    assert propose(text, most) == proposed


def test_the_answer_is_drafted_from_as_well_as_the_prompt():
    drafter = Drafter([1, 2, 3], CopyChances())
    assert drafter.propose(3) == []
    drafter.extend([9, 1])
    drafter.extend([2])
    assert drafter.propose(3) == [3, 9, 1]
    drafter.extend([8, 9, 1])
    assert drafter.propose(2) == [2, 8]


def test_only_the_latest_places_are_looked_at():
    best = "wxyzab+"
    assert propose(best + "ab-" * (CANDIDATES - 1) + "wxyzab", 1) == "+"
    assert propose(best + "ab-" * CANDIDATES + "wxyzab", 1) == "-"


def expected_draft(tokens: list[int], most: int) -> list[int]:
    """The same, by looking everywhere."""
    best, at = 1, None
    ends = [end for end in range(1, len(tokens) - 1) if tokens[end - 1 : end + 1] == tokens[-2:]]
    for end in sorted(ends, reverse=True)[:CANDIDATES]:
        length = 2
        while length < FARTHEST and end >= length and tokens[end - length] == tokens[-1 - length]:
            length += 1
        if length > best:
            best, at = length, end
    if at is None:
        return []
    text = list(tokens)
    for _ in range(most):
        text.append(text[at + 1 + len(text) - len(tokens)])
    return text[len(tokens) :]


@given(
    st.lists(st.lists(st.integers(0, 2), max_size=12), min_size=1, max_size=8),
    st.integers(1, 12),
)
def test_a_proposal_is_that_of_a_search_through_the_whole_text(parts, most):
    drafter = Drafter(parts[0], CopyChances())
    text = list(parts[0])
    for part in parts[1:]:
        drafter.extend(part)
        text += part
    assert drafter.propose(most) == expected_draft(text, most)


def test_an_estimate_starts_from_what_is_expected_and_learns():
    estimate = Acceptance(0.5, belief=16, memory=0.9)
    assert estimate.probability == 0.5
    estimate.observe(4, 4)
    after_right = estimate.probability
    assert after_right > 0.5
    estimate.observe(4, 0)
    assert estimate.probability < after_right


@pytest.mark.parametrize("right", [0.0, 0.3, 0.6, 0.9])
def test_an_estimate_comes_to_the_share_of_right_tokens(right):
    """Each draft of ten has so many right ones first: tokens behind the first wrong one were never tried."""
    estimate = Acceptance(0.5, belief=16, memory=0.9)
    for _ in range(200):
        estimate.observe(10, round(10 * right))
    tried = 10 * right + 1
    # What is believed from the beginning never quite goes, and weighs as much as sixteen tokens.
    experience = 10 * tried
    assert estimate.probability == pytest.approx(
        (experience * 10 * right / tried + 16 * 0.5) / (experience + 16), abs=0.01
    )


def test_an_estimate_forgets():
    estimate = Acceptance(0.5, belief=16, memory=0.9)
    for _ in range(50):
        estimate.observe(5, 5)
    for _ in range(50):
        estimate.observe(5, 0)
    assert estimate.probability < 0.35


@given(st.lists(st.integers(0, 15).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=50))
def test_an_estimate_is_a_probability(drafts):
    estimate = Acceptance(0.5, belief=16, memory=0.9)
    for drafted, accepted in drafts:
        estimate.observe(drafted, accepted)
        assert 0 <= estimate.probability <= 1


def test_the_longer_a_copy_has_gone_on_the_likelier_it_goes_on():
    chances = CopyChances()
    assert chances.chances(2, 1) < chances.chances(3, 1) < chances.chances(4, 1) < chances.chances(8, 1)
    assert chances.chances(8, 1) < chances.chances(16, 1) == chances.chances(100, 1)


def test_a_draft_passes_through_the_lengths_as_it_copies():
    two, three, four, eight, more = 0.5, 0.6, 0.7, 0.8, 0.9
    chances = CopyChances([two, three, four, eight, more])
    steps = [two, three, *[four] * 4, *[eight] * 8, *[more] * 3]
    for match_length in (2, 3, 5, 8, 15, 16):
        expected = [math.prod(steps[match_length - 2 : end]) for end in range(match_length - 1, len(steps) + 1)]
        assert chances.chances(match_length, len(expected)) == pytest.approx(expected)
    assert chances.chances(24, 3) == pytest.approx(falling(more, 3))
    assert chances.chances(2, 0) == []


def falling(probability: float, count: int) -> list[float]:
    return [probability**place for place in range(1, count + 1)]


def test_each_length_learns_from_what_was_tried_at_it():
    chances = CopyChances([0.5] * 5)
    chances.observe(3, 9, 4)  # one at three, right; four from four to seven: three right, one wrong; the rest not tried
    learned = [chances.chances(length, 1)[0] for length in (2, 3, 4, 8, 16)]
    assert learned == pytest.approx([0.5, (2 + 1) / (4 + 1), (4 + 3) / (8 + 4), 0.5, 0.5])
    chances.observe(2, 2, 0)
    assert chances.chances(2, 1)[0] < 0.5
    assert chances.chances(3, 1)[0] == learned[1], "it was never tried"


def test_a_sequence_learns_faster_than_what_is_shared():
    shared = CopyChances()
    own = shared.for_sequence()
    assert own.chances(2, 20) == shared.chances(2, 20)
    for chances in (shared, own):
        for right in (5, 0):
            for _ in range(30):
                chances.observe(4, 4, min(4, right))
    assert own.chances(4, 1) < shared.chances(4, 1)


def test_what_short_matches_were_worth_says_nothing_of_long_ones():
    drafter = Drafter(list(map(ord, "ab1 ab")), CopyChances())
    assert drafter.propose(1)
    assert drafter.chances(1) == CopyChances().chances(2, 1)
    drafter.observe(3, 0)
    assert drafter.chances(1) < CopyChances().chances(2, 1)
    drafter.extend(list(map(ord, "xxxx1 xxxx")))
    assert drafter.propose(1)
    assert drafter.chances(1) == CopyChances().chances(4, 1)


def test_a_new_sequence_starts_from_what_drafts_were_worth_to_others():
    experience = CopyChances()
    drafter = Drafter(list(map(ord, "ab1 ab")), experience)
    drafter.propose(1)
    for _ in range(200):
        drafter.observe(4, 0)
    newcomer = Drafter(list(map(ord, "ab1 ab")), experience)
    newcomer.propose(1)
    assert newcomer.chances(1)[0] < 0.1
