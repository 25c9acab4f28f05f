from __future__ import annotations

import pytest

from groundwire_cli.restarts import Death, RestartHistory, RestartPolicy

POLICY = RestartPolicy(first_delay_seconds=0.5, longest_delay_seconds=3, quick_seconds=30, quick_deaths=6)
CRASH = Death(-11, 1.0, served=True)


def test_the_wait_doubles_up_to_a_limit_and_then_it_gives_up() -> None:
    history = RestartHistory(POLICY)
    assert [history.next_delay_seconds(CRASH) for _ in range(6)] == [0.5, 1, 2, 3, 3, None]


def test_a_long_life_starts_the_count_again() -> None:
    history = RestartHistory(POLICY)
    for _ in range(4):
        history.next_delay_seconds(CRASH)
    assert history.next_delay_seconds(Death(-11, 31.0, served=True)) == 0.5
    assert history.next_delay_seconds(CRASH) == 1


def test_a_refusal_to_start_is_final() -> None:
    assert RestartHistory(POLICY).next_delay_seconds(Death(1, 2.0, served=False)) is None


def test_a_refusal_after_it_had_served_may_pass() -> None:
    history = RestartHistory(POLICY)
    assert history.next_delay_seconds(CRASH) == 0.5
    assert history.next_delay_seconds(Death(1, 2.0, served=False)) == 1


def test_a_crash_before_serving_is_tried_again() -> None:
    assert RestartHistory(POLICY).next_delay_seconds(Death(-9, 0.1, served=False)) == 0.5


@pytest.mark.parametrize(
    ("status", "words"), [(-9, "was ended by SIGKILL"), (3, "exited with status 3"), (-200, "was ended by signal 200")]
)
def test_deaths_in_words(status: int, words: str) -> None:
    assert Death(status, 1.0, served=True).in_words == words
