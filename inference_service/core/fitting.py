"""How much of each document is kept where not all of them fit.

Counts are of pieces encoded apart from each other. Tokenizers may merge across a border, so the sum is an estimate:
the caller counts the assembled prompt and asks again with less room where that is too long.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference_service.core.sentences import cut_points, first_words_end

Count = Callable[[str], int]
"""Tokens of a text encoded by itself."""

_FIRST_WORDS_BYTES = (256, 128, 64, 32, 16)
"""How short the first document may become, step by step, where not even its first sentence fits."""


@dataclass(frozen=True, slots=True)
class DocumentPlan:
    """The first `len(ends)` documents are shown, each to its end (an offset of characters)."""

    ends: tuple[int, ...]
    tokens: int
    """Estimated, headings included."""


class CountedDocument:
    """A document's text with the tokens of its pieces, counted once and no further than was asked for."""

    def __init__(self, heading: str, text: str, count: Count) -> None:
        """`heading` is shown with any part of the text."""
        self.text = text
        self.heading_tokens = count(heading)
        self._count = count
        self._cuts = cut_points(text)
        self._ends = [0]
        self._tokens = [0]

    def piece(self, index: int) -> tuple[int, int] | None:
        """Return (end, tokens from the beginning to there) of the piece `index`, from 1; None behind the last."""
        while len(self._ends) <= index:
            end = next(self._cuts, None)
            if end is None:
                return None
            self._tokens.append(self._tokens[-1] + self._count(self.text[self._ends[-1] : end].strip()))
            self._ends.append(end)
        return self._ends[index], self._tokens[index]

    def first_words(self, room: int) -> tuple[int, int]:
        """Return (end, tokens) of as many first words as fit `room`: the fewest there are, if none do."""
        end, tokens = self.piece(1) or (0, 0)
        for size in _FIRST_WORDS_BYTES:
            if tokens <= room:
                break
            end = min(end, first_words_end(self.text, size))
            tokens = self._count(self.text[:end])
        return end, tokens


def plan_documents(documents: Sequence[CountedDocument], room: int) -> DocumentPlan:
    """Share `room` tokens among documents, best first.

    Every document keeps at least its first piece (a sentence, or a run of words of a long one); where these do not
    fit together, the last documents are dropped. The first document stays, if need be with a few words only, even
    where `room` is too small for that. Then the document that has the least text so far gets its next piece, until
    nothing more fits: short documents are whole, and long ones share what is left.

    The work is bounded by the room: no more is counted than fits, and one piece of each document.
    """
    least = [document.heading_tokens + (document.piece(1) or (0, 0))[1] for document in documents]
    kept, used = len(documents), sum(least)
    while kept > 1 and used > room:
        kept -= 1
        used -= least[kept]
    if used > room:
        end, tokens = documents[0].first_words(room - documents[0].heading_tokens)
        return DocumentPlan((end,), documents[0].heading_tokens + tokens)
    return _fill(documents[:kept], room - used, used)


def _fill(documents: Sequence[CountedDocument], room: int, used: int) -> DocumentPlan:
    ends = [(document.piece(1) or (0, 0))[0] for document in documents]
    # (tokens so far, rank, pieces so far)
    least_first = [((document.piece(1) or (0, 0))[1], rank, 1) for rank, document in enumerate(documents)]
    heapq.heapify(least_first)
    while least_first:
        tokens, rank, pieces = heapq.heappop(least_first)
        following = documents[rank].piece(pieces + 1)
        if following is None or following[1] - tokens > room:
            continue
        ends[rank] = following[0]
        room -= following[1] - tokens
        used += following[1] - tokens
        heapq.heappush(least_first, (following[1], rank, pieces + 1))
    return DocumentPlan(tuple(ends), used)
