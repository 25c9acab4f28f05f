"""Word lists, from words.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

_LISTS: Final = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))


def listed(name: str) -> tuple[str, ...]:
    """The words of a list. Raises KeyError where there is no such list."""
    return tuple(_LISTS[name])
