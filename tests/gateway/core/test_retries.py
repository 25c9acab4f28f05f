from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.retries import ANSWERS_PER_RETRY, RETRIES, RetryBudget


def test_it_begins_full_and_ends() -> None:
    budget = RetryBudget()
    assert [budget.take() for _ in range(RETRIES + 2)] == [True] * RETRIES + [False] * 2
    assert budget.retries_left == 0


def test_answers_give_a_part_back_each() -> None:
    budget = RetryBudget()
    while budget.take():
        pass
    for _ in range(ANSWERS_PER_RETRY - 1):
        budget.give_back()
    assert not budget.take()
    budget.give_back()
    assert budget.take()
    assert not budget.take()


@given(st.lists(st.booleans(), max_size=400))
def test_retries_never_exceed_what_was_there_and_what_came_back(answered: list[bool]) -> None:
    budget = RetryBudget()
    retries = answers = 0
    for whole in answered:
        if whole:
            budget.give_back()
            answers += 1
        else:
            retries += budget.take()
        assert 0 <= budget.retries_left <= RETRIES
        assert retries <= RETRIES + answers / ANSWERS_PER_RETRY
