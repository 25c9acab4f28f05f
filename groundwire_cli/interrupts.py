"""Runs a command's coroutine; Ctrl-C cancels it, and it gets the chance to cancel its call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from groundwire_cli.errors import Interrupted

T = TypeVar("T")


def run_interruptible(work: Coroutine[object, object, T], *, saying: str = "Cancelled.") -> T:
    """Run it to its end. Raises Interrupted, saying so, after Ctrl-C and the coroutine's own `finally` blocks."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise Interrupted(saying) from None
