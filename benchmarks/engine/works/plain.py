"""Plain: random prompts that nothing can be reused of, answered at temperature 1 with text that never repeats."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.engine.metrics import Figure, first_token_figures, gap_figures, throughput
from benchmarks.engine.prompts import random_prompt
from benchmarks.engine.requests import Client, Request, ask_together
from benchmarks.engine.works.work import Load

PROMPT_TOKENS = 128
ANSWER_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Plain:
    """Waves of requests: all of a wave are sent at once, and the next wave when all of it are answered."""

    streams: int
    waves: int
    name: str = "plain"
    prompt_tokens: int = PROMPT_TOKENS
    answer_tokens: int = ANSWER_TOKENS

    @property
    def load(self) -> Load:
        """All waves together."""
        requests = self.streams * self.waves
        return Load(requests * self.prompt_tokens, requests * self.answer_tokens)

    async def run(self, client: Client, seed: str) -> list[Figure]:
        """Measure throughput, first tokens and gaps."""
        waves = [await ask_together(client, self.requests(f"{seed}/{wave}")) for wave in range(self.waves)]
        replies = [reply for wave in waves for reply in wave]
        return [Figure("throughput", throughput(waves)), *first_token_figures(replies), *gap_figures(replies)]

    def requests(self, seed: str) -> list[Request]:
        """One wave."""
        return [
            plain_request(f"{self.name}/{self.streams}/{seed}/{stream}", stream, self.prompt_tokens, self.answer_tokens)
            for stream in range(self.streams)
        ]


def plain_request(seed: str, number: int, prompt_tokens: int, answer_tokens: int, *, drafts: bool = True) -> Request:
    """A random prompt, answered at temperature 1: greedily, models of random weights come back to what they said."""
    return Request(random_prompt(prompt_tokens, seed), answer_tokens, temperature=1.0, seed=number + 1, drafts=drafts)
