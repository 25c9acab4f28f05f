"""Whom the search that runs in this task is for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_CALLER: Final[ContextVar[str]] = ContextVar("search_caller", default="")


@contextmanager
def searching_for(caller: str) -> Iterator[None]:
    """Name the caller for the length of the block, and for tasks that begin in it."""
    token = _CALLER.set(caller)
    try:
        yield
    finally:
        _CALLER.reset(token)


def current_caller() -> str:
    """Their opaque name. Empty where nobody named one."""
    return _CALLER.get()
