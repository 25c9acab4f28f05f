"""Choosing tokens with llama.cpp's C sampler chains, and their log probabilities with numpy."""

from __future__ import annotations

import math

import llama_cpp
import numpy as np
import numpy.typing as npt

from inference_service.adapters.grammar_process import GrammarSession
from inference_service.core.engine import PENALTY_WINDOW
from inference_service.core.errors import InvalidRequest
from inference_service.core.ports import SamplerSpec
from inference_service.core.types import PositionLogprobs, TokenLogprob

BANNING_BIAS = -100
"""The contract's bias that rules a token out."""

GREEDY_BELOW = 1e-5
"""Temperatures below this are greedy: no other token has a chance that a draw could hit, but logits divided by them
leave the range of a float, and what is drawn then is noise."""

RANDOM_SEED = 2**32 - 1
"""llama.cpp's LLAMA_DEFAULT_SEED: it stands for a seed of llama.cpp's own choice, which nobody could repeat."""


class SamplerChain:
    """One sequence's sampler. One random draw is spent for each sampled token, none at temperature 0.

    Order: what is ruled out (grammar, bias, penalties) comes before what is truncated, then the draw, as in llama.cpp's
    own tools. The grammar is not part of the chain: it runs in another process, because llama.cpp's grammar code can
    throw, and a C++ exception that meets ctypes ends the process and every stream with it.
    """

    def __init__(
        self, vocab: object, spec: SamplerSpec, grammar: GrammarSession | None, *, end_tokens: frozenset[int]
    ) -> None:
        """The chain closes the grammar."""
        self.logprobs = spec.logprobs
        self.grammar = grammar
        self._end_tokens = end_tokens
        self._banned = [token for token, bias in spec.sampling.logit_bias if bias <= BANNING_BIAS]
        params = llama_cpp.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain = llama_cpp.llama_sampler_chain_init(params)
        try:
            self._add_bias(vocab, spec, end_tokens)
            self._add_penalties(vocab, spec)
            self._add_choice(spec)
        except BaseException:
            self.close()
            raise

    def mask(self, logits: npt.NDArray[np.float32]) -> None:
        """Rule out, in place, what the grammar does not allow next.

        Raises InvalidRequest where nothing is left, or where working it out takes too long.
        """
        if self.grammar is None:
            return
        allowed = self.grammar.allowed(len(logits))
        if self._banned:
            allowed = allowed.copy()
            allowed[self._banned] = False
        if not allowed.any():
            raise InvalidRequest([("response_format", "leaves no token of this model's vocabulary to go on with")])
        logits[~allowed] = -math.inf

    def sample(self, context: object, row: int) -> int:
        """Choose the token behind a row of the last batch, and remember it."""
        token = int(llama_cpp.llama_sampler_sample(self._chain, context, row))
        if self.grammar is not None and token not in self._end_tokens:
            self.grammar.accept(token)
        return token

    def close(self) -> None:
        """Free the chain and its samplers, and end the grammar."""
        if self.grammar is not None:
            self.grammar.close()
            self.grammar = None
        if self._chain:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None

    def _add(self, sampler: object) -> None:
        llama_cpp.llama_sampler_chain_add(self._chain, sampler)

    def _add_bias(self, vocab: object, spec: SamplerSpec, end_tokens: frozenset[int]) -> None:
        biases = dict(spec.sampling.logit_bias)
        if spec.ignore_eos:
            biases.update(dict.fromkeys(end_tokens, -math.inf))
        if not biases:
            return
        array = (llama_cpp.llama_logit_bias * len(biases))()
        for entry, (token, bias) in zip(array, biases.items(), strict=True):
            entry.token = token
            entry.bias = -math.inf if bias <= BANNING_BIAS else bias
        self._add(llama_cpp.llama_sampler_init_logit_bias(llama_cpp.llama_vocab_n_tokens(vocab), len(biases), array))

    def _add_penalties(self, vocab: object, spec: SamplerSpec) -> None:
        sampling = spec.sampling
        if sampling.repeat_penalty == 1.0 and not sampling.presence_penalty and not sampling.frequency_penalty:
            return
        penalties = llama_cpp.llama_sampler_init_penalties(
            llama_cpp.llama_vocab_n_tokens(vocab),
            PENALTY_WINDOW,
            sampling.repeat_penalty,
            sampling.frequency_penalty,
            sampling.presence_penalty,
        )
        for token in spec.prompt_tail:
            llama_cpp.llama_sampler_accept(penalties, token)
        self._add(penalties)

    def _add_choice(self, spec: SamplerSpec) -> None:
        sampling = spec.sampling
        if sampling.temperature < GREEDY_BELOW:
            self._add(llama_cpp.llama_sampler_init_greedy())
            return
        if sampling.top_k:
            self._add(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1:
            self._add(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p:
            self._add(llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
        self._add(llama_cpp.llama_sampler_init_temp(sampling.temperature))
        # That seed shares its draws with its neighbour, and so is a seed like any other.
        seed = RANDOM_SEED - 1 if spec.seed == RANDOM_SEED else spec.seed
        self._add(llama_cpp.llama_sampler_init_dist(seed))


def token_logprobs(
    logits: npt.NDArray[np.float32], chosen: int, alternatives: int, pieces: list[bytes]
) -> PositionLogprobs:
    """Natural log probabilities of the chosen token and of the most probable ones, before any sampling setting."""
    wide = logits.astype(np.float64)
    peak = wide.max()
    logprobs = wide - (peak + math.log(np.exp(wide - peak).sum()))

    def entry(token: int) -> TokenLogprob:
        return TokenLogprob(token, pieces[token], min(0.0, float(logprobs[token])))

    top: list[int] = []
    if alternatives:
        best = np.argpartition(logprobs, -alternatives)[-alternatives:]
        top = [int(token) for token in best[np.argsort(-logprobs[best], kind="stable")]]
    return PositionLogprobs(entry(chosen), tuple(entry(token) for token in top))
