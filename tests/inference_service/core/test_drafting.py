"""What is proposed, and how likely it is held to be right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.drafting import LONG_MATCH, Acceptance, Drafter, DraftExperience

FARTHEST = 24
"""Tokens that a match is compared over."""
CANDIDATES = 16
"""Earlier places that are looked at."""


def propose(text: str, most: int = 5) -> str:
    """What is proposed behind a text of one-letter tokens."""
    return "".join(map(chr, Drafter(list(map(ord, text)), DraftExperience()).propose(most)))


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
    drafter = Drafter([1, 2, 3], DraftExperience())
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
    drafter = Drafter(parts[0], DraftExperience())
    text = list(parts[0])
    for part in parts[1:]:
        drafter.extend(part)
        text += part
    assert drafter.propose(most) == expected_draft(text, most)


def test_an_estimate_starts_from_what_is_expected_and_learns():
    estimate = Acceptance(0.5)
    assert estimate.probability == 0.5
    estimate.observe(4, 4)
    after_right = estimate.probability
    assert after_right > 0.5
    estimate.observe(4, 0)
    assert estimate.probability < after_right


@pytest.mark.parametrize("right", [0.0, 0.3, 0.6, 0.9])
def test_an_estimate_comes_to_the_share_of_right_tokens(right):
    """Each draft of ten has so many right ones first: tokens behind the first wrong one were never tried."""
    estimate = Acceptance(0.5)
    for _ in range(200):
        estimate.observe(10, round(10 * right))
    tried = 10 * right + 1
    # What is believed from the beginning never quite goes, and weighs as much as four tokens.
    experience = 10 * tried
    assert estimate.probability == pytest.approx(
        (experience * 10 * right / tried + 4 * 0.5) / (experience + 4), abs=0.01
    )


def test_an_estimate_forgets():
    estimate = Acceptance(0.5)
    for _ in range(50):
        estimate.observe(5, 5)
    for _ in range(50):
        estimate.observe(5, 0)
    assert estimate.probability < 0.2


@given(st.lists(st.integers(0, 15).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=50))
def test_an_estimate_is_a_probability(drafts):
    estimate = Acceptance(0.5)
    for drafted, accepted in drafts:
        estimate.observe(drafted, accepted)
        assert 0 <= estimate.probability <= 1


def test_short_and_long_matches_are_judged_apart():
    experience = DraftExperience()
    short, long = "ab1 ab", "x" * LONG_MATCH + "1 " + "x" * LONG_MATCH
    drafter = Drafter(list(map(ord, short)), experience)
    assert drafter.propose(1)
    assert drafter.acceptance == pytest.approx(experience.short.probability)
    drafter.observe(3, 0)
    assert drafter.acceptance < 0.5
    drafter.extend(list(map(ord, long)))
    assert drafter.propose(1)
    assert drafter.acceptance == pytest.approx(0.8), "what short matches were worth says nothing of long ones"


def test_a_new_sequence_starts_from_what_drafts_were_worth_to_others():
    experience = DraftExperience()
    drafter = Drafter(list(map(ord, "ab1 ab")), experience)
    drafter.propose(1)
    for _ in range(200):
        drafter.observe(4, 0)
    newcomer = Drafter(list(map(ord, "ab1 ab")), experience)
    newcomer.propose(1)
    assert newcomer.acceptance < 0.1
