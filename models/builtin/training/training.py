"""The training loop: resumable, by the clock, with its state in one file."""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from models.builtin.training import circuits
from models.builtin.training.batches import NO_TOKEN, Batch, BatchStream
from models.builtin.training.cases import CaseMaker, Mixture
from models.builtin.training.examples import Encoder, examples
from models.builtin.training.network import NO_TARGET, Network
from models.builtin.training.shape import Shape

PEAK_RATE: Final = 1.5e-3
FINAL_SHARE: Final = 0.05
"""Of the peak, at the end of annealing."""
WARM_UP_STEPS: Final = 60
BATCH_TOKENS: Final = 4_000
CLIP: Final = 1.0
SAVE_SECONDS: Final = 120.0
REPORT_STEPS: Final = 50
_SHARE_OF_EASY: Final = 0.7
_SMOOTHING: Final = 0.97

ATTENTION_WEIGHTS: Final[Mapping[tuple[int, int], float]] = {
    circuits.SENTENCE_START: 0.3,
    circuits.SOURCE_NUMBER: 0.2,
    circuits.SAME_WORD: 0.2,
    circuits.CHOICE: 1.0,
    circuits.NUMBER: 0.3,
    circuits.BEGIN: 0.5,
    **dict.fromkeys(circuits.COPY, 0.5),
}
"""What the supervised heads weigh in the loss, against 1 for the answer's tokens."""

