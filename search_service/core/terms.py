"""From text to the terms that the index holds and a query looks for.

A word of a script with spaces gives one term: folded (case, width, accents) and, in English, stemmed. A run of a
script without spaces (Chinese, Japanese, Thai, …) gives every character and every pair of neighbours, and so does
Hangul, whose words carry their particles: "서울" is then found in "서울에서". A term holds no white space and no
ASCII mark, so no term can be an operator of a query language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final

from search_service.core.stemming import stem

MAX_TERM_CHARACTERS: Final = 64
"""Longer words (hashes, encoded data) are cut: nobody types them."""

HAN: Final = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
HIRAGANA: Final = "\u3041-\u3096\u309d-\u309f"
KATAKANA: Final = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
HANGUL: Final = "\uac00-\ud7a3\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff"
_THAI_LAO_BURMESE_KHMER: Final = "\u0e01-\u0e4e\u0e81-\u0ece\u1000-\u1049\u1050-\u109f\u1780-\u17d3"
_BOPOMOFO: Final = "\u3105-\u312f"
UNSPACED: Final = HAN + HIRAGANA + KATAKANA + HANGUL + _THAI_LAO_BURMESE_KHMER + _BOPOMOFO
"""The inside of a character class: scripts indexed by characters and pairs of them."""

_VOICED_MARKS: Final = "\u3099\u309a"


def _marks() -> str:
    """The inside of a character class: marks that belong to words (vowel signs, accents) and are no letters."""
    marks = [chr(code) for code in range(0x300, 0xFB20) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    return "".join(marks)


_TOKEN: Final = re.compile(rf"(?P<run>[{UNSPACED}]+)|(?P<word>(?:(?![{UNSPACED}])(?:[^\W_]|[{_marks()}]))+)")
_ASCII_TOKEN: Final = re.compile(r"[a-z0-9]+")


def index_terms(text: str) -> Iterator[str]:
    """Every term of a text, repeats included, in order."""
    for token, is_run in tokens(text):
        if is_run:
            yield from token
            yield from run_pairs(token)
        else:
            yield stem(token)


def tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Folded words and runs in order, each with whether it is a run of an unspaced script."""
    if text.isascii():
        for match in _ASCII_TOKEN.finditer(text.lower()):
            yield match[0][:MAX_TERM_CHARACTERS], False
        return
    for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text).casefold()):
        if match.lastgroup == "run":
            yield match[0], True
        elif word := _folded(match[0][:MAX_TERM_CHARACTERS]):
            yield word, False


def run_pairs(run: str) -> Iterator[str]:
    """Every pair of neighbours: 대한민국 gives 대한, 한민, 민국."""
    for left, right in pairwise(run):
        yield left + right


@lru_cache(maxsize=65_536)
def _folded(word: str) -> str:
    """The word without accents and other combining marks. May be empty."""
    if word.isascii():
        return word
    letters = (c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c) or c in _VOICED_MARKS)
    return unicodedata.normalize("NFC", "".join(letters)).casefold()
