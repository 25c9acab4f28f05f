"""The built-in model, loaded for tests: real weights, the real Phi-3 vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from inference_service.adapters.grammar_process import GrammarProcess, GrammarSession
from inference_service.adapters.llama import LlamaRunner
from inference_service.adapters.llama_model import LlamaModel
from inference_service.core.options import ContextOptions, FlashAttention, KvType, LoadOptions
from inference_service.core.ports import Chunk, SamplerSpec
from inference_service.core.prompt import PromptBuilder
from inference_service.core.rendering import GROUNDING_INSTRUCTIONS
from inference_service.core.types import Chat, Document, GenerateRequest, Message, Role, Sampling
from tests.support.real_tokenizer import builtin_chat_format, builtin_tokenizer

BUILTIN_MODEL = Path(__file__).parents[2] / "models" / "builtin" / "groundwire-builtin.gguf"

TIE_LOGITS = 0.05
"""Kernels round differently at different batch sizes. Where the two best logits are closer than this, greedy decoding
may break the tie otherwise, and everything behind may differ."""

QUESTIONS = (
    "Which port does the gateway listen on?",
    "When is a backup taken?",
    "When does it rain?",
    "How long is a backup kept?",
    "What falls in winter?",
)
_DOCUMENTS = (
    Document(
        "Ports", "The gateway listens on port 50051. It has no state. A second gateway may run beside it.", "local"
    ),
    Document(
        "Weather",
        "It rains in spring. Snow falls in winter, and the roads are closed until the plough has passed.",
        "example.org",
    ),
    Document(
        "Backups", "A backup is taken every night at two. It is kept for thirty days, then it is deleted.", "local"
    ),
)


def grounded_prompt(question: str) -> tuple[int, ...]:
    """A prompt of some 185 tokens, of which the first 60 and the last hundred are the same for every question."""
    builder = PromptBuilder(
        builtin_tokenizer(), builtin_chat_format(), context_length=2048, system_text=GROUNDING_INSTRUCTIONS
    )
    chat = Chat((Message(Role.USER, question),), _DOCUMENTS)
    return builder.build(GenerateRequest(chat, max_tokens=100)).token_ids


@contextmanager
def loaded_model(options: LoadOptions | None = None) -> Iterator[LlamaModel]:
    model = LlamaModel(BUILTIN_MODEL, options or LoadOptions())
    try:
        yield model
    finally:
        model.close()


def context_options(
    *,
    slots: int = 4,
    kv_cells: int = 2048,
    flash_attention: FlashAttention = FlashAttention.AUTO,
    kv_type: KvType = KvType.F16,
) -> ContextOptions:
    """One thread: llama.cpp's threads spin, which a busy test machine does not forgive."""
    return ContextOptions(
        slots=slots,
        kv_cells=kv_cells,
        batch_tokens=512,
        output_tokens=128,
        threads=1,
        flash_attention=flash_attention,
        kv_type=kv_type,
    )


@contextmanager
def loaded_runner(*, slots: int = 4, kv_cells: int = 2048, kv_type: KvType = KvType.F16) -> Iterator[LlamaRunner]:
    with loaded_model() as model:
        grammars = GrammarProcess(BUILTIN_MODEL, timeout_seconds=10)

        def open_grammar(gbnf: str) -> GrammarSession:
            grammars.start()
            return grammars.open(gbnf)

        options = context_options(slots=slots, kv_cells=kv_cells, kv_type=kv_type)
        runner = LlamaRunner(model, options, open_grammar=open_grammar)
        try:
            yield runner
        finally:
            runner.free()
            grammars.close()


def greedy_alone(runner: LlamaRunner, prompt: tuple[int, ...], tokens: int) -> tuple[list[int], list[float]]:
    """The greedy answer of a sequence that runs by itself, and how far its two best logits were apart at each token."""
    runner.reset()
    runner.open(0, SamplerSpec(Sampling(), 5, ()))
    said: list[int] = []
    margins: list[float] = []
    chunk = Chunk(0, prompt, 0, wants_token=True)
    while len(said) < tokens:
        said.append(runner.run([chunk])[0][0].token_id)
        second, best = np.partition(runner.logits(0), -2)[-2:]
        margins.append(float(best - second))
        chunk = Chunk(0, (said[-1],), len(prompt) + len(said) - 1, wants_token=True)
    runner.close(0)
    return said, margins


def assert_same_but_for_ties(got: list[int], expected: list[int], margins: list[float]) -> None:
    for index, (token, wanted) in enumerate(zip(got, expected, strict=True)):
        if token != wanted:
            assert margins[index] < TIE_LOGITS, f"token {index} differs without a tie"
            return
