"""The sentences of a passage that answer a query best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from search_service.core.plain_text import one_line
from search_service.core.sentences import split_sentences
from search_service.core.terms import index_terms

DESCRIPTION_CHARACTERS: Final = 600
"""At most this long is a result's main passage."""
EXTRA_CHARACTERS: Final = 400
"""At most this long is a further passage."""
_WINDOW_SENTENCES: Final = 3
_REPEAT_WORTH: Final = 0.1
"""What a term found once more counts, beside 1 for the first time: more context about the same thing."""
_FILL_SHARE: Final = 0.6
"""Short sentences (lines of a list, a table or code) are taken in until a snippet is this full."""


def best_snippet(text: str, weights: Mapping[str, float], *, max_characters: int = DESCRIPTION_CHARACTERS) -> str:
    """The up to three neighbouring sentences that hold most of the query, or more where they are short.

    Sentences stay whole and in order; only one that alone is longer than max_characters is cut, at a word, around
    the first term it holds. `weights` says what each query term is worth. The result is one line.
    """
    sentences = [line for sentence in split_sentences(text) if (line := one_line(sentence))]
    if not sentences:
        return ""
    found = [_terms_in(sentence, weights) for sentence in sentences]
    first, last = _best_window(sentences, found, weights, max_characters)
    first, last = _filled(sentences, first, last, max_characters)
    snippet = " ".join(sentences[first : last + 1])
    return snippet if len(snippet) <= max_characters else _cut(snippet, weights, max_characters)


def _terms_in(sentence: str, weights: Mapping[str, float]) -> list[str]:
    return [term for term in index_terms(sentence) if term in weights]


def _best_window(
    sentences: list[str], found: list[list[str]], weights: Mapping[str, float], max_characters: int
) -> tuple[int, int]:
    """First and last sentence of the window worth most for its length; of equals the first."""
    best, best_worth = (0, 0), -1.0
    for first in range(len(sentences)):
        length = -1
        terms: list[str] = []
        for last in range(first, min(first + _WINDOW_SENTENCES, len(sentences))):
            length += 1 + len(sentences[last])
            if length > max_characters and last > first:
                break
            terms += found[last]
            distinct = set(terms)
            worth = sum(weights[t] for t in distinct)
            worth += _REPEAT_WORTH * (sum(weights[t] for t in terms) - worth)
            worth /= 1 + length / max_characters  # a long list holds many terms by chance
            if worth > best_worth * 1.0001:  # of equals the first seen: rounding decides nothing
                best, best_worth = (first, last), worth
    return best


def _filled(sentences: list[str], first: int, last: int, max_characters: int) -> tuple[int, int]:
    """The window with its neighbours, the next before the previous, to two sentences and a fair length at least."""
    length = len(" ".join(sentences[first : last + 1]))
    while length < max_characters * _FILL_SHARE:
        if last + 1 < len(sentences) and length + 1 + len(sentences[last + 1]) <= max_characters:
            last += 1
            length += 1 + len(sentences[last])
        elif first > 0 and length + 1 + len(sentences[first - 1]) <= max_characters:
            first -= 1
            length += 1 + len(sentences[first])
        else:
            break
    return first, last


def _cut(sentence: str, weights: Mapping[str, float], max_characters: int) -> str:
    """The part of a long sentence around the first word that holds a term, with … where it was cut."""
    words = sentence.split()
    position = 0
    for word in words:
        if _terms_in(word, weights):
            break
        position += len(word) + 1
    else:
        position = 0
    if len(words) == 1:
        position = _first_term_in_run(sentence, weights)
    start = max(0, min(position - max_characters // 4, len(sentence) - max_characters))
    end = start + max_characters - 2
    if start > 0 and (space := sentence.find(" ", start, position)) >= 0:
        start = space + 1
    if end < len(sentence) and (space := sentence.rfind(" ", position + 1, end)) > 0:
        end = space
    return ("…" if start else "") + sentence[start:end].strip() + ("…" if end < len(sentence) else "")


def _first_term_in_run(run: str, weights: Mapping[str, float]) -> int:
    return min((at for term in weights if (at := run.find(term)) >= 0), default=0)
