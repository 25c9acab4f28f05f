import pytest

from inference_service.core.pacing import MIN_STEP_TOKENS, StepPacer


def test_starts_with_a_careful_guess():
    assert StepPacer(target_seconds=0.25, max_step_tokens=512).token_budget == 32
    assert StepPacer(target_seconds=0.25, max_step_tokens=8).token_budget == 8


@pytest.mark.parametrize(
    ("seconds_per_token", "budget"),
    [(0.001, 200), (0.00001, 512), (0.0135, MIN_STEP_TOKENS), (1.0, MIN_STEP_TOKENS)],
)
def test_the_budget_fills_four_fifths_of_the_time_between_its_bounds(seconds_per_token, budget):
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=512)
    pacer.observe(100, 100 * seconds_per_token)
    assert pacer.token_budget == budget


def test_small_passes_teach_nothing_of_large_ones():
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=512)
    pacer.observe(1, 1.0)
    assert pacer.token_budget == 32


def test_a_dearer_pass_counts_at_once_and_cheaper_ones_slowly():
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=512)
    pacer.observe(100, 0.1)
    pacer.observe(100, 0.5)
    assert pacer.token_budget == 40
    pacer.observe(100, 0.1)
    assert 40 < pacer.token_budget < 200
    for _ in range(40):
        pacer.observe(100, 0.1)
    assert pacer.token_budget in (199, 200)
