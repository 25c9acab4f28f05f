"""Facts about invented things, from templates: what news, shops, guides and manuals say, and what people ask of it."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.builtin.training.slots import Filling, UnknownSlot

_SLOT = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing to say and to ask for."""

    asks: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """What pages of one kind say."""

    name: str
    language: str
    subject: str
    titles: tuple[str, ...]
    facts: tuple[Fact, ...]
    lists: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of a kind, with its slots filled."""

    kind: Kind
    filling: Filling

    @classmethod
    def draw(cls, kind: Kind, draw: random.Random) -> Thing:
        """A new thing."""
        return cls(kind, Filling(draw, kind.lists))

    def say(self, template: str) -> str:
        """The template with its slots filled. Raises UnknownSlot."""
        subject = template.replace("{subject}", self.kind.subject)
        text = _SLOT.sub(lambda slot: self.filling.value(slot[1]), subject)
        return text[:1].upper() + text[1:] if template[:1] == "{" else text


class BadFacts(ValueError):
    """A file of facts that cannot be used. Says which and why."""


def load(folder: Path) -> list[Kind]:
    """The kinds of all files of a folder, in order. Raises BadFacts."""
    kinds = []
    for path in sorted(folder.glob("*.toml")):
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
            language, lists = values["language"], values.get("lists", {})
            kinds += [_kind(kind, language, lists) for kind in values["kinds"]]
        except (tomllib.TOMLDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise BadFacts(f"{path}: {error!r}") from None
    for kind in kinds:
        thing = Thing.draw(kind, random.Random(0))
        try:
            for template in (*kind.titles, *(t for fact in kind.facts for t in (*fact.statements, *fact.questions))):
                thing.say(template)
        except (UnknownSlot, ValueError) as error:
            raise BadFacts(f"the kind {kind.name!r} ({kind.language}): {error}") from None
    return kinds


def _kind(values: Mapping[str, object], language: str, lists: Mapping[str, Sequence[str]]) -> Kind:
    facts = tuple(
        Fact(fact["asks"], tuple(fact["statements"]), tuple(fact["questions"]))
        for fact in values["facts"]  # type: ignore[attr-defined]
    )
    return Kind(
        name=str(values["name"]),
        language=language,
        subject=str(values.get("subject", "")),
        titles=tuple(values["titles"]),  # type: ignore[arg-type]
        facts=facts,
        lists=lists,
    )
