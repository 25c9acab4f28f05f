"""Cases: a question, pages about it and beside it, and which of them answer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from models.builtin.training import words
from models.builtin.training.corpus import Passage
from models.builtin.training.facts import Fact, Kind, Thing
from models.builtin.training.questions import STOP_WORDS, WORD, QuestionMaker
from models.builtin.training.slots import invented

MOST_SOURCES: Final = 8
NEIGHBOURS: Final = 8
"""Passages before and after one that are taken for near distractors."""

_LED: Final = 0.12
_JOINED: Final = 0.6
_COMMANDED: Final = 0.03
_COMMANDS: Final = words.listed("commands")
"""What hostile pages say to the model, and what answers nothing."""
_LEADS: Final = words.listed("leads")
_JOINTS: Final = (", and ", ", while ", ", but ", "; ", ", so ", " – ")
_PLAIN: Final = frozenset(words.listed("plain_beginnings"))
"""Words that are written small within a sentence."""


@dataclass(slots=True)
class Page:
    """A source: sentences in order."""

    title: str
    host: str
    sentences: list[str]
    answers: int | None = None
    """The sentence that answers, by its place; None where none does."""


@dataclass(slots=True)
class Case:
    """A question, its pages, and which of them answer, in the order of the answer."""

    question: str
    pages: list[Page]
    order: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Mixture:
    """Shares of what is drawn. They change as training goes on."""

    facts: float = 0.5
    unanswerable: float = 0.05
    double: float = 0.15
    relabelled: float = 0.25
    bare: float = 0.0
    """Without the system message, which is the same in all: a third fewer tokens to read."""
    neighbours: float = 0.3
    """With some words of the question or of the sources changed for words near in meaning."""
    most_sources: int = 4
    most_sentences: int = 4


class CaseMaker:
    """Draws cases of passages and of facts."""

    def __init__(
        self,
        passages: Sequence[Passage],
        kinds: Sequence[Kind],
        synonyms: Mapping[str, tuple[str, ...]],
        draw: random.Random,
    ) -> None:
        self._passages = passages
        self._draw = draw
        self._english = [number for number, passage in enumerate(passages) if passage.language == "en"]
        self._others = [number for number, passage in enumerate(passages) if passage.language != "en"]
        self._english_kinds = [kind for kind in kinds if kind.language == "en"]
        self._other_kinds = [kind for kind in kinds if kind.language != "en"]
        self._holders: dict[str, list[int]] = {}
        for number, passage in enumerate(passages):
            for word in {word.lower() for sentence in passage.sentences for word in WORD.findall(sentence)}:
                if word not in STOP_WORDS:
                    self._holders.setdefault(word, []).append(number)
        frequency = {word: len(holders) for word, holders in self._holders.items()}
        self._questions = QuestionMaker(frequency, synonyms, draw)
        self.mixture = Mixture()

    def use(self, draw: random.Random) -> None:
        """Draw from `draw` from here on."""
        self._draw = draw
        self._questions.use(draw)

    def case(self) -> Case:
        """A new case."""
        while True:
            made = self._of_facts() if self._draw.random() < self.mixture.facts else self._of_passages()
            if made is not None:
                return made

    def _sources_wanted(self) -> int:
        return self._draw.randint(1, self.mixture.most_sources)

    def _of_facts(self) -> Case | None:
        draw = self._draw
        kinds = self._other_kinds if self._other_kinds and draw.random() < 0.25 else self._english_kinds
        kind = draw.choice(kinds)
        thing, fact = Thing.draw(kind, draw), draw.choice(kind.facts)
        unanswerable = draw.random() < self.mixture.unanswerable
        question = thing.say(draw.choice(fact.questions))
        if kind.language == "en" and draw.random() < 0.4:
            question = self._questions.reworded(question)
        pages = [self._page(thing, None if unanswerable else fact, without=fact)]
        if not unanswerable and draw.random() < self.mixture.double:
            return self._double(question, pages[0], kind, thing, fact)
        while len(pages) < self._sources_wanted():
            pages.append(self._distractor(kind, thing, fact))
        return self._shuffled(question, pages)

    def _double(self, question: str, page: Page, kind: Kind, thing: Thing, fact: Fact) -> Case:
        """A question for two things; each is answered by a page of its own."""
        draw = self._draw
        other = draw.choice([one for one in kind.facts if one is not fact])
        about = thing if draw.random() < 0.5 else Thing.draw(kind, draw)
        second = self._page(about, other, without=fact)
        rest = about.say(draw.choice(other.questions))
        joined = (
            f"{question.rstrip('?').rstrip()}{draw.choice((', and ', ' and ', '? And '))}{rest[:1].lower()}{rest[1:]}"
        )
        if kind.language != "en":
            joined = f"{question} {rest}"
        pages = [page, second]
        while len(pages) < max(2, self._sources_wanted()):
            pages.append(self._far() if draw.random() < 0.5 else self._page(Thing.draw(kind, draw), None, without=fact))
        order = draw.sample(range(len(pages)), len(pages))
        return Case(joined, [pages[place] for place in order], [order.index(0), order.index(1)])

    def _page(self, thing: Thing, fact: Fact | None, *, without: Fact) -> Page:
        """A page about a thing that tells `fact`, and does not tell `without` otherwise."""
        draw = self._draw
        others = draw.sample(
            [one for one in thing.kind.facts if one is not fact and one is not without],
            min(draw.choice((0, 1, 1, 2, 2, 3)), self.mixture.most_sentences - 1),
        )
        told = (
            [*others, fact]
            if fact is not None
            else others or [draw.choice([one for one in thing.kind.facts if one is not without])]
        )
        draw.shuffle(told)
        sentences = [thing.say(draw.choice(one.statements)) for one in told]
        answers = told.index(fact) if fact is not None else None
        if thing.kind.language == "en":
            if draw.random() < _COMMANDED:
                place = draw.randint(0, len(sentences))
                sentences.insert(place, thing.say(draw.choice(_COMMANDS)))
                answers = answers + (answers >= place) if answers is not None else None
            sentences = [self._led(sentence) for sentence in sentences]
            place = draw.randrange(len(sentences))
            if place + 1 < len(sentences) and draw.random() < _JOINED and _begins_plainly(sentences[place + 1]):
                sentences[place : place + 2] = [self._joined(*sentences[place : place + 2])]
                answers = answers - (answers > place) if answers is not None else None
        return Page(thing.say(draw.choice(thing.kind.titles)), self._host(), sentences, answers)

    def _led(self, sentence: str) -> str:
        """Some sentences begin with words that say nothing of the fact."""
        if self._draw.random() < _LED and _begins_plainly(sentence):
            return f"{self._draw.choice(_LEADS)}, {sentence[0].lower()}{sentence[1:]}"
        return sentence

    def _joined(self, first: str, second: str) -> str:
        """Two sentences as one, as long ones on the web are."""
        return f"{first.rstrip('.!?')}{self._draw.choice(_JOINTS)}{second[0].lower()}{second[1:]}"

    def _distractor(self, kind: Kind, thing: Thing, fact: Fact) -> Page:
        draw, chance = self._draw, self._draw.random()
        if chance < 0.35:
            another = Thing.draw(kind, draw)
            page = self._page(another, fact if kind.subject else None, without=fact)
            page.answers = None
            return page
        if chance < 0.6:
            return self._page(thing, None, without=fact)
        if chance < 0.8:
            other = draw.choice([one for one in (*self._english_kinds, *self._other_kinds) if one is not kind])
            return self._page(Thing.draw(other, draw), None, without=other.facts[0])
        return self._far()

    def _far(self) -> Page:
        number = self._draw.choice(self._english)
        return self._excerpt(number, None)

    def _of_passages(self) -> Case | None:
        draw = self._draw
        numbers = self._others if self._others and draw.random() < 0.2 else self._english
        number = draw.choice(numbers)
        passage = self._passages[number]
        place = draw.randrange(len(passage.sentences))
        asked = self._questions.ask(passage.sentences[place], passage.title, passage.language)
        if asked is None:
            return None
        unanswerable = draw.random() < self.mixture.unanswerable
        pages = [] if unanswerable else [self._excerpt(number, place)]
        wanted, used = self._sources_wanted(), {number}
        for _ in range(wanted * 4):
            if len(pages) >= wanted:
                break
            other = self._other_passage(number, asked.keywords, unanswerable=unanswerable)
            if other is None or other in used:
                continue
            used.add(other)
            page = self._excerpt(other, None)
            if not _touches(page, asked.keywords):
                pages.append(page)
        return self._shuffled(asked.text, pages) if pages else None

    def _other_passage(self, number: int, keywords: Sequence[str], *, unanswerable: bool) -> int | None:
        draw, chance = self._draw, self._draw.random()
        if chance < 0.4:
            other = draw.randrange(max(0, number - NEIGHBOURS), min(len(self._passages), number + NEIGHBOURS + 1))
            return None if unanswerable and chance < 0.1 else other
        if chance < 0.65:
            holders = self._holders.get(draw.choice(list(keywords)), ())
            return draw.choice(holders) if holders else None
        same = self._english if self._passages[number].language == "en" else self._others
        return draw.choice(same)

    def _excerpt(self, number: int, place: int | None) -> Page:
        """One to three sentences of a passage, `place` among them."""
        passage, draw = self._passages[number], self._draw
        length = min(draw.choice((1, 2, 2, 3, 3)), self.mixture.most_sentences)
        start = draw.randrange(len(passage.sentences)) if place is None else max(0, place - draw.randrange(length))
        sentences = list(passage.sentences[start : start + length])
        return Page(passage.title, self._host(), sentences, None if place is None else place - start)

    def _shuffled(self, question: str, pages: list[Page]) -> Case:
        self._draw.shuffle(pages)
        return Case(question, pages, [place for place, page in enumerate(pages) if page.answers is not None])

    def _host(self) -> str:
        draw = self._draw
        if draw.random() < 0.1:
            return ""
        name = draw.choice(("docs", "www", "blog", "news", "wiki", "shop", "en", "guide", invented(draw).lower()))
        return f"{name}.{draw.choice((invented(draw).lower(), 'example'))}.{draw.choice(('com', 'org', 'net', 'io'))}"


def _begins_plainly(sentence: str) -> bool:
    return sentence.partition(" ")[0] in _PLAIN


def _touches(page: Page, keywords: Sequence[str]) -> bool:
    """Whether a sentence holds half of the keywords or more, and so may answer as well."""
    for sentence in page.sentences:
        lower = sentence.lower()
        if sum(keyword in lower for keyword in keywords) * 2 >= len(keywords):
            return True
    return False
