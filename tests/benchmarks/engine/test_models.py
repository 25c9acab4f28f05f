"""The benchmark's models: the same each time, of the shape they claim, and copying where they must."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType, GGUFReader, LlamaFileType, quants

from benchmarks.engine.blocks import quantize, random_blocks
from benchmarks.engine.models import BUILTIN_MODEL, MODELS, ModelSpec, model_file, tensors, write_model

PHI3_MINI_FILE_BYTES = 2_393_231_072
"""The size of Microsoft's Phi-3-mini-4k-instruct-q4.gguf, which is a Q4_K_M."""

TINY = ModelSpec("Tiny", 64, 2, 2, 96, 512, LlamaFileType.MOSTLY_Q8_0)
SMALL_COPYING = ModelSpec("Small copying", 768, 3, 8, 256, 2048, LlamaFileType.MOSTLY_Q4_K_M, copies=True)


class Decoder:
    """One sequence on llama.cpp's own interface, on one thread."""

    def __init__(self, context: llama_cpp.llama_context_p) -> None:
        self._context = context
        self._position = 0

    def logits_after(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for row, token in enumerate(tokens):
            batch.token[row], batch.pos[row] = token, self._position + row
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, 0
            batch.logits[row] = row == len(tokens) - 1
        try:
            assert llama_cpp.llama_decode(self._context, batch) == 0
        finally:
            llama_cpp.llama_batch_free(batch)
        self._position += len(tokens)
        pointer = llama_cpp.llama_get_logits_ith(self._context, len(tokens) - 1)
        return np.ctypeslib.as_array(pointer, shape=(32064,)).copy()


@contextmanager
def decoder(path: Path) -> Iterator[Decoder]:
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    assert model
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_threads, params.n_threads_batch = 512, 512, 1, 1
    context = llama_cpp.llama_init_from_model(model, params)
    try:
        yield Decoder(context)
    finally:
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)


@pytest.mark.model
def test_the_copying_model_goes_on_as_its_prompt_did(tmp_path):
    path = tmp_path / "copying.gguf"
    write_model(SMALL_COPYING, path)
    source = random.Random(4)
    prompt = [1, *(source.randrange(300, 32_000) for _ in range(240))]
    # The last three tokens stood together before; one of them also stood alone, with another continuation.
    prompt += [prompt[62], source.randrange(300, 32_000), *prompt[60:63]]
    said: list[int] = []
    with decoder(path) as running:
        logits = running.logits_after(prompt)
        while len(said) < 32:
            said.append(int(logits.argmax()))
            logits = running.logits_after(said[-1:])
    assert said == prompt[63:95]


@pytest.mark.model
def test_a_random_model_says_varied_things(tmp_path):
    path = tmp_path / "tiny.gguf"
    write_model(TINY, path)
    source = np.random.default_rng(3)
    said: list[int] = []
    with decoder(path) as running:
        logits = running.logits_after([1, 400, 500])
        for _ in range(64):
            assert np.isfinite(logits).all()
            chances = np.exp(logits.astype(np.float64) - logits.max())
            said.append(int(source.choice(len(chances), p=chances / chances.sum())))
            logits = running.logits_after(said[-1:])
    assert len(set(said)) > 50


def test_a_model_is_made_once_and_alike_each_time(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "tiny", TINY)
    reports: list[str] = []
    path = model_file("tiny", tmp_path / "first", report=reports.append)
    made = path.stat().st_mtime_ns
    assert model_file("tiny", tmp_path / "first", report=reports.append).stat().st_mtime_ns == made
    assert len(reports) == 1
    again = model_file("tiny", tmp_path / "second", report=reports.append)
    assert again.read_bytes() == path.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_what_an_interrupted_run_left_is_not_taken_for_the_model(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "tiny", TINY)
    whole = model_file("tiny", tmp_path / "whole", report=print)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / f"{whole.name}.part").write_bytes(whole.read_bytes()[:1000])
    assert model_file("tiny", broken, report=print).read_bytes() == whole.read_bytes()


