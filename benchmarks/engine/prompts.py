"""Prompts as token ids, from seeds: random ones, and grounded ones in the project's own format.

The same seed gives the same prompt to every system; no two seeds give the same, so that nothing can be reused that a
work does not mean to be.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from benchmarks.engine.models import BUILTIN_MODEL, vocabulary_tokens
from inference_service.adapters.tokenizer import GgufTokenizer
from inference_service.core.chat_formats import ChatFormat, detect_chat_format
from inference_service.core.prompt import PromptBuilder
from inference_service.core.types import Chat, Document, GenerateRequest, Message, Role

BOS = 1
_FIRST_WORD, _FIRST_CONTROL = 300, 32_000
"""Ids between are neither bytes nor control tokens. All models of the benchmark share the vocabulary."""

_WORD = re.compile("\u2581[a-z]{4,}")
SOURCES = 5
_SOURCE_WORDS = 138
"""With their full stops, about 150 tokens."""
_SENTENCE_WORDS = 12
_PASSAGE_WORDS = 30
"""Words of one source that an answer copies before it goes on with those of another."""
_LEAD_WORDS = 3
"""Words of the answer that the prompt already holds."""


def random_tokens(count: int, *seed: object) -> tuple[int, ...]:
    """So many tokens, each as likely as any other."""
    source = random.Random("/".join(map(str, seed)))
    return tuple(source.randrange(_FIRST_WORD, _FIRST_CONTROL) for _ in range(count))


def random_prompt(count: int, *seed: object) -> tuple[int, ...]:
    """A prompt of `count` tokens in all."""
    return (BOS, *random_tokens(count - 1, *seed))


@dataclass(frozen=True, slots=True)
class GroundedPrompt:
    """A question with sources of about 150 tokens, as the service itself renders them."""

    token_ids: tuple[int, ...]
    quoted: tuple[int, ...]
    """How an answer goes on that copies."""


class GroundedPrompts:
    """Makes prompts out of made-up sources that a copying model quotes one after the other.

    No two neighbours stand together twice in a prompt, but for one pair that each source shares with the next. An
    answer that goes on as the text did behind its last two tokens quotes some 30 words of the first source, then as
    many of the next, and so on: as an answer does that is put together from passages.
    """

    def __init__(self, tokenizer: GgufTokenizer, chat_format: ChatFormat, words: Sequence[str]) -> None:
        """`words` are single tokens where a space stands before them."""
        self._tokenizer = tokenizer
        self._words = words
        self._builder = PromptBuilder(tokenizer, chat_format, context_length=1 << 20)

    @classmethod
    def load(cls) -> GroundedPrompts:
        """With the vocabulary that all models of the benchmark have. It takes some seconds."""
        tokenizer = GgufTokenizer.load(BUILTIN_MODEL)
        chat_format = detect_chat_format(
            tokenizer.template, tokenizer.architecture, tokenizer.control_id, tokenizer.bos_id, tokenizer.encode
        )
        words = [token[1:] for token in vocabulary_tokens() if _WORD.fullmatch(token)]
        return cls(tokenizer, chat_format, [word for word in words if len(tokenizer.encode(word)) == 1])

    def prompt(self, *seed: object, sources: int = SOURCES) -> GroundedPrompt:
        """The prompt of this seed. It ends with the first words of the first source as the beginning of the answer:
        from there a copying model copies on, where a trained one would choose its passage by itself.
        """
        source = random.Random("/".join(map(str, seed)))
        words = source.sample(self._words, sources * (_SOURCE_WORDS + 1) + 2)
        texts = [[words.pop() for _ in range(_SOURCE_WORDS)] for _ in range(sources)]
        for text, following in pairwise(texts):
            following[_LEAD_WORDS - 2 : _LEAD_WORDS] = text[_PASSAGE_WORDS - 2 : _PASSAGE_WORDS]
        documents = tuple(Document(title=words.pop(), text=_sentences(text)) for text in texts)
        question = Message(Role.USER, f"What do the sources say of {words.pop()} and {words.pop()}?")
        prompt = self._builder.build(GenerateRequest(Chat((question,), documents), max_tokens=1))
        lead = self._tokenizer.encode(" ".join(texts[0][:_LEAD_WORDS]))
        # The last source shares nothing with another: it is quoted to its end.
        quoted = [*(text[:_PASSAGE_WORDS] for text in texts[:-1]), texts[-1]]
        passages = [self._tokenizer.encode(_sentences(text))[_LEAD_WORDS:-1] for text in quoted]
        return GroundedPrompt((*prompt.token_ids, *lead), tuple(chain.from_iterable(passages)))


def _sentences(words: Sequence[str]) -> str:
    """The words in sentences of equal length, each with a full stop."""
    cuts = range(0, len(words), _SENTENCE_WORDS)
    return " ".join(" ".join(words[cut : cut + _SENTENCE_WORDS]) + "." for cut in cuts)
