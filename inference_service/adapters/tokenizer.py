"""Text to token ids, by the vocabulary inside a GGUF file.

Held equal to llama.cpp's own tokenization with control tokens off (tests/inference_service/adapters/test_tokenizer.py),
but leaves llama.cpp, and the one thread that owns it, out of building prompts. Two differences, both wanted, where a
file is odd: text never becomes a control token, not even by merging pieces, and a user-defined token of the form
`<|...|>` counts as a control token. In byte-level vocabularies a character that one of the two libraries does not yet
know (their Unicode versions differ) may be split otherwise; SentencePiece vocabularies, such as Phi-3's, know no such
classes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gguf import GGUFReader

from inference_service.core.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_Value = TypeVar("_Value")

_MAGIC = b"GGUF"
_FIELDS = (
    "general.architecture",
    "tokenizer.chat_template",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.tokens",
)
_SENTENCEPIECE = "llama"
_BYTE_LEVEL = "gpt2"
_CONTROL = 3
_USER_DEFINED = 4
_CONTROL_LOOK = re.compile(r"<\|.*\|>", re.DOTALL)
_SPACE_MARK = "\u2581"
# LLAMA_VOCAB_PRE_TYPE_LLAMA3 in llama-vocab.cpp: sequences begin with a token for that unless the file says otherwise,
# and a word that is a token is taken whole, whatever the merges say.
_LLAMA3_KIND = frozenset(
    ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"]
)
_ANOTHER_MODEL = (
    "Set GROUNDWIRE_MODEL to another GGUF file or to a name in models/manifest.toml; "
    "`groundwire model pull` fetches one."
)


class GgufTokenizer:
    """The tokenizer of one model file. Safe to use from many threads."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        """Build from a GGUF's key-value `fields`. Raises ModelError where they make no known tokenizer."""
        model = _required(fields, "tokenizer.ggml.model", str)
        if model not in (_SENTENCEPIECE, _BYTE_LEVEL):
            raise ModelError(
                f"The model's vocabulary is of the kind {model!r}; known are {_SENTENCEPIECE!r} (SentencePiece BPE) "
                f"and {_BYTE_LEVEL!r} (byte-level BPE). {_ANOTHER_MODEL}"
            )
        self.architecture = _required(fields, "general.architecture", str)
        """As the file states it, such as phi3."""
        self.template = _optional(fields, "tokenizer.chat_template", str)
        """The file's chat template, None where it has none."""
        self.adds_space_prefix = model == _SENTENCEPIECE and _optional(
            fields, "tokenizer.ggml.add_space_prefix", bool
        ) in (None, True)
        """Text is encoded as if a space stood before it, and so the model's answers begin with one."""
        self.bos_id = _bos_id(fields, model)
        """Begins every sequence; None where nothing does."""
        tokens = _required(fields, "tokenizer.ggml.tokens", list)
        types = _token_types(tokens, _required(fields, "tokenizer.ggml.token_type", list))
        self._vocabulary_size = len(tokens)
        self._control = {token: index for index, token in enumerate(tokens) if types[index] == _CONTROL}
        if model == _SENTENCEPIECE:
            self._longest_token_bytes = max(len(token.replace(_SPACE_MARK, " ").encode()) for token in tokens)
        else:  # spelled with one character for each byte
            self._longest_token_bytes = max(map(len, tokens))
        self._backend = _build(fields, model, tokens, types, self._control, prefix_space=self.adds_space_prefix)

    @classmethod
    def load(cls, path: Path) -> GgufTokenizer:
        """Read a GGUF file's tokenizer. It takes some 2 to 4 s, nearly all in imports and in reading the file.

        Raises ModelError with one paragraph that says what to do: there is no such file, it is no GGUF or cut short,
        or its vocabulary is of an unknown kind.
        """
        return cls(_read_fields(path))

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`: control tokens are plain text, and no beginning-of-sequence token is added."""
        # Unlike `encode`, this lets other threads run meanwhile, and is twice as fast.
        return self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids

    @property
    def vocabulary_size(self) -> int:
        """The number of token ids."""
        return self._vocabulary_size

    @property
    def longest_token_bytes(self) -> int:
        """The most UTF-8 bytes of text that one token stands for."""
        return self._longest_token_bytes

    def control_id(self, token: str) -> int | None:
        """Return the id of a control token by its text, such as <|end|>; None where there is none."""
        return self._control.get(token)


def _read_fields(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ModelError(f"The model file {path} cannot be read: {error.strerror}. {_ANOTHER_MODEL}") from error
    if magic != _MAGIC:
        raise ModelError(f"{path} is no GGUF file: it does not begin with GGUF. {_ANOTHER_MODEL}")
    try:
        reader = GGUFReader(path)
        found = ((name, reader.get_field(name)) for name in _FIELDS)
        return {name: field.contents() for name, field in found if field is not None}
    # What its reader raises where lengths and offsets in the file lead nowhere.
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ModelError(
            f"The model file {path} is damaged or was cut short, for it cannot be read to its end as GGUF. Fetch it "
            "again (`groundwire model pull` checks what it fetches), or set GROUNDWIRE_MODEL to another GGUF file."
        ) from error


def _optional(fields: Mapping[str, object], name: str, kind: type[_Value]) -> _Value | None:
    value = fields.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise ModelError(
        f"The model file's field {name} is a {type(value).__name__}, not a {kind.__name__}. {_ANOTHER_MODEL}"
    )


def _required(fields: Mapping[str, object], name: str, kind: type[_Value]) -> _Value:
    value = _optional(fields, name, kind)
    if value is None:
        raise ModelError(f"The model file has no field {name}, so it is no language model. {_ANOTHER_MODEL}")
    return value


def _token_types(tokens: list[str], types: list[int]) -> list[int]:
    if not tokens or len(types) != len(tokens):
        raise ModelError(
            f"The model file's vocabulary has {len(tokens)} tokens but {len(types)} types. {_ANOTHER_MODEL}"
        )
    return [
        _CONTROL if kind == _USER_DEFINED and _CONTROL_LOOK.fullmatch(token) else kind
        for token, kind in zip(tokens, types, strict=True)
    ]


def _bos_id(fields: Mapping[str, object], model: str) -> int | None:
    added = _optional(fields, "tokenizer.ggml.add_bos_token", bool)
    if added is None:
        added = model == _SENTENCEPIECE or _optional(fields, "tokenizer.ggml.pre", str) in _LLAMA3_KIND
    return _optional(fields, "tokenizer.ggml.bos_token_id", int) if added else None


def _build(
    fields: Mapping[str, object],
    model: str,
    tokens: list[str],
    types: list[int],
    control: Mapping[str, int],
    *,
    prefix_space: bool,
) -> Tokenizer:
    # Read when these packages are imported or first used: no advice to install torch on stderr, and no thread pool,
    # which would warn at every fork.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Regex, normalizers, pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import (
        GGUF_PRE_TOKENIZER_SPLITS,
        convert_gguf_tokenizer,
    )
    from transformers.tokenization_utils_base import generate_merges

    described: dict[str, object] = {"tokenizer_type": model, "tokens": tokens, "token_type": types}
    if model == _BYTE_LEVEL:
        pre = _optional(fields, "tokenizer.ggml.pre", str)
        if pre != "gpt-2" and pre not in GGUF_PRE_TOKENIZER_SPLITS:
            raise ModelError(f"The model's vocabulary splits words in an unknown way, {pre!r}. {_ANOTHER_MODEL}")
        merges = _required(fields, "tokenizer.ggml.merges", list)
        described["merges"] = [merge for merge in merges if merge.replace(" ", "", 1) not in control]
        described["pre_tokenizer_type"] = pre
        backend = convert_gguf_tokenizer(model, described)[0]
        backend.model.ignore_merges = pre in _LLAMA3_KIND
    else:
        scores = dict(zip(tokens, _required(fields, "tokenizer.ggml.scores", list), strict=False))
        vocabulary = {token: index for index, token in enumerate(tokens)}
        # Spaces are marked before merges apply, so no piece with one in it is ever met.
        described["merges"] = [
            f"{left} {right}"
            for left, right in generate_merges(vocabulary, scores, skip_tokens=control)
            if " " not in left + right
        ]
        # phi3's is SentencePiece as llama.cpp does it, also for texts that begin with spaces.
        backend = convert_gguf_tokenizer("phi3", described)[0]
        if not prefix_space:
            backend.normalizer = normalizers.Replace(" ", _SPACE_MARK)
        if not any(_crosses_words(token) for token in tokens):
            # No merge reaches from one word into the next, so the words may be taken (and cached) one by one.
            backend.pre_tokenizer = pre_tokenizers.Split(Regex(f"{_SPACE_MARK}+[^{_SPACE_MARK}]*"), "isolated")
    backend.encode_special_tokens = True
    return backend


def _crosses_words(token: str) -> bool:
    return _SPACE_MARK in token.lstrip(_SPACE_MARK)
