"""Fact templates: all files load, and each thing is told of in one way throughout."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from models.builtin.training import facts
from models.builtin.training.facts import BadFacts, Kind, Thing
from models.builtin.training.slots import Filling, UnknownSlot

TEMPLATES = Path(facts.__file__).parent / "templates"
KINDS = facts.load(TEMPLATES)
ASKED = {"time", "place", "number", "person", "reason", "way", "what", "yes_no"}
LEAST_FACTS = 6


def test_there_are_kinds_in_many_languages() -> None:
    languages = {kind.language for kind in KINDS}

    assert {"en", "ko", "de", "fr", "es", "ja", "zh", "it", "pt", "nl", "ru"} <= languages
    assert sum(kind.language == "en" for kind in KINDS) >= 40


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.language}-{kind.name}")
def test_a_kind(kind: Kind) -> None:
    assert len(kind.facts) >= LEAST_FACTS
    assert {fact.asks for fact in kind.facts} <= ASKED
    for seed in range(3):
        thing = Thing.draw(kind, random.Random(seed))
        for fact in kind.facts:
            for statement in fact.statements:
                said = thing.say(statement)
                assert said.strip()[-1] in ".!。！?", said
                assert "{" not in said
            for question in fact.questions:
                assert "{n" not in question, "a number would give the answer away"
                assert thing.say(question).strip()


def test_a_thing_is_the_same_throughout() -> None:
    lists = {"fish": ["cod", "herring", "eel", "plaice", "sole"]}
    filling = Filling(random.Random(4), lists)

    assert filling.value("city.birth") == filling.value("city.birth")
    assert len({filling.value(f"n.{label}:1-1000000") for label in "abcdef"}) > 1
    assert filling.value("fish") in lists["fish"]
    assert re.fullmatch(r"\d\d?", filling.value("n:3-40"))


@pytest.mark.parametrize("slot", ["nothing", "n:few-many", "n", "words:3"])
def test_an_unknown_slot(slot: str) -> None:
    with pytest.raises((UnknownSlot, ValueError)):
        Filling(random.Random(0), {}).value(slot)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kinds = [", "TOMLDecodeError"),
        ("kinds = []", "language"),
        ('language = "en"\n[[kinds]]\nname = "x"\ntitles = ["A {nothing}"]\nfacts = []', "nothing"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "bad.toml").write_text(text)

    with pytest.raises(BadFacts, match=fault):
        facts.load(tmp_path)
