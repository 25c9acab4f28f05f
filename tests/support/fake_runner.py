"""A ModelRunner without a model: it says what it is scripted to say, and checks how it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from inference_service.core.errors import EngineUnavailable, InvalidRequest
from inference_service.core.ports import Chunk, Sampled, SampledToken, SamplerSpec
from inference_service.core.types import PositionLogprobs, TokenLogprob

END = 0
"""The token that ends a turn."""
FAIL = -1
"""In a script: the sequence cannot go on, as where its grammar cannot be followed."""
CELL_BYTES = 10
"""Host memory that a copied cell takes."""


def say(text: str) -> tuple[int, ...]:
    """The tokens that spell this text, one a UTF-8 byte, and END behind them."""
    return (*(byte + 1 for byte in text.encode()), END)


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A KV cell. Slots that share it hold the same one."""

    token: int


@dataclass(frozen=True, slots=True)
class FakeSegment:
    """Cells in host memory."""

    start: int
    tokens: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return len(self.tokens) * CELL_BYTES


@dataclass
class FakeRunner:
    """Token n is the byte n - 1; `script` gives the answer to a prompt, END included where there is one."""

    script: Callable[[tuple[int, ...]], Sequence[int]] = field(default=lambda prompt: say("hello"))
    kv_cells: int = 100_000
    max_batch_tokens: int = 512
    max_outputs: int = 512
    fail_after_passes: int | None = None
    can_copy: bool = True
    pass_seconds: Callable[[int], float] = field(default=lambda tokens: 0.0)
    """What a pass over so many tokens takes."""
    copy_seconds: float = 0.0
    """What copying a segment takes, out or back."""
    seconds: float = 0.0
    """How long it has worked: a clock that only its work moves."""
    forward_seconds: float = 0.0
    opened: dict[int, SamplerSpec] = field(default_factory=dict)
    cells: dict[int, list[Cell]] = field(default_factory=dict)
    passes: list[list[Chunk]] = field(default_factory=list)
    shared: list[tuple[int, int, int]] = field(default_factory=list)
    """Source, slot and length of each share."""
    saved: list[tuple[int, int, int]] = field(default_factory=list)
    """Slot, start and end of each copy out."""
    restored: list[tuple[int, int, int]] = field(default_factory=list)
    """Slot, start and end of each copy back."""
    peak_cells: int = 0
    _speeches: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    """The prompt of each slot that speaks, and what it says."""

    @property
    def used_cells(self) -> int:
        """Cells in use, shared ones counted once."""
        return len({id(cell) for cells in self.cells.values() for cell in cells})

    def open(self, slot: int, spec: SamplerSpec) -> None:
        assert slot not in self.opened, "a slot is opened twice"
        assert slot not in self.cells, "a slot is opened while cells are kept there"
        self.opened[slot] = spec
        self.cells[slot] = []

    def retire(self, slot: int, length: int) -> None:
        assert 0 < length <= len(self.cells[slot]), "cells are kept that are not there"
        del self.opened[slot]
        del self.cells[slot][length:]
        self._speeches.pop(slot, None)

    def close(self, slot: int) -> None:
        self.opened.pop(slot, None)
        self.cells.pop(slot, None)
        self._speeches.pop(slot, None)

    def run(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        tokens = sum(len(chunk.tokens) for chunk in chunks)
        assert 0 < tokens <= self.max_batch_tokens
        assert sum(1 + chunk.drafted for chunk in chunks if chunk.wants_token) <= self.max_outputs
        assert len({chunk.slot for chunk in chunks}) == len(chunks)
        self.passes.append(list(chunks))
        self.seconds += self.pass_seconds(tokens)
        self.forward_seconds += self.pass_seconds(tokens)
        if self.fail_after_passes is not None and len(self.passes) > self.fail_after_passes:
            raise EngineUnavailable("scripted failure")
        for chunk in chunks:
            cells = self.cells[chunk.slot]
            assert chunk.slot in self.opened, "a slot runs that is not open"
            assert chunk.position == len(cells), "positions must follow each other"
            assert 0 <= chunk.drafted < len(chunk.tokens), "a draft stands behind a token that is certain"
            assert chunk.wants_token or not chunk.drafted, "a draft is verified by sampling"
            cells.extend(map(Cell, chunk.tokens))
        self._count_cells()
        return [self._sample(chunk) for chunk in chunks if chunk.wants_token]

    def _count_cells(self) -> None:
        self.peak_cells = max(self.peak_cells, self.used_cells)
        assert self.used_cells <= self.kv_cells, "more cells are used than there are"

    def _sample(self, chunk: Chunk) -> Sampled:
        """Compare the draft with the script, one token at a time, and give back the cells of what was wrong."""
        cells = self.cells[chunk.slot]
        certain = tuple(cell.token for cell in cells[: len(cells) - chunk.drafted])
        if chunk.slot not in self._speeches:
            self._speeches[chunk.slot] = (certain, tuple(self.script(certain)))
        prompt, answer = self._speeches[chunk.slot]
        said = len(certain) - len(prompt)
        assert certain[len(prompt) :] == padded(answer, said), "what was sampled must be what runs next"
        draft = chunk.tokens[len(chunk.tokens) - chunk.drafted :]
        sampled: Sampled = []
        for place in range(chunk.drafted + 1):
            token = padded(answer, said + place + 1)[-1]
            if token == FAIL:
                sampled.append(InvalidRequest([("response_format", "scripted failure")]))
                break
            sampled.append(SampledToken(token, self._logprobs(chunk.slot, token)))
            if place < chunk.drafted and token != draft[place]:
                break
        del cells[len(certain) + len(sampled) - 1 :]
        return sampled

    def _logprobs(self, slot: int, token: int) -> PositionLogprobs | None:
        if self.opened[slot].logprobs is None:
            return None
        return PositionLogprobs(TokenLogprob(token, self.token_bytes(token), -0.5), ())

    def share(self, source: int, slot: int, length: int) -> None:
        assert slot in self.opened, "cells are shared with a slot that is not open"
        assert not self.cells[slot], "cells are shared with a slot that has some"
        assert 0 < length <= len(self.cells[source])
        self.cells[slot] = self.cells[source][:length]
        self.shared.append((source, slot, length))

    def save(self, slot: int, start: int, end: int) -> FakeSegment | None:
        assert 0 <= start < end <= len(self.cells[slot])
        self.seconds += self.copy_seconds
        if not self.can_copy:
            return None
        self.saved.append((slot, start, end))
        return FakeSegment(start, tuple(cell.token for cell in self.cells[slot][start:end]))

    def restore(self, slot: int, segment: FakeSegment, start: int, end: int) -> bool:
        assert slot in self.opened, "cells are restored to a slot that is not open"
        assert start == len(self.cells[slot]), "positions must follow each other"
        assert segment.start <= start < end <= segment.start + len(segment.tokens)
        self.seconds += self.copy_seconds
        if self.used_cells + len(segment.tokens) > self.kv_cells:  # a segment comes back whole, and is cut then
            return False
        self.restored.append((slot, start, end))
        self.cells[slot] += map(Cell, segment.tokens[start - segment.start : end - segment.start])
        self._count_cells()
        return True

    def reset(self) -> None:
        self.opened.clear()
        self.cells.clear()
        self._speeches.clear()

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id == END else bytes([token_id - 1])

    def is_end_of_generation(self, token_id: int) -> bool:
        return token_id == END


def padded(answer: Sequence[int], length: int) -> tuple[int, ...]:
    """The first tokens of what is said to the end and beyond: x for ever."""
    return (*answer[:length], *[ord("x") + 1] * (length - len(answer)))
