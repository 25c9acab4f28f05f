"""The Phi-3 vocabulary as the trainer needs it: bytes of each token, and the token that begins a word alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from gguf import GGUFReader

from inference_service.adapters.tokenizer import GgufTokenizer
from inference_service.core.chat_formats import ChatFormat, detect_chat_format
from inference_service.core.errors import ModelError

SPACE_MARK: Final = "\u2581"
_BYTE_TYPE: Final = 6
_TEXT_TYPE: Final = 1


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by their ids."""

    path: Path
    """The GGUF file that it was read from."""
    tokenizer: GgufTokenizer
    tokens: tuple[str, ...]
    texts: tuple[bytes, ...]
    """What each token stands for; empty for control tokens."""
    is_text: tuple[bool, ...]
    """Whether it is a piece of text: neither a control token nor a single byte."""
    ids: dict[str, int]

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """The vocabulary of a GGUF file, which may be a model's. Raises ModelError where it is none."""
        tokenizer = GgufTokenizer.load(path)
        reader = GGUFReader(path)
        tokens, types = (_list(reader, f"tokenizer.ggml.{name}") for name in ("tokens", "token_type"))
        texts = tuple(_bytes_of(token, kind) for token, kind in zip(tokens, types, strict=True))
        return cls(
            path=path,
            tokenizer=tokenizer,
            tokens=tuple(tokens),
            texts=texts,
            is_text=tuple(kind == _TEXT_TYPE for kind in types),
            ids={token: index for index, token in enumerate(tokens)},
        )

    @property
    def size(self) -> int:
        """The number of tokens."""
        return len(self.tokens)

    def chat_format(self) -> ChatFormat:
        """How the inference service puts a chat's turns into ids."""
        tokenizer = self.tokenizer
        return detect_chat_format(
            tokenizer.template, tokenizer.architecture, tokenizer.control_id, tokenizer.bos_id, tokenizer.encode
        )

    def ends(self, token_ids: Sequence[int]) -> list[int]:
        """For ids that were encoded from a text, the text's bytes up to the end of each."""
        # Encoding puts a space before the text.
        return [end - 1 for end in accumulate(len(self.texts[token_id]) for token_id in token_ids)]

    def spaced(self, token_id: int) -> list[int]:
        """The ids of the token with a space before it: one where the vocabulary has such a token, else two."""
        token = self.tokens[token_id]
        if token.startswith(SPACE_MARK):
            return [token_id]
        if self.is_text[token_id] and (spaced := self.ids.get(SPACE_MARK + token)) is not None:
            return [spaced]
        return [self.ids[SPACE_MARK], token_id]


def _list(reader: GGUFReader, name: str) -> list[Any]:
    field = reader.get_field(name)
    values = field.contents() if field is not None else None
    if not isinstance(values, list):
        raise ModelError(f"the vocabulary's file has no field {name}")
    return values


def _bytes_of(token: str, kind: int) -> bytes:
    if kind == _BYTE_TYPE:
        return bytes([int(token[3:-1], 16)])
    return token.replace(SPACE_MARK, " ").encode() if kind == _TEXT_TYPE else b""
