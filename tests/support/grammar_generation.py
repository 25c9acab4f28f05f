"""Generates under grammars with a real model, in a process of its own: MODEL < JSON {name: GBNF} > JSON {name: result}.

What the engine does, at its smallest: a forward pass, the grammar's tokens masked in, a sampler chain, the next token.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from inference_service.adapters.grammar_process import GrammarProcess
from inference_service.core.errors import InvalidRequest

STEPS = 12
TEMPERATURE = 1.0
PROMPT = b"Question: which one?"


class Generator:
    def __init__(self, model_path: str) -> None:
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._quiet, None)
        self._model = llama_cpp.llama_model_load_from_file(model_path.encode(), llama_cpp.llama_model_default_params())
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._size = llama_cpp.llama_vocab_n_tokens(self._vocab)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = 256
        params.n_threads = params.n_threads_batch = 2
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        self._grammars = GrammarProcess(Path(model_path), timeout_seconds=10)
        self._grammars.start()
        self._prompt = (llama_cpp.llama_token * 64)()
        self._prompt_length = llama_cpp.llama_tokenize(self._vocab, PROMPT, len(PROMPT), self._prompt, 64, True, False)

    def generate(self, gbnf: str) -> dict[str, Any]:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_temp(TEMPERATURE))
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_dist(7))
        session = self._grammars.open(gbnf)
        text = b""
        batch = llama_cpp.llama_batch_get_one(self._prompt, self._prompt_length)
        try:
            for _ in range(STEPS):
                if llama_cpp.llama_decode(self._context, batch) != 0:
                    raise RuntimeError("llama_decode failed")
                allowed = session.allowed(self._size)
                if not allowed.any():
                    return {"text": text.hex(), "end": "no token"}
                logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self._context, -1), shape=(self._size,))
                logits[~allowed] = -np.inf
                token = llama_cpp.llama_sampler_sample(chain, self._context, -1)
                if llama_cpp.llama_vocab_is_eog(self._vocab, token):
                    return {"text": text.hex(), "end": "whole"}
                session.accept(token)
                piece = bytes(64)
                text += piece[: llama_cpp.llama_token_to_piece(self._vocab, token, piece, 64, 0, False)]
                one = (llama_cpp.llama_token * 1)(token)
                batch = llama_cpp.llama_batch_get_one(one, 1)
            return {"text": text.hex(), "end": "length"}
        except InvalidRequest as error:
            return {"text": text.hex(), "end": str(error)}
        finally:
            session.close()
            llama_cpp.llama_sampler_free(chain)

    def close(self) -> None:
        self._grammars.close()
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)


def main() -> None:
    generator = Generator(sys.argv[1])
    grammars = json.load(sys.stdin)
    results = {name: generator.generate(gbnf) for name, gbnf in grammars.items()}
    generator.close()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
