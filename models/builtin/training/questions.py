"""Questions to sentences of real text: by keywords, by a stretch of words, and by rules that make natural ones."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from models.builtin.training import words

STOP_WORDS: Final = frozenset(words.listed("stop_words"))
WORD: Final = re.compile(r"[^\W_][\w\-'’.]*\w|\w", re.UNICODE)
LEAST_KEYWORDS: Final = 2
_REWORDED: Final = (0.0, 0.35, 0.7)

_STRETCHES: Final = (
    "what {}", "What is {}", "when is {}", "When does {}", "How does {}", "how do {}", "Who {}", "who is {}",
    "Where is {}", "where are {}", "Why does {}", "why was {}", "Which {}", "Is {}", "does {}", "Can {}",
    "How much {}", "What are {}", "How long {}", "{}",
)  # fmt: skip
_KEYWORDS: Final = (
    "{}", "{}", "{}", "{}?", "what is {}?", "What is {}?", "how does {} work?", "why {}?", "when is {} used",
    "What does {} mean?", "tell me about {}", "explain {}", "Is {} possible?", "who {}?", "which {}?", "how to {}",
)  # fmt: skip
_OTHER_LANGUAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "de": ("Was ist {}?", "Wie {}?", "Wann {}?", "Warum {}?", "Wo {}?", "{}"),
    "fr": ("Qu'est-ce que {} ?", "Comment {} ?", "Pourquoi {} ?", "Où {} ?", "Quand {} ?", "{}"),
    "es": ("¿Qué es {}?", "¿Cómo {}?", "¿Por qué {}?", "¿Dónde {}?", "¿Cuándo {}?", "{}"),
    "ko": ("{}은 무엇인가요?", "{} 어떻게 하나요?", "{} 방법", "왜 {}?", "{}"),
    "ja": ("{}とは何ですか?", "{}はどうすればよいですか?", "{}", "なぜ{}?"),
    "it": ("Che cos'è {}?", "Come {}?", "Perché {}?", "{}"),
    "pt": ("O que é {}?", "Como {}?", "Por que {}?", "{}"),
    "nl": ("Wat is {}?", "Hoe {}?", "Waarom {}?", "{}"),
    "ru": ("Что такое {}?", "Как {}?", "Почему {}?", "{}"),
    "pl": ("Co to jest {}?", "Jak {}?", "Dlaczego {}?", "{}"),
    "sv": ("Vad är {}?", "Hur {}?", "Varför {}?", "{}"),
    "zh": ("什么是{}?", "如何{}?", "为什么{}?", "{}"),
}
_UNSPACED: Final = ("ja", "zh")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and the words of its sentence that it is about, in lower case."""

    text: str
    keywords: tuple[str, ...]


