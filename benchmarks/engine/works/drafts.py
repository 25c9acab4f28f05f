"""Drafts: what trying to draft costs where text never repeats, measured on one process with drafts on and off."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.engine.metrics import Figure, throughput
from benchmarks.engine.requests import Client, Reply, ask
from benchmarks.engine.works.plain import ANSWER_TOKENS, PROMPT_TOKENS, plain_request
from benchmarks.engine.works.work import Load

OFF = "Groundwire without drafts"


@dataclass(frozen=True, slots=True)
class Drafts:
    """Pairs of plain requests, one stream at a time, drafts on and off in turn: on, off, off, on, …"""

    pairs: int
    name: str = "drafts"
    streams: int = 1

    @property
    def load(self) -> Load:
        """All requests."""
        return Load(2 * self.pairs * PROMPT_TOKENS, 2 * self.pairs * ANSWER_TOKENS)

    async def run(self, client: Client, seed: str) -> list[Figure]:
        """Measure the throughput of both."""
        replies: dict[bool, list[Reply]] = {True: [], False: []}
        for pair in range(self.pairs):
            # What the machine does meanwhile drifts; in turn, both have as much of it.
            for drafts in (True, False) if pair % 2 == 0 else (False, True):
                request = plain_request(
                    f"drafts/{seed}/{pair}/{drafts}", pair, PROMPT_TOKENS, ANSWER_TOKENS, drafts=drafts
                )
                replies[drafts].append(await ask(client, request))
        on, off = ([[reply] for reply in replies[drafts]] for drafts in (True, False))
        return [Figure("throughput", throughput(on)), Figure("throughput", throughput(off), role=OFF)]
