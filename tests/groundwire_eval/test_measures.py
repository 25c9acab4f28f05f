"""What is measured of answers."""

from __future__ import annotations

import re

import pytest

from groundwire_eval.answers import Answer, Citation, Outcome
from groundwire_eval.items import Evidence, Item, Kind, PinnedSource
from groundwire_eval.judge import ContainmentJudge
from groundwire_eval.measures import DESCRIPTIONS, Result, confusion, measure, offsets_are_right

HIGH, OLD = "The tower is 81 metres high.", "It was built in 1889."
TEXTS = (f"It stands by the river. {HIGH}", f"{OLD} It was painted red.")

HIGH_ITEM = Item(
    "tower-01",
    "How high is it?",
    tuple(PinnedSource(f"Source {number}", "", text) for number, text in enumerate(TEXTS, start=1)),
    Kind.SINGLE,
    (Evidence(1, HIGH),),
    (("81 metres", "81 m"),),
)
BOTH_ITEM = Item(
    "tower-02",
    "How high and how old is it?",
    HIGH_ITEM.sources,
    Kind.DOUBLE,
    (Evidence(1, HIGH), Evidence(2, OLD)),
    (("81 metres",), ("1889",)),
)
NO_ITEM = Item("tower-03", "What did it cost?", HIGH_ITEM.sources, Kind.UNANSWERABLE)
OPEN_ITEM = Item("tower-04", "What is it?", HIGH_ITEM.sources)
REFUSAL = Answer(Outcome.NOT_IN_SOURCES, "The sources do not answer this question.", source_texts=TEXTS)


def answer(text: str, *, context: tuple[int, ...] = (1, 2), uncited: int = 0, outcome: Outcome | None = None) -> Answer:
    """An answer whose markers claim the sentence before them, all offsets right."""
    citations: list[Citation] = []
    begin = 0
    for match in re.finditer(r"\[(\d+)\]", text):
        claim = text[begin : match.start()].rstrip()
        start = begin + len(claim) - len(claim.lstrip())
        # Another marker behind the first claims the same.
        span = bytes_of(text, start, begin + len(claim)) if claim or not citations else citations[-1].claim
        number = int(match[1])
        citations.append(Citation(number, number in context, bytes_of(text, *match.span()), span))
        begin = match.end()
    resolved = any(citation.resolved for citation in citations)
    return Answer(
        outcome or (Outcome.ANSWERED if resolved else Outcome.UNCITED),
        text,
        tuple(citations),
        uncited,
        TEXTS,
        frozenset(context),
        completion_tokens=len(text.split()),
        first_token_seconds=0.5,
        total_seconds=2.0,
    )


def bytes_of(text: str, start: int, end: int) -> tuple[int, int]:
    return len(text[:start].encode()), len(text[:end].encode())


def measured(*results: tuple[Item, Answer]) -> dict[str, float]:
    return measure([Result(*result) for result in results], ContainmentJudge())


def test_a_right_answer_is_right_in_every_way():
    assert measured((HIGH_ITEM, answer(f"{HIGH} [1]"))) == {
        "right_sentence": 1,
        "answer_containment": 1,
        "exact_quotes": 1,
        "wrongly_refused": 0,
        "citation_recall": 1,
        "citation_precision": 1,
        "cited_sentences": 1,
        "resolved_citations": 1,
        "offsets_right": 1,
        "completion_tokens": 7,
        "first_token_seconds": 0.5,
        "total_seconds": 2.0,
    }


def test_every_measure_is_described():
    results = [(HIGH_ITEM, answer(f"{HIGH} [1]")), (BOTH_ITEM, answer(f"{HIGH} [1]")), (NO_ITEM, REFUSAL)]
    assert set(measured(*results)) == set(DESCRIPTIONS)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (f"{HIGH} [1]", 1),
        ("The tower is 81 metres high [1].", 1),
        (f"It stands by the river. [1] {HIGH} [1]", 1),
        ("the  TOWER is 81 metres high [1]", 1),
        (f"{HIGH} [2]", 0),
        (f"{HIGH}", 0),
        (f"{HIGH} [7]", 0),
        ("The tower is high. [1]", 0),
        (f"{OLD} [1]", 0),
    ],
)
def test_the_right_sentence_is_quoted_and_its_source_cited(text, right):
    assert measured((HIGH_ITEM, answer(text)))["right_sentence"] == right


def test_a_sentence_that_the_gateway_parted_counts_by_its_end():
    sentence = "Made by Foo Inc. It sells well."
    item = Item("parted", "q?", (PinnedSource("t", "", sentence),), Kind.SINGLE, (Evidence(1, sentence),), (("well",),))
    begin = sentence.index("It sells")
    whole = Answer(
        Outcome.ANSWERED,
        f"{sentence} [1]",
        (Citation(1, True, (len(sentence) + 1, len(sentence) + 4), (begin, len(sentence))),),
        source_texts=(sentence,),
        in_context=frozenset({1}),
    )
    assert measured((item, whole))["right_sentence"] == 1


