"""Who decides whether sources support a statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from groundwire_eval.words import words

LEAST_CONTAINED: Final = 0.9
"""Of a statement's words: a quotation may drop a word, and a paraphrase is out of this judge's reach."""


class Judge(Protocol):
    """Decides by itself, always in the same way."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    def supports(self, sources: Sequence[str], statement: str) -> bool:
        """Whether the sources, taken together, say what the statement says."""
        ...


class ContainmentJudge:
    """Holds a statement for supported where nearly all of its words occur in the sources, as often as in it.

    It runs anywhere and takes no model. It judges quotations well; a paraphrase that is right it holds for unsupported,
    and a statement that uses the sources' words to say something else it holds for supported.
    """

    name = f"lexical containment ({LEAST_CONTAINED:.0%} of the words)"

    def supports(self, sources: Sequence[str], statement: str) -> bool:
        """Whether the words are there. A statement without words is not supported."""
        wanted = Counter(words(statement))
        there = Counter(word for source in sources for word in words(source))
        total = wanted.total()
        return total > 0 and (wanted & there).total() >= LEAST_CONTAINED * total
