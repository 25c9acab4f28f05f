"""A ModelRunner without a model: it says what it is scripted to say, and checks how it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from inference_service.core.errors import EngineUnavailable, InferenceError, InvalidRequest
from inference_service.core.ports import Chunk, SampledToken, SamplerSpec

END = 0
"""The token that ends a turn."""
FAIL = -1
"""In a script: the sequence cannot go on, as where its grammar cannot be followed."""


def say(text: str) -> tuple[int, ...]:
    """The tokens that spell this text, one a UTF-8 byte, and END behind them."""
    return (*(byte + 1 for byte in text.encode()), END)


@dataclass
class FakeRunner:
    """Token n is the byte n - 1; `script` gives the answer to a prompt, END included where there is one."""

    script: Callable[[tuple[int, ...]], Sequence[int]] = field(default=lambda prompt: say("hello"))
    max_batch_tokens: int = 512
    fail_after_passes: int | None = None
    opened: dict[int, SamplerSpec] = field(default_factory=dict)
    cells: dict[int, list[int]] = field(default_factory=dict)
    passes: list[list[Chunk]] = field(default_factory=list)
    peak_cells: int = 0
    _prompts: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def open(self, slot: int, spec: SamplerSpec) -> None:
        assert slot not in self.opened, "a slot is opened twice"
        self.opened[slot] = spec
        self.cells[slot] = []

    def close(self, slot: int) -> None:
        self.opened.pop(slot, None)
        self.cells.pop(slot, None)
        self._prompts.pop(slot, None)

    def run(self, chunks: Sequence[Chunk]) -> list[SampledToken | InferenceError]:
        assert 0 < sum(len(chunk.tokens) for chunk in chunks) <= self.max_batch_tokens
        assert len({chunk.slot for chunk in chunks}) == len(chunks)
        self.passes.append(list(chunks))
        if self.fail_after_passes is not None and len(self.passes) > self.fail_after_passes:
            raise EngineUnavailable("scripted failure")
        sampled: list[SampledToken | InferenceError] = []
        for chunk in chunks:
            cells = self.cells[chunk.slot]
            assert chunk.position == len(cells), "positions must follow each other"
            cells.extend(chunk.tokens)
            if chunk.wants_token:
                prompt = self._prompts.setdefault(chunk.slot, tuple(cells))
                answer = self.script(prompt)
                said = len(cells) - len(prompt)
                if said < len(answer) and answer[said] == FAIL:
                    sampled.append(InvalidRequest([("response_format", "scripted failure")]))
                    continue
                sampled.append(SampledToken(answer[said] if said < len(answer) else ord("x") + 1))
        self.peak_cells = max(self.peak_cells, sum(map(len, self.cells.values())))
        return sampled

    def reset(self) -> None:
        for slot in list(self.opened):
            self.close(slot)

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id == END else bytes([token_id - 1])

    def is_end_of_generation(self, token_id: int) -> bool:
        return token_id == END
