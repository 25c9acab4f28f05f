"""Choosing tokens with llama.cpp's C sampler chains, and their log probabilities with numpy."""

from __future__ import annotations

import math

import llama_cpp
import numpy as np
import numpy.typing as npt

from inference_service.adapters.grammar_process import GrammarSession
from inference_service.adapters.llama_candidates import Candidates
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
    own tools. Grammar and bias are not part of the chain: they change the logits in place. The grammar runs in another
    process, because llama.cpp's grammar code can throw, and a C++ exception that meets ctypes ends the process and
    every stream with it.
    """

    def __init__(
        self, vocab: object, spec: SamplerSpec, grammar: GrammarSession | None, *, end_tokens: frozenset[int]
    ) -> None:
        """The chain closes the grammar."""
        self.logprobs = spec.logprobs
        self._grammar = grammar
        self._end_tokens = end_tokens
        biases = dict(spec.sampling.logit_bias)
        if spec.ignore_eos:
            biases.update(dict.fromkeys(end_tokens, BANNING_BIAS))
        self._banned = [token for token, bias in biases.items() if bias <= BANNING_BIAS]
        raised = {token: bias for token, bias in biases.items() if bias > BANNING_BIAS}
        self._biased = np.fromiter(raised.keys(), np.intp)
        self._biases = np.fromiter(raised.values(), np.float32)
        params = llama_cpp.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain = llama_cpp.llama_sampler_chain_init(params)
        try:
            penalizes = self._add_penalties(vocab, spec)
            self._is_greedy = spec.sampling.temperature < GREEDY_BELOW
            # Then the highest logit wins as it is, and is found in a tenth of the chain's time.
            self._takes_the_best = self._is_greedy and not penalizes
            # Penalties would have to see tokens that they bring in among the best, or out.
            self._first_k = 0 if penalizes or self._is_greedy else spec.sampling.top_k
            self._add_choice(spec)
        except BaseException:
            self.close()
            raise

    def sample(self, context: object, row: int, logits: npt.NDArray[np.float32], candidates: Candidates) -> int:
        """Choose the token behind a row of the last batch, and remember it.

        `logits` are that row's, and are changed; `candidates` is scratch space.
        Raises InvalidRequest where the grammar leaves nothing, or where working that out takes too long.
        """
        if len(self._biased):
            logits[self._biased] += self._biases
        if self._banned:
            logits[self._banned] = -math.inf
        if self._grammar is not None:
            self._mask(self._grammar, logits)
        if self._takes_the_best:
            token = int(logits.argmax())
        elif self._first_k and candidates.fill(logits, self._first_k):
            token = candidates.choose(self._chain)
        else:
            token = int(llama_cpp.llama_sampler_sample(self._chain, context, row))
        if self._grammar is not None and token not in self._end_tokens:
            self._grammar.accept(token)
        return token

    def _mask(self, grammar: GrammarSession, logits: npt.NDArray[np.float32]) -> None:
        """Rule out what the grammar does not allow next."""
        allowed = grammar.allowed(len(logits))
        if self._banned:
            allowed = allowed.copy()
            allowed[self._banned] = False
        if not allowed.any():
            raise InvalidRequest([("response_format", "leaves no token of this model's vocabulary to go on with")])
        logits[~allowed] = -math.inf

    def close(self) -> None:
        """Free the chain and its samplers, and end the grammar."""
        if self._grammar is not None:
            self._grammar.close()
            self._grammar = None
        if self._chain:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None

    def _add(self, sampler: object) -> None:
        llama_cpp.llama_sampler_chain_add(self._chain, sampler)

    def _add_penalties(self, vocab: object, spec: SamplerSpec) -> bool:
        sampling = spec.sampling
        if sampling.repeat_penalty == 1.0 and not sampling.presence_penalty and not sampling.frequency_penalty:
            return False
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
        return True

    def _add_choice(self, spec: SamplerSpec) -> None:
        sampling = spec.sampling
        if self._is_greedy:
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
