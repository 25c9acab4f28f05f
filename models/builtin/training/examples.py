"""Training examples: cases in token ids, the answer that quotes them, and where each step should look."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inference_service.core.rendering import GROUNDING_INSTRUCTIONS, Sources, sources_heading
from inference_service.core.types import Document, Role
from models.builtin.training.cases import Case, CaseMaker, Mixture
from models.builtin.training.questions import STOP_WORDS
from models.builtin.training.vocabulary import Vocabulary

NO_ANSWER: Final = "The sources do not answer this question."
LOOKS_AGAIN: Final = 3
"""Tokens of a quotation that look at the chosen sentence again."""


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


class Encoder:
    """Turns cases into token ids as the inference service would, and finds the places that steps should look at."""

    def __init__(
        self, vocabulary: Vocabulary, draw: random.Random, neighbours: Mapping[int, Sequence[int]] | None = None
    ) -> None:
        """`neighbours` are tokens near in meaning to a token."""
        self._vocabulary = vocabulary
        self._draw = draw
        self._neighbours = neighbours or {}
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

    def use(self, draw: random.Random) -> None:
        """Draw from `draw` from here on."""
        self._draw = draw

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
        if self._draw.random() < mixture.relabelled:
            self._relabel(example)
        if self._draw.random() < mixture.neighbours:
            self._approach(example, spans[0][0])
        return example

    def _spans(
        self, case: Case, sources: Sources, content: str, ends: list[int], shift: int, example: Example
    ) -> list[tuple[int, list[tuple[int, int]]]] | None:
        """For each page the position of its number and of its sentences' first and last tokens.

        None where the rendering changed the text's length, or where tokens do not part at the ends of sentences.
        """
        told = [" ".join(page.sentences) for page in case.pages]
        if [len(text.encode()) for text in sources.texts] != [len(text.encode()) for text in told]:
            return None
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

    def _approach(self, example: Example, sources: int) -> None:
        """Some words become neighbours in meaning, of the question (before `sources`) or of all that is behind it.

        Templates say the same of each thing in the same words. What matters are not these words but their meaning.
        """
        draw = self._draw
        share = draw.choice((0.1, 0.25))
        span = slice(0, sources) if draw.random() < 0.5 else slice(sources, len(example.ids))
        new = {
            kind: draw.choice(self._neighbours[kind])
            for kind in dict.fromkeys(example.ids[span])
            if kind in self._neighbours and kind not in self._kept and draw.random() < share
        }
        example.ids[span] = [new.get(token_id, token_id) for token_id in example.ids[span]]


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


def examples(maker: CaseMaker, encoder: Encoder, longest: Callable[[], int]) -> Iterator[Example]:
    """Examples without end, of at most as many tokens as `longest` says before each."""
    while True:
        most = longest()
        example = encoder.encode(maker.case(), maker.mixture)
        if example is not None and len(example.ids) <= most:
            yield example
