from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import llama_cpp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inference_service.adapters.tokenizer import GgufTokenizer
from inference_service.core.errors import ModelError
from tests.support.mixed_texts import CONTROL_LOOK_ALIKES, mixed_texts
from tests.support.real_tokenizer import BUILTIN_MODEL, builtin_tokenizer

pytestmark = pytest.mark.model

Reference = Callable[[str], list[int]]


@pytest.fixture(scope="module")
def reference() -> Iterator[Reference]:
    """llama.cpp's own tokenization, control tokens off."""
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(BUILTIN_MODEL).encode(), parameters)
    assert model is not None
    vocabulary = llama_cpp.llama_model_get_vocab(model)

    def tokenize(text: str) -> list[int]:
        raw = text.encode()
        room = len(raw) + 2
        ids = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(vocabulary, raw, len(raw), ids, room, False, False)
        assert count >= 0
        return list(ids[:count])

    yield tokenize
    llama_cpp.llama_model_free(model)


def test_equals_llama_cpp_over_the_corpus(reference: Reference) -> None:
    tokenizer = builtin_tokenizer()
    texts = list(mixed_texts())
    assert len(texts) > 2_500
    differing = [text for text in texts if tokenizer.encode(text) != reference(text)]
    assert differing == []


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=200))
@example("")
@example("\x00")
@example(" ▁ ")
def test_equals_llama_cpp_on_any_text(reference: Reference, text: str) -> None:
    assert builtin_tokenizer().encode(text) == reference(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*CONTROL_LOOK_ALIKES, " ", "\n", "x", "<", ">", "|", "end", "s"]), max_size=12))
def test_text_never_becomes_a_control_token(parts: list[str]) -> None:
    tokenizer = builtin_tokenizer()
    ids = tokenizer.encode("".join(parts))
    assert not {0, 1, 2, *range(32_000, 32_064)} & set(ids)


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=100))
def test_a_token_stands_for_no_more_bytes_than_the_longest(text: str) -> None:
    tokenizer = builtin_tokenizer()
    assert len(tokenizer.encode(text)) * tokenizer.longest_token_bytes >= len(text.encode())


def test_describes_the_file() -> None:
    tokenizer = builtin_tokenizer()
    assert tokenizer.architecture == "phi3"
    assert tokenizer.template is not None
    assert "<|user|>" in tokenizer.template
    assert tokenizer.bos_id == 1
    assert tokenizer.vocabulary_size == 32_064
    assert tokenizer.adds_space_prefix
    assert {token: tokenizer.control_id(token) for token in ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")} == {
        "<|system|>": 32_006,
        "<|user|>": 32_010,
        "<|assistant|>": 32_001,
        "<|end|>": 32_007,
    }
    assert tokenizer.control_id("Hello") is None
    assert tokenizer.control_id("▁the") is None


def test_many_threads_get_the_same_ids() -> None:
    tokenizer = builtin_tokenizer()
    texts = list(mixed_texts())[:300]
    alone = [tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(tokenizer.encode, texts)) == alone


def test_loading_writes_nothing_to_the_terminal() -> None:
    code = (
        "import sys, pathlib; from inference_service.adapters.tokenizer import GgufTokenizer as T; "
        "assert T.load(pathlib.Path(sys.argv[1])).encode('Hello') == [15043]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(BUILTIN_MODEL)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Files that are no model


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"No such file.*GROUNDWIRE_MODEL.*model pull"):
        GgufTokenizer.load(tmp_path / "absent.gguf")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be read.*GROUNDWIRE_MODEL"):
        GgufTokenizer.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip file", b"<html>404</html>"])
def test_a_file_that_is_no_gguf(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"no GGUF file.*GROUNDWIRE_MODEL"):
        GgufTokenizer.load(path)


@pytest.mark.parametrize("kept_bytes", [4, 20, 1_000, 500_001, 7_000_000, -1])
def test_a_file_that_was_cut_short(tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(BUILTIN_MODEL.read_bytes()[:kept_bytes])
    with pytest.raises(ModelError, match=r"damaged or was cut short.*Fetch it again") as caught:
        GgufTokenizer.load(path)
    assert "\n" not in str(caught.value)


# Other vocabularies, made up and small


_BYTE_ALPHABET = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 324))]


def _byte_level_fields(**changes: object) -> dict[str, object]:
    tokens = [*_BYTE_ALPHABET, "Ġt", "he", "<|", "<|>", "<|im_start|>", "<|im_end|>"]
    plain = [1] * (len(tokens) - 3)
    return {
        "general.architecture": "qwen2",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [*plain, 3, 4, 3],
        "tokenizer.ggml.merges": ["Ġ t", "h e", "< |", "<| >"],
        "tokenizer.ggml.bos_token_id": len(tokens) - 2,
        **changes,
    }


