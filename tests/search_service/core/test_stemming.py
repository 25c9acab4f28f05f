from __future__ import annotations

import inspect
import logging
import re
import smtplib
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.core.stemming import stem


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("configure configured configuring configuration configurations", "configur"),
        ("cancel cancels cancelled cancellation", "cancel"),
        ("query queries", "queri"),
        ("schedule scheduler scheduling", "schedul"),
        ("batch batches batching", "batch"),
        ("continue continues continuous continuously", "continu"),
    ],
)
def test_forms_of_one_word_share_a_stem(words: str, expected: str) -> None:
    assert {stem(word) for word in words.split()} == {expected}


def test_words_that_only_look_alike_do_not() -> None:
    assert len({stem(word) for word in ("new", "news", "organ", "skis", "sky")}) == 5


@pytest.mark.parametrize("word", ["", "is", "phi3", "größe", "naïve", "서울", "Ωmega"])
def test_what_is_no_plain_word_stays(word: str) -> None:
    assert stem(word) == word


def test_threads_do_not_disturb_each_other() -> None:
    text = " ".join(map(inspect.getsource, (logging, smtplib, subprocess)))
    words = sorted(set(re.findall(r"[a-z]{3,30}", text.lower())))
    alone = [stem(word) for word in words]
    stem.cache_clear()
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda _: [stem.__wrapped__(word) for word in words], range(4)))
    assert together == [alone] * 4


@given(st.text(max_size=40))
def test_a_stem_is_never_empty_nor_longer_by_more_than_a_letter(word: str) -> None:
    assert len(stem(word)) <= len(word) + 1
    assert bool(stem(word)) == bool(word)


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=64))
def test_a_stem_is_one_word_in_lower_case(word: str) -> None:
    assert re.fullmatch("[a-z]+", stem(word))
