"""The network and its hand-written start. They need torch, which only training installs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.real_tokenizer import BUILTIN_MODEL

torch = pytest.importorskip("torch", reason="torch is not installed: uv pip install -e '.[training]'")

from models.builtin.training import circuits, export  # noqa: E402
from models.builtin.training.batches import BatchesEnded, BatchStream, collate  # noqa: E402
from models.builtin.training.cases import Case, Mixture, Page  # noqa: E402
from models.builtin.training.codes import EMBEDDING_NORM, Meanings, WordVectors, embeddings  # noqa: E402
from models.builtin.training.examples import Encoder, Example  # noqa: E402
from models.builtin.training.marks import Marks  # noqa: E402
from models.builtin.training.shape import Shape  # noqa: E402
from models.builtin.training.training import State, _Tensors, stage_of, train  # noqa: E402
from models.builtin.training.vocabulary import Vocabulary  # noqa: E402

WORDS = [
    Case(
        f"Where is the {thing} of the {place} kept?",
        [
            Page("A list", "", [f"The {other} is lost.", "Nobody knows."]),
            Page("B list", "", [f"The {thing} of the {place} is in the cellar."], 0),
        ],
        [1],
    )
    for thing, place, other in (("lock", "gate", "key"), ("rope", "barn", "axe"), ("lamp", "mill", "saw"))
]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(BUILTIN_MODEL)


@pytest.fixture(scope="module")
def table(vocabulary: Vocabulary) -> torch.Tensor:
    shape = Shape()
    vectors = WordVectors({"lock": 0, "rope": 1}, np.eye(2, shape.layout.meaning, dtype=np.float32))
    return torch.from_numpy(embeddings(vocabulary, shape.layout, Meanings.of(vocabulary, vectors)))


@pytest.fixture
def state(vocabulary: Vocabulary, table: torch.Tensor) -> State:
    return State.new(Shape(), table, Marks.of(vocabulary))


@pytest.fixture
def examples(vocabulary: Vocabulary) -> list[Example]:
    encoder = Encoder(vocabulary, random.Random(0))
    made = [encoder.encode(case, Mixture(relabelled=0.0)) for case in WORDS]
    return [example for example in made if example is not None]


def test_embeddings_are_all_of_one_length(table: torch.Tensor) -> None:
    assert torch.allclose(table.norm(dim=1), torch.tensor(EMBEDDING_NORM), atol=1e-4)


def test_identities_tell_all_tokens_apart(table: torch.Tensor) -> None:
    span = Shape().layout.span("identity")
    sample = table[3:32000:37, span]
    alike = sample @ table[:, span].T
    alike[torch.arange(len(sample)), torch.arange(3, 32000, 37)] = 0

    assert alike.max() < 0.9


def test_it_copies_before_any_training(state: State) -> None:
    random_ids = torch.randint(300, 32000, (8, 60), generator=torch.Generator().manual_seed(1))
    ids = torch.cat([torch.ones(8, 1, dtype=torch.long), random_ids, torch.full((8, 1), 32001), random_ids], 1)

    with torch.no_grad():
        hidden, _ = state.network(ids, {})
        guesses = state.network.logits(hidden[:, -60:-1]).argmax(-1)

    assert (guesses == ids[:, -59:]).float().mean() > 0.9


def test_it_knows_the_source_of_each_token_before_any_training(state: State, examples: list[Example]) -> None:
    batch = _Tensors.of(collate(examples, random.Random(0)), "cpu")

    with torch.no_grad():
        _, looks = state.network(batch.ids, batch.rows)

    positions, places = batch.rows[circuits.SOURCE_NUMBER[0]][circuits.SOURCE_NUMBER[1]]
    found = looks[circuits.SOURCE_NUMBER].argmax(-1)
    wanted = places >= 0
    assert positions.shape == places.shape
    assert (found[wanted] == places[wanted]).float().mean() > 0.95


def test_llama_cpp_computes_the_same(state: State, examples: list[Example], tmp_path: Path) -> None:
    path = tmp_path / "exact.gguf"
    export.export(state.network, BUILTIN_MODEL, path, precision="f32")

    assert export.largest_difference(state.network, path, [example.ids for example in examples]) < 0.02


def test_a_batch_is_padded_and_weighted(examples: list[Example]) -> None:
    batch = collate(examples, random.Random(0))
    time = batch.ids.shape[1]

    assert time == max(len(example.ids) for example in examples)
    assert batch.firsts.sum() == len(examples)
    for line, example in enumerate(examples):
        assert batch.ids[line, : len(example.ids)].tolist() == example.ids
    for place, target, weight, first in zip(batch.places, batch.targets, batch.weights, batch.firsts, strict=True):
        example, behind = examples[place // time], place % time
        assert target == example.ids[behind + 1]
        assert weight == example.weights[behind + 1 - example.prompt]
        assert first == (behind == example.prompt - 1)


def test_every_token_of_weight_counts(examples: list[Example]) -> None:
    batch = collate(examples, random.Random(0))

    heavy = sum(weight > 1 for example in examples for weight in example.weights)
    assert (batch.weights > 1).sum() == heavy
    assert len(batch.weights) < sum(len(example.weights) for example in examples)


def test_an_error_of_the_examples_reaches_who_takes_batches(examples: list[Example]) -> None:
    def broken(_: random.Random) -> Iterator[Example]:
        yield from examples
        raise ValueError("no more of them")

    with BatchStream(broken, 10**6, [0]) as stream, pytest.raises(BatchesEnded, match="no more of them"):
        stream.next()


def test_processes_draw_each_their_own(examples: list[Example]) -> None:
    def drawn(draw: random.Random) -> Iterator[Example]:
        while True:
            yield draw.choice(examples)

    with BatchStream(drawn, 400, [1, 2]) as stream:
        batches = [stream.next() for _ in range(8)]

    assert all(batch.ids.size <= 400 for batch in batches)


class _Maker:
    """Draws the same few cases."""

    mixture = Mixture()

    def __init__(self) -> None:
        self._draw = random.Random(0)

    def use(self, draw: random.Random) -> None:
        self._draw = draw

    def case(self) -> Case:
        return self._draw.choice(WORDS)


def test_training_goes_on_where_it_was(state: State, vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    encoder = Encoder(vocabulary, random.Random(0))

    train(state, _Maker(), encoder, path, seconds=12, anneal=False, seed=0)  # type: ignore[arg-type]
    again = State.load(path)

    assert again.steps == state.steps > 0
    assert again.averages == state.averages
    for one, other in zip(state.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, other)
    steps = again.steps
    train(again, _Maker(), encoder, path, seconds=6, anneal=True, seed=1)  # type: ignore[arg-type]
    assert State.load(path).steps > steps


def test_the_curriculum_has_no_end() -> None:
    assert stage_of(0).mixture.unanswerable < stage_of(1e12).mixture.unanswerable
