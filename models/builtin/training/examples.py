"""Training examples: a question with numbered sources, the answer that quotes them, and where each step should look."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from inference_service.core.rendering import GROUNDING_INSTRUCTIONS, Sources, sources_heading
from inference_service.core.types import Document, Role
from models.builtin.training.corpus import Passage
from models.builtin.training.facts import Fact, Kind, Thing
from models.builtin.training.questions import STOP_WORDS, WORD, QuestionMaker
from models.builtin.training.slots import invented
from models.builtin.training.vocabulary import Vocabulary

NO_ANSWER: Final = "The sources do not answer this question."
MOST_SOURCES: Final = 8
BRIEF: Final = 4
"""Tokens of a brief answer."""
LOOKS_AGAIN: Final = 3
"""Tokens of a quotation that look at the chosen sentence again."""
NEIGHBOURS: Final = 8
"""Passages before and after one that are taken for near distractors."""


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
class Example:
    """A case in token ids: the prompt and the answer. The lists of pairs are positions and where each should look."""

    ids: list[int]
    prompt: int
    """Tokens of the prompt."""
    starts: list[tuple[int, int]]
    numbers_of_sources: list[tuple[int, int]]
    same_words: list[tuple[int, int]]
    choices: list[tuple[int, int]]
    copies: list[tuple[int, int]]
    numbers: list[tuple[int, int]]
    begins: list[tuple[int, int]]
    weights: list[float]
    """Of the answer's tokens."""


@dataclass(slots=True)
class Mixture:
    """Shares of what is drawn. They change as training goes on."""

    facts: float = 0.5
    unanswerable: float = 0.05
    double: float = 0.15
    relabelled: float = 0.25
    bare: float = 0.0
    """Without the system message, which is the same in all: a third fewer tokens to read."""
    brief: float = 0.0
    """With an answer that ends after a few tokens. What is hard is where to begin, and so more can be read of it."""
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
        return Page(thing.say(draw.choice(thing.kind.titles)), self._host(), sentences, answers)

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


def _touches(page: Page, keywords: Sequence[str]) -> bool:
    """Whether a sentence holds half of the keywords or more, and so may answer as well."""
    for sentence in page.sentences:
        lower = sentence.lower()
        if sum(keyword in lower for keyword in keywords) * 2 >= len(keywords):
            return True
    return False


