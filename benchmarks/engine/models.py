"""The model files of the benchmark: what each is, and how it is made from a seed.

Speed depends on a model's shape and tensor types, not on what it learned, so the weights are random; one model copies
from its prompt, as grounded answers do. All have the built-in model's vocabulary, which is the real Phi-3's.

Sampled at temperature 1, the random ones say something new all the time; greedily they come back to what they said.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType

from benchmarks.engine.blocks import quantize, random_blocks
from benchmarks.engine.copying import HEAD_SIZE, ROPE_BASE, CopyingCircuit

BUILTIN_MODEL = Path(__file__).parents[2] / "models" / "builtin" / "groundwire-builtin.gguf"

VOCABULARY_SIZE = 32064
"""Tokens of the built-in model's vocabulary."""

_RECIPE = 1
"""Raised with every change of what is written, so that no older file is taken for a new one."""

Q = GGMLQuantizationType


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The shape of a phi3 model with random weights, and how its tensors are quantized."""

    title: str
    """`general.name` of the file."""
    width: int
    blocks: int
    heads: int
    feed_forward: int
    context: int
    """Tokens of the training context, as the file states it."""
    file_type: LlamaFileType
    """MOSTLY_Q8_0 (output tied to the embedding) or MOSTLY_Q4_K_M (untied)."""
    copies: bool = False
    """Whether the first two blocks copy from the prompt and the others pass on what they get."""
    seed: int = 1

    def __post_init__(self) -> None:
        if self.copies and self.width != self.heads * HEAD_SIZE:
            raise ValueError(f"a copying model of {self.heads} heads has a width of {self.heads * HEAD_SIZE}")


MODELS: dict[str, ModelSpec | Path] = {
    "60m": ModelSpec("Groundwire benchmark 60M", 512, 12, 8, 1664, 4096, LlamaFileType.MOSTLY_Q8_0),
    "3.8b": ModelSpec("Groundwire benchmark 3.8B", 3072, 32, 32, 8192, 4096, LlamaFileType.MOSTLY_Q4_K_M),
    "3.8b-copying": ModelSpec(
        "Groundwire benchmark 3.8B copying", 3072, 32, 32, 8192, 4096, LlamaFileType.MOSTLY_Q4_K_M, copies=True
    ),
    "builtin": BUILTIN_MODEL,
}
"""What the benchmark can run: what is made by its specification, or a file that is there. "3.8b" is Phi-3-mini's."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to be written: its name in the file, its rows and columns, and its type."""

    name: str
    rows: int
    columns: int
    """1 row for a norm's vector of weights."""
    kind: GGMLQuantizationType
    deviation: float
    """The standard deviation of its weights, where random; 0 for ones."""

    @property
    def bytes_per_row(self) -> int:
        """The bytes that a row takes in the file."""
        weights, size = GGML_QUANT_SIZES[self.kind]
        return self.columns // weights * size


def model_file(name: str, directory: Path, *, report: Callable[[str], None]) -> Path:
    """The GGUF file of a benchmark model, made where it is not there yet; the same bytes each time.

    An interrupted run leaves a `.part` file and nothing that looks finished. Raises ValueError for an unknown name.
    """
    spec = MODELS.get(name)
    if spec is None:
        raise ValueError(f"no benchmark model is named {name!r}: choose one of {', '.join(MODELS)}")
    if isinstance(spec, Path):
        return spec
    path = directory / f"{name}.v{_RECIPE}.gguf"
    if not path.is_file():
        size = sum(tensor.rows * tensor.bytes_per_row for tensor in tensors(spec))
        report(f"making the model {name} ({size / 1e6:,.0f} MB) in {directory}")
        write_model(spec, path)
    return path