class QuestionMaker:
    """Makes questions. `frequency` says in how many passages a word occurs."""

    def __init__(self, frequency: Mapping[str, int], synonyms: Mapping[str, tuple[str, ...]], draw: random.Random):
        self._frequency = frequency
        self._synonyms = synonyms
        self._draw = draw

    def use(self, draw: random.Random) -> None:
        """Draw from `draw` from here on."""
        self._draw = draw

    def ask(self, sentence: str, title: str, language: str) -> Asked | None:
        """A question that the sentence answers; None where it has too little to ask for."""
        if language in _UNSPACED:
            return self._piece(sentence, language)
        if language != "en":
            return self._by_keywords(sentence, title, _OTHER_LANGUAGES[language])
        ways: list[Callable[[str, str], Asked | None]] = [self._natural, self._natural, self._stretch, self._words]
        return self._draw.choice(ways)(sentence, title) or self._words(sentence, title)

    def _natural(self, sentence: str, title: str) -> Asked | None:  # noqa: ARG002 - one signature for all ways
        made = next((made for rule in self._shuffled_rules() if (made := rule(sentence, self._draw))), None)
        if made is None:
            return None
        keywords = keywords_of(made)
        if not keywords:
            return None
        text = self.reworded(made)
        if self._draw.random() < 0.3:
            text = text.lower()
        return Asked(text, tuple(keywords[:6]))

    def _shuffled_rules(self) -> list[Callable[[str, random.Random], str | None]]:
        return self._draw.sample(_RULES, len(_RULES))

    def reworded(self, question: str) -> str:
        """Some of its content words in other words: none, a third, or most of them."""
        share = self._draw.choice(_REWORDED)

        def other(word: re.Match[str]) -> str:
            synonyms = self._synonyms.get(word[0])
            return self._draw.choice(synonyms) if synonyms and self._draw.random() < share else word[0]

        return re.sub(r"(?<=\s)[a-z]{4,}\b", other, question)

    def _stretch(self, sentence: str, title: str) -> Asked | None:  # noqa: ARG002
        words = sentence.rstrip(".!?").split()
        if len(words) < 5:
            return None
        length = self._draw.randint(3, min(9, len(words) - 1))
        start = 0 if self._draw.random() < 0.5 else self._draw.randrange(len(words) - length)
        taken = [word for word in words[start : start + length] if self._draw.random() > 0.12]
        if taken and taken[0].lower() in STOP_WORDS:
            taken[0] = taken[0].lower()
        text = " ".join(taken)
        keywords = keywords_of(text)
        if len(keywords) < LEAST_KEYWORDS:
            return None
        text = self.reworded(f" {text}").strip()
        question = self._draw.choice(_STRETCHES).format(text) + self._draw.choice(("?", "?", ""))
        return Asked(question, tuple(keywords[:4]))

    def _words(self, sentence: str, title: str) -> Asked | None:
        return self._by_keywords(sentence, title, _KEYWORDS)

    def _by_keywords(self, sentence: str, title: str, patterns: tuple[str, ...]) -> Asked | None:
        words = list(
            dict.fromkeys(word for word in WORD.findall(sentence) if word.lower() not in STOP_WORDS and len(word) > 2)
        )
        if len(words) < LEAST_KEYWORDS:
            return None
        words.sort(key=lambda word: self._frequency.get(word.lower(), 1) + self._draw.random() * 40)
        chosen = words[: self._draw.choice((1, 2, 2, 3, 3, 4))]
        chosen.sort(key=sentence.index)
        text = " ".join(chosen)
        if self._draw.random() < 0.5:
            text = text.lower()
        if self._draw.random() < 0.2:
            text = f"{title} {text}"
        return Asked(self._draw.choice(patterns).format(text), tuple(word.lower() for word in chosen))

    def _piece(self, sentence: str, language: str) -> Asked | None:
        """Of a script without spaces: some of the sentence's characters."""
        pieces = [piece for piece in re.split(r"[、。，,「」()（）\s]", sentence) if len(piece) > 3]
        if not pieces:
            return None
        piece = self._draw.choice(pieces)
        length = min(len(piece), self._draw.randint(4, 12))
        start = self._draw.randrange(len(piece) - length + 1)
        text = piece[start : start + length]
        return Asked(self._draw.choice(_OTHER_LANGUAGES[language]).format(text), (text,))


def keywords_of(text: str) -> list[str]:
    """Its words that carry meaning, in lower case."""
    return [word.lower() for word in WORD.findall(text) if word.lower() not in STOP_WORDS and len(word) > 2]


def _cut(text: str, words: int = 9) -> str:
    return " ".join(text.split()[:words]).rstrip(",;:.")


def _definition(sentence: str, draw: random.Random) -> str | None:
    found = re.match(
        r"(?:The |An? )?([A-Z]?[\w\-]+(?: [\w\-]+){0,3}?) (is|are|was|were) (?:an?|the|used|one) ", sentence
    )
    if not found or found[1].lower() in STOP_WORDS:
        return None
    name, verb = found[1], found[2]
    patterns = (
        f"What {verb} {name}?",
        f"what does {name} mean?",
        f"What {verb} {name} for?",
        f"Explain {name}",
        f"what {verb} {name}",
    )
    return draw.choice(patterns)


