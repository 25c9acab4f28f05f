"""The judge by an NLI model. Its model here is a real ONNX graph: words of the statement that the sources lack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from groundwire_cli.errors import BadUsage
from groundwire_cli.nli_judge import NliJudge, choose_judge
from groundwire_eval.judge import ContainmentJudge

WORDS = [
    "[CLS]",
    "[SEP]",
    "[UNK]",
    "the",
    "tower",
    "is",
    "tall",
    "old",
    "and",
    "made",
    "of",
    "stone",
    "steel",
    ".",
    "nobody",
    "lives",
    "there",
]
LABELS = {"0": "contradiction", "1": "NEUTRAL", "2": "Entailment"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({"id2label": LABELS, "max_position_embeddings": 26}))
    onnx.save(lacking_words(), tmp_path / "model.onnx")
    return tmp_path


def lacking_words() -> onnx.ModelProto:
    """Logits 0, lacking - 0.5 and 0.5 - lacking: how many tokens of the second part do not occur in the first."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, [1, "time"]) for name in ("input_ids", "token_type_ids")
    ]
    constants = {"one": np.float32([1]), "half": np.float32([0.5]), "zero": np.float32([[0.0]]), "axis": np.int64([1])}
    nodes = [
        helper.make_node("Transpose", ["input_ids"], ["column"], perm=[1, 0]),
        helper.make_node("Equal", ["column", "input_ids"], ["same"]),
        helper.make_node("Cast", ["same"], ["alike"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["token_type_ids"], ["second"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "second"], ["first"]),
        helper.make_node("MatMul", ["first", "alike"], ["counts"]),
        helper.make_node("Min", ["counts", "one"], ["there"]),
        helper.make_node("Sub", ["one", "there"], ["absent"]),
        helper.make_node("Mul", ["absent", "second"], ["lacks"]),
        helper.make_node("ReduceSum", ["lacks", "axis"], ["lacking"], keepdims=1),
        helper.make_node("Sub", ["lacking", "half"], ["neutral"]),
        helper.make_node("Sub", ["half", "lacking"], ["entailed"]),
        helper.make_node("Concat", ["zero", "neutral", "entailed"], ["logits"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "lacking-words",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_what_sources_say_together_is_supported(folder: Path) -> None:
    judge = NliJudge(folder)

    assert judge.supports(["the tower is tall", "and old ."], "the tower is old and tall .")
    assert not judge.supports(["the tower is tall"], "the tower is old")
    assert judge.name == f"the NLI model {folder.name}"


def test_nothing_is_supported_by_nothing(folder: Path) -> None:
    judge = NliJudge(folder)

    assert not judge.supports([], "the tower is tall")
    assert not judge.supports(["the tower is tall"], "  ")


def test_long_sources_are_cut_and_a_long_statement_is_too(folder: Path) -> None:
    judge = NliJudge(folder)

    assert judge.supports(["the tower is tall " * 400], "the tower is tall")
    assert judge.supports(["the tower is tall"], "tall " * 400)
    assert not judge.supports(["the " * 400 + "tower"], "tower")


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
def test_where_the_model_lies(folder: Path, place: str) -> None:
    target = folder / place
    target.parent.mkdir(exist_ok=True)
    (folder / "model.onnx").rename(target)

    assert NliJudge(folder).supports(["the tower"], "the tower")


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("config.json", None, "config.json cannot be read: No such file"),
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[]", "config.json holds no JSON object"),
        ("config.json", '{"id2label": {"0": "good", "1": "bad"}}', "id2label names no label entailment"),
        ("tokenizer.json", None, "there is no .*tokenizer.json"),
        ("tokenizer.json", "{}", "tokenizer.json is no tokenizer"),
        ("model.onnx", None, "there is no .*model.onnx; Optimum exports models in ONNX"),
        ("model.onnx", "no graph", "model.onnx cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_model(folder: Path, name: str, content: str | None, fault: str) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)

    with pytest.raises(BadUsage, match=f"--nli-model: .*{fault}"):
        NliJudge(folder)


def test_without_a_model_words_are_counted() -> None:
    assert isinstance(choose_judge(None), ContainmentJudge)
