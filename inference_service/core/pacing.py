"""What forward passes cost, learned from those that ran, and how many tokens the next may take."""

from __future__ import annotations

from collections import deque

MIN_STEP_TOKENS = 16
"""Passes of fewer tokens are much dearer a token on a CPU (llama-batched-bench on Phi-3's shape and two cores: 10.5
tokens/s at 8, 16.7 at 16, 17.8 at 32), so smaller prompt chunks would only waste time."""

_AIM = 0.8
"""Of the time a pass may take, what it is planned for: passes of one size differ, and each lengthens the sequences that
the next attends to."""

_ALONE = 4
"""Where no stream runs that a pass could hold up, it may take this many times as long: large passes read a prompt
somewhat faster. A caller who leaves, and a new one, wait for the end of a pass."""

_ALONE_TOKENS = 64
"""And it takes at least so many, however slow the host: llama.cpp's CPU attention takes tokens together from this size
on, and a prompt in smaller passes is read at little more than half the rate."""

_PATIENCE_SECONDS = 1.0
_PATIENCE_SHARE = 0.1
"""Running streams may delay a prompt by this long, or by this share of the time that it takes alone where that is
more. Where keeping to the time of a pass would delay it more, passes become longer."""

_SMOOTHING = 0.3
"""Weight of the newest pass in a running estimate."""

_RECENT_PASSES = 64
"""Passes that the least time of a prompt is judged by."""

_STALE_PASSES = 500
"""A size that no pass has had for this many passes is forgotten: one hiccup must not rule it out for ever."""


class StepPacer:
    """Learns the cost of passes and plans the next one's size. Pure arithmetic."""

    def __init__(self, *, target_seconds: float, max_step_tokens: int) -> None:
        """A pass should end within `target_seconds` and may take at most `max_step_tokens` tokens."""
        self._target_seconds = target_seconds
        self.max_step_tokens = max_step_tokens
        self._seconds_per_token: float | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT_PASSES)
        self._least_seconds_per_token = 0.0
        self._generation = _SizedCosts()

    def observe(self, tokens: int, seconds: float, *, prompt_tokens: int) -> None:
        """Learn from a pass of `tokens`, of which `prompt_tokens` were read and the others generated or verified."""
        if not prompt_tokens:
            self._generation.observe(tokens, seconds)
        # Small passes say nothing of a large one's cost a token, and verified tokens cost more than read ones.
        if tokens < MIN_STEP_TOKENS or 2 * prompt_tokens < tokens:
            return
        cost = seconds / tokens
        self._recent.append(cost)
        self._least_seconds_per_token = min(self._recent)
        known = self._seconds_per_token
        # A pass that came out dearer than known counts at once: being late is worse than being slow.
        self._seconds_per_token = cost if known is None or cost > known else known + _SMOOTHING * (cost - known)

    def token_budget(self, *, generating: int, prompt_tokens: int) -> int:
        """Tokens for the next pass, at most max_step_tokens, of which `generating` streams take one each.

        `prompt_tokens` is the length of the prompt that is being read, without what was cached of it.
        """
        cost = self._seconds_per_token
        if cost is None:  # before the first measure, a careful guess
            return min(max(32, 2 * generating), self.max_step_tokens)
        if generating:
            time, least = _AIM * self._target_seconds, MIN_STEP_TOKENS
        else:
            time, least = _AIM * self._target_seconds * _ALONE, _ALONE_TOKENS
        patience = max(_PATIENCE_SECONDS, _PATIENCE_SHARE * prompt_tokens * cost)
        fair = generating + int(generating * prompt_tokens * cost / patience)
        return min(max(int(time / max(cost, 1e-9)), fair, least), self.max_step_tokens)

    def least_prompt_seconds(self, tokens: int) -> float:
        """What reading so many prompt tokens takes at the very least, by the fastest of the last passes. 0 before the
        first measure.
        """
        return tokens * self._least_seconds_per_token

    def generation_seconds(self, tokens: int, more: int) -> list[float]:
        """What passes over `tokens`, …, `tokens + more` generated or verified tokens cost, as far as is known."""
        return self._generation.estimates(tokens, more, slope=self._seconds_per_token)


class _SizedCosts:
    """The cost of a pass by its number of tokens, for small passes, where it does not grow evenly."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._last_seen: dict[int, int] = {}
        self._passes = 0

    def observe(self, tokens: int, seconds: float) -> None:
        known = self._seconds.get(tokens)
        self._seconds[tokens] = seconds if known is None else known + _SMOOTHING * (seconds - known)
        self._passes += 1
        self._last_seen[tokens] = self._passes
        if self._passes % _STALE_PASSES == 0:
            self._forget()

    def _forget(self) -> None:
        for tokens, seen in list(self._last_seen.items()):
            if seen <= self._passes - _STALE_PASSES:
                del self._seconds[tokens], self._last_seen[tokens]

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
