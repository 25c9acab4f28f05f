"""llama-batched-bench: what the kernels give with no server, no sampling and no text around them.

It reads all prompts and then generates for all streams in step. Its tokens are random ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.peers import Peers
from benchmarks.engine.processes import SystemFailed, clean_environment, running_process
from benchmarks.engine.systems import MAX_BATCH_TOKENS, Terms

_DEADLINE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class BatchedBench:
    """One run of llama-batched-bench with the terms of a contest."""

    peers: Peers
    terms: Terms
    streams: int
    prompt_tokens: int
    answer_tokens: int
    """Tokens of each answer."""
    unified: bool

    @property
    def name(self) -> str:
        """`llama-batched-bench` with what was chosen."""
        return f"llama-batched-bench ({'unified' if self.unified else 'split'} KV)"

    def flags(self) -> list[str]:
        """Its command line."""
        terms = self.terms
        return [
            *("--model", str(terms.model), "--ctx-size", str(terms.context)),
            *("--threads", str(terms.threads), "--threads-batch", str(terms.threads)),
            *("--batch-size", str(MAX_BATCH_TOKENS), "--ubatch-size", str(MAX_BATCH_TOKENS)),
            # An answer's first token comes out of the prompt's own pass, so it takes one pass fewer than it has tokens.
            *("-npp", str(self.prompt_tokens), "-ntg", str(self.answer_tokens - 1), "-npl", str(self.streams)),
            "--kv-unified" if self.unified else "--no-kv-unified",
            *("--output-format", "jsonl", "--offline"),
        ]

    async def throughput(self) -> float:
        """Tokens of answers a second, from the first prompt's start to the last token: what servers are measured by.

        Raises SystemFailed.
        """
        environment = clean_environment(("LLAMA_ARG_",), self.peers.environment)
        command = [str(self.peers.batched_bench), *self.flags()]
        with tempfile.TemporaryDirectory() as folder:
            async with running_process(self.name, command, environment=environment, folder=Path(folder)) as process:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_DEADLINE_SECONDS):
                        while not process.has_ended:  # noqa: ASYNC110 - it is no child of the event loop
                            await asyncio.sleep(0.2)
                seconds = run_seconds(process.log_text())
                if seconds is None:
                    raise process.failure("printed no result")
        return self.streams * self.answer_tokens / seconds


def run_seconds(output: str) -> float | None:
    """The time of reading all prompts and generating all tokens, from the only result in the output; None: no result.

    Raises SystemFailed for more than one.
    """
    results = [json.loads(line) for line in output.splitlines() if line.startswith('{"n_kv_max"')]
    if len(results) > 1:
        raise SystemFailed(f"llama-batched-bench printed {len(results)} results where one was asked for")
    return float(results[0]["t_pp"]) + float(results[0]["t_tg"]) if results else None
