"""What is measured of answers.

Shares are between 0 and 1. A measure that nothing could be measured of is absent.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from groundwire_eval.answers import Answer, Citation, Outcome
from groundwire_eval.items import Evidence, Item, Kind
from groundwire_eval.judge import Judge
from groundwire_eval.words import holds

DESCRIPTIONS: Final = {
    "right_sentence": "single-source items whose answering sentence is quoted and cited with its source's number",
    "both_sentences": "two-source items of which that holds for both sentences",
    "answer_containment": "facts asked for that occur in the answer (str_em)",
    "exact_quotes": "cited claims that are exact quotes of the cited source",
    "refused_unanswerable": "unanswerable items that were refused",
    "wrongly_refused": "answerable items that were refused",
    "citation_recall": "sentences that their cited sources support, by the judge (ALCE)",
    "citation_precision": "citations that support their sentence and are needed for it, by the judge (ALCE)",
    "cited_sentences": "sentences of answers that a resolved citation claims",
    "resolved_citations": "citations of a source that the model saw",
    "offsets_right": "answers whose markers are all reported, each where it stands, behind its claim",
    "completion_tokens": "tokens of an answer, median",
    "first_token_seconds": "from the question to the first token, median",
    "total_seconds": "from the question to the end, median",
}
"""The measures by their names, in the order of reports."""

_MARKER = re.compile(r"\[\s*\d{1,3}(?:\s*,\s*\d{1,3})*\s*\]")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
"""What stands in code is no marker."""
_CLOSING = ".!?…。！？ \"'”’»)"


@dataclass(frozen=True, slots=True)
class Result:
    """An item and its answer."""

    item: Item
    answer: Answer


def measure(results: Iterable[Result], judge: Judge) -> dict[str, float]:
    """The measures of these answers, by name."""
    samples: dict[str, list[float]] = defaultdict(list)
    for result in results:
        if result.answer.outcome is Outcome.FAILED:
            continue
        for name, values in (
            *_of_references(result),
            *_of_citations(result.answer, judge),
            *_of_effort(result.answer),
        ):
            samples[name] += values
    averages: dict[str, Callable[[Sequence[float]], float]] = dict.fromkeys(
        ("completion_tokens", "first_token_seconds", "total_seconds"), median
    )
    return {name: averages.get(name, _mean)(samples[name]) for name in DESCRIPTIONS if samples[name]}


def confusion(results: Iterable[Result]) -> dict[str, int]:
    """How many items of each kind came to each outcome: `single, answered` and so on, only what occurred."""
    counts: dict[str, int] = defaultdict(int)
    for result in results:
        kind = result.item.kind or "open"
        outcome: str = result.answer.outcome
        if result.item.kind is Kind.SINGLE and result.answer.outcome is Outcome.ANSWERED:
            outcome = "answered right" if _says_any(result) else "answered wrong"
        counts[f"{kind}, {outcome}"] += 1
    return dict(sorted(counts.items()))


def offsets_are_right(answer: Answer) -> bool:
    """Whether the answer's citations are exactly its markers, each where it stands and behind its claim."""
    reported: dict[tuple[int, int], set[int]] = defaultdict(set)
    for citation in answer.citations:
        marker, claim = answer.bytes_at(citation.marker), answer.bytes_at(citation.claim)
        if marker is None or claim is None or citation.claim[1] > citation.marker[0]:
            return False
        if not _MARKER.fullmatch(marker) or citation.source not in _numbers(marker):
            return False
        if citation.resolved != (citation.source in answer.in_context):
            return False
        reported[citation.marker].add(citation.source)
    return reported == _markers(answer.text)


def quotes(answer: Answer, evidence: Evidence) -> bool:
    """Whether the answer quotes the sentence and cites its source for it."""
    return any(
        citation.resolved and citation.source == evidence.source and _claims(answer, citation, evidence.sentence)
        for citation in answer.citations
    )


