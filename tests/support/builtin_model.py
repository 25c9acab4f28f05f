"""The built-in model, loaded for tests: real weights, the real Phi-3 vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference_service.adapters.grammar_process import GrammarProcess, GrammarSession
from inference_service.adapters.llama import LlamaModel, LlamaRunner

BUILTIN_MODEL = Path(__file__).parents[2] / "models" / "builtin" / "groundwire-builtin.gguf"


@contextmanager
def loaded_runner(*, slots: int = 4, kv_cells: int = 2048) -> Iterator[LlamaRunner]:
    """A runner on one thread: llama.cpp's threads spin, which a busy test machine does not forgive."""
    model = LlamaModel(BUILTIN_MODEL, gpu_layers=0)
    try:
        grammars = GrammarProcess(BUILTIN_MODEL, timeout_seconds=10)

        def open_grammar(gbnf: str) -> GrammarSession:
            grammars.start()
            return grammars.open(gbnf)

        runner = LlamaRunner(
            model, slots=slots, kv_cells=kv_cells, max_batch_tokens=512, threads=1, open_grammar=open_grammar
        )
        try:
            yield runner
        finally:
            runner.free()
            grammars.close()
    finally:
        model.close()