def _pieces(fields: dict[str, object], text: str) -> list[str]:
    tokens = fields["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    return [tokens[index] for index in GgufTokenizer(fields).encode(text)]


def test_a_byte_level_vocabulary() -> None:
    fields = _byte_level_fields()
    assert _pieces(fields, " the é") == ["Ġt", "he", "Ġ", "Ã", "©"]
    tokenizer = GgufTokenizer(fields)
    assert tokenizer.bos_id is None
    assert not tokenizer.adds_space_prefix
    assert tokenizer.template is None
    assert tokenizer.longest_token_bytes == len("<|im_start|>")


def test_a_user_defined_token_that_looks_like_control_cannot_be_forged() -> None:
    fields = _byte_level_fields()
    assert GgufTokenizer(fields).control_id("<|im_start|>") is not None
    assert _pieces(fields, "<|im_start|>") == ["<|", *"im_start", "|", ">"]


def test_a_control_token_cannot_be_merged_from_bytes() -> None:
    assert _pieces(_byte_level_fields(), "<|>") == ["<|", ">"]
    assert _pieces(_byte_level_fields(**{"tokenizer.ggml.token_type": [1] * 262}), "<|>") == ["<|>"]


def _sentencepiece_fields(**changes: object) -> dict[str, object]:
    scored = {
        "<unk>": 0.0,
        "<s>": 0.0,
        "▁": -9.0,
        "<": -10.0,
        "s": -11.0,
        ">": -12.0,
        "<s": -1.0,
        "s▁s": -2.0,
        "▁s": -3.0,
    }
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": list(scored),
        "tokenizer.ggml.scores": list(scored.values()),
        "tokenizer.ggml.token_type": [2, 3, *[1] * (len(scored) - 2)],
        "tokenizer.ggml.bos_token_id": 1,
        **changes,
    }


def test_a_control_token_cannot_be_merged_from_pieces() -> None:
    assert _pieces(_sentencepiece_fields(), "<s>") == ["▁", "<s", ">"]
    assert _pieces(_sentencepiece_fields(**{"tokenizer.ggml.token_type": [1] * 9}), "<s>") == ["▁", "<s>"]


def test_a_vocabulary_with_pieces_across_words() -> None:
    assert _pieces(_sentencepiece_fields(), "<s s") == ["▁", "<s", "▁s"]
    assert _pieces(_sentencepiece_fields(), "s>s s") == ["▁s", ">", "s▁s"]


def test_a_vocabulary_that_adds_no_space() -> None:
    fields = _sentencepiece_fields(**{"tokenizer.ggml.add_space_prefix": False})
    assert _pieces(fields, "s> s") == ["s", ">", "▁s"]
    assert not GgufTokenizer(fields).adds_space_prefix


def test_a_sentencepiece_model_begins_with_a_token_unless_it_says_otherwise() -> None:
    assert GgufTokenizer(_sentencepiece_fields()).bos_id == 1
    assert GgufTokenizer(_sentencepiece_fields(**{"tokenizer.ggml.add_bos_token": False})).bos_id is None


@pytest.mark.parametrize(
    ("pre", "stated", "begins"),
    [("llama-bpe", None, True), ("llama-bpe", False, False), ("qwen2", None, False), ("qwen2", True, True)],
)
def test_whether_a_sequence_begins_with_a_token(pre: str, stated: bool | None, begins: bool) -> None:
    fields = _byte_level_fields(**{"tokenizer.ggml.pre": pre})
    if stated is not None:
        fields["tokenizer.ggml.add_bos_token"] = stated
    assert (GgufTokenizer(fields).bos_id is not None) is begins


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.model": "bert"}, "of the kind 'bert'"),
        ({"tokenizer.ggml.pre": "no-such"}, "unknown way, 'no-such'"),
        ({"tokenizer.ggml.token_type": [1]}, "vocabulary has"),
        ({"tokenizer.ggml.tokens": None}, r"no field tokenizer\.ggml\.tokens"),
        ({"tokenizer.ggml.merges": None}, r"no field tokenizer\.ggml\.merges"),
        ({"general.architecture": 7}, r"general\.architecture is a int, not a str"),
    ],
)
def test_vocabularies_that_cannot_be_used(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        GgufTokenizer(_byte_level_fields(**changes))
    assert "GROUNDWIRE_MODEL" in str(caught.value)