class Encoder:
    """Turns cases into token ids as the inference service would, and finds the places that steps should look at."""

    def __init__(self, vocabulary: Vocabulary, draw: random.Random) -> None:
        self._vocabulary = vocabulary
        self._draw = draw
        form = vocabulary.chat_format()
        encode = vocabulary.tokenizer.encode
        self._head = [
            *form.bos,
            *form.opening(Role.SYSTEM),
            *encode(GROUNDING_INSTRUCTIONS),
            *form.closing(Role.SYSTEM),
        ]
        self._bos = list(form.bos)
        self._user, self._end = form.opening(Role.USER), form.closing(Role.USER)
        self._answer = form.opening(Role.ASSISTANT)
        self._no_answer = encode(NO_ANSWER)
        self._open, self._close = encode("x. [")[-1], encode("x. [1]")[-1]
        kept = encode(sources_heading("x.?!,;") + "[12345678] (a.b) x.\n\n[1] ( ) :") + self._no_answer
        self._kept = {*kept, *self._head, *self._end, *self._answer, *self._user}

    def encode(self, case: Case, mixture: Mixture) -> Example | None:
        """The case in ids, as often relabelled or bare as the mixture says.

        None where its tokens do not part at the ends of its sentences.
        """
        documents = [Document(title=page.title, text=" ".join(page.sentences), host=page.host) for page in case.pages]
        sources = Sources.of(documents)
        content = sources.user_content(case.question)
        body = self._vocabulary.tokenizer.encode(content)
        ends = self._vocabulary.ends(body)
        head = self._bos if self._draw.random() < mixture.bare else self._head
        shift = len(head) + len(self._user)
        ids = [*head, *self._user, *body, *self._end, *self._answer]
        example = Example(ids, len(ids), [], [], [], [], [], [], [], [])
        spans = self._spans(case, sources, content, ends, shift, example)
        if spans is None:
            return None
        self._mark_same_words(case.question, body, ends, shift, spans, example)
        self._write_answer(case, spans, example)
        # The answer's tokens are in no sentence of a source: they look at the sequence's first token.
        example.starts += [(position, 0) for position in range(example.prompt - 1, len(example.ids), 4)]
        if self._draw.random() < mixture.brief:
            _shorten(example)
        if self._draw.random() < mixture.relabelled:
            self._relabel(example)
        return example

    def _spans(
        self, case: Case, sources: Sources, content: str, ends: list[int], shift: int, example: Example
    ) -> list[tuple[int, list[tuple[int, int]]]] | None:
        """For each page the position of its number and of its sentences' first and last tokens."""
        finder = _Finder(ends, shift)
        at = len(sources_heading(case.question).encode())
        pages = []
        for heading, page, text in zip(sources.headings, case.pages, sources.texts, strict=True):
            digit = finder.containing(at + 1)
            at += len(heading.encode())
            sentences = []
            offset = 0
            for sentence in page.sentences:
                start = at + len(text[:offset].encode())
                end = start + len(sentence.encode())
                first, last = finder.containing(start), finder.containing(end - 1)
                if finder.end(last) != end:
                    return None
                sentences.append((first, last))
                example.starts += [(position, first) for position in range(first, last + 1)]
                example.numbers_of_sources += [(position, digit) for position in range(first, last + 1)]
                offset += len(sentence) + 1
            pages.append((digit, sentences))
            example.numbers_of_sources += [(position, digit) for position in range(digit + 1, sentences[0][0])]
            at += len(text.encode()) + 2
        return pages if at - 2 == len(content.encode()) else None

    def _mark_same_words(
        self,
        question: str,
        body: list[int],
        ends: list[int],
        shift: int,
        spans: list[tuple[int, list[tuple[int, int]]]],
        example: Example,
    ) -> None:
        """Words of sources that stand in the question look there; others look at the sequence's first token."""
        start, stop = len(b"Question:"), len(f"Question: {question}".encode())
        asked: dict[str, int] = {}
        for place, token_id in enumerate(body):
            if start < ends[place] <= stop and (word := self._word(token_id)):
                asked.setdefault(word, place + shift)
        for _, sentences in spans:
            for first, last in sentences:
                for position in range(first, last + 1):
                    word = self._word(example.ids[position])
                    if word in asked:
                        example.same_words.append((position, asked[word]))
                    elif self._draw.random() < 0.1:
                        example.same_words.append((position, 0))

    def _word(self, token_id: int) -> str:
        token = self._vocabulary.tokens[token_id]
        bare = token.removeprefix("\u2581").lower()
        return bare if self._vocabulary.is_text[token_id] and bare.isalnum() and bare not in STOP_WORDS else ""

    def _write_answer(self, case: Case, spans: list[tuple[int, list[tuple[int, int]]]], example: Example) -> None:
        ids, weights = example.ids, example.weights
        if not case.order:
            example.choices.append((len(ids) - 1, 0))
            ids += [*self._no_answer, self._end[0]]
            weights += [4.0] + [1.0] * len(self._no_answer)
            return
        for page in case.order:
            digit, sentences = spans[page]
            place = case.pages[page].answers
            assert place is not None  # noqa: S101 - pages in the order answer
            first, last = sentences[place]
            example.choices += [(len(ids) - 1, last)]
            spaced = self._vocabulary.spaced(ids[first])
            if len(spaced) > 1:
                ids.append(spaced[0])
                weights.append(4.0)
            for position in range(first, last + 1):
                example.copies.append((len(ids) - 1, position))
                if position == first:
                    example.begins.append((len(ids) - 1, first))
                elif position - first < LOOKS_AGAIN or self._draw.random() < 0.05:
                    # What is copied tells the choice again: the first look is the one to learn.
                    example.choices.append((len(ids) - 1, last))
                    example.begins.append((len(ids) - 1, 0))
                    example.numbers.append((len(ids) - 1, 0))
                weights.append(4.0 if position == first else 2.0 if position < first + 3 else 1.0)
                ids.append(spaced[-1] if position == first else ids[position])
            example.numbers.append((len(ids), digit))
            example.choices.append((len(ids), last))
            ids += [self._open, ids[digit], self._close]
            weights += [2.0, 4.0, 1.0]
        ids.append(self._end[0])
        weights.append(2.0)

    def _relabel(self, example: Example) -> None:
        """Some kinds of tokens become others, the same ones all over: copying must not depend on which they are."""
        draw, vocabulary = self._draw, self._vocabulary
        share = draw.choice((0.05, 0.15, 0.4, 0.8))
        kinds = [kind for kind in dict.fromkeys(example.ids) if kind not in self._kept]
        new: dict[int, int] = {}
        for kind in kinds:
            if kind in new or draw.random() >= share:
                continue
            token = vocabulary.tokens[kind]
            other = draw.randrange(259, 32_000)
            # Forms with and without a space before them stay forms of one word.
            other_token = vocabulary.tokens[other]
            spaced = token.startswith("\u2581")
            while other_token.startswith("\u2581") != spaced or other in self._kept:
                other = draw.randrange(259, 32_000)
                other_token = vocabulary.tokens[other]
            new[kind] = other
            twin = vocabulary.spaced(kind)[-1] if not spaced else None
            if twin is not None and twin != kind and twin not in self._kept:
                new[twin] = vocabulary.spaced(other)[-1]
        example.ids[:] = [new.get(token_id, token_id) for token_id in example.ids]


def _shorten(example: Example) -> None:
    """Cut the answer to its first tokens."""
    end = example.prompt + BRIEF
    del example.ids[end:]
    del example.weights[BRIEF:]
    for name in ("starts", "choices", "copies", "numbers", "begins"):
        pairs: list[tuple[int, int]] = getattr(example, name)
        pairs[:] = [pair for pair in pairs if pair[0] < end - 1]


class _Finder:
    """Token positions by bytes of the text."""

    def __init__(self, ends: list[int], shift: int) -> None:
        self._ends = ends
        self._shift = shift
        self._next = 0

    def containing(self, offset: int) -> int:
        """The position of the token that holds the byte at `offset`. Offsets must not descend."""
        while self._ends[self._next] <= offset:
            self._next += 1
        return self._next + self._shift

    def end(self, position: int) -> int:
        """The text's bytes up to the end of the token at a position."""
        return self._ends[position - self._shift]


def examples(maker: CaseMaker, encoder: Encoder, longest: int) -> Iterator[Example]:
    """Examples of at most `longest` tokens, without end."""
    while True:
        example = encoder.encode(maker.case(), maker.mixture)
        if example is not None and len(example.ids) <= longest:
            yield example