def write_model(spec: ModelSpec, path: Path) -> None:
    """Write the model's file, one tensor in memory at a time. Raises ValueError for columns that fit no block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    writer = GGUFWriter(part, "phi3")
    try:
        _add_metadata(writer, spec)
        plan = list(tensors(spec))
        for tensor in plan:
            shape = (tensor.columns,) if tensor.kind is Q.F32 else (tensor.rows, tensor.columns)
            writer.add_tensor_info(
                tensor.name, shape, np.dtype(np.float32), tensor.rows * tensor.bytes_per_row, raw_dtype=tensor.kind
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for data in _tensor_data(spec, plan):
            writer.write_tensor_data(data)
    finally:
        writer.close()
    part.replace(path)


def tensors(spec: ModelSpec) -> Iterator[Tensor]:
    """The model's tensors, named and fused as llama.cpp's phi3 has them."""
    small = spec.file_type is LlamaFileType.MOSTLY_Q8_0
    width, inner = spec.width, spec.feed_forward
    # Tied to the output, the embedding sets the spread of the logits: about 2.
    embedding = 2 / math.sqrt(width) if small else 0.5
    quiet = 2e-4 if spec.copies else None
    yield Tensor("token_embd.weight", VOCABULARY_SIZE, width, Q.Q8_0 if small else Q.Q4_K, embedding)
    yield Tensor("output_norm.weight", 1, width, Q.F32, 0)
    if not small:
        yield Tensor("output.weight", VOCABULARY_SIZE, width, Q.Q6_K, 2 / math.sqrt(width))
    for block in range(spec.blocks):
        prefix = f"blk.{block}."
        yield Tensor(prefix + "attn_norm.weight", 1, width, Q.F32, 0)
        yield Tensor(prefix + "ffn_norm.weight", 1, width, Q.F32, 0)
        # A little over 1 where a weight keeps the size of what it reads: attention then prefers some tokens.
        yield Tensor(prefix + "attn_qkv.weight", 3 * width, width, Q.Q8_0 if small else Q.Q5_K, 1.6 / math.sqrt(width))
        yield Tensor(
            prefix + "attn_output.weight", width, width, Q.Q8_0 if small else Q.Q4_K, quiet or 1 / math.sqrt(width)
        )
        yield Tensor(prefix + "ffn_up.weight", 2 * inner, width, Q.Q8_0 if small else Q.Q4_K, 1 / math.sqrt(width))
        down = Q.Q8_0 if small else Q.Q6_K if _more_bits(block, spec.blocks) else Q.Q4_K
        yield Tensor(prefix + "ffn_down.weight", width, inner, down, quiet or 1 / math.sqrt(inner))


def _more_bits(block: int, blocks: int) -> bool:
    """Whether Q4_K_M keeps this block's ffn_down in Q6_K: llama.cpp's `use_more_bits`, src/llama-quant.cpp."""
    return block < blocks // 8 or block >= 7 * blocks // 8 or (block - blocks // 8) % 3 == 2


def _tensor_data(spec: ModelSpec, plan: list[Tensor]) -> Iterator[npt.NDArray[np.generic]]:
    random = np.random.PCG64(spec.seed)
    circuit = None
    if spec.copies:
        circuit = CopyingCircuit(heads=spec.heads, vocabulary_size=VOCABULARY_SIZE, random=random)
    for tensor in plan:
        written = circuit.weights(tensor.name) if circuit else None
        if tensor.kind is Q.F32:
            yield np.ones(tensor.columns, np.float32) if written is None else written
        elif written is None:
            yield random_blocks(tensor.kind, tensor.rows, tensor.columns, deviation=tensor.deviation, random=random)
        else:
            yield quantize(written, tensor.kind)


def _add_metadata(writer: GGUFWriter, spec: ModelSpec) -> None:
    """Write the model's shape, and the built-in model's vocabulary."""
    writer.add_name(spec.title)
    writer.add_file_type(spec.file_type)
    writer.add_context_length(spec.context)
    writer.add_rope_scaling_orig_ctx_len(spec.context)
    writer.add_embedding_length(spec.width)
    writer.add_feed_forward_length(spec.feed_forward)
    writer.add_block_count(spec.blocks)
    writer.add_head_count(spec.heads)
    writer.add_head_count_kv(spec.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(spec.width // spec.heads)
    writer.add_rope_freq_base(ROPE_BASE if spec.copies else 10_000.0)
    for key, field in _vocabulary().items():
        writer.add_key_value(key, field.value, field.kind, field.item_kind)


def vocabulary_tokens() -> list[str]:
    """The tokens that all these models have, in order of their ids."""
    tokens = _vocabulary()["tokenizer.ggml.tokens"].value
    if not isinstance(tokens, list):
        raise TypeError(f"{BUILTIN_MODEL} lists no tokens")
    return tokens


class _Field(NamedTuple):
    value: object
    kind: GGUFValueType
    item_kind: GGUFValueType | None
    """Of an array."""


@functools.cache
def _vocabulary() -> dict[str, _Field]:
    """All that the built-in model's file says of its tokens, chat template included."""
    return {
        key: _Field(field.contents(), field.types[0], field.types[1] if len(field.types) > 1 else None)
        for key, field in GGUFReader(BUILTIN_MODEL).fields.items()
        if key.startswith("tokenizer.")
    }
