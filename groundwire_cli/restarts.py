"""When a child that died is started again, and when not. Pure policy."""

from __future__ import annotations

import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How patient the supervisor is."""

    first_delay_seconds: float = 0.5
    """The wait after a first quick death. It doubles with each further one."""
    longest_delay_seconds: float = 15.0
    """Where the doubling ends."""
    quick_seconds: float = 30.0
    """A child that lives longer than this, and dies, died for a new reason: the count of quick deaths starts again."""
    quick_deaths: int = 5
    """So many quick deaths in a row, and the supervisor gives up."""


@dataclass(frozen=True, slots=True)
class Death:
    """How a child ended."""

    status: int
    """The exit status, negative for a signal."""
    lived_seconds: float
    """From its start to its end."""
    served: bool
    """Whether it had said that it serves."""

    @property
    def in_words(self) -> str:
        """Such as `was ended by SIGKILL` or `exited with status 1`."""
        if self.status < 0:
            try:
                return f"was ended by {signal.Signals(-self.status).name}"
            except ValueError:
                return f"was ended by signal {-self.status}"
        return f"exited with status {self.status}"


class RestartHistory:
    """Counts one child's deaths and decides what follows."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._quick_deaths = 0
        self._ever_served = False

    @property
    def quick_deaths(self) -> int:
        """Quick deaths in a row so far."""
        return self._quick_deaths

    def next_delay_seconds(self, death: Death) -> float | None:
        """How long to wait before the next start. None: give up."""
        self._ever_served = self._ever_served or death.served
        self._quick_deaths = self._quick_deaths + 1 if death.lived_seconds < self._policy.quick_seconds else 1
        # Status 1 before it ever served is how a service refuses bad settings or a bad model: no retry mends that.
        if death.status == 1 and not self._ever_served:
            return None
        if self._quick_deaths >= self._policy.quick_deaths:
            return None
        delay: float = self._policy.first_delay_seconds * 2 ** (self._quick_deaths - 1)
        return min(self._policy.longest_delay_seconds, delay)
