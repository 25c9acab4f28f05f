"""What the process's exit status tells its supervisor."""

from __future__ import annotations

from typing import Final

CANNOT_SERVE: Final = 1
"""It cannot start: settings, the model or the address must be put right first."""

ENGINE_FAILED: Final = 70
"""The engine broke while serving; every call has been answered. Start it again."""

ENGINE_STUCK: Final = 71
"""A step did not end in time; every call has been answered. Start it again."""
