"""Drafts from the prompt: guesses at the next tokens, which one forward pass then verifies.

An answer that is grounded in sources copies from them, and a pass over 16 tokens costs far less than 16 passes. So
where the last tokens have occurred before, in the prompt or in the answer, what followed them there is proposed
(prompt-lookup decoding, Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding). The text stays what it
would have been, whatever is proposed: a draft is only ever compared with what the model samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

SHORTEST_MATCH = 2
"""Tokens that must have occurred before. A single one says next to nothing of what follows it."""

_LONGEST_MATCH = 24
"""Matches are compared no further back than this."""

_CANDIDATES = 16
"""Earlier occurrences that are compared, the latest first."""

_CLASSES = (SHORTEST_MATCH, 3, 4, 8, 16)
"""The longer a copy has gone on, the likelier it goes on: matches from each of these lengths on are judged apart."""

_HOPES = (0.5, 0.75, 0.85, 0.93, 0.97)
"""What each class of matches is expected to be worth at first. Hopeful: a wrong hope costs a few passes, a missed copy
costs every token of it. The last stands for copies of about 33 tokens, a sentence or two."""

_BELIEFS = (4.0, 4.0, 8.0, 16.0, 16.0)
"""Tokens' worth of belief in these hopes. Short matches come seldom and are soon known; copies go on for tens of
tokens, so one that ended says little."""

_MEMORY, _SHARED_MEMORY = 0.9, 0.99
"""What an estimate keeps of its experience at each draft: a sequence's forgets within some tens of drafts, that of all
sequences within some hundreds."""

_LEAST_SECONDS = 1e-9
"""A pass that a coarse clock saw take no time at all still took some."""


class Acceptance:
    """How likely the next drafted token is right where all before it were: an estimate that forgets slowly."""

    def __init__(self, expected: float, *, belief: float, memory: float) -> None:
        """Begin with `expected`, a probability, believed as if so many tokens had shown it."""
        self._expected = expected
        self._belief = belief
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
        weight = self._right + self._wrong + self._belief
        return (self._right + self._belief * self._expected) / weight


class CopyChances:
    """How likely a copy goes on for another token, by the number of tokens that it has gone on for."""

    def __init__(self, expected: Sequence[float] = _HOPES, *, memory: float = _SHARED_MEMORY) -> None:
        """Begin with `expected`, a probability for each class of lengths."""
        self._classes = [
            Acceptance(probability, belief=belief, memory=memory)
            for probability, belief in zip(expected, _BELIEFS, strict=True)
        ]

    def for_sequence(self) -> CopyChances:
        """What a new sequence starts from: it learns by itself, and faster."""
        return CopyChances([one.probability for one in self._classes], memory=_MEMORY)

    def chances(self, match_length: int, count: int) -> list[float]:
        """For each of `count` tokens behind a match of this length, how likely it and all before it are right."""
        chances: list[float] = []
        chance = 1.0
        for one, places in self._by_class(match_length, count):
            probability = one.probability
            for _ in range(places):
                chance *= probability
                chances.append(chance)
        return chances

    def observe(self, match_length: int, drafted: int, accepted: int) -> None:
        """Learn from `drafted` tokens behind a match of this length, of which the first `accepted` were right."""
        for one, places in self._by_class(match_length, drafted):
            one.observe(places, min(places, accepted))
            accepted -= places
            if accepted < 0:  # what lies behind a wrong token was never tried
                break

    def _by_class(self, match_length: int, count: int) -> Iterator[tuple[Acceptance, int]]:
        """The classes that `count` tokens behind a match of this length go through, and how many fall into each."""
        end = match_length + count
        for one, start, following in zip(self._classes, _CLASSES, (*_CLASSES[1:], end), strict=True):
            places = min(end, max(following, start)) - max(match_length, start)
            if places > 0:
                yield one, places


class Drafter:
    """Finds where a sequence's last tokens occurred before. It sees the prompt and the answer, nothing else.

    Adding a token takes constant time; a proposal compares a bounded number of tokens.
    """

    def __init__(self, prompt: Sequence[int], experience: CopyChances) -> None:
        """Index the prompt's tokens. `experience` is shared by all sequences: each starts from it and adds to it."""
        self._tokens: list[int] = []
        self._latest: dict[tuple[int, int], int] = {}
        """Where a pair of tokens occurred last: the index of its second token."""
        self._earlier: list[int] = []
        """For each index, where the pair that ends there occurred before; -1: nowhere."""
        self._experience = experience
        self._own = experience.for_sequence()
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

    def chances(self, count: int) -> list[float]:
        """For each of the first `count` tokens of the last proposal, how likely it and all before it are right."""
        return self._own.chances(self._match_length, count)

    def observe(self, drafted: int, accepted: int) -> None:
        """Learn what became of the last proposal, of which `drafted` tokens were tried."""
        self._own.observe(self._match_length, drafted, accepted)
        self._experience.observe(self._match_length, drafted, accepted)


def allot_drafts(chances: Sequence[Sequence[float]], pass_seconds: Sequence[float], *, generating: int) -> list[int]:
    """How many tokens of each draft to verify so that a second brings the most tokens.

    `chances` has, for each draft, how likely each token and all before it are right. `pass_seconds[n]` is what a pass
    costs with n drafted tokens in it, beside the `generating` tokens that run anyway; its length bounds how many may.
    """
    # A token is worth its chance. Chances only fall along a draft, so taking them in descending order takes each draft
    # from its beginning.
    worth = sorted(
        ((chance, draft) for draft, of_draft in enumerate(chances) for chance in of_draft), key=lambda entry: -entry[0]
    )[: len(pass_seconds) - 1]
    expected = float(generating)
    best_rate, best_count = expected / max(pass_seconds[0], _LEAST_SECONDS), 0
    for count, (chance, _) in enumerate(worth, start=1):
        expected += chance
        rate = expected / max(pass_seconds[count], _LEAST_SECONDS)
        if rate > best_rate:
            best_rate, best_count = rate, count
    lengths = [0] * len(chances)
    for _, draft in worth[:best_count]:
        lengths[draft] += 1
    return lengths
