"""The port that every system under test fills: how it is named, started and reached."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.engine.processes import RunningProcess
from benchmarks.engine.requests import Client

MAX_BATCH_TOKENS = 512
"""Tokens in a forward pass at most: what the inference service takes, and llama.cpp's own physical batch."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What all sides of a contest get alike."""

    model: Path
    slots: int
    """Requests that run at once."""
    context: int
    """KV cells over all slots; a multiple of 256 for each slot, to which llama.cpp rounds up."""
    threads: int
    prompt_cache_mib: int
    """Host memory for kept prompts; 0: nothing is kept and nothing reused."""


@dataclass(frozen=True, slots=True)
class Running:
    """A system that serves."""

    client: Client
    process: RunningProcess


class System(Protocol):
    """A system with its settings."""

    @property
    def name(self) -> str:
        """What the results call it, settings included."""
        ...

    def start(self) -> AbstractAsyncContextManager[Running]:
        """Run it for the length of a block, idle and ready at its beginning. Raises SystemFailed."""
        ...
