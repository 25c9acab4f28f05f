"""The port that every work fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from benchmarks.engine.metrics import Figure
from benchmarks.engine.requests import Client


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of a work makes a system do, to tell beforehand how long it will take."""

    prompt_tokens: int
    """Read, without those that are kept."""
    answer_tokens: int


class Work(Protocol):
    """A seeded piece of work, the same for every system."""

    @property
    def name(self) -> str:
        """By which results and `--only` call it."""
        ...

    @property
    def streams(self) -> int:
        """Requests that run at once."""
        ...

    @property
    def load(self) -> Load:
        """How much it is."""
        ...

    async def run(self, client: Client, seed: str) -> list[Figure]:
        """Do it once on an idle system and say what was measured. Any failure is raised."""
        ...
