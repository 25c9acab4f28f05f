"""A GGUF model on llama.cpp's low-level API: loading, batches, forward passes and sampling.

Only the engine's thread may use a `LlamaRunner`. What can be known without the model's weights (a bad file) is checked
before this module is reached; what llama.cpp refuses becomes a ModelError or EngineUnavailable.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import numpy as np
import numpy.typing as npt

from inference_service.adapters.grammar_process import GrammarSession
from inference_service.adapters.llama_logs import recent_errors, route_logs
from inference_service.adapters.llama_sampling import SamplerChain, token_logprobs
from inference_service.core.errors import EngineUnavailable, InferenceError, ModelError, RequestFailed
from inference_service.core.ports import Chunk, SampledToken, SamplerSpec

ALL_LAYERS = -1
"""llama.cpp's own value for as many layers on the GPU as there are."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the file says of the model."""

    architecture: str
    parameter_count: int
    tensor_bytes: int
    training_context_length: int
    vocabulary_size: int
    quantization: str
    kv_bytes_per_cell: int
    """Bytes that one token takes in an f16 KV cache, over all layers."""


class LlamaModel:
    """A loaded model file. Close it after every runner made from it."""

    def __init__(self, path: Path, *, gpu_layers: int, given_up: Callable[[], bool] = lambda: False) -> None:
        """Load the file. `gpu_layers` below 0 offloads all. Takes seconds to minutes, but ends soon once `given_up`.

        Raises ModelError.
        """
        route_logs()
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = gpu_layers if llama_cpp.llama_supports_gpu_offload() else 0
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
        default_head = llama_cpp.llama_model_n_embd(model) // max(1, llama_cpp.llama_model_n_head(model))
        key_size = self._meta_int("attention.key_length") or default_head
        value_size = self._meta_int("attention.value_length") or default_head
        kv_heads = llama_cpp.llama_model_n_layer(model) * llama_cpp.llama_model_n_head_kv(model)
        return ModelShape(
            architecture=self.meta("general.architecture") or "unknown",
            parameter_count=llama_cpp.llama_model_n_params(model),
            tensor_bytes=llama_cpp.llama_model_size(model),
            training_context_length=llama_cpp.llama_model_n_ctx_train(model),
            vocabulary_size=llama_cpp.llama_vocab_n_tokens(self.vocab),
            quantization=(llama_cpp.llama_ftype_name(llama_cpp.llama_model_ftype(model)) or b"unknown").decode(),
            kv_bytes_per_cell=kv_heads * (key_size + value_size) * 2,
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
        for token in range(self.shape.vocabulary_size):
            length = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
            pieces.append(buffer.raw[:length] if length > 0 else b"")
        return pieces

    def close(self) -> None:
        """Free the weights."""
        if self.handle:
            llama_cpp.llama_model_free(self.handle)
            self.handle = None


class LlamaRunner:
    """Forward passes over a model's own KV cache: a ModelRunner."""

    def __init__(
        self,
        model: LlamaModel,
        *,
        slots: int,
        kv_cells: int,
        max_batch_tokens: int,
        threads: int,
        open_grammar: Callable[[str], GrammarSession],
    ) -> None:
        """Make the KV cache. `open_grammar` runs a checked grammar apart from this process.

        Raises ModelError where there is no memory.
        """
        self._open_grammar = open_grammar
        self._model = model
        self._kv_cells = kv_cells
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = kv_cells
        params.n_batch = max_batch_tokens
        params.n_ubatch = min(512, max_batch_tokens)
        params.n_seq_max = slots
        params.n_threads = threads
        params.n_threads_batch = threads
        params.kv_unified = True  # one pool of cells for all sequences, as the scheduler counts them
        params.no_perf = True
        self._context = llama_cpp.llama_init_from_model(model.handle, params)
        if not self._context:
            needed = kv_cells * model.shape.kv_bytes_per_cell / 2**30
            raise ModelError(
                f"llama.cpp cannot make a context of {kv_cells:,} tokens, whose KV cache takes about {needed:.1f} GiB: "
                f"{recent_errors() or 'it gave no reason'}. Set GROUNDWIRE_INFERENCE_CONTEXT to fewer tokens."
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = _Batch(max_batch_tokens)
        self._samplers: dict[int, SamplerChain] = {}
        self._pieces = model.read_token_bytes()
        self._end_tokens = frozenset(
            token for token in range(len(self._pieces)) if llama_cpp.llama_vocab_is_eog(model.vocab, token)
        )

    def open(self, slot: int, spec: SamplerSpec) -> None:
        """Make a sampler for the sequence in this slot."""
        grammar = None if spec.grammar is None else self._open_grammar(spec.grammar)
        self._samplers[slot] = SamplerChain(self._model.vocab, spec, grammar, end_tokens=self._end_tokens)

    def close(self, slot: int) -> None:
        """Give back the slot's KV cells and its sampler."""
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        sampler = self._samplers.pop(slot, None)
        if sampler is not None:
            sampler.close()

    def run(self, chunks: Sequence[Chunk]) -> list[SampledToken | InferenceError]:
        """One forward pass over all chunks; a token for each chunk that wants one, in order."""
        self._batch.fill(chunks)
        result = llama_cpp.llama_decode(self._context, self._batch.struct)
        if result != 0:
            why = "it found no room in the KV cache" if result == 1 else f"llama_decode returned {result}"
            raise EngineUnavailable(f"The model failed in a forward pass: {why}.")
        sampled: list[SampledToken | InferenceError] = []
        row = -1
        for chunk in chunks:
            row += len(chunk.tokens)
            if chunk.wants_token:
                try:
                    sampled.append(self._sample(self._samplers[chunk.slot], row))
                except InferenceError as error:
                    sampled.append(error)
                except Exception as fault:  # noqa: BLE001 - one request's fault must not end the others
                    sampled.append(RequestFailed.by(fault))
        return sampled

    def _sample(self, sampler: SamplerChain, row: int) -> SampledToken:
        # A grammar writes into the logits, and what is reported are those from before.
        before = None if sampler.logprobs is None else self.logits(row).copy()
        if sampler.grammar is not None:
            sampler.mask(self.logits(row))
        token = sampler.sample(self._context, row)
        if before is None or sampler.logprobs is None:
            return SampledToken(token)
        return SampledToken(token, token_logprobs(before, token, sampler.logprobs, self._pieces))

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """The logits behind a token of the last batch, as a view that the next pass overwrites."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        if not pointer:
            raise EngineUnavailable("The model gave no logits for a token that asked for them.")
        return np.ctypeslib.as_array(pointer, shape=(self._model.shape.vocabulary_size,))

    def reset(self) -> None:
        """Empty the KV cache and close every slot."""
        for slot in list(self._samplers):
            self.close(slot)
        llama_cpp.llama_memory_clear(self._memory, True)

    def token_bytes(self, token_id: int) -> bytes:
        """The token's text as bytes."""
        return self._pieces[token_id]

    def is_end_of_generation(self, token_id: int) -> bool:
        """Whether the model ends its turn with this token."""
        return token_id in self._end_tokens

    def free(self) -> None:
        """Free the samplers and the context."""
        for sampler in self._samplers.values():
            sampler.close()
        self._samplers.clear()
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None


class _Batch:
    """A llama_batch over numpy arrays that are made once and filled by slices."""

    def __init__(self, capacity: int) -> None:
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._sequence_ids = np.zeros(capacity, np.int32)
        self._counts = np.ones(capacity, np.int32)  # every token belongs to one sequence
        self._outputs = np.zeros(capacity, np.int8)
        id_size = self._sequence_ids.itemsize
        first_id = self._sequence_ids.ctypes.data
        self._id_pointers = (first_id + id_size * np.arange(capacity, dtype=np.uint64)).astype(np.uint64)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            embd=None,
            pos=self._positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=self._counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._id_pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, chunks: Sequence[Chunk]) -> None:
        """Lay the chunks one behind the other."""
        end = 0
        for chunk in chunks:
            start, end = end, end + len(chunk.tokens)
            self._tokens[start:end] = chunk.tokens
            self._positions[start:end] = np.arange(chunk.position, chunk.position + end - start)
            self._sequence_ids[start:end] = chunk.slot
            self._outputs[start:end] = 0
            self._outputs[end - 1] = chunk.wants_token
        self.struct.n_tokens = end