def test_a_model_has_the_built_in_vocabulary_and_template(tmp_path):
    path = tmp_path / "tiny.gguf"
    write_model(TINY, path)
    ours, builtin = GGUFReader(path).fields, GGUFReader(BUILTIN_MODEL).fields
    copied = [key for key in builtin if key.startswith("tokenizer.")]
    assert {"tokenizer.ggml.tokens", "tokenizer.chat_template"} < set(copied)
    for key in copied:
        assert ours[key].types == builtin[key].types
        assert [part.tobytes() for part in ours[key].parts] == [part.tobytes() for part in builtin[key].parts]


@pytest.mark.parametrize("name", ["3.8b", "3.8b-copying"])
def test_the_large_models_have_the_tensors_of_a_quantized_phi3_mini(name):
    planned = list(tensors(MODELS[name]))
    size = sum(tensor.rows * tensor.bytes_per_row for tensor in planned)
    assert size == pytest.approx(PHI3_MINI_FILE_BYTES, rel=0.001)
    assert size < PHI3_MINI_FILE_BYTES
    kinds = Counter((tensor.name.split(".")[-2], tensor.kind.name) for tensor in planned)
    assert kinds == {
        ("token_embd", "Q4_K"): 1,
        ("output", "Q6_K"): 1,
        ("output_norm", "F32"): 1,
        ("attn_norm", "F32"): 32,
        ("ffn_norm", "F32"): 32,
        ("attn_qkv", "Q5_K"): 32,
        ("attn_output", "Q4_K"): 32,
        ("ffn_up", "Q4_K"): 32,
        ("ffn_down", "Q4_K"): 16,
        ("ffn_down", "Q6_K"): 16,
    }


def test_the_60m_model_has_about_60_million_weights():
    assert sum(tensor.rows * tensor.columns for tensor in tensors(MODELS["60m"])) == pytest.approx(60e6, rel=0.02)


def test_the_built_in_model_is_the_repositorys_own(tmp_path):
    assert model_file("builtin", tmp_path, report=print) == BUILTIN_MODEL
    assert BUILTIN_MODEL.is_file()


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"'70b'.*60m, 3\.8b, 3\.8b-copying, builtin"):
        model_file("70b", tmp_path, report=print)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K", "Q5_K", "Q6_K"])
def test_random_blocks_have_the_spread_asked_for(kind):
    quantization = GGMLQuantizationType[kind]
    blocks = random_blocks(quantization, 64, 1024, deviation=0.02, random=np.random.PCG64(5))
    weights = quants.dequantize(blocks, quantization)
    assert weights.shape == (64, 1024)
    assert weights.std() == pytest.approx(0.02, rel=0.02)
    assert abs(weights.mean()) < 0.001


def test_what_is_quantized_comes_back():
    weights = np.random.default_rng(6).normal(0, 0.02, (8, 512)).astype(np.float32)
    kept = quants.dequantize(quantize(weights, GGMLQuantizationType.Q6_K), GGMLQuantizationType.Q6_K)
    assert np.abs(kept - weights).max() < 0.002


def test_columns_that_are_no_whole_blocks_are_refused():
    with pytest.raises(ValueError, match="300 columns"):
        quantize(np.zeros((2, 300), np.float32), GGMLQuantizationType.Q4_K)
    with pytest.raises(ValueError, match="300 columns"):
        random_blocks(GGMLQuantizationType.Q4_K, 2, 300, deviation=1, random=np.random.PCG64(1))


def test_a_copying_model_of_another_head_size_is_refused():
    with pytest.raises(ValueError, match="width of 768"):
        ModelSpec("Odd", 512, 2, 8, 256, 512, LlamaFileType.MOSTLY_Q4_K_M, copies=True)


def test_a_model_that_cannot_be_made_leaves_no_file_behind_that_looks_made(tmp_path):
    with pytest.raises(ValueError, match="100 columns"):
        write_model(ModelSpec("Odd", 100, 1, 2, 64, 512, LlamaFileType.MOSTLY_Q8_0), tmp_path / "odd.gguf")
    assert not (tmp_path / "odd.gguf").exists()
