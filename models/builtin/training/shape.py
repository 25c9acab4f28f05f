"""The network's sizes, and what each dimension of its residual stream is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

RMS_EPSILON: Final = 1e-5
ROPE_BASE: Final = 10000.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Which dimensions of the residual stream hold what. The embeddings fill the first three; blocks fill the rest."""

    identity: int = 128
    """A random code of the token: what is matched and copied."""
    meaning: int = 48
    """What a word means, from word vectors."""
    features: int = 24
    """Properties of the token, such as that it ends a sentence."""
    previous: int = 40
    """Of the token before."""
    before: int = 24
    """Of the token before that one."""
    sentence: int = 36
    """A code of the sentence that the token is in; in the answer, of the sentence that is quoted."""
    number: int = 12
    """A code of the source's number."""
    match: int = 72
    """How well it matches the question, and what else is learned of it in its context."""

    @property
    def width(self) -> int:
        """All of them."""
        return sum(asdict(self).values())

    def span(self, name: str) -> slice:
        """The dimensions of one of the parts."""
        start = 0
        for part, size in asdict(self).items():
            if part == name:
                return slice(start, start + size)
            start += size
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Shape:
    """The network's sizes."""

    layout: Layout = field(default_factory=Layout)
    vocabulary: int = 32064
    blocks: int = 9
    heads: int = 6
    head_width: int = 64
    rotary: int = 16
    """Dimensions of a head that are rotated by position. The others match by content alone, at any distance."""
    feed_forward: int = 448
    context: int = 2048

    @property
    def width(self) -> int:
        """Of the residual stream."""
        return self.layout.width

    def to_json(self) -> dict[str, Any]:
        """As it is kept with a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Shape:
        """The shape that `to_json` described."""
        return cls(**{**values, "layout": Layout(**values["layout"])})
