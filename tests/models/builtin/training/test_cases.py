"""Cases that are drawn: what answers is among the pages, and nothing else does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from models.builtin.training import facts
from models.builtin.training.cases import MOST_SOURCES, CaseMaker, Mixture
from models.builtin.training.corpus import Passage

KINDS = facts.load(Path(facts.__file__).parent / "templates")
PASSAGES = [
    Passage(number // 3, f"Document {number // 3}", "en", (f"The {a} of the {b} is kept in a {c} near the {d}.",))
    for number, (a, b, c, d) in enumerate(
        (f"lock{n}", f"gate{n % 7}", f"drawer{n % 5}", f"window{n % 3}") for n in range(60)
    )
]


def maker(seed: int, **shares: float) -> CaseMaker:
    made = CaseMaker(PASSAGES, KINDS, {}, random.Random(seed))
    made.mixture = Mixture(**{"facts": 0.5, "unanswerable": 0.0, "double": 0.0, "most_sources": 8, **shares})
    return made


@pytest.mark.parametrize("of_facts", [0.0, 1.0])
def test_an_answerable_case(of_facts: float) -> None:
    cases = maker(1, facts=of_facts)
    for _ in range(150):
        case = cases.case()
        assert case.question.strip()
        assert 1 <= len(case.pages) <= MOST_SOURCES
        assert len(case.order) == 1
        for place, page in enumerate(case.pages):
            assert page.sentences
            assert (page.answers is not None) == (place in case.order)
            assert page.answers is None or page.answers < len(page.sentences)


@pytest.mark.parametrize("of_facts", [0.0, 1.0])
def test_an_unanswerable_case(of_facts: float) -> None:
    cases = maker(2, facts=of_facts, unanswerable=1.0)
    for _ in range(100):
        case = cases.case()
        assert case.order == []
        assert all(page.answers is None for page in case.pages)


def test_a_case_of_two_pages_asks_for_both() -> None:
    cases = maker(3, facts=1.0, double=1.0)
    for _ in range(100):
        case = cases.case()
        assert len(case.order) == 2
        assert len(set(case.order)) == 2
        assert all(case.pages[place].answers is not None for place in case.order)


def test_the_answer_may_be_in_any_page() -> None:
    cases = maker(4)
    places = {cases.case().order[0] for _ in range(400)}

    assert places == set(range(MOST_SOURCES))


def test_the_same_seed_draws_the_same_cases() -> None:
    one, other = maker(5), maker(5)

    assert [one.case() for _ in range(20)] == [other.case() for _ in range(20)]
