"""What steps cost, learned from those that ran, and how many prompt tokens the next may read."""

from __future__ import annotations

import math
from collections import deque

MIN_STEP_TOKENS = 16
"""Passes of fewer tokens are much dearer a token on a CPU (llama-batched-bench on Phi-3's shape and two cores: 10.5
tokens/s at 8, 16.7 at 16, 17.8 at 32), so smaller prompt chunks would only waste time."""

_AIM = 0.8
"""Of the time a step may take, what it is planned for: steps of one size differ, and each lengthens the sequences that
the next attends to."""

_ALONE = 4
"""Where no stream runs that a step could hold up, it may take this many times as long: large passes read a prompt
somewhat faster. A caller who leaves, and a new one, wait for the end of a step."""

_ALONE_TOKENS = 64
"""And it takes at least so many tokens, however slow the host."""

_PATIENCE_SECONDS = 0.25
_PATIENCE_SHARE = 0.07
"""Running streams may delay a prompt by this long, or by this share of the time that it takes alone where that is
more. Where keeping to the time of a step would delay it more, steps become longer."""

_SMOOTHING = 0.3
"""Weight of the newest pass in a running estimate."""

_RECENT_PASSES = 64
"""Passes that the least time of a prompt is judged by."""

_RECENT_OF_A_SIZE = 8
"""Passes of one size that its cost is judged by."""

_LEAST_SECONDS = 1e-9
"""A step that a coarse clock saw take no time at all still took some."""

_STALE_PASSES = 500
"""A size that no pass has had for this many passes is forgotten: one hiccup must not rule it out for ever."""


