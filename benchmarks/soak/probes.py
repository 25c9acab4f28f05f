"""Greedy prompts that are asked again and again: the text must not depend on what else runs, or on what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groundwire.inference.v1 import inference_pb2 as pb

TIE_NATS = 0.1
"""Two tokens whose log probabilities are this close count as a tie: sums in another order may swap them."""

PROBE_TOKENS = 40
"""max_tokens of a probe."""

_EXAMPLES = 5
"""Differences that are described in full."""

_DOCUMENTS = {
    "Write-ahead log": """A write-ahead log records every change before the data files are touched. After a crash the \
log is replayed from the last checkpoint, so that no committed change is lost.""",
    "Branches": """A branch is a movable name for a commit. Creating one writes forty characters to a file, so branches\
 cost nothing. Merging joins two lines of history.""",
    "Indexes": """An index lets the database find rows without reading the whole table. It has to be updated with every\
 write, and takes space on disk.""",
    "Tides": "Tides in the estuary reach five metres at the spring equinox. At neap tide they stay below two.",
}

_QUESTIONS = (
    "What does a write-ahead log record?",
    "What is a branch?",
    "What does an index let the database do?",
    "How high are the tides at the spring equinox?",
    "Who built the lighthouse?",
    "Why do branches cost nothing?",
)


def _probes() -> tuple[pb.GenerateRequest, ...]:
    documents = [pb.Document(title=title, host="example.org", text=text) for title, text in _DOCUMENTS.items()]
    chats = [
        pb.Chat(messages=[pb.Message(role=pb.ROLE_USER, content=question)], documents=documents)
        for question in _QUESTIONS
    ]
    requests = [pb.GenerateRequest(chat=chat) for chat in chats]
    requests += [pb.GenerateRequest(text=f"{text} {text}") for text in _DOCUMENTS.values()]
    requests += [pb.GenerateRequest(token_ids=pb.TokenIds(ids=range(start, start + 200))) for start in (500, 9_000)]
    for request in requests:
        request.max_tokens = PROBE_TOKENS
    return tuple(requests)


PROBES = _probes()
"""Each without a salt or a choice on speculation."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A probe's answer on a service that does nothing else."""

    text: str
    token_ids: tuple[int, ...]
    gaps_nats: tuple[float, ...]
    """At each token, how much less probable the second best was."""


def reference(text: str, token_ids: Sequence[int], logprobs: Sequence[pb.PositionLogprobs]) -> Reference:
    """The answer to a probe that asked for two logprobs."""
    gaps = tuple(position.top[0].logprob - position.top[1].logprob for position in logprobs)
    return Reference(text, tuple(token_ids), gaps)


class ProbeBook:
    """What the probes answered, against their references."""

    def __init__(self, references: Sequence[Reference]) -> None:
        self._references = tuple(references)
        self.compared = 0
        self.differing = 0
        self.differing_without_tie = 0
        """Of those, the ones whose first other token was no close second in the reference."""
        self.examples: list[str] = []

    def compare(self, probe: int, text: str, token_ids: Sequence[int], *, where: str) -> None:
        """Count a finished answer to a probe. `where` names the call."""
        known = self._references[probe]
        self.compared += 1
        if (text, tuple(token_ids)) == (known.text, known.token_ids):
            return
        self.differing += 1
        pairs = enumerate(zip(known.token_ids, token_ids, strict=False))
        at = next((index for index, (left, right) in pairs if left != right), None)
        gap = known.gaps_nats[at] if at is not None else float("inf")
        if gap > TIE_NATS:
            self.differing_without_tie += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(
                f"probe {probe}, {where}: from token {at} on (the second best was {gap:.3f} nats behind): "
                f"{text!r} instead of {known.text!r}"
            )
