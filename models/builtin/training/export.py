"""The trained network as a GGUF file, and the proof that llama.cpp computes what the trainer does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType, quants
from torch import Tensor

from models.builtin.training.network import Network
from models.builtin.training.shape import RMS_EPSILON, ROPE_BASE

ARCHITECTURE: Final = "phi3"
_FORMATS: Final = {
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
}
_OF_BLOCKS: Final = {
    "attn_norm": "attention_norm",
    "ffn_norm": "feed_forward_norm",
    "attn_qkv": "qkv",
    "attn_output": "output",
    "ffn_up": "up",
    "ffn_down": "down",
}


def export(network: Network, vocabulary: Path, path: Path, *, precision: str = "q8_0") -> None:
    """Write the network to `path`, with the vocabulary of another GGUF file. `precision`: q8_0, f16 or f32."""
    quantization, file_type = _FORMATS[precision]
    shape = network.shape
    writer = GGUFWriter(path, ARCHITECTURE)
    writer.add_name("Groundwire built-in")
    writer.add_file_type(file_type)
    writer.add_context_length(shape.context)
    writer.add_rope_scaling_orig_ctx_len(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_block_count(shape.blocks)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(RMS_EPSILON)
    writer.add_rope_dimension_count(shape.rotary)
    writer.add_rope_freq_base(ROPE_BASE)
    _copy_vocabulary(writer, vocabulary)
    tensors = {"token_embd": network.embeddings, "output_norm": network.norm.weight}
    for number, block in enumerate(network.blocks):
        for name, part in _OF_BLOCKS.items():
            tensors[f"blk.{number}.{name}"] = getattr(block, part).weight
    for name, tensor in tensors.items():
        _add(writer, f"{name}.weight", tensor, quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_vocabulary(writer: GGUFWriter, path: Path) -> None:
    reader = GGUFReader(path)

    def field(name: str) -> Any:
        found = reader.get_field(f"tokenizer.{name}")
        if found is None:
            raise KeyError(f"{path} has no field tokenizer.{name}")
        return found.contents()

    writer.add_tokenizer_model(field("ggml.model"))
    writer.add_tokenizer_pre("default")
    writer.add_token_list(field("ggml.tokens"))
    writer.add_token_scores(field("ggml.scores"))
    writer.add_token_types(field("ggml.token_type"))
    writer.add_bos_token_id(field("ggml.bos_token_id"))
    writer.add_eos_token_id(field("ggml.eos_token_id"))
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(field("ggml.eos_token_id"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(field("chat_template"))


def _add(writer: GGUFWriter, name: str, tensor: Tensor, quantization: GGMLQuantizationType) -> None:
    values = tensor.detach().float().numpy()
    if values.ndim == 1 or quantization is GGMLQuantizationType.F32:
        writer.add_tensor(name, values)
    else:
        writer.add_tensor(name, quants.quantize(values, quantization), raw_dtype=quantization)


def largest_difference(network: Network, path: Path, prompts: Sequence[Sequence[int]]) -> float:
    """The largest difference of any logit of `prompts`' tokens between the trainer and llama.cpp with the file.

    Meaningful for a file in f32: in others the weights differ.
    """
    import llama_cpp

    # Keys and values in f32 as well: in f16, llama.cpp's own choice, logits of 40 differ by a tenth.
    f32 = llama_cpp.GGML_TYPE_F32
    context = network.shape.context
    model = llama_cpp.Llama(str(path), n_ctx=context, logits_all=True, type_k=f32, type_v=f32, verbose=False)
    try:
        worst = 0.0
        for prompt in prompts:
            model.reset()  # type: ignore[no-untyped-call]
            model.eval(list(prompt))
            theirs = np.array(model.scores[: len(prompt)])
            with torch.no_grad():
                hidden, _ = network(torch.tensor([list(prompt)]), {})
                ours = network.logits(hidden[0]).numpy()
            worst = max(worst, float(np.abs(ours - theirs).max()))
        return worst
    finally:
        model.close()