def _claims(answer: Answer, citation: Citation, sentence: str) -> bool:
    # A sentence may end inside by the gateway's rules, and the claim is then its last part.
    before = answer.text.encode()[: citation.claim[1]].decode(errors="replace")
    return holds(answer.bytes_at(citation.claim) or "", sentence) or (
        holds(_MARKER.sub(" ", before), sentence) and _ends_with(before, sentence)
    )


def _ends_with(text: str, sentence: str) -> bool:
    return " ".join(text.split()).rstrip(_CLOSING).endswith(" ".join(sentence.split()).rstrip(_CLOSING))


def _says_any(result: Result) -> bool:
    return any(quotes(result.answer, evidence) for evidence in result.item.evidence)


Measured = Iterable[tuple[str, list[float]]]


def _of_references(result: Result) -> Measured:
    item, answer = result.item, result.answer
    if item.kind is None:
        return
    refused = float(answer.outcome is Outcome.NOT_IN_SOURCES)
    if item.kind is Kind.UNANSWERABLE:
        yield "refused_unanswerable", [refused]
        return
    yield "wrongly_refused", [refused]
    yield "answer_containment", [float(any(holds(answer.text, one) for one in fact)) for fact in item.answers]
    if item.kind is Kind.SINGLE:
        yield "right_sentence", [float(_says_any(result))]
    else:
        yield "both_sentences", [float(all(quotes(answer, evidence) for evidence in item.evidence))]


def _of_citations(answer: Answer, judge: Judge) -> Measured:
    yield "offsets_right", [float(offsets_are_right(answer))]
    yield "resolved_citations", [float(citation.resolved) for citation in answer.citations]
    claims = _by_claim(answer)
    cited = [claim for claim, citations in claims.items() if any(one.resolved for one in citations) and _spans(claim)]
    uncited = answer.uncited_sentences
    yield "cited_sentences", [1.0] * len(cited) + [0.0] * uncited
    recall, precision, exact = [0.0] * uncited, [], []
    for claim, citations in claims.items():
        statement = answer.bytes_at(claim) or ""
        sources = {one.source: answer.source_texts[one.source - 1] for one in citations if one.resolved}
        supported = judge.supports(list(sources.values()), statement)
        if _spans(claim):
            recall.append(float(supported))
        for citation in citations:
            needed = citation.resolved and supported and _is_needed(citation.source, sources, statement, judge)
            precision.append(float(needed))
        if sources and _spans(claim):
            exact.append(float(any(_is_quote(statement, text) for text in sources.values())))
    yield "citation_recall", recall
    yield "citation_precision", precision
    yield "exact_quotes", exact


def _spans(claim: tuple[int, int]) -> bool:
    """Whether there is a claim: no text may stand before the answer's first marker."""
    return claim[0] < claim[1]


def _is_needed(source: int, sources: dict[int, str], statement: str, judge: Judge) -> bool:
    """It supports the statement by itself, or the others do not without it."""
    others = [text for number, text in sources.items() if number != source]
    return judge.supports([sources[source]], statement) or not judge.supports(others, statement)


def _is_quote(statement: str, text: str) -> bool:
    return statement.strip().rstrip(".") in text


def _of_effort(answer: Answer) -> Measured:
    yield "completion_tokens", [float(answer.completion_tokens)]
    yield "first_token_seconds", [answer.first_token_seconds]
    yield "total_seconds", [answer.total_seconds]


def _by_claim(answer: Answer) -> dict[tuple[int, int], list[Citation]]:
    claims: dict[tuple[int, int], list[Citation]] = defaultdict(list)
    for citation in answer.citations:
        claims[citation.claim].append(citation)
    return claims


def _markers(text: str) -> dict[tuple[int, int], set[int]]:
    found = {}
    code = [match.span() for match in _CODE.finditer(text)]
    for match in _MARKER.finditer(text):
        if "\n" in match[0] or any(start <= match.start() < end for start, end in code):
            continue
        start = len(text[: match.start()].encode())
        found[start, start + len(match[0].encode())] = _numbers(match[0])
    return found


def _numbers(marker: str) -> set[int]:
    return {int(digits) for digits in re.findall(r"\d+", marker)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
