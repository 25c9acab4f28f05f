"""Model files and contexts, and the choices that they are loaded with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inference_service.adapters.grammar_process import GrammarSession
from inference_service.adapters.llama import LlamaRunner
from inference_service.adapters.llama_model import LlamaModel
from inference_service.core.errors import ModelError
from inference_service.core.options import ALL_LAYERS, ContextOptions, FlashAttention, KvType, LoadOptions
from inference_service.core.ports import Chunk, SamplerSpec
from inference_service.core.types import Sampling
from tests.support.builtin_model import BUILTIN_MODEL, context_options, loaded_model

pytestmark = pytest.mark.model


def test_the_shape_is_read_from_the_file():
    with loaded_model() as model:
        shape = model.shape
    assert (shape.architecture, shape.weights.vocabulary_size, shape.quantization) == ("phi3", 32_064, "Q8_0")
    assert shape.kv.bytes_per_cell(KvType.F16) == 9 * 384 * 2 * 2
    assert shape.training_context_length == 2048
    assert shape.cells_can_be_moved
    weights = shape.weights
    assert (weights.layers, weights.embedding_length) == (9, 384)
    assert 10**7 < weights.parameter_count < weights.tensor_bytes < BUILTIN_MODEL.stat().st_size


@pytest.mark.parametrize(
    "options",
    [
        LoadOptions(memory_map=False),
        LoadOptions(memory_lock=True),
        LoadOptions(memory_map=False, memory_lock=True),
        LoadOptions(gpu_layers=ALL_LAYERS),
    ],
    ids=["read", "locked", "read and locked", "all layers on a GPU, if there is one"],
)
def test_a_model_runs_however_it_was_loaded(options):
    said = []
    for given in (LoadOptions(), options):
        with loaded_model(given) as model:
            runner = LlamaRunner(model, context_options(kv_cells=256), open_grammar=no_grammar)
            runner.open(0, SamplerSpec(Sampling(), 5, ()))
            said.append(runner.run([Chunk(0, (1, 450, 4996), 0, wants_token=True)]))
            runner.free()
    assert said[0] == said[1]


def in_a_process_of_its_own(*lines: str) -> list[str]:
    """What these lines of Python print, with `model_path` set. llama.cpp ends the process where an assertion of its own
    does not hold.
    """
    script = "\n".join(["from pathlib import Path", f"model_path = Path({str(BUILTIN_MODEL)!r})", *lines])
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert child.returncode == 0, next((line for line in child.stderr.splitlines() if "ASSERT" in line), child.stderr)
    return child.stdout.splitlines()


@pytest.mark.parametrize("memory_map", [True, False])
def test_the_head_alone_says_the_same_of_the_model(memory_map: bool):
    printed = in_a_process_of_its_own(
        "from inference_service.adapters.llama_model import LlamaModel",
        "from inference_service.core.options import LoadOptions",
        f"model = LlamaModel(model_path, LoadOptions(head_only=True, memory_map={memory_map}))",
        "print(model.shape)",
    )
    with loaded_model() as model:
        assert printed[-1] == str(model.shape)


@pytest.mark.parametrize(
    "settings",
    [
        {"inference_draft_tokens": 0},
        {"inference_draft_tokens": 1},
        {"inference_draft_tokens": 0, "inference_prefix_cache_mib": 0},
        {"inference_batch_tokens": 16},
        {"inference_slots": 1, "inference_batch_tokens": 16},
        {"inference_slots": 255},
        {"inference_slots": 128, "inference_batch_tokens": 16, "inference_draft_tokens": 63},
    ],
    ids=lambda settings: ", ".join(f"{name.removeprefix('inference_')} {value}" for name, value in settings.items()),
)
def test_what_the_settings_allow_runs(settings: dict[str, int]):
    printed = in_a_process_of_its_own(
        "from inference_service.adapters.llama import LlamaRunner",
        "from inference_service.adapters.llama_model import LlamaModel",
        "from inference_service.adapters.llama_options import engine_options",
        "from inference_service.config import InferenceConfig",
        "from inference_service.core.options import LoadOptions",
        "from inference_service.core.ports import Chunk, SamplerSpec",
        "from inference_service.core.types import Sampling",
        f"config = InferenceConfig(inference_threads=1, inference_context=1024, **{settings})",
        "model = LlamaModel(model_path, LoadOptions())",
        "options = engine_options(config, model.shape, LoadOptions())",
        "runner = LlamaRunner(model, options.context, open_grammar=None)",
        "chunks = []",
        "for slot in range(config.inference_slots):",
        "    runner.open(slot, SamplerSpec(Sampling(), 5, ()))",
        "    chunks.append(Chunk(slot, (450,), 0, wants_token=True))",
        "print('sampled', len(runner.run(chunks)))",
    )
    assert printed[-1] == f"sampled {settings.get('inference_slots', 8)}"


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model", BUILTIN_MODEL.read_bytes()[:100_000]])
def test_a_bad_file_says_what_to_do(tmp_path: Path, content: bytes):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="groundwire model pull"):
        LlamaModel(path, LoadOptions())


def test_loading_ends_when_it_is_given_up():
    with pytest.raises(ModelError):
        LlamaModel(BUILTIN_MODEL, LoadOptions(), given_up=lambda: True)


def no_grammar(gbnf: str) -> GrammarSession:
    raise AssertionError("no grammar is asked for")


def refusal(options: ContextOptions) -> str:
    with loaded_model() as model, pytest.raises(ModelError) as refused:
        LlamaRunner(model, options, open_grammar=no_grammar)
    return str(refused.value)


def test_a_context_that_memory_cannot_hold_says_what_to_set():
    assert "GROUNDWIRE_INFERENCE_CONTEXT" in refusal(context_options(kv_cells=2**25))


def test_a_kv_type_that_needs_flash_attention_says_so_and_what_to_set():
    said = refusal(context_options(kv_type=KvType.Q8_0, flash_attention=FlashAttention.OFF))
    assert "quantized V cache requires flash_attn" in said
    assert "q8_0, flash attention off" in said
    assert "GROUNDWIRE_INFERENCE_KV_TYPE=f16" in said


@pytest.mark.parametrize("flash_attention", FlashAttention)
@pytest.mark.parametrize("kv_type", KvType)
def test_every_other_choice_runs(flash_attention: FlashAttention, kv_type: KvType):
    if (flash_attention, kv_type) == (FlashAttention.OFF, KvType.Q8_0):
        return
    with loaded_model() as model:
        options = context_options(kv_cells=256, flash_attention=flash_attention, kv_type=kv_type)
        runner = LlamaRunner(model, options, open_grammar=no_grammar)
        runner.open(0, SamplerSpec(Sampling(), 5, ()))
        assert len(runner.run([Chunk(0, (1, 450, 4996), 0, wants_token=True)])[0]) == 1
        assert runner.forward_seconds > 0
        runner.free()
