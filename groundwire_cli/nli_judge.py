"""A judge that asks a natural language inference model, in ONNX, whether sources entail a statement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from groundwire_cli.errors import BadUsage
from groundwire_eval.judge import ContainmentJudge, Judge

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer

_MODEL_PLACES: Final = ("model.onnx", "onnx/model.onnx")
_LONGEST: Final = 512
"""Tokens of a pair where the model's configuration does not say: what BERT and its kin take."""
_POSITIONS_KEPT: Final = 2
"""RoBERTa and its kin number positions from 2, so that many fewer tokens fit than the configuration says."""


def choose_judge(nli_model: Path | None) -> Judge:
    """The judge of words, or the NLI model of a folder. Raises BadUsage where that cannot be used."""
    return ContainmentJudge() if nli_model is None else NliJudge(nli_model)


class NliJudge:
    """Holds a statement for supported where the model's most probable label is entailment.

    The folder is one that Hugging Face's Optimum exports: `model.onnx` (also in `onnx/`), `tokenizer.json`, and
    `config.json`, whose `id2label` names the labels. The sources are the premise, cut to what the model can read; the
    statement is the hypothesis. Use it from one thread.
    """

    def __init__(self, folder: Path) -> None:
        """Load it. Raises BadUsage where a file is missing or is not what it should be."""
        self.name = f"the NLI model {folder.resolve().name}"
        config = _json(folder / "config.json")
        self._entailment = _entailment_label(config, folder / "config.json")
        self._longest = _longest(config)
        self._tokenizer = _tokenizer(folder / "tokenizer.json", self._longest)
        self._session = _session(folder)
        self._inputs = {given.name for given in self._session.get_inputs()}

    def supports(self, sources: Sequence[str], statement: str) -> bool:
        """Whether the sources entail it. Nothing entails an empty statement, and no sources entail anything."""
        if not statement.strip() or not sources:
            return False
        encoding = self._tokenizer.encode("\n".join(sources), _cut(self._tokenizer, statement, self._longest))
        (logits, *_) = self._session.run(None, self._fed(encoding))
        return bool(int(np.argmax(np.asarray(logits)[0])) == self._entailment)

    def _fed(self, encoding: Encoding) -> dict[str, Any]:
        values = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        return {name: np.array([numbers], np.int64) for name, numbers in values.items() if name in self._inputs}


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadUsage(f"--nli-model: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadUsage(f"--nli-model: {path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise BadUsage(f"--nli-model: {path} holds no JSON object")
    return values


def _entailment_label(config: dict[str, Any], path: Path) -> int:
    labels = config.get("id2label")
    if isinstance(labels, dict):
        for number, label in labels.items():
            if str(label).casefold() == "entailment" and str(number).isdigit():
                return int(number)
    raise BadUsage(f"--nli-model: {path}: id2label names no label entailment, so this is no NLI model")


def _longest(config: dict[str, Any]) -> int:
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions <= _POSITIONS_KEPT:
        return _LONGEST
    return positions - _POSITIONS_KEPT


def _tokenizer(path: Path, longest: int) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise BadUsage(_NOT_INSTALLED) from None
    if not path.is_file():
        raise BadUsage(f"--nli-model: there is no {path}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise BadUsage(f"--nli-model: {path} is no tokenizer: {error}") from None
    tokenizer.no_padding()
    # Of the sources, never of the statement.
    tokenizer.enable_truncation(longest, strategy="only_first")
    return tokenizer


def _session(folder: Path) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError:
        raise BadUsage(_NOT_INSTALLED) from None
    path = next((folder / place for place in _MODEL_PLACES if (folder / place).is_file()), None)
    if path is None:
        raise BadUsage(f"--nli-model: there is no {folder / _MODEL_PLACES[0]}; Optimum exports models in ONNX")
    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - the library's exceptions share no other base
        raise BadUsage(f"--nli-model: {path} cannot be loaded: {error}") from None


def _cut(tokenizer: Tokenizer, statement: str, longest: int) -> str:
    """The statement, cut to half of what the model reads: a pair whose second part fills it all cannot be encoded."""
    encoding = tokenizer.encode(statement, add_special_tokens=False)
    most = longest // 2
    return statement if len(encoding.ids) <= most else statement[: encoding.offsets[most - 1][1]]


_NOT_INSTALLED: Final = "--nli-model needs onnxruntime and tokenizers: install groundwire[nli]"
