"""How many tokens a forward pass may take so that it ends within its time."""

from __future__ import annotations

MIN_STEP_TOKENS = 16
"""A pass of 16 tokens costs hardly more than one of 8 on a CPU (the measured rates of Phi-3's shape: 35 tokens/s at 8,
59 at 16, 60 at 32), so smaller prompt chunks would only waste time."""

_AIM = 0.8
"""Of the time a pass may take, what it is planned for: passes of one size differ, and each lengthens the sequences that
the next attends to."""

_SMOOTHING = 0.3
"""Weight of the newest pass in the running estimate."""


class StepPacer:
    """Learns what a token costs in a full pass, and from that how many fit the time. Pure arithmetic."""

    def __init__(self, *, target_seconds: float, max_step_tokens: int) -> None:
        """A pass should end within `target_seconds` and may take at most `max_step_tokens` tokens."""
        self._target_seconds = target_seconds
        self._max_step_tokens = max_step_tokens
        self._seconds_per_token: float | None = None

    def observe(self, tokens: int, seconds: float) -> None:
        """Learn from a pass. Small ones say nothing of a large one's cost a token and are not counted."""
        if tokens < MIN_STEP_TOKENS:
            return
        cost = seconds / tokens
        known = self._seconds_per_token
        # A pass that came out dearer than known counts at once: being late is worse than being slow.
        self._seconds_per_token = cost if known is None or cost > known else known + _SMOOTHING * (cost - known)

    @property
    def token_budget(self) -> int:
        """Tokens for the next pass, MIN_STEP_TOKENS to max_step_tokens. Before the first measure, a careful 32."""
        if self._seconds_per_token is None:
            return min(32, self._max_step_tokens)
        fitting = int(_AIM * self._target_seconds / max(self._seconds_per_token, 1e-9))
        return max(min(MIN_STEP_TOKENS, self._max_step_tokens), min(fitting, self._max_step_tokens))