@pytest.mark.parametrize(
    ("text", "both", "contained"),
    [
        (f"{HIGH} [1] {OLD} [2]", 1, 1),
        (f"{OLD} [2] {HIGH} [1]", 1, 1),
        (f"{HIGH} [1]", 0, 0.5),
        (f"{HIGH} [1] {OLD} [1]", 0, 1),
        ("Nothing. [1]", 0, 0),
    ],
)
def test_both_sentences_and_both_facts(text, both, contained):
    values = measured((BOTH_ITEM, answer(text)))
    assert (values["both_sentences"], values["answer_containment"]) == (both, contained)


def test_refusals_are_right_where_no_source_answers_and_wrong_elsewhere():
    values = measured((NO_ITEM, REFUSAL), (NO_ITEM, answer(f"{HIGH} [1]")), (HIGH_ITEM, REFUSAL), (BOTH_ITEM, REFUSAL))
    assert values["refused_unanswerable"] == 0.5
    assert values["wrongly_refused"] == 1
    assert values["right_sentence"] == values["both_sentences"] == values["answer_containment"] == 0


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        (f"{HIGH} [1]", 1),
        ("The tower is 81 metres high [1].", 1),
        ("The tower is 81 metres [1].", 1),
        ("The Tower is 81 metres high. [1]", 0),
        (f"{HIGH} [2]", 0),
        (f"{HIGH} [1] {OLD} [1]", 0.5),
    ],
)
def test_quotes_are_exact_to_the_letter(text, exact):
    assert measured((OPEN_ITEM, answer(text)))["exact_quotes"] == exact


@pytest.mark.parametrize(
    ("text", "uncited", "recall", "precision"),
    [
        (f"{HIGH} [1]", 0, 1, 1),
        (f"{HIGH} [1][2]", 0, 1, 0.5),
        ("The tower is 81 metres high, built in 1889. [1][2]", 0, 1, 1),
        (f"{HIGH} [2]", 0, 0, 0),
        (f"{HIGH} [1] And more.", 1, 0.5, 1),
        (f"{HIGH} [9]", 0, 0, 0),
    ],
    ids=["one", "one is idle", "both are needed", "the wrong one", "a sentence without", "none that exists"],
)
def test_citation_recall_and_precision(text, uncited, recall, precision):
    values = measured((OPEN_ITEM, answer(text, uncited=uncited)))
    assert (values["citation_recall"], values["citation_precision"]) == (recall, precision)


def test_a_marker_without_a_claim_quotes_and_supports_nothing():
    values = measured((OPEN_ITEM, answer("[1]")))
    assert values["citation_precision"] == 0
    assert values["offsets_right"] == values["resolved_citations"] == 1
    assert not {"exact_quotes", "citation_recall", "cited_sentences"} & set(values)


def test_nothing_is_measured_of_what_is_not_there():
    assert "citation_precision" not in measured((NO_ITEM, REFUSAL))
    assert "right_sentence" not in measured((OPEN_ITEM, answer(f"{HIGH} [1]")))
    assert measured((HIGH_ITEM, Answer(Outcome.FAILED, fault="UNAVAILABLE"))) == {}


def test_effort_is_the_median():
    answers = [answer(" ".join(["word"] * count)) for count in (1, 2, 30)]
    assert measured(*((OPEN_ITEM, one) for one in answers))["completion_tokens"] == 2


@pytest.mark.parametrize("text", [f"{HIGH} [1]", "높이는 81m입니다 [2]. 🙂 [1]", "Nothing cited."])
def test_offsets_that_are_right(text):
    assert offsets_are_right(answer(text))


def test_what_stands_in_code_is_no_marker():
    text = "`a[1]` is code [2]."
    cited = answer(text.replace("[1]", "(1)"))
    assert offsets_are_right(Answer(cited.outcome, text, cited.citations, in_context=cited.in_context))


@pytest.mark.parametrize(
    "citation",
    [
        Citation(1, True, (28, 32), (0, 28)),
        Citation(1, True, (29, 33), (0, 28)),
        Citation(2, True, (29, 32), (0, 28)),
        Citation(1, False, (29, 32), (0, 28)),
        Citation(1, True, (29, 32), (0, 30)),
        Citation(1, True, (29, 32), (0, 999)),
        Citation(1, True, (29, 32), (5, 1)),
        None,
    ],
    ids=["too early", "too long", "number", "resolved", "claim in marker", "outside", "backwards", "not reported"],
)
def test_offsets_that_are_wrong(citation):
    text = f"{HIGH} [1]"
    citations = () if citation is None else (citation,)
    assert not offsets_are_right(Answer(Outcome.ANSWERED, text, citations, in_context=frozenset({1, 2})))


def test_an_offset_inside_a_character_is_wrong():
    made = Answer(Outcome.ANSWERED, "é [1]", (Citation(1, True, (3, 6), (1, 2)),), in_context=frozenset({1}))
    assert not offsets_are_right(made)


def test_what_became_of_each_kind():
    results = [
        Result(HIGH_ITEM, answer(f"{HIGH} [1]")),
        Result(HIGH_ITEM, answer(f"{OLD} [2]")),
        Result(HIGH_ITEM, REFUSAL),
        Result(NO_ITEM, REFUSAL),
        Result(OPEN_ITEM, Answer(Outcome.FAILED)),
    ]
    assert confusion(results) == {
        "open, failed": 1,
        "single, answered right": 1,
        "single, answered wrong": 1,
        "single, not_in_sources": 1,
        "unanswerable, not_in_sources": 1,
    }
