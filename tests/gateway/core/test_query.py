from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.query import MAX_QUERY_CHARACTERS, MAX_QUERY_WORDS, derive_query
from gateway.core.types import Role, Turn

LEAF = (Turn(Role.USER, "Who makes the Nissan Leaf?"), Turn(Role.ASSISTANT, "Nissan [1]."))
LEAF_COST = (*LEAF, Turn(Role.USER, "And how much does it cost?"), Turn(Role.ASSISTANT, "A lot [1]."))
PREFACE = "My laptop has an old Intel processor and runs Debian. I cleaned the fan last week. " * 6


def history(*user_turns: str) -> tuple[Turn, ...]:
    return tuple(turn for text in user_turns for turn in (Turn(Role.USER, text), Turn(Role.ASSISTANT, "Yes.")))


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("What is the capital of Austria?", "What is the capital of Austria?"),
        ("  What\tis\r\n\r\nit?  ", "What is it?"),
        ("What\x00 is\u200b \u202eit?", "What is it?"),
        ("오스트리아의 수도는?", "오스트리아의 수도는?"),
    ],
)
def test_a_question_is_searched_for_as_it_stands(question: str, query: str) -> None:
    assert derive_query(question) == query


def test_of_a_long_question_the_asking_sentences_are_kept() -> None:
    question = PREFACE + "Why does the fan get so loud? It annoys me. What can quiet a noisy laptop fan?"
    assert derive_query(question) == "Why does the fan get so loud? What can quiet a noisy laptop fan?"


def test_an_asking_sentence_that_leans_on_the_others_is_told_what_about() -> None:
    assert derive_query(PREFACE + "Why is it slow?") == (
        "laptop old Intel processor runs Debian cleaned fan last week Why is it slow?"
    )


def test_of_a_long_text_that_asks_nothing_the_beginning_is_kept_whole_words() -> None:
    words = [f"word{n}" for n in range(200)]
    query = derive_query(" ".join(words))
    assert query.split() == words[: len(query.split())]
    assert len(query.split()) == 50


def test_one_endless_word_is_cut_inside() -> None:
    assert derive_query("空" * 900) == "空" * 400


@pytest.mark.parametrize(
    ("question", "earlier", "query"),
    [
        ("And how much does it cost?", LEAF, "makes Nissan Leaf And how much does it cost?"),
        ("How far does it go?", LEAF, "makes Nissan Leaf How far does it go?"),
        ("Price?", LEAF, "makes Nissan Leaf Price?"),
        ("What about range?", LEAF, "makes Nissan Leaf What about range?"),
        ("And in Europe?", LEAF_COST, "makes Nissan Leaf cost And in Europe?"),
        ("How much does the Nissan Leaf cost?", LEAF, "How much does the Nissan Leaf cost?"),
        ("Who founded Python?", LEAF, "Who founded Python?"),
        ("Is the Leaf one of them?", LEAF, "makes Nissan Is the Leaf one of them?"),
        ("가격은?", history("닛산 리프는 누가 만들어?"), "닛산 리프는 누가 만들어 가격은?"),
        ("値段は？", history("日産リーフを作っているのは誰ですか？"), "日産リーフを作っているのは誰ですか 値段は？"),
        ("And it?", (), "And it?"),
    ],
)
def test_a_follow_up_is_told_what_about(question: str, earlier: tuple[Turn, ...], query: str) -> None:
    assert derive_query(question, earlier) == query


@given(st.text(min_size=1, max_size=4000), st.lists(st.text(min_size=1, max_size=600), max_size=4))
def test_a_query_always_fits(question: str, turns: list[str]) -> None:
    query = derive_query(question, history(*turns))
    assert len(query) <= MAX_QUERY_CHARACTERS
    assert len(query.split()) <= MAX_QUERY_WORDS
    assert query == " ".join(query.split())
    assert query or not question.strip()
    assert query == derive_query(question, history(*turns))


@given(
    st.lists(
        st.sampled_from(["word", "what", "it", "Why?", "Is so.", "and", "空は青い。", "谁？"]),
        min_size=51,
        max_size=300,
    )
)
def test_a_long_question_always_fits(words: list[str]) -> None:
    query = derive_query(" ".join(words), history("One more thing about houses", "And it?"))
    assert 0 < len(query) <= MAX_QUERY_CHARACTERS
    assert len(query.split()) <= MAX_QUERY_WORDS
