"""From a question to what is searched for.

A question is searched for as it stands, white space collapsed. Two kinds are reworked, always in the same way:

- A long one. A search engine takes some 400 characters and 50 words. The sentences that ask, those that end in a
  question mark, are kept; where none does, the beginning. What is still too long is cut at a word.
- A follow-up that leans on the conversation ("and how much does it cost?"). It has fewer than two content words
  (three in other scripts, whose function words are not known here), or begins like a continuation, or holds a pronoun;
  then the content words of the user's latest turn go in front of it,
  and where that turn leans on an earlier one itself, that one's too. The asking sentences of a long question that lean
  on its other sentences are helped in the same way.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

from gateway.core.sentences import split_sentences
from gateway.core.types import Role, Turn

MAX_QUERY_CHARACTERS: Final = 400
"""The least that any provider takes: Brave's limit on a query, in Unicode code points."""

MAX_QUERY_WORDS: Final = 50
"""Brave's limit on the words of a query."""

MAX_SUBJECT_WORDS: Final = 12
"""Content words put in front of a question that leans on the conversation."""

MAX_SUBJECT_CHARACTERS: Final = 120
"""Their length; in scripts without spaces a whole sentence is one word."""

_SHORT_UNSPACED_CHARACTERS: Final = 10
"""Below this a question in a script without spaces says too little to search for."""

_QUESTION_MARKS: Final = frozenset("?？؟⁇⁈")

_INVISIBLE: Final = frozenset("\u200b\u200e\u200f\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Formatting characters that only get between a word and the search for it: zero-width spaces, direction marks."""

_PRONOUNS: Final = frozenset(
    "it its it's they them their theirs he him his she her hers this that these those there one ones".split()  # noqa: SIM905 - words read better as words
)

_CONTINUATIONS: Final = frozenset("and but or so then also what's why how when where who which else".split())  # noqa: SIM905 - words read better as words
"""A question of which only such a word and function words are left cannot stand alone."""

_OPENINGS: Final = (("and",), ("but",), ("or",), ("so",), ("then",), ("also",), ("what", "about"), ("how", "about"))
"""How a continuation begins."""

_FUNCTION_WORDS: Final = (
    frozenset(
        """a about all am an any are as at be been being both by can could did do does doing done explain for from had
        has have having i i'm i'd if in into is just know let like many me more most much my need no not of on only our
        out over own please really same shall should some such tell than thank thanks the to too under until up us very
        want was we were what will with would you your""".split()  # noqa: SIM905 - words read better as words
    )
    | _PRONOUNS
    | _CONTINUATIONS
)


def derive_query(question: str, history: Sequence[Turn] = ()) -> str:
    """The query for a question: 1 to 400 characters and at most 50 words where the question has a visible character."""
    text = _clean(question)
    asked, rest = (text, "") if _fits(text) else _asking_part(text)
    if not _leans(asked):
        return _cut(asked)
    subject = _content_words(rest) or _subject_of([turn.content for turn in history if turn.role is Role.USER])
    return _cut(" ".join([*_bounded(subject, known=asked), asked]).strip())


def _clean(text: str) -> str:
    visible = (" " if c.isspace() else c for c in text if c.isspace() or not (_is_control(c) or c in _INVISIBLE))
    return " ".join("".join(visible).split()) or " ".join(text.split())


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc"


def _fits(text: str) -> bool:
    return len(text) <= MAX_QUERY_CHARACTERS and len(text.split()) <= MAX_QUERY_WORDS


def _cut(text: str) -> str:
    """The longest beginning that fits, at a word; inside one where the first word alone is too long."""
    if _fits(text):
        return text
    kept: list[str] = []
    length = -1
    for word in text.split()[:MAX_QUERY_WORDS]:
        if length + 1 + len(word) > MAX_QUERY_CHARACTERS:
            break
        kept.append(word)
        length += 1 + len(word)
    return " ".join(kept) or text[:MAX_QUERY_CHARACTERS]


def _asking_part(text: str) -> tuple[str, str]:
    """The sentences that ask, and the others; the whole text asks where no sentence does."""
    asking: list[str] = []
    others: list[str] = []
    for sentence in split_sentences(text):
        (asking if _QUESTION_MARKS & set(sentence[-3:]) else others).append(sentence)
    return (" ".join(asking), " ".join(others)) if asking else (text, "")


def _leans(text: str) -> bool:
    """Whether a question needs the conversation to be understood."""
    words = _words(text)
    if any(tuple(words[: len(opening)]) == opening for opening in _OPENINGS) or _PRONOUNS & set(words):
        return True
    if len(words) == 1 and not words[0].isascii():
        return len(words[0]) < _SHORT_UNSPACED_CHARACTERS
    content = _content_words(text)
    return len(content) < (2 if any(word.isascii() for word in content) else 3)


def _subject_of(user_turns: Sequence[str]) -> list[str]:
    """Content words of the latest turn, after those of the turns that it leans on."""
    subject: list[str] = []
    for turn in reversed(user_turns):
        cleaned = _clean(turn)
        subject = [*_content_words(cleaned), *subject]
        if not _leans(cleaned) or len(subject) >= MAX_SUBJECT_WORDS:
            break
    return subject


def _bounded(subject: Sequence[str], *, known: str) -> list[str]:
    """Each word once, without those of the question itself, as many as are allowed."""
    seen = set(_words(known))
    kept: list[str] = []
    room = MAX_SUBJECT_CHARACTERS
    for word in subject:
        if word.casefold() in seen:
            continue
        if len(kept) == MAX_SUBJECT_WORDS or room < len(word):
            break
        seen.add(word.casefold())
        kept.append(word)
        room -= len(word) + 1
    return kept


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _bare_words(text)]


def _content_words(text: str) -> list[str]:
    return [word for word in _bare_words(text) if word.casefold() not in _FUNCTION_WORDS]


def _bare_words(text: str) -> list[str]:
    """The words without the punctuation around them. Marks inside stay: C++, node.js, don't."""
    bare = (
        word.replace("’", "'").strip(".,;:!?¿¡\"'“”‘’«»()[]{}…。、！？，；：「」『』（）؟") for word in text.split()
    )
    return [word for word in bare if word]