class StepPacer:
    """Learns the cost of steps and plans the next one's size. Pure arithmetic."""

    def __init__(self, *, target_seconds: float, max_step_tokens: int, attention_tile: int = 0) -> None:
        """A step should end within `target_seconds` and may take at most `max_step_tokens` tokens.

        From `attention_tile` tokens on, a step runs prompts and streams in passes apart. Chunks of prompts are then
        whole tiles: smaller ones, and parts of a tile, cost more a token. 0: a step is one pass whatever its size.
        """
        self._target_seconds = target_seconds
        self.max_step_tokens = max_step_tokens
        self._attention_tile = attention_tile
        self._seconds_per_token: float | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT_PASSES)
        self._least_seconds_per_token = 0.0
        self._generation = _SizedCosts()

    def observe(self, tokens: int, seconds: float, *, prompt_tokens: int) -> None:
        """Learn from a step of `tokens`, of which `prompt_tokens` were read and the others generated or verified."""
        if not prompt_tokens:
            self._generation.observe(tokens, seconds)
        # Small passes say nothing of a large one's cost a token, and verified tokens cost more than read ones.
        if tokens < MIN_STEP_TOKENS or 2 * prompt_tokens < tokens:
            return
        cost = seconds / tokens
        if self._runs_apart(tokens) and tokens > prompt_tokens:
            # At least half of it, since what the streams' pass took is only an estimate.
            cost = max(cost / 2, (seconds - self._streams_seconds(tokens - prompt_tokens, cost)) / prompt_tokens)
        self._recent.append(cost)
        self._least_seconds_per_token = min(self._recent)
        known = self._seconds_per_token
        # A step that came out dearer than known counts at once: being late is worse than being slow.
        self._seconds_per_token = cost if known is None or cost > known else known + _SMOOTHING * (cost - known)

    def prompt_budget(self, *, generating: int, prompt_tokens: int) -> int:
        """How many prompt tokens the next step may read, beside one token of each of `generating` streams: at least 1,
        and in all at most max_step_tokens.

        `prompt_tokens` is the length of the prompt that is being read, without what was cached of it.
        """
        room = max(1, self.max_step_tokens - generating)
        if self._seconds_per_token is None:  # before the first measure, a careful guess
            return min(max(32 - generating, generating), room)
        cost = max(self._seconds_per_token, _LEAST_SECONDS)
        seconds = _AIM * self._target_seconds
        tile = self._attention_tile or 1
        if not generating:
            return min(max(int(_ALONE * seconds / cost) // tile * tile, _ALONE_TOKENS), room)
        streams = self._streams_seconds(generating, cost)
        patience = max(_PATIENCE_SECONDS, _PATIENCE_SHARE * prompt_tokens * cost)
        in_time = int((seconds - streams) / cost)
        fair = math.ceil(prompt_tokens * streams / patience)
        if self._attention_tile:
            # A tile that is begun is as dear as a whole one.
            return min(max(math.ceil(in_time / tile), round(fair / tile), 1) * tile, room)
        return min(max(in_time, fair, MIN_STEP_TOKENS), room)

    def _runs_apart(self, tokens: int) -> bool:
        return 0 < self._attention_tile <= tokens

    def _streams_seconds(self, generating: int, seconds_per_token: float) -> float:
        """What the streams' tokens add to a step that reads a prompt."""
        if self._attention_tile and self._generation.has_any:
            return self._generation.estimates(generating, 0, slope=seconds_per_token)[0]
        return generating * seconds_per_token

    def least_prompt_seconds(self, tokens: int) -> float:
        """What reading so many prompt tokens takes at the very least, by the fastest of the last passes. 0 before the
        first measure.
        """
        return tokens * self._least_seconds_per_token

    def generation_seconds(self, tokens: int, more: int) -> list[float]:
        """What passes over `tokens`, …, `tokens + more` generated or verified tokens cost, as far as is known."""
        return self._generation.estimates(tokens, more, slope=self._seconds_per_token)


class _SizedCosts:
    """The cost of a pass by its number of tokens, for small passes, where it does not grow evenly.

    A size's cost is that of its fastest recent pass: what else a host does only ever adds to it, and a size that was
    unlucky once would else not be tried again.
    """

    def __init__(self) -> None:
        self._recent: dict[int, deque[float]] = {}
        self._seconds: dict[int, float] = {}
        """The least of each."""
        self._last_seen: dict[int, int] = {}
        self._passes = 0

    def observe(self, tokens: int, seconds: float) -> None:
        recent = self._recent.setdefault(tokens, deque(maxlen=_RECENT_OF_A_SIZE))
        recent.append(seconds)
        self._seconds[tokens] = min(recent)
        self._passes += 1
        self._last_seen[tokens] = self._passes
        if self._passes % _STALE_PASSES == 0:
            self._forget()

    def _forget(self) -> None:
        for tokens, seen in list(self._last_seen.items()):
            if seen <= self._passes - _STALE_PASSES:
                del self._recent[tokens], self._seconds[tokens], self._last_seen[tokens]

    @property
    def has_any(self) -> bool:
        """Whether any size is known."""
        return bool(self._seconds)

    def estimates(self, tokens: int, more: int, *, slope: float | None) -> list[float]:
        """Between known sizes: a straight line. Beyond them: `slope` seconds a token, or in proportion."""
        sizes = sorted(self._seconds)
        if not sizes:
            return [1.0 + size for size in range(tokens, tokens + more + 1)]
        costs = []
        place = 0  # of the first known size that is not below
        for size in range(tokens, tokens + more + 1):
            while place < len(sizes) and sizes[place] < size:
                place += 1
            if place == len(sizes):
                below = self._seconds[sizes[-1]]
                rise = below / sizes[-1] if slope is None else slope
                costs.append(below + (size - sizes[-1]) * rise)
                continue
            above = self._seconds[sizes[place]]
            if place == 0:
                costs.append(above)  # a smaller pass costs less, but by how much is not known
                continue
            below = self._seconds[sizes[place - 1]]
            part = (size - sizes[place - 1]) / (sizes[place] - sizes[place - 1])
            costs.append(below + part * (above - below))
        return costs
