"""From the samples of all rounds to rows of results, and their file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.engine.machine import Machine
from benchmarks.engine.metrics import METRICS

OURS = "Groundwire"
"""The role of the system that all others are compared with."""


class ResultsUnusable(RuntimeError):
    """A file of results cannot be read or added to; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of one side in one round."""

    work: str
    model: str
    streams: int
    metric: str
    role: str
    """The side's part in the comparison, whatever settings were chosen for it."""
    system: str
    """What ran, with its settings."""
    value: float


@dataclass(frozen=True, slots=True)
class Row:
    """What one metric of one work came to, against one peer or against none."""

    work: str
    model: str
    streams: int
    metric: str
    """One of metrics.METRICS."""
    unit: str
    ours: float
    """The median of all rounds."""
    peer: float | None
    """The same of the peer; None where the metric is ours alone."""
    peer_name: str | None
    role: str | None
    """The peer's part in the comparison; its name also tells how it was set."""
    ratio: float | None
    """Ours by the peer's: the median of the rounds' own ratios. None also where the peer's is 0."""
    rounds: int
    ratios: tuple[float, ...]
    """Of each round, in order."""
    commit: str
    """Of which the row was measured."""

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What a newer measurement replaces, against whatever peers it was."""
        return self.work, self.model, self.streams, self.metric


@dataclass(frozen=True, slots=True)
class Results:
    """All rows that were measured on one machine."""

    machine: Machine
    commit: str
    """Of the last run."""
    rows: tuple[Row, ...] = ()

    def with_rows(self, rows: Sequence[Row], *, commit: str) -> Results:
        """With these rows in place of any older ones of the same work, model, streams and metric."""
        replaced = {row.key for row in rows}
        kept = (row for row in self.rows if row.key not in replaced)
        ordered = sorted((*kept, *rows), key=lambda row: (*row.key, row.role or ""))
        return replace(self, commit=commit, rows=tuple(ordered))

    def find(self, work: str, model: str, streams: int, metric: str, role: str | None) -> Row | None:
        """The row of this comparison, if it was measured."""
        return next((row for row in self.rows if row.key == (work, model, streams, metric) and row.role == role), None)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a file of `save`. Raises ResultsUnusable."""
        if not path.exists():
            raise ResultsUnusable(f"there are no results at {path} yet: run `make bench-engine`")
        try:
            content = json.loads(path.read_text())
            rows = tuple(Row(**{**row, "ratios": tuple(row["ratios"])}) for row in content["rows"])
            return cls(content["machine"], content["commit"], rows)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultsUnusable(f"{path} cannot be read as results ({error}): remove it, or name another") from error


def open_results(path: Path, machine: Machine, commit: str) -> Results:
    """The results to add to: those in the file, or none yet. Raises ResultsUnusable for those of another machine."""
    if not path.exists():
        return Results(machine, commit)
    found = Results.load(path)
    different = sorted(name for name in machine if found.machine.get(name) != machine[name])
    if different:
        facts = ", ".join(f"{name}: {found.machine.get(name)} there, {machine[name]} here" for name in different)
        raise ResultsUnusable(f"{path} is of another machine ({facts}): remove it, or choose another --output")
    return found


def aggregate(rounds: Sequence[Iterable[Sample]], *, commit: str) -> list[Row]:
    """The rows of these rounds: each metric of ours against every other side that has it, or alone."""
    values: dict[tuple[str, str, int, str], dict[str, list[float]]] = {}
    names: dict[str, str] = {}
    for samples in rounds:
        for sample in samples:
            sides = values.setdefault((sample.work, sample.model, sample.streams, sample.metric), {})
            sides.setdefault(sample.role, []).append(sample.value)
            names[sample.role] = sample.system
    rows: list[Row] = []
    for (work, model, streams, metric), sides in values.items():
        ours = sides.pop(OURS, None)
        if ours is None:
            raise ValueError(f"{work}/{model}/{streams} has no {metric} of {OURS}")
        for role, theirs in sides.items() or [(None, None)]:
            rows.append(
                Row(
                    work=work,
                    model=model,
                    streams=streams,
                    metric=metric,
                    unit=METRICS[metric].unit,
                    ours=statistics.median(ours),
                    peer=None if theirs is None else statistics.median(theirs),
                    peer_name=None if role is None else names[role],
                    role=role,
                    ratio=statistics.median(ratios) if (ratios := _ratios(ours, theirs)) else None,
                    rounds=len(ours),
                    ratios=ratios,
                    commit=commit,
                )
            )
    return rows


def _ratios(ours: Sequence[float], theirs: Sequence[float] | None) -> tuple[float, ...]:
    """Of each round; none where a round's cannot be told."""
    if theirs is None or not all(theirs):
        return ()
    return tuple(mine / other for mine, other in zip(ours, theirs, strict=True))
