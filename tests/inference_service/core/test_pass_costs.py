"""What passes that generate and verify are expected to take, by their size."""

import pytest

from inference_service.core.pacing import StepPacer

STALE = 500
"""Passes for which a size is remembered that none of them has. After twice as many it is surely forgotten."""


def pacer_with(costs: dict[int, float]) -> StepPacer:
    """A pacer that has seen passes of these sizes, which read no prompt, and their seconds."""
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=512)
    for tokens, seconds in costs.items():
        pacer.observe(tokens, seconds, prompt_tokens=0)
    return pacer


@pytest.mark.parametrize(
    ("known", "tokens", "more", "seconds"),
    [
        ({4: 0.4}, 4, 0, [0.4]),
        ({4: 0.4, 8: 0.8}, 4, 4, [0.4, 0.5, 0.6, 0.7, 0.8]),
        ({4: 0.4, 8: 0.4}, 5, 2, [0.4, 0.4, 0.4]),
        ({4: 0.4, 6: 0.8, 8: 0.6}, 4, 4, [0.4, 0.6, 0.8, 0.7, 0.6]),
        ({4: 0.4}, 4, 3, [0.4, 0.5, 0.6, 0.7]),
        ({2: 0.2, 4: 0.8}, 3, 3, [0.5, 0.8, 1.0, 1.2]),
        ({4: 0.4}, 1, 4, [0.4, 0.4, 0.4, 0.4, 0.5]),
    ],
    ids=["known", "between", "between equals", "not even", "beyond", "between and beyond", "below"],
)
def test_a_size_that_no_pass_has_had_is_judged_by_those_around_it(known, tokens, more, seconds):
    assert pacer_with(known).generation_seconds(tokens, more) == pytest.approx(seconds)


def test_beyond_the_known_sizes_a_token_costs_what_a_prompt_s_does():
    pacer = pacer_with({4: 0.4})
    pacer.observe(100, 1.0, prompt_tokens=100)
    assert pacer.generation_seconds(4, 2) == pytest.approx([0.4, 0.41, 0.42])


def test_before_the_first_measure_larger_passes_cost_more_but_not_in_proportion():
    costs = pacer_with({}).generation_seconds(1, 3)
    assert costs == sorted(set(costs))
    assert costs[3] < 4 * costs[0]


def test_a_pass_that_read_prompts_says_nothing_of_those_that_do_not():
    pacer = pacer_with({4: 0.4})
    pacer.observe(4, 9.0, prompt_tokens=1)
    assert pacer.generation_seconds(4, 0) == pytest.approx([0.4])


def test_the_fastest_of_the_last_eight_passes_counts():
    pacer = pacer_with({4: 1.0})
    for _ in range(7):
        pacer.observe(4, 2.0, prompt_tokens=0)
    assert pacer.generation_seconds(4, 0) == [1.0]
    pacer.observe(4, 3.0, prompt_tokens=0)
    assert pacer.generation_seconds(4, 0) == [2.0]


def test_a_size_that_is_not_tried_any_more_is_forgotten():
    pacer = pacer_with({16: 99.0})
    for _ in range(STALE - 2):
        pacer.observe(4, 0.4, prompt_tokens=0)
    assert pacer.generation_seconds(16, 0) == pytest.approx([99.0])
    for _ in range(STALE + 1):
        pacer.observe(4, 0.4, prompt_tokens=0)
    assert pacer.generation_seconds(16, 0) == pytest.approx([1.6]), "so that one hiccup does not rule it out for ever"
    assert pacer.generation_seconds(4, 0) == pytest.approx([0.4])


def test_a_size_that_is_tried_now_and_then_is_not_forgotten():
    pacer = pacer_with({})
    for index in range(4 * STALE):
        pacer.observe(16 if index % 100 == 0 else 4, 1.0 if index % 100 == 0 else 0.4, prompt_tokens=0)
    assert pacer.generation_seconds(16, 0) == pytest.approx([1.0])
