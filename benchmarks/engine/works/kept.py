"""Kept prompts: what a full prompt cache costs the streams that run, though none of them uses it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from benchmarks.engine.metrics import Figure
from benchmarks.engine.ours import OurClient
from benchmarks.engine.prompts import random_prompt
from benchmarks.engine.requests import Client, Request, ask_together
from benchmarks.engine.works.work import Load

_PROMPT_TOKENS = 512
_FULL_SHARE = 0.9
_SETTLE_SECONDS = 30.0


class NotFilled(RuntimeError):
    """The prompt cache did not fill, so nothing would be measured."""


@dataclass(frozen=True, slots=True)
class FillCache:
    """Distinct prompts, until the inference service's prompt cache is full. Measures nothing itself."""

    streams: int
    most_waves: int
    name: str = "fill"

    @property
    def load(self) -> Load:
        """As many prompts as it may take."""
        return Load(self.most_waves * self.streams * _PROMPT_TOKENS, self.most_waves * self.streams)

    async def run(self, client: Client, seed: str) -> list[Figure]:
        """Fill it. Raises NotFilled."""
        if not isinstance(client, OurClient):
            raise TypeError("only the inference service's prompt cache can be filled by its own account")
        for wave in range(self.most_waves):
            prompts = [random_prompt(_PROMPT_TOKENS, "fill", seed, wave, stream) for stream in range(self.streams)]
            await ask_together(client, [Request(prompt, 1) for prompt in prompts])
            if await _full(client):
                return []
        # What finished last is copied out once nothing runs.
        for _ in range(int(_SETTLE_SECONDS / 0.1)):
            if await _full(client):
                return []
            await asyncio.sleep(0.1)
        status = await client.status()
        raise NotFilled(f"it holds {status.prefix_cache_mib} of {status.prefix_cache_limit_mib} MiB")


async def _full(client: OurClient) -> bool:
    status = await client.status()
    return status.prefix_cache_mib >= _FULL_SHARE * status.prefix_cache_limit_mib
