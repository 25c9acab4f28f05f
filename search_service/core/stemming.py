"""English stems, so that "configure" finds "configuration": the Snowball stemmer ("Porter 2").

It is not left to the index, because queries, the index and the choice of snippets must all see the same stems.
"""

from __future__ import annotations

import threading
from functools import lru_cache

# By its own name: `snowballstemmer.stemmer` takes another implementation where one is installed.
from snowballstemmer.english_stemmer import EnglishStemmer


class _OfThread(threading.local):
    """A stemmer for each thread: it keeps the word that it works on."""

    def __init__(self) -> None:
        self.stemmer = EnglishStemmer()


_of_thread = _OfThread()


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem of a lower-case word. Words of one or two letters, and those not of ASCII letters, stay."""
    if len(word) < 3 or not (word.isascii() and word.isalpha()):
        return word
    return str(_of_thread.stemmer.stemWord(word))
