"""The training loop: resumable, by the clock, with its state in one file."""

from __future__ import annotations

import math
import multiprocessing
import random
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from models.builtin.training import circuits
from models.builtin.training.batches import Batch, BatchStream
from models.builtin.training.cases import CaseMaker, Mixture
from models.builtin.training.examples import Encoder, Example, examples
from models.builtin.training.marks import Marks
from models.builtin.training.network import NO_TARGET, Network, Rows
from models.builtin.training.shape import Shape

PEAK_RATE: Final = 2e-3
FINAL_SHARE: Final = 0.05
"""Of the peak, at the end of annealing."""
WARM_UP_STEPS: Final = 150
BATCH_TOKENS: Final[Mapping[str, int]] = {"cpu": 4_000, "cuda": 65_536}
CLIP: Final = 1.0
SAVE_SECONDS: Final = 120.0
REPORT_STEPS: Final = 50
_MEASURED_STEPS: Final = 10
"""Every so many steps a batch is measured: it makes a GPU wait."""
_SMOOTHING: Final = 0.9

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
    Stage(4e6, Mixture(0.75, 0.02, 0.04, relabelled=0.1, bare=0.95, most_sources=3, most_sentences=2), 256),
    Stage(12e6, Mixture(0.7, 0.08, 0.1, relabelled=0.25, bare=0.7, most_sources=4, most_sentences=3), 448),
    Stage(math.inf, Mixture(0.7, 0.17, 0.15, relabelled=0.2, bare=0.3, most_sources=8), 896),
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
    def new(cls, shape: Shape, embeddings: Tensor, marks: Marks) -> State:
        """At the hand-written start."""
        network = Network(shape)
        network.embeddings.copy_(embeddings)
        circuits.write(network, marks)
        return cls(network, _optimizer(network))

    @classmethod
    def load(cls, path: Path) -> State:
        """As `save` left it."""
        saved = torch.load(path, weights_only=True, map_location="cpu")
        network = Network(Shape.from_json(saved["shape"]))
        network.load_state_dict(saved["network"])
        optimizer = _optimizer(network)
        optimizer.load_state_dict(saved["optimizer"])
        return cls(network, optimizer, saved["steps"], saved["tokens"], saved["averages"])

    def to(self, device: str) -> None:
        """Move it to "cpu" or "cuda"."""
        self.network.to(device)
        for values in self.optimizer.state.values():
            values.update({name: value.to(device) for name, value in values.items()})

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
    state: State,
    maker: CaseMaker,
    encoder: Encoder,
    path: Path,
    *,
    seconds: float,
    anneal: bool,
    seed: int,
    workers: int = 1,
    device: str = "cpu",
) -> None:
    """Train for `seconds`, saving to `path` every two minutes and at the end.

    Annealing lowers the learning rate to its end over that time; otherwise it stays at its peak, and training can go
    on. Ctrl-C saves and ends. `workers` processes make the examples.
    """
    read = multiprocessing.Value("d", state.tokens)

    def drawn(draw: random.Random) -> Iterator[Example]:
        maker.use(draw)
        encoder.use(draw)
        return examples(maker, encoder, lambda: _limits(maker, stage_of(read.value)))

    seeds = [seed * 1_000 + number for number in range(workers)]
    with BatchStream(drawn, BATCH_TOKENS[device], seeds) as stream:
        state.to(device)
        begun = saved = time.monotonic()
        try:
            while (elapsed := time.monotonic() - begun) < seconds:
                _set_rate(state, PEAK_RATE * _rate(state.steps, elapsed / seconds if anneal else 0.0))
                _step(state, stream.next(), device)
                if stage_of(state.tokens) is not stage_of(read.value):
                    print(f"from here on: {stage_of(state.tokens)}", file=sys.stderr)
                read.value = state.tokens
                if state.steps % REPORT_STEPS == 0:
                    _report(state, elapsed)
                if time.monotonic() - saved > SAVE_SECONDS:
                    state.save(path)
                    saved = time.monotonic()
        finally:
            state.save(path)


def _limits(maker: CaseMaker, stage: Stage) -> int:
    """Set the stage's mixture. Returns the tokens of an example at most."""
    maker.mixture = stage.mixture
    return stage.longest


def _rate(steps: int, done: float) -> float:
    """The learning rate's share of its peak."""
    falling = FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * done))
    return min(1.0, (steps + 1) / WARM_UP_STEPS) * falling


def _set_rate(state: State, rate: float) -> None:
    for group in state.optimizer.param_groups:
        group["lr"] = rate


@dataclass(frozen=True, slots=True)
class _Tensors:
    """A batch on the device."""

    ids: Tensor
    places: Tensor
    targets: Tensor
    weights: Tensor
    firsts: Tensor
    rows: Mapping[int, Rows]

    @classmethod
    def of(cls, batch: Batch, device: str) -> _Tensors:
        def there(array: Any) -> Tensor:
            return torch.from_numpy(array).to(device, non_blocking=True)

        rows = {
            block: {head: (there(positions), there(places)) for head, (positions, places) in heads.items()}
            for block, heads in batch.rows.items()
        }
        return cls(
            ids=there(batch.ids),
            places=there(batch.places),
            targets=there(batch.targets),
            weights=there(batch.weights),
            firsts=there(batch.firsts),
            rows=rows,
        )


def _step(state: State, made: Batch, device: str) -> None:
    batch = _Tensors.of(made, device)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device != "cpu"):
        hidden, looks = state.network(batch.ids, batch.rows)
        logits = state.network.logits(hidden.flatten(0, 1)[batch.places])
    losses = functional.cross_entropy(logits.float(), batch.targets, reduction="none")
    loss = (losses * batch.weights).sum() / batch.weights.sum()
    total = loss
    for head, log_probabilities in looks.items():
        total = total + ATTENTION_WEIGHTS[head] * _missed(log_probabilities, batch.rows[head[0]][head[1]][1])
    state.optimizer.zero_grad()
    total.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), CLIP)
    state.optimizer.step()
    state.steps += 1
    state.tokens += made.ids.size
    if state.steps % _MEASURED_STEPS == 0:
        with torch.no_grad():
            _measure(state, batch, logits, loss, looks)


def _missed(log_probabilities: Tensor, places: Tensor) -> Tensor:
    """The mean loss of a supervised head over the rows that have a place to look at."""
    losses = functional.nll_loss(
        log_probabilities.flatten(0, 1), places.flatten(), ignore_index=NO_TARGET, reduction="sum"
    )
    return losses / (places != NO_TARGET).sum().clamp(min=1)


def _measure(
    state: State, batch: _Tensors, logits: Tensor, loss: Tensor, looks: Mapping[tuple[int, int], Tensor]
) -> None:
    right = logits.argmax(-1) == batch.targets
    lines = batch.places // batch.ids.shape[1]
    whole = torch.ones(len(batch.ids), device=right.device).scatter_reduce(0, lines, right.float(), "amin")
    seen = {
        "loss": loss.item(),
        "token": right.float().mean().item(),
        "first": right[batch.firsts].float().mean().item(),
        "whole": whole.mean().item(),
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
