"""Measures by set, as JSON and as a table to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from groundwire_eval.answers import Outcome
from groundwire_eval.items import Item
from groundwire_eval.judge import Judge
from groundwire_eval.measures import DESCRIPTIONS, Result, confusion, measure

ALL: Final = "all"
HELD_ASIDE: Final = "held_aside"

_SETS: Final[dict[str, Callable[[Item], bool]]] = {
    ALL: lambda item: True,  # noqa: ARG005
    HELD_ASIDE: lambda item: item.held_aside,
    "other_languages": lambda item: item.language != "en",
    "adversarial": lambda item: item.subject == "adversarial",
}
"""What is reported apart, where there are such items."""

_SECONDS: Final = frozenset({"first_token_seconds", "total_seconds"})
_COUNTS: Final = frozenset({"completion_tokens"})


@dataclass(frozen=True, slots=True)
class Report:
    """What the answers of one model were worth."""

    model: str
    judge: str
    sizes: Mapping[str, int]
    """Items in each set."""
    sets: Mapping[str, Mapping[str, float]]
    """Measures by set and name."""
    confusion: Mapping[str, int]
    """Items by kind and outcome."""
    faults: tuple[str, ...]
    """Why items have no answer; none of them is measured."""

    def as_json(self) -> dict[str, object]:
        """Plain values, rounded to what they are worth."""
        sets = {
            name: {measure_name: round(value, 4) for measure_name, value in measures.items()}
            for name, measures in self.sets.items()
        }
        return {
            "model": self.model,
            "judge": self.judge,
            "items": dict(self.sizes),
            "sets": sets,
            "confusion": dict(self.confusion),
        }


def make_report(model: str, results: Sequence[Result], judge: Judge) -> Report:
    """Measure all sets that have items."""
    parts = {name: [result for result in results if holds(result.item)] for name, holds in _SETS.items()}
    present = {name: part for name, part in parts.items() if part}
    return Report(
        model=model,
        judge=judge.name,
        sizes={name: len(part) for name, part in present.items()},
        sets={name: measure(part, judge) for name, part in present.items()},
        confusion=confusion(results),
        faults=tuple(
            f"{result.item.id}: {result.answer.fault}" for result in results if result.answer.outcome is Outcome.FAILED
        ),
    )


def report_lines(report: Report) -> list[str]:
    """A table with a column for each set, a line for each measure, and what became of each kind of item."""
    heads = [f"{name.replace('_', ' ')} ({report.sizes[name]})" for name in report.sets]
    rows = [
        (name, [shown(name, measures.get(name)) for measures in report.sets.values()], description)
        for name, description in DESCRIPTIONS.items()
        if any(name in measures for measures in report.sets.values())
    ]
    first = max((len(name) for name, _, _ in rows), default=0)
    lines = [f"Model {report.model}, judged by {report.judge}", ""]
    lines.append("  ".join((" " * first, *heads)))
    for name, values, description in rows:
        cells = [value.rjust(len(head)) for value, head in zip(values, heads, strict=True)]
        lines.append("  ".join((name.ljust(first), *cells, description)))
    lines += ["", "Items by kind and outcome:"]
    lines += [f"  {count:4}  {case}" for case, count in report.confusion.items()]
    return lines


def shown(name: str, value: float | None) -> str:
    """A measure's value as a person reads it."""
    if value is None:
        return "-"
    if name in _SECONDS:
        return f"{value:.2f} s"
    return f"{value:.0f}" if name in _COUNTS else f"{value:.1%}"
