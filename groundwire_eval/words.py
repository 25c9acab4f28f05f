"""Texts made comparable."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
"""Characters of scripts that put no space between words: each is taken for a word."""

_HANGUL = re.compile("[\uac00-\ud7a3]")


def plain(text: str) -> str:
    """The text in compatibility form, case folded, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """Its words in plain form, without punctuation."""
    found: list[str] = []
    for word in _WORD.findall(plain(text)):
        found += list(word) if _UNSPACED.search(word) else [word]
    return found


def holds(text: str, part: str) -> bool:
    """Whether the words of `part` stand in `text` one after the other. Korean puts particles behind the last one."""
    wanted = " ".join(words(part))
    if not wanted:
        return False
    end = "" if _HANGUL.fullmatch(wanted[-1]) else " "
    return f" {wanted}{end}" in f" {' '.join(words(text))} "