NAMES: Final[Mapping[tuple[int, int], str]] = {
    circuits.SENTENCE_START: "start",
    circuits.SOURCE_NUMBER: "source",
    circuits.SAME_WORD: "same",
    circuits.CHOICE: "choice",
    circuits.NUMBER: "number",
    circuits.COPY[0]: "copy",
    circuits.BEGIN: "begin",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum: until `tokens` have been read, examples are of this mixture."""

    tokens: float
    mixture: Mixture
    longest: int
    """Tokens of an example."""


CURRICULUM: Final = (
    # A model that may refuse before it can find anything refuses always.
    Stage(
        4.5e6, Mixture(0.75, 0.02, 0.04, relabelled=0.1, bare=0.95, brief=0.85, most_sources=3, most_sentences=2), 256
    ),
    # Copying that is not exercised to the end of a sentence is lost within a million tokens.
    Stage(6.5e6, Mixture(0.65, 0.08, 0.1, relabelled=0.3, bare=0.7, brief=0.1, most_sources=4, most_sentences=3), 448),
    Stage(math.inf, Mixture(0.6, 0.15, 0.15, relabelled=0.25, bare=0.4, most_sources=8), 640),
)


def stage_of(tokens: float) -> Stage:
    """The part of the curriculum after so many tokens."""
    return next(stage for stage in CURRICULUM if tokens < stage.tokens)


@dataclass(slots=True)
class State:
    """All that training goes on from."""

    network: Network
    optimizer: torch.optim.Optimizer
    steps: int = 0
    tokens: float = 0.0
    averages: dict[str, float] = field(default_factory=dict)

    @classmethod
    def new(cls, shape: Shape, embeddings: Tensor, marks: circuits.Marks) -> State:
        """At the hand-written start."""
        network = Network(shape)
        network.embeddings.copy_(embeddings)
        circuits.write(network, marks)
        return cls(network, _optimizer(network))

    @classmethod
    def load(cls, path: Path) -> State:
        """As `save` left it."""
        saved = torch.load(path, weights_only=True)
        network = Network(Shape.from_json(saved["shape"]))
        network.load_state_dict(saved["network"])
        optimizer = _optimizer(network)
        optimizer.load_state_dict(saved["optimizer"])
        return cls(network, optimizer, saved["steps"], saved["tokens"], saved["averages"])

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        part = path.with_suffix(".part")
        saved: dict[str, Any] = {
            "shape": self.network.shape.to_json(),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "tokens": self.tokens,
            "averages": self.averages,
        }
        torch.save(saved, part)
        part.replace(path)


def _optimizer(network: Network) -> torch.optim.Optimizer:
    matrices = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    gains = [parameter for parameter in network.parameters() if parameter.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": gains, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95), fused=True)


def train(
    state: State, maker: CaseMaker, encoder: Encoder, path: Path, *, seconds: float, anneal: bool, seed: int
) -> None:
    """Train for `seconds`, saving to `path` every two minutes and at the end.

    Annealing lowers the learning rate to its end over that time; otherwise it stays at its peak, and training can go
    on. Ctrl-C saves and ends.
    """
    begun = saved = time.monotonic()
    stage = stage_of(state.tokens)
    maker.mixture = stage.mixture
    draw = random.Random(seed)
    while True:
        with BatchStream(examples(maker, encoder, stage.longest), BATCH_TOKENS, draw) as stream:
            try:
                while stage_of(state.tokens) is stage:
                    elapsed = time.monotonic() - begun
                    if elapsed >= seconds:
                        state.save(path)
                        return
                    _set_rate(state, _rate(state.steps, elapsed / seconds if anneal else 0.0))
                    _step(state, stream.next())
                    if state.steps % REPORT_STEPS == 0:
                        _report(state, time.monotonic() - begun)
                    if time.monotonic() - saved > SAVE_SECONDS:
                        state.save(path)
                        saved = time.monotonic()
            except KeyboardInterrupt:
                state.save(path)
                raise
        stage = stage_of(state.tokens)
        maker.mixture = stage.mixture
        print(f"from here on: {stage.mixture}, at most {stage.longest} tokens", file=sys.stderr)


def _rate(steps: int, done: float) -> float:
    falling = FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * done))
    return PEAK_RATE * min(1.0, (steps + 1) / WARM_UP_STEPS) * falling


def _set_rate(state: State, rate: float) -> None:
    for group in state.optimizer.param_groups:
        group["lr"] = rate


def _step(state: State, batch: Batch) -> None:
    hidden, looks = state.network(batch.ids, batch.rows)
    # Most of an answer is copied and soon right: of its tokens of weight 1 some are left out, for logits are costly.
    wanted = (batch.targets != NO_TOKEN) & ((batch.weights > 1) | (torch.rand(batch.targets.shape) < _SHARE_OF_EASY))
    targets, weights = batch.targets[wanted], batch.weights[wanted]
    logits = state.network.logits(hidden[wanted])
    losses = functional.cross_entropy(logits, targets, reduction="none")
    loss = (losses * weights).sum() / weights.sum()
    total = loss
    for head, log_probabilities in looks.items():
        places = batch.rows[head[0]][head[1]][1]
        some = places != NO_TARGET
        if some.any():
            total = total + ATTENTION_WEIGHTS[head] * functional.nll_loss(log_probabilities[some], places[some])
    state.optimizer.zero_grad()
    total.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), CLIP)
    state.optimizer.step()
    state.steps += 1
    state.tokens += batch.ids.numel()
    with torch.no_grad():
        _measure(state, batch, wanted, logits, loss, looks)


def _measure(
    state: State,
    batch: Batch,
    wanted: Tensor,
    logits: Tensor,
    loss: Tensor,
    looks: Mapping[tuple[int, int], Tensor],
) -> None:
    right = torch.zeros(batch.targets.shape, dtype=torch.bool)
    right[wanted] = logits.argmax(-1) == batch.targets[wanted]
    lines = torch.arange(len(batch.firsts))
    seen = {
        "loss": loss.item(),
        "token": right[wanted].float().mean().item(),
        "first": right[lines, batch.firsts].float().mean().item(),
        "whole": (right | ~wanted).all(-1).float().mean().item(),
    }
    for head, name in NAMES.items():
        places = batch.rows[head[0]][head[1]][1]
        some = places != NO_TARGET
        if some.any():
            seen[name] = (looks[head].argmax(-1)[some] == places[some]).float().mean().item()
    for name, value in seen.items():
        before = state.averages.get(name, value)
        state.averages[name] = _SMOOTHING * before + (1 - _SMOOTHING) * value


def _report(state: State, seconds: float) -> None:
    figures = "  ".join(f"{name} {value:.3f}" for name, value in state.averages.items())
    print(f"step {state.steps}  {state.tokens / 1e6:.2f} M tokens  {seconds / 60:.1f} min  {figures}", flush=True)
