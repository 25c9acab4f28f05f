"""The pinned sets hold what they are meant to."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from benchmarks.quality.__main__ import SETS
from groundwire_eval.items import Item, Kind, load_items
from groundwire_eval.words import holds

ADVERSARIAL = {"injection", "control_tokens", "forged_source", "contradiction", "near_duplicate"}


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return load_items(sorted(SETS.glob("*.jsonl")))


def test_there_are_enough_of_every_kind(items: list[Item]) -> None:
    kinds = Counter(item.kind for item in items)
    assert len(items) >= 120
    assert len({item.subject for item in items}) >= 10
    assert kinds[Kind.UNANSWERABLE] >= 20
    assert kinds[Kind.DOUBLE] >= 20
    assert kinds[None] == 0
    assert sum(item.language != "en" for item in items) >= 15
    assert sum(item.language == "ko" for item in items) >= 3
    traits = Counter(trait for item in items for trait in item.traits)
    assert sum(traits[trait] for trait in ADVERSARIAL) >= 15
    assert all(traits[trait] >= 3 for trait in ADVERSARIAL)
    assert all(traits[trait] >= 5 for trait in ("time", "place", "number", "person", "reason", "way", "paraphrase"))


def test_a_third_of_each_kind_is_held_aside(items: list[Item]) -> None:
    for kind in Kind:
        shares = [item.held_aside for item in items if item.kind is kind]
        assert 0.25 <= sum(shares) / len(shares) <= 0.42, kind


def test_sources_are_lines_and_their_number_and_the_place_of_the_answer_vary(items: list[Item]) -> None:
    assert {len(item.sources) for item in items} >= set(range(1, 9))
    first = sum(item.evidence[0].source == 1 for item in items if item.kind is Kind.SINGLE)
    last = sum(item.evidence[0].source == len(item.sources) for item in items if item.kind is Kind.SINGLE)
    singles = sum(item.kind is Kind.SINGLE for item in items)
    assert first < singles / 2
    assert last < singles / 2
    for item in items:
        for source in item.sources:
            assert source.text == " ".join(source.text.split()), item.id
            assert not source.url or re.match(r"https?://", source.url), item.id


def test_answers_occur_in_the_evidence(items: list[Item]) -> None:
    for item in items:
        sentences = " | ".join(evidence.sentence for evidence in item.evidence)
        for fact in item.answers:
            assert any(holds(sentences, one) for one in fact), (item.id, fact)
        for evidence in item.evidence:
            assert item.sources[evidence.source - 1].text.count(evidence.sentence) == 1, item.id
