"""Forward passes and sampling on llama.cpp's low-level API.

Only the engine's thread may use a `LlamaRunner`. What llama.cpp refuses becomes a ModelError or EngineUnavailable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import llama_cpp
import numpy as np
import numpy.typing as npt

from inference_service.adapters.grammar_process import GrammarSession
from inference_service.adapters.llama_batch import Batch, apart
from inference_service.adapters.llama_candidates import Candidates
from inference_service.adapters.llama_kv import KvCells, SavedCells
from inference_service.adapters.llama_logs import recent_errors
from inference_service.adapters.llama_model import LlamaModel
from inference_service.adapters.llama_outputs import Outputs
from inference_service.adapters.llama_sampling import SamplerChain, token_logprobs
from inference_service.core.errors import EngineUnavailable, InferenceError, ModelError, RequestFailed
from inference_service.core.options import ContextOptions, FlashAttention, KvType
from inference_service.core.ports import Chunk, Sampled, SampledToken, SamplerSpec
from inference_service.core.sequence import KvSegment

_FLASH_ATTENTION = {
    FlashAttention.AUTO: llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    FlashAttention.ON: llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    FlashAttention.OFF: llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
_KV_TYPES = {KvType.F16: llama_cpp.GGML_TYPE_F16, KvType.Q8_0: llama_cpp.GGML_TYPE_Q8_0}


class LlamaRunner:
    """Forward passes over a model's own KV cache: a ModelRunner."""

    def __init__(
        self, model: LlamaModel, options: ContextOptions, *, open_grammar: Callable[[str], GrammarSession]
    ) -> None:
        """Make the KV cache. `open_grammar` runs a checked grammar apart from this process.

        Raises ModelError where there is no memory, or where the options do not suit the model or this host.
        """
        self._open_grammar = open_grammar
        self._model = model
        self._context = _make_context(model, options)
        # The highest sequence id is the one that nothing else uses.
        self._kv = KvCells(self._context, scratch_id=options.slots)
        self._batch = Batch(options.batch_tokens)
        self._attention_tile = options.attention_tile
        self._outputs = Outputs(self._context, model.shape.weights.vocabulary_size)
        self._candidates = Candidates(model.shape.weights.vocabulary_size)
        self._samplers: dict[int, SamplerChain] = {}
        self._pieces = model.read_token_bytes()
        self._end_tokens = frozenset(
            token for token in range(len(self._pieces)) if llama_cpp.llama_vocab_is_eog(model.vocab, token)
        )
        self.forward_seconds = 0.0
        """Time spent in forward passes so far, without sampling."""

    def open(self, slot: int, spec: SamplerSpec) -> None:
        """Make a sampler for the sequence in this slot."""
        grammar = None if spec.grammar is None else self._open_grammar(spec.grammar)
        self._samplers[slot] = SamplerChain(self._model.vocab, spec, grammar, end_tokens=self._end_tokens)

    def retire(self, slot: int, length: int) -> None:
        """Give back the slot's sampler and keep its first `length` KV cells."""
        self._kv.remove(slot, length)
        self._close_sampler(slot)

    def close(self, slot: int) -> None:
        """Give back the slot's KV cells and its sampler."""
        self._kv.remove(slot)
        self._close_sampler(slot)

    def _close_sampler(self, slot: int) -> None:
        sampler = self._samplers.pop(slot, None)
        if sampler is not None:
            sampler.close()

    def run(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        """Run all chunks, and return what was sampled behind each that wants a token, in order."""
        sampled: dict[int, Sampled] = {}
        for chunks_of_pass in apart(chunks, self._attention_tile):
            self._forward(chunks_of_pass)
            row = 0
            for chunk in chunks_of_pass:
                if chunk.wants_token:
                    sampled[chunk.slot] = self._sample_behind(chunk, row)
                    row += chunk.drafted + 1
        return [sampled[chunk.slot] for chunk in chunks if chunk.wants_token]

    def _forward(self, chunks: Sequence[Chunk]) -> None:
        """One forward pass, whose logits are then there to be looked at."""
        self._batch.fill(chunks)
        started = time.perf_counter()
        result = llama_cpp.llama_decode(self._context, self._batch.struct)
        llama_cpp.llama_synchronize(self._context)  # a GPU may still be computing
        self.forward_seconds += time.perf_counter() - started
        if result != 0:
            why = "it found no room in the KV cache" if result == 1 else f"llama_decode returned {result}"
            raise EngineUnavailable(f"The model failed in a forward pass: {why}.")
        self._outputs.renew(len(self._batch.output_rows))

    def _sample_behind(self, chunk: Chunk, row: int) -> Sampled:
        """Sample one token behind each row from `row` on, as long as the draft holds what was sampled."""
        sampler = self._samplers[chunk.slot]
        draft = chunk.tokens[len(chunk.tokens) - chunk.drafted :]
        sampled: Sampled = []
        try:
            for place in range(chunk.drafted + 1):
                token = self._sample(sampler, row + place)
                sampled.append(token)
                if place < chunk.drafted and token.token_id != draft[place]:
                    break
        except InferenceError as error:
            sampled.append(error)
        except Exception as fault:  # noqa: BLE001 - one request's fault must not end the others
            sampled.append(RequestFailed.by(fault))
        wrong = chunk.drafted + 1 - len(sampled)
        if wrong:
            self._kv.remove(chunk.slot, chunk.position + len(chunk.tokens) - wrong)
        return sampled

    def _sample(self, sampler: SamplerChain, row: int) -> SampledToken:
        logits = self._outputs.logits[row]
        # Sampling writes into the logits, and what is reported are those from before.
        before = None if sampler.logprobs is None else logits.copy()
        token = sampler.sample(self._context, self._batch.output_rows[row], logits, self._candidates)
        if before is None or sampler.logprobs is None:
            return SampledToken(token)
        return SampledToken(token, token_logprobs(before, token, sampler.logprobs, self._pieces))

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """A row of the last pass, counted over the tokens that something was sampled behind; the next overwrites it."""
        row_logits: npt.NDArray[np.float32] = self._outputs.logits[row]
        return row_logits

    def share(self, source: int, slot: int, length: int) -> None:
        """Let an empty slot begin with the first `length` cells of another, without a copy."""
        self._kv.share(source, slot, 0, length)

    def save(self, slot: int, start: int, end: int) -> SavedCells | None:
        """Copy the cells of positions `start` up to `end` to host memory. None: they cannot be copied."""
        return self._kv.save(slot, start, end)

    def restore(self, slot: int, segment: KvSegment, start: int, end: int) -> bool:
        """Put cells of positions `start` up to `end` behind the slot's own. False: there is no room just now."""
        assert isinstance(segment, SavedCells)  # noqa: S101 - nobody else makes segments
        return self._kv.restore(slot, segment, start, end)

    def reset(self) -> None:
        """Empty the KV cache and close every slot."""
        for slot in list(self._samplers):
            self.close(slot)
        self._kv.clear()

    def token_bytes(self, token_id: int) -> bytes:
        """The token's text as bytes."""
        return self._pieces[token_id]

    def is_end_of_generation(self, token_id: int) -> bool:
        """Whether the model ends its turn with this token."""
        return token_id in self._end_tokens

    def free(self) -> None:
        """Free the samplers and the context."""
        for slot in list(self._samplers):
            self._close_sampler(slot)
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None


def _make_context(model: LlamaModel, options: ContextOptions) -> object:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = options.kv_cells
    params.n_batch = options.batch_tokens
    params.n_ubatch = options.batch_tokens
    params.n_seq_max = options.slots + 1
    # llama.cpp ends the process where this is less than the number of sequences.
    params.n_outputs_max = max(params.n_seq_max, min(options.batch_tokens, options.output_tokens))
    params.n_threads = options.threads
    params.n_threads_batch = options.threads
    params.flash_attn_type = _FLASH_ATTENTION[options.flash_attention]
    params.type_k = params.type_v = _KV_TYPES[options.kv_type]
    params.kv_unified = True  # one pool of cells for all sequences, as the scheduler counts them
    params.no_perf = True
    context = llama_cpp.llama_init_from_model(model.handle, params)
    if not context:
        needed = options.kv_cells * model.shape.kv.bytes_per_cell(options.kv_type) / 2**30
        raise ModelError(
            f"llama.cpp cannot make a context of {options.kv_cells:,} tokens, whose KV cache ({options.kv_type}, flash "
            f"attention {options.flash_attention}) takes about {needed:.1f} GiB: "
            f"{recent_errors() or 'it gave no reason'}. Set GROUNDWIRE_INFERENCE_CONTEXT to fewer tokens, or "
            "GROUNDWIRE_INFERENCE_KV_TYPE=f16 where that is what it refuses."
        )
    return context
