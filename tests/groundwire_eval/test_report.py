"""The report of a run."""

from __future__ import annotations

from groundwire_eval.answers import Answer, Outcome
from groundwire_eval.items import Item, Kind, PinnedSource
from groundwire_eval.judge import ContainmentJudge
from groundwire_eval.measures import Result
from groundwire_eval.report import make_report, report_lines

SOURCES = (PinnedSource("t", "", "Nothing."),)
REFUSAL = Answer(Outcome.NOT_IN_SOURCES, "The sources do not answer this question.", total_seconds=1.25)


def item(number: int, *, subject: str = "", language: str = "en", held_aside: bool = False) -> Item:
    return Item(
        f"i-{number}", "q?", SOURCES, Kind.UNANSWERABLE, subject=subject, language=language, held_aside=held_aside
    )


def test_sets_are_reported_apart():
    results = [
        Result(item(1), REFUSAL),
        Result(item(2, held_aside=True), Answer(Outcome.UNCITED, "No.", uncited_sentences=1)),
        Result(item(3, language="ko"), REFUSAL),
        Result(item(4, subject="adversarial"), Answer(Outcome.FAILED, fault="too late")),
    ]
    report = make_report("tiny", results, ContainmentJudge())
    assert report.sizes == {"all": 4, "held_aside": 1, "other_languages": 1, "adversarial": 1}
    assert report.sets["all"]["refused_unanswerable"] == 2 / 3
    assert report.sets["held_aside"]["refused_unanswerable"] == 0
    assert report.sets["other_languages"]["refused_unanswerable"] == 1
    assert report.sets["adversarial"] == {}
    assert report.faults == ("i-4: too late",)
    assert report.as_json()["sets"]["all"]["refused_unanswerable"] == 0.6667  # type: ignore[index]


def test_sets_without_items_are_left_out():
    assert list(make_report("tiny", [Result(item(1), REFUSAL)], ContainmentJudge()).sets) == ["all"]


def test_the_table():
    lines = report_lines(make_report("tiny", [Result(item(1), REFUSAL)], ContainmentJudge()))
    assert lines[0] == "Model tiny, judged by lexical containment (90% of the words)"
    assert lines[2].split() == ["all", "(1)"]
    (refused,) = [line for line in lines if line.startswith("refused_unanswerable")]
    assert refused.split()[:2] == ["refused_unanswerable", "100.0%"]
    (seconds,) = [line for line in lines if line.startswith("total_seconds")]
    assert seconds.split()[1:3] == ["1.25", "s"]
    assert lines[-1] == "     1  unanswerable, not_in_sources"
