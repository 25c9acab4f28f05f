"""Random prompts: token ids of a wanted length with shared beginnings, texts, and chats with documents."""

from __future__ import annotations

import math
from random import Random

from groundwire.inference.v1 import inference_pb2 as pb

_TEXT = """
the a of and to in is that water river stone tide harbour engine valve index query commit branch table row column schema
replica quorum latency façade naïve 東京 ночь 🙂 <|end|> <|user|> [1] [2] 42 3.14 https://example.org/a
"""
_WORDS = _TEXT.split()

_SENTENCES = (
    "A write-ahead log records every change before the data files are touched.",
    "The harbour of Lowell was dredged in 1904 and again in 1931.",
    "An index lets the database find rows without reading the whole table.",
    "A branch is a movable name for a commit.",
    "Tides in the estuary reach five metres at the spring equinox.",
    "The valve opens when the pressure falls below two bar.",
    "A quorum of three replicas has to confirm each write.",
    "Generators yield values one at a time and keep their place between them.",
)

_QUESTIONS = (
    "What does an index do?",
    "When was the harbour dredged?",
    "How high are the tides?",
    "What is a branch?",
    "When does the valve open?",
    "How many replicas have to confirm a write?",
)

_SHARED_PREFIXES = 4
_CONTROL_MARGIN = 0.1
"""Of the vocabulary's end, left out of random token ids: models keep their control tokens there."""


class Prompts:
    """Random prompts within one model's context and vocabulary."""

    def __init__(self, random: Random, *, context_tokens: int, vocabulary_size: int) -> None:
        self._random = random
        self._context_tokens = context_tokens
        self._ids = range(3, max(4, int(vocabulary_size * (1 - _CONTROL_MARGIN))))
        self._prefixes = [random.choices(self._ids, k=context_tokens) for _ in range(_SHARED_PREFIXES)]

    def length(self) -> int:
        """A prompt's length in tokens, 1 to the context's length less 1: many short ones, some long, a few that take
        the whole context.
        """
        most = self._context_tokens - 1
        kind = self._random.random()
        if kind < 0.78:
            return self._logarithmic(1, most / 8)
        if kind < 0.94:
            return self._logarithmic(most / 8, most / 2)
        return self._random.randint(most // 2, most) if kind < 0.98 else most

    def _logarithmic(self, low: float, high: float) -> int:
        return max(1, int(math.exp(self._random.uniform(math.log(max(1.0, low)), math.log(max(1.0, high))))))

    def token_ids(self, length: int) -> list[int]:
        """So many token ids, of which a beginning may be one that other prompts have too; all of it, now and then."""
        kind = self._random.random()
        shared = 0
        if kind < 0.6:
            shared = length if kind < 0.1 else self._random.randint(0, length)
        prefix = self._random.choice(self._prefixes)[:shared]
        return prefix + self._random.choices(self._ids, k=length - shared)

    def text(self, words: int) -> str:
        """So many words of several scripts, with look-alikes of control tokens among them."""
        return " ".join(self._random.choices(_WORDS, k=words))

    def question(self) -> str:
        """What a user may ask."""
        return self._random.choice(_QUESTIONS)

    def documents(self) -> list[pb.Document]:
        """Up to four sources; now and then too much to be shown whole."""
        longest = 12 if self._random.random() < 0.9 else 200
        return [
            pb.Document(
                title=f"Source {number}",
                url=f"https://example.org/{number}",
                host=self._random.choice(["example.org", "local", ""]),
                text=" ".join(self._random.choices(_SENTENCES, k=self._logarithmic(1, longest))),
            )
            for number in range(self._random.randint(0, 4))
        ]

    def chat(self) -> pb.Chat:
        """A question about documents, some with a history of turns or a system message."""
        messages = []
        if self._random.random() < 0.3:
            messages.append(pb.Message(role=pb.ROLE_SYSTEM, content="Answer from the sources. " + self.text(3)))
        for _ in range(self._random.choice([0, 0, 0, 1, 3])):
            messages.append(pb.Message(role=pb.ROLE_USER, content=self.question()))
            messages.append(pb.Message(role=pb.ROLE_ASSISTANT, content=self._random.choice(_SENTENCES) + " [1]"))
        messages.append(pb.Message(role=pb.ROLE_USER, content=self.question()))
        return pb.Chat(messages=messages, documents=self.documents())