def _purpose(sentence: str, draw: random.Random) -> str | None:
    found = re.match(r"(?:To|If you want to|In order to|When you want to) ([a-z][^,]{8,70}), ", sentence)
    if not found:
        return None
    doing = _cut(found[1]).replace("your ", "my ")
    return draw.choice(
        ("How do I {}?", "How can I {}?", "how to {}", "What do I have to do to {}?", "what is the way to {}?")
    ).format(doing)


def _enabling(sentence: str, draw: random.Random) -> str | None:
    found = re.search(
        r"(?:allows?|lets?|enables?|permits?|(?:can be|is|are) used)(?: you| users| one)? to ([a-z][^,.;]{8,70})",
        sentence,
    )
    if not found:
        return None
    doing = _cut(found[1])
    return draw.choice(
        ("How can I {}?", "What is used to {}?", "what lets me {}?", "Which one can {}?", "how to {}")
    ).format(doing)


def _reason(sentence: str, draw: random.Random) -> str | None:
    found = re.match(
        r"(.{15,120}?),? (?:because|since|so that|in order to|due to|as a result of|to avoid|to prevent) ", sentence
    )
    if not found:
        return None
    clause = _cut(found[1], 10)
    clause = clause[0].lower() + clause[1:]
    return draw.choice(("Why {}?", "why is it that {}?", "What is the reason that {}?", "For what reason {}?")).format(
        clause
    )


def _number(sentence: str, draw: random.Random) -> str | None:
    found = re.search(
        r"\b(?:\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|thousand) ([a-z]{4,})\b", sentence
    )
    if not found:
        return None
    others = [word for word in keywords_of(sentence) if word != found[1] and not word[0].isdigit()]
    if len(others) < LEAST_KEYWORDS:
        return None
    about = " ".join(sorted(draw.sample(others, min(3, len(others))), key=sentence.lower().find))
    return draw.choice(("How many {} {}?", "how many {} does {} have?", "What is the number of {} {}?")).format(
        found[1], about
    )


def _time(sentence: str, draw: random.Random) -> str | None:
    if not re.search(r"\b(1[5-9]\d\d|20[0-2]\d)\b", sentence):
        return None
    others = [word for word in keywords_of(sentence) if not word[0].isdigit()]
    if len(others) < LEAST_KEYWORDS:
        return None
    about = " ".join(sorted(draw.sample(others, min(4, len(others))), key=sentence.lower().find))
    return draw.choice(("When was {}?", "In which year {}?", "when did {}?", "What year {}?", "since when {}?")).format(
        about
    )


def _condition(sentence: str, draw: random.Random) -> str | None:
    found = re.match(r"(?:If|When|Whenever|Once) ([^,]{12,80}), (.{10,})", sentence)
    if not found:
        return None
    return draw.choice(("What happens when {}?", "What happens if {}?", "what if {}?", "when {}, what then?")).format(
        _cut(found[1], 10)
    )


def _possible(sentence: str, draw: random.Random) -> str | None:
    found = re.search(r"\b([Yy]ou|[Oo]ne|[Uu]sers) (can|cannot|must|should|may) ([a-z][^,.;]{8,60})", sentence)
    if not found:
        return None
    doing = _cut(found[3])
    patterns = {
        "can": ("Can I {}?", "How can I {}?", "how do you {}?"),
        "cannot": ("Can I {}?", "is it possible to {}?"),
    }
    return draw.choice(patterns.get(found[2], ("Do I have to {}?", "Should I {}?", "when should you {}?"))).format(
        doing
    )


_RULES: Final = (_definition, _purpose, _enabling, _reason, _number, _time, _condition, _possible)
