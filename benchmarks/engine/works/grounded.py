"""Grounded: answers that copy from sources in the prompt, and the same question with the same sources asked again."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.engine.metrics import (
    Figure,
    first_token_figures,
    gap_figures,
    generation_rate,
    kept_figures,
    percentile,
    throughput,
)
from benchmarks.engine.prompts import SOURCES, GroundedPrompt, GroundedPrompts
from benchmarks.engine.requests import Client, Reply, Request, ask_together
from benchmarks.engine.works.work import Load

_SOURCE_TOKENS = 155
_OTHER_TOKENS = 100
"""Of a prompt, about."""
_LEAST_COPIED_SHARE = 0.8


class NothingCopied(RuntimeError):
    """The work is not what it claims to be, so its numbers would mean nothing."""


@dataclass(frozen=True, slots=True)
class Grounded:
    """Waves of different questions with different sources, greedily answered. Each wave is sent twice."""

    prompts: GroundedPrompts
    streams: int
    waves: int
    answer_tokens: int = 96
    sources: int = SOURCES
    asked_again: bool = True
    """False: once, for a trial."""
    copies: bool = False
    """Whether the model is one that copies, so that its answers must be quotations."""
    drafts: bool = False
    """Whether the system is to draft, so that some of a copied answer must have been."""
    name: str = "grounded"

    @property
    def load(self) -> Load:
        """All waves. What is asked again need not be read again."""
        requests = self.streams * self.waves
        answers = requests * self.answer_tokens * (2 if self.asked_again else 1)
        return Load(requests * (self.sources * _SOURCE_TOKENS + _OTHER_TOKENS), answers)

    async def run(self, client: Client, seed: str) -> list[Figure]:
        """Measure both; all but `again_ttft` is of the first time. Raises NothingCopied."""
        fresh: list[list[Reply]] = []
        again: list[Reply] = []
        for wave in range(self.waves):
            prompts = [
                self.prompts.prompt(seed, self.streams, wave, stream, sources=self.sources)
                for stream in range(self.streams)
            ]
            requests = [Request(prompt.token_ids, self.answer_tokens) for prompt in prompts]
            replies = await ask_together(client, requests)
            if self.copies:
                self._check(prompts, replies)
            fresh.append(replies)
            if self.asked_again:
                again += await ask_together(client, requests)
        replies = [reply for wave in fresh for reply in wave]
        figures = [
            Figure("throughput", throughput(fresh)),
            Figure("generation_rate", generation_rate(replies)),
            *first_token_figures(replies),
            *gap_figures(replies),
            *kept_figures(replies),
        ]
        if again:
            figures.append(Figure("again_ttft", percentile([reply.first_token_seconds for reply in again], 0.5)))
        return figures

    def _check(self, prompts: list[GroundedPrompt], replies: list[Reply]) -> None:
        for prompt, reply in zip(prompts, replies, strict=True):
            copied = sum(token == wanted for token, wanted in zip(reply.ids, prompt.quoted, strict=False))
            if copied < _LEAST_COPIED_SHARE * self.answer_tokens:
                raise NothingCopied(f"only {copied} of {self.answer_tokens} tokens are those of the sources")
            if self.drafts and (reply.usage is None or not reply.usage.accepted_tokens):
                raise NothingCopied("the answer copies the sources, but no draft of it was accepted")
