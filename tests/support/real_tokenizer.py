"""The tokenizer of the built-in model, loaded once for all tests: it takes seconds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from inference_service.adapters.tokenizer import GgufTokenizer
from inference_service.core.chat_formats import ChatFormat, detect_chat_format

BUILTIN_MODEL = Path(__file__).parents[2] / "models/builtin/groundwire-builtin.gguf"


@cache
def builtin_tokenizer() -> GgufTokenizer:
    return GgufTokenizer.load(BUILTIN_MODEL)


@cache
def builtin_chat_format() -> ChatFormat:
    tokenizer = builtin_tokenizer()
    return detect_chat_format(
        tokenizer.template, tokenizer.architecture, tokenizer.control_id, tokenizer.bos_id, tokenizer.encode
    )
