"""Ranking passages and making results of them."""

from datetime import UTC, datetime

from search_service.core.passages import Passage, Section, rank_sections, section_result, term_weights
from search_service.core.terms import index_terms

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def passage(text: str, *, document: int = 1, heading: str = "", relevance: float = 1.0) -> Passage:
    terms = f" {' '.join(index_terms(text))} "
    return Passage(document, f"{document}.md", f"Document {document}", heading, text, NOW, terms, relevance)


def ranked(passages: list[Passage], *terms: str) -> list[Section]:
    return rank_sections(passages, dict.fromkeys(terms, 1.0))


def test_rare_terms_weigh_more_and_absent_ones_nothing() -> None:
    weights = term_weights({"rare": 1, "common": 90, "absent": 0}, 100)
    assert weights["rare"] > weights["common"] > 0
    assert "absent" not in weights


def test_holding_all_terms_beats_holding_one_often() -> None:
    both, often = (
        passage("engine batch", document=1, relevance=1.0),
        passage("engine engine", document=2, relevance=1.2),
    )
    assert [s.passages[0] for s in ranked([often, both], "engin", "batch")] == [both, often]


def test_terms_side_by_side_beat_terms_apart() -> None:
    apart, together = passage("cache of many a kv", document=1), passage("a kv cache of many", document=2)
    assert ranked([apart, together], "kv", "cach")[0].passages[0] is together


def test_passages_of_one_section_are_one_result_and_sections_stay_apart() -> None:
    first, second = passage("engine one", heading="A", relevance=1.0), passage("engine two", heading="A", relevance=2.0)
    other = passage("engine three", heading="B", relevance=0.9)
    sections = ranked([first, other, second], "engin")
    assert [section.passages for section in sections] == [(second, first), (other,)]


def test_many_sections_of_one_document_let_another_document_through() -> None:
    many = [passage("engine", document=1, heading=str(n), relevance=1.0) for n in range(6)]
    single = passage("engine", document=2, relevance=0.9)
    order = [section.passages[0].document_id for section in ranked([*many, single], "engin")]
    assert order.index(2) == 2


def test_what_only_shares_a_common_word_is_left_out() -> None:
    good, weak = passage("rare engine", document=1, relevance=8.0), passage("engine", document=2, relevance=0.5)
    assert len(ranked([good, weak], "rare", "engin")) == 1


def test_equals_keep_one_order() -> None:
    passages = [passage("engine", document=n) for n in range(5)]
    forward = [s.passages[0].document_id for s in ranked(passages, "engin")]
    backward = [s.passages[0].document_id for s in ranked(passages[::-1], "engin")]
    assert forward == backward


def test_a_result_shows_the_best_passage_and_two_more() -> None:
    passages = [passage(f"The engine has part {n}.", heading="Parts", relevance=9.0 - n) for n in range(5)]
    (section,) = ranked(passages, "engin")
    result = section_result(section, {"engin": 1.0}, rank=3, extra_snippets=True)
    assert (result.rank, result.title, result.host, result.url) == (3, "Document 1", "local", None)
    assert result.location is not None
    assert (result.location.path, result.location.heading) == ("1.md", "Parts")
    assert result.description == "The engine has part 0."
    assert result.extra_snippets == ("The engine has part 1.", "The engine has part 2.")
    assert result.published_time == NOW
    assert section_result(section, {}, rank=1, extra_snippets=False).extra_snippets == ()
