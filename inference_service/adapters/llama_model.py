"""A GGUF model's weights, loaded by llama.cpp.

What can be known without the weights (a bad file) is checked before this module is reached; what llama.cpp refuses
becomes a ModelError.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import llama_cpp

from inference_service.adapters.llama_logs import recent_errors, route_logs
from inference_service.core.errors import ModelError
from inference_service.core.options import LoadOptions
from inference_service.core.sizing import KvShape, WeightShape

# llama_load_mode in llama.h; the binding has no names for its values.
_LOAD_MODES = {(False, False): 0, (True, False): 1, (False, True): 2, (True, True): 3}
"""By (memory_map, memory_lock)."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the file says of the model."""

    architecture: str
    weights: WeightShape
    kv: KvShape
    training_context_length: int
    quantization: str
    cells_can_be_moved: bool
    """Whether any part of a sequence can be dropped, kept and shared: not so where a state stands for a whole sequence
    (recurrent models), nor where attention forgets what has left its window."""


class LlamaModel:
    """A loaded model file. Close it after every runner made from it."""

    def __init__(self, path: Path, options: LoadOptions, *, given_up: Callable[[], bool] = lambda: False) -> None:
        """Load the file: seconds to minutes, but it ends soon once `given_up`. Raises ModelError."""
        route_logs()
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = options.gpu_layers if llama_cpp.llama_supports_gpu_offload() else 0
        params.no_alloc = options.head_only
        # Without weights there is nothing to map, and llama.cpp ends the process where it is told to.
        params.load_mode = 0 if options.head_only else _LOAD_MODES[options.memory_map, options.memory_lock]
        go_on = llama_cpp.llama_progress_callback(lambda _progress, _data: not given_up())
        params.progress_callback = go_on
        self.handle = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            raise ModelError(
                f"llama.cpp cannot load the model file {path}: {recent_errors() or 'it gave no reason'}. The file may "
                "be damaged or of an architecture that this version of llama.cpp does not know; fetch it again with "
                "`groundwire model pull`, or set GROUNDWIRE_MODEL to another GGUF file."
            )
        self.vocab = llama_cpp.llama_model_get_vocab(self.handle)
        self.shape = self._read_shape()

    def _read_shape(self) -> ModelShape:
        model = self.handle
        layers, embedding = llama_cpp.llama_model_n_layer(model), llama_cpp.llama_model_n_embd(model)
        default_head = embedding // max(1, llama_cpp.llama_model_n_head(model))
        return ModelShape(
            architecture=self.meta("general.architecture") or "unknown",
            weights=WeightShape(
                tensor_bytes=llama_cpp.llama_model_size(model),
                parameter_count=llama_cpp.llama_model_n_params(model),
                layers=layers,
                vocabulary_size=llama_cpp.llama_vocab_n_tokens(self.vocab),
                embedding_length=embedding,
            ),
            kv=KvShape(
                layers=layers,
                heads=llama_cpp.llama_model_n_head_kv(model),
                key_size=self._meta_int("attention.key_length") or default_head,
                value_size=self._meta_int("attention.value_length") or default_head,
            ),
            training_context_length=llama_cpp.llama_model_n_ctx_train(model),
            quantization=(llama_cpp.llama_ftype_name(llama_cpp.llama_model_ftype(model)) or b"unknown").decode(),
            cells_can_be_moved=not (
                llama_cpp.llama_model_is_recurrent(model)
                or llama_cpp.llama_model_is_hybrid(model)
                or llama_cpp.llama_model_n_swa(model)
            ),
        )

    def meta(self, key: str) -> str | None:
        """A text value of the file's metadata."""
        buffer = ctypes.create_string_buffer(65536)
        length = llama_cpp.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return None if length < 0 else buffer.value.decode(errors="replace")

    def _meta_int(self, key: str) -> int | None:
        value = self.meta(f"{self.meta('general.architecture')}.{key}")
        return int(value) if value is not None and value.isdigit() else None

    def read_token_bytes(self) -> list[bytes]:
        """The text of every token; empty for control tokens."""
        buffer = ctypes.create_string_buffer(1024)
        pieces = []
        for token in range(self.shape.weights.vocabulary_size):
            length = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
            pieces.append(buffer.raw[:length] if length > 0 else b"")
        return pieces

    def close(self) -> None:
        """Free the weights."""
        if self.handle:
            llama_cpp.llama_model_free(self.handle)
            self.handle = None
