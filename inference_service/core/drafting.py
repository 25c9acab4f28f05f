"""Drafts from the prompt: guesses at the next tokens, which one forward pass then verifies.

An answer that is grounded in sources copies from them, and a pass over 16 tokens costs far less than 16 passes. So
where the last tokens have occurred before, in the prompt or in the answer, what followed them there is proposed
(prompt-lookup decoding, Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding). The text stays what it
would have been, whatever is proposed: a draft is only ever compared with what the model samples.
"""

from __future__ import annotations

from collections.abc import Sequence

SHORTEST_MATCH = 2
"""Tokens that must have occurred before. A single one says next to nothing of what follows it."""

LONG_MATCH = 4
"""From this length on, a match is judged by the experience with long ones."""

_LONGEST_MATCH = 24
"""Matches are compared no further back than this."""

_CANDIDATES = 16
"""Earlier occurrences that are compared, the latest first."""

_MEMORY = 0.9
"""What an acceptance estimate keeps of its experience at each draft: it forgets within some tens of drafts."""

_PRIOR_WEIGHT = 4.0
"""Tokens' worth of belief in the expectation that an estimate starts from."""

_LEAST_SECONDS = 1e-9
"""A pass that a coarse clock saw take no time at all still took some."""


class Acceptance:
    """How likely the next drafted token is right where all before it were: an estimate that forgets slowly."""

    def __init__(self, expected: float, *, memory: float = _MEMORY) -> None:
        """Begin with `expected`, a probability."""
        self._expected = expected
        self._memory = memory
        self._right = 0.0
        self._wrong = 0.0

    def observe(self, drafted: int, accepted: int) -> None:
        """Learn from a draft of which the first `accepted` tokens were right."""
        self._right = self._right * self._memory + accepted
        self._wrong = self._wrong * self._memory + (accepted < drafted)

    @property
    def probability(self) -> float:
        """The estimate, between 0 and 1."""
        weight = self._right + self._wrong + _PRIOR_WEIGHT
        return (self._right + _PRIOR_WEIGHT * self._expected) / weight


class DraftExperience:
    """What drafts have been worth so far, for all sequences of an engine: where a new one starts from."""

    def __init__(self) -> None:
        """Begin hopeful: a wrong hope costs a few passes, a missed copy costs every token of it."""
        self.short = Acceptance(0.5, memory=0.99)
        self.long = Acceptance(0.8, memory=0.99)


class Drafter:
    """Finds where a sequence's last tokens occurred before. It sees the prompt and the answer, nothing else.

    Adding a token takes constant time; a proposal compares a bounded number of tokens.
    """

    def __init__(self, prompt: Sequence[int], experience: DraftExperience) -> None:
        """Index the prompt's tokens."""
        self._tokens: list[int] = []
        self._latest: dict[tuple[int, int], int] = {}
        """Where a pair of tokens occurred last: the index of its second token."""
        self._earlier: list[int] = []
        """For each index, where the pair that ends there occurred before; -1: nowhere."""
        self._experience = experience
        self._short = Acceptance(experience.short.probability)
        self._long = Acceptance(experience.long.probability)
        self._match_length = 0
        self.extend(prompt)

    def extend(self, tokens: Sequence[int]) -> None:
        """Take what has been read or generated."""
        known, latest, earlier = self._tokens, self._latest, self._earlier
        for token in tokens:
            if known:
                pair = (known[-1], token)
                earlier.append(latest.get(pair, -1))
                latest[pair] = len(known)
            else:
                earlier.append(-1)
            known.append(token)

    def propose(self, most: int) -> list[int]:
        """Return up to `most` tokens that may follow, or none where the last ones have not occurred before."""
        tokens = self._tokens
        self._match_length = 0
        at = -1
        candidate = self._earlier[-1] if tokens else -1
        for _ in range(_CANDIDATES):
            if candidate < 0:
                break
            length = self._common_suffix(candidate)
            if length > self._match_length:
                self._match_length, at = length, candidate
                if length == _LONGEST_MATCH:
                    break
            candidate = self._earlier[candidate]
        if at < 0:
            return []
        # What repeats itself up to the end goes on repeating itself: the draft is read from the draft then.
        draft: list[int] = []
        for index in range(at + 1, at + 1 + most):
            draft.append(tokens[index] if index < len(tokens) else draft[index - len(tokens)])
        return draft

    def _common_suffix(self, end: int) -> int:
        """Tokens that the text up to index `end` and the whole text have in common at their ends."""
        tokens = self._tokens
        length, last = SHORTEST_MATCH, len(tokens) - 1
        while length < _LONGEST_MATCH and end - length >= 0 and tokens[end - length] == tokens[last - length]:
            length += 1
        return length

    @property
    def acceptance(self) -> float:
        """How likely each token of the last proposal is right where those before it are."""
        return (self._long if self._match_length >= LONG_MATCH else self._short).probability

    def observe(self, drafted: int, accepted: int) -> None:
        """Learn what became of the last proposal, of which `drafted` tokens were tried."""
        is_long = self._match_length >= LONG_MATCH
        (self._long if is_long else self._short).observe(drafted, accepted)
        (self._experience.long if is_long else self._experience.short).observe(drafted, accepted)


def allot_drafts(
    acceptances: Sequence[float], offered: Sequence[int], pass_seconds: Sequence[float], *, generating: int
) -> list[int]:
    """How many tokens of each draft to verify so that a second brings the most tokens.

    `acceptances` and `offered` (tokens) belong to the drafts, in the same order. `pass_seconds[n]` is what a pass costs
    with n drafted tokens in it, beside the `generating` tokens that run anyway; its length bounds how many may run.
    """
    # The next token of a draft is worth the chance that it and all before it are right. Those chances only fall along
    # a draft, so taking them in descending order takes each draft from its beginning.
    worth = sorted(
        (
            (acceptance**position, draft)
            for draft, (acceptance, count) in enumerate(zip(acceptances, offered, strict=True))
            for position in range(1, count + 1)
        ),
        key=lambda entry: -entry[0],
    )[: len(pass_seconds) - 1]
    expected = float(generating)
    best_rate, best_count = expected / max(pass_seconds[0], _LEAST_SECONDS), 0
    for count, (chance, _) in enumerate(worth, start=1):
        expected += chance
        rate = expected / max(pass_seconds[count], _LEAST_SECONDS)
        if rate > best_rate:
            best_rate, best_count = rate, count
    lengths = [0] * len(offered)
    for _, draft in worth[:best_count]:
        lengths[draft] += 1
    return lengths
