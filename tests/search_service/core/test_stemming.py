"""The stemmer agrees with the Porter stemmer that SQLite carries."""

import inspect
import logging
import re
import smtplib
import sqlite3
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.core.stemming import stem

SUFFIXES = ("s", "es", "ed", "ing", "ly", "ational", "izer", "fulness", "ization", "ability", "logy", "ement", "e", "y")


def sqlite_stems(words: list[str]) -> dict[str, str]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5 (word, tokenize = 'porter ascii')")
        connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab (t, 'instance')")
        connection.executemany("INSERT INTO t (rowid, word) VALUES (?, ?)", enumerate(words))
        return {words[row]: term for term, row in connection.execute("SELECT term, doc FROM v")}
    finally:
        connection.close()


def test_thousands_of_english_words_have_the_stems_that_sqlite_gives_them() -> None:
    text = " ".join(map(inspect.getsource, (logging, smtplib, subprocess)))
    roots = sorted(set(re.findall(r"\b(?=[a-z]*[aeiou])[a-z]{3,30}", text.lower())))
    words = sorted({root + suffix for root in roots for suffix in ["", *SUFFIXES]})
    differing = {word: theirs for word, theirs in sqlite_stems(words).items() if stem(word) != theirs}
    assert len(words) > 10_000
    assert differing == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("configure configured configuring configuration configurations", "configur"),
        ("cancel cancels cancelled cancellation", "cancel"),
        ("query queries", "queri"),
    ],
)
def test_forms_of_one_word_share_a_stem(words: str, expected: str) -> None:
    assert {stem(word) for word in words.split()} == {expected}


@given(st.text(max_size=40))
def test_a_stem_is_never_empty_nor_longer_by_more_than_a_letter(word: str) -> None:
    assert len(stem(word)) <= len(word) + 1
    assert bool(stem(word)) == bool(word)
