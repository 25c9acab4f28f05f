"""From the index's candidates to ranked results: one result a section, with snippets."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from search_service.core.plain_text import one_line
from search_service.core.snippets import DESCRIPTION_CHARACTERS, EXTRA_CHARACTERS, best_snippet
from search_service.core.types import Location, SearchResult, Vertical

MAX_EXTRA_SNIPPETS: Final = 2
"""Further passages of the same section."""
_COVERAGE_SHARE: Final = 0.7
"""How much of a passage's score hangs on holding all of the query's terms, and not one of them often."""
_NEIGHBOURS_BONUS: Final = 0.3
"""How much the score grows where all terms that are neighbours in the query are neighbours in the passage."""
_WORTH_SHOWING: Final = 0.15
"""A section that scores less than this share of the best is left out: it shares a common word, no more."""
_SAME_DOCUMENT: Final = 0.93
"""Each further section of one document counts this much of the one before it, so that one long document does not
crowd out the others."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that holds at least one term of the query."""

    document_id: int
    path: str
    title: str
    heading: str
    text: str
    modified_time: datetime
    terms: str
    """Of its title, heading and text, in order, as the index holds them: with a space before and after each."""
    relevance: float
    """BM25, larger is better."""


@dataclass(frozen=True, slots=True)
class Section:
    """The passages found under one heading of one document, the best first."""

    passages: tuple[Passage, ...]
    score: float


def term_weights(documents_with: Mapping[str, int], total: int) -> dict[str, float]:
    """What each term is worth by how rare it is: BM25's idf, always positive. Terms found nowhere are left out."""
    return {
        term: math.log(1 + (total - count + 0.5) / (count + 0.5))
        for term, count in documents_with.items()
        if 0 < count <= total
    }


def rank_sections(passages: Collection[Passage], weights: Mapping[str, float]) -> list[Section]:
    """Passages gathered by document and heading, the best section first; the weakest are left out.

    The passages of one section stay together since they answer as one; sections of one document stay apart, since
    each has its own heading to cite. Ties are broken by path and heading, so that pages never overlap.
    """
    groups: dict[tuple[int, str], list[tuple[float, Passage]]] = {}
    for passage in passages:
        score = passage.relevance * _agreement(passage.terms, weights)
        groups.setdefault((passage.document_id, passage.heading), []).append((score, passage))
    sections = []
    for group in groups.values():
        group.sort(key=lambda scored: -scored[0])
        sections.append(Section(tuple(passage for _, passage in group), group[0][0]))
    sections.sort(key=_order)
    return _weighed(sections)


def _agreement(terms: str, weights: Mapping[str, float]) -> float:
    """What BM25 does not see: how much of the query is there at all, and how much of it side by side."""
    held = set(terms.split())
    total = sum(weights.values()) or 1.0
    coverage = sum(weight for term, weight in weights.items() if term in held) / total
    pairs = [(a, b, min(weights[a], weights[b])) for a, b in pairwise(weights)]
    together = sum(weight for a, b, weight in pairs if a in held and b in held and f" {a} {b} " in terms)
    neighbours = together / (sum(weight for _, _, weight in pairs) or 1.0)
    return (1 - _COVERAGE_SHARE + _COVERAGE_SHARE * coverage) * (1 + _NEIGHBOURS_BONUS * neighbours)


def _order(section: Section) -> tuple[float, str, int, str]:
    best = section.passages[0]
    return -section.score, best.path, best.document_id, best.heading


def _weighed(sections: Sequence[Section]) -> list[Section]:
    """Sections after the discount for repeats of one document, without the weakest."""
    seen: dict[int, int] = {}
    weighed = []
    for section in sections:
        document = section.passages[0].document_id
        weighed.append(Section(section.passages, section.score * _SAME_DOCUMENT ** seen.get(document, 0)))
        seen[document] = seen.get(document, 0) + 1
    weighed.sort(key=_order)
    return [section for section in weighed if section.score >= weighed[0].score * _WORTH_SHOWING]


def section_result(section: Section, weights: Mapping[str, float], *, rank: int, extra_snippets: bool) -> SearchResult:
    """A section as a result: the best passage's best sentences, and those of up to two more passages."""
    best, *others = section.passages
    extras = [best_snippet(p.text, weights, max_characters=EXTRA_CHARACTERS) for p in others[:MAX_EXTRA_SNIPPETS]]
    return SearchResult(
        rank=rank,
        vertical=Vertical.LOCAL,
        title=one_line(best.title) or one_line(best.path) or "untitled",
        host="local",
        location=Location(path=one_line(best.path), heading=one_line(best.heading)),
        description=best_snippet(best.text, weights, max_characters=DESCRIPTION_CHARACTERS),
        extra_snippets=tuple(extras) if extra_snippets else (),
        published_time=best.modified_time,
    )
