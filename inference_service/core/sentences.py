"""Where a text of one line may be cut: behind a sentence, or behind a word of a sentence too long to keep whole."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

LONGEST_SENTENCE_BYTES = 512
"""A longer sentence may be cut inside: some 80 English words, far beyond what people write."""
WORD_RUN_BYTES = 128
"""The steps in which a longer one is cut."""

_CLOSING = "\"'\u201d\u2019\u00bb)\\]}\u300d\u300f\uff09\u3011"
_SPACED_END = "[.!?\u2026\u061f\u06d4\u0964\u0965\u0589\u1362\u1367\u104b\u17d4]"
# The look-behind and the possessive quantifiers keep a long run of dots linear.
_SENTENCE_END = re.compile(
    rf"(?<!{_SPACED_END})(?P<spaced>{_SPACED_END}++)[{_CLOSING}]*+(?=\s|\Z)"
    rf"|[\u3002\uff01\uff1f\uff61]++[{_CLOSING}]*+"
)
_ABBREVIATION = re.compile(
    r"mr|mrs|ms|dr|prof|rev|gen|col|sgt|capt|st|mt|ft|vs|e\.g|i\.e|cf|approx|al|inc|ltd|jr|sr|dept|est|z\.b|d\.h|bzw|ca",
    re.IGNORECASE,
)
_ABBREVIATION_BEFORE_A_NUMBER = re.compile("no|nos|nr|fig|figs|vol|p|pp|sec|ch|eq|art", re.IGNORECASE)
_LONGEST_ABBREVIATION = 8
_ENUMERATOR_DIGITS = 3
_JOINER = "\u200d"
_VIRAMA_CLASS = 9


def sentence_ends(text: str) -> Iterator[int]:
    """Yield the offset behind each sentence of `text`, the last one being its length; nothing for an empty text."""
    start = 0
    last = len(text.rstrip())
    for match in _SENTENCE_END.finditer(text, 0, last):
        end = match.end()
        if end == last:
            break
        if match["spaced"] and _is_no_end(text, start, match["spaced"], match.start(), end):
            continue
        yield end
        start = end
    if text:
        yield len(text)


def cut_points(text: str) -> Iterator[int]:
    """Yield the offsets at which `text` may be cut, ascending, the last one being its length.

    Each is a sentence's end. A sentence of more than LONGEST_SENTENCE_BYTES of UTF-8 also has points inside, behind
    words, at most WORD_RUN_BYTES apart; within a word only where it alone is longer than that.
    """
    start = 0
    for end in sentence_ends(text):
        if len(text[start:end].encode()) > LONGEST_SENTENCE_BYTES:
            yield from _word_ends(text, start, end, WORD_RUN_BYTES)
        yield end
        start = end


def first_words_end(text: str, at_most_bytes: int) -> int:
    """Return the offset behind the words of `text` that fit `at_most_bytes` of UTF-8, at least one character."""
    return next(_word_ends(text, 0, len(text), at_most_bytes), len(text))


def _is_no_end(text: str, sentence_start: int, mark: str, stop: int, end: int) -> bool:
    """Tell whether the full stop or the ellipsis `mark` at `stop` ends no sentence."""
    if mark.strip(".\u2026"):
        return False
    following = text[end : end + WORD_RUN_BYTES].lstrip()[:1]
    if following.islower():
        return True
    if mark != ".":
        return False
    before = text[max(sentence_start, stop - _LONGEST_ABBREVIATION) : stop]
    if not before or before[-1].isspace():
        return False
    word = before.split()[-1].lstrip("(['\"\u201c\u2018")
    if word.isdigit():
        return len(word) <= _ENUMERATOR_DIGITS and text[sentence_start:stop].strip() == word
    if len(word) == 1 and word.isupper():
        return True
    if _ABBREVIATION_BEFORE_A_NUMBER.fullmatch(word):
        return following.isdigit()
    return _ABBREVIATION.fullmatch(word) is not None


def _word_ends(text: str, start: int, end: int, run_bytes: int) -> Iterator[int]:
    """Yield offsets strictly between `start` and `end`, each behind a word, at most `run_bytes` apart."""
    while True:
        window = text[start : min(end, start + run_bytes)].encode()[:run_bytes].decode(errors="ignore")
        # One character may be wider than the run.
        limit = start + max(1, len(window))
        if limit >= end:
            return
        start = _word_end(text, start, limit)
        yield start


def _word_end(text: str, start: int, limit: int) -> int:
    """Return the last word's end in (start, limit]; `limit` or a little before where no word ends there."""
    if text[limit].isspace():
        return limit
    border = limit
    while border > start and not text[border - 1].isspace():
        border -= 1
    words = len(text[start:border].rstrip())
    if words:
        return start + words
    cut = limit
    while cut > start and _joins(text, cut):
        cut -= 1
    return cut if cut > start else limit


def _joins(text: str, offset: int) -> bool:
    """Tell whether the characters around `offset` are seen as one."""
    character = text[offset]
    return (
        unicodedata.category(character) in {"Mn", "Mc", "Me"}
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or _JOINER in (character, text[offset - 1])
        or unicodedata.combining(text[offset - 1]) == _VIRAMA_CLASS
    )
