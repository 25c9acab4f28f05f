"""Which of all that can be measured is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.engine.schedule import Entry


class SelectsNothing(ValueError):
    """No work is selected; the message says which there are."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Works by their names, models and streams. Everything that runs by default, if nothing is named."""

    works: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    rows: frozenset[tuple[str, ...]] = frozenset()
    """Beginnings of (work, model, streams)."""

    @classmethod
    def parse(
        cls, *, works: Sequence[str] | None, models: Sequence[str] | None, only: Sequence[str] | None
    ) -> Selection:
        """From the command line. Raises SelectsNothing for a row that is not WORK[/MODEL[/STREAMS]]."""
        rows = [tuple(row.split("/")) for row in only or ()]
        for row in rows:
            if len(row) > 3 or not all(row):
                raise SelectsNothing(f"{'/'.join(row)!r} is not WORK, WORK/MODEL or WORK/MODEL/STREAMS")
        return cls(frozenset(works or ()), frozenset(models or ()), frozenset(rows))

    def wants(self, work: str, model: str, streams: int) -> bool:
        """Whether this is selected."""
        place = (work, model, str(streams))
        return (
            (not self.works or work in self.works)
            and (not self.models or model in self.models)
            and (not self.rows or any(place[: len(row)] == row for row in self.rows))
        )

    def may_want(self, entry: Entry) -> bool:
        """Whether any part of the contest may be selected. What is not run by default has to be named by its model."""
        named = entry.model in self.models or any(row[1:2] == (entry.model,) for row in self.rows)
        return (entry.by_default or named) and any(
            (not self.works or work in self.works)
            and (not self.models or entry.model in self.models)
            and (not self.rows or any((work, entry.model)[: len(row)] == row[:2] for row in self.rows))
            for work in entry.works
        )

    def __str__(self) -> str:
        parts = [" or ".join(sorted(names)) for names in (self.works, self.models) if names]
        parts += [" or ".join(sorted("/".join(row) for row in self.rows))] if self.rows else []
        return " and ".join(parts) or "run by default"
