"""Questions to sentences of real text."""

from __future__ import annotations

import random

import pytest

from models.builtin.training.questions import STOP_WORDS, QuestionMaker, keywords_of

SENTENCE = "To rename a branch that is checked out, use the option -m with the new name because git keeps its history."


def maker(seed: int, synonyms: dict[str, tuple[str, ...]] | None = None) -> QuestionMaker:
    return QuestionMaker({}, synonyms or {}, random.Random(seed))


def asked(sentence: str, language: str = "en", count: int = 60) -> list[str]:
    questions = [maker(seed).ask(sentence, "A title", language) for seed in range(count)]
    return [question.text for question in questions if question is not None]


def test_natural_questions_ask_for_a_way_and_a_reason() -> None:
    texts = asked(SENTENCE)

    assert any(text.startswith(("How do I rename a branch", "How can I rename a branch")) for text in texts)
    assert any(text.lower().startswith("why ") for text in texts)


def test_a_year_is_asked_for_by_when() -> None:
    texts = asked("The first release of the editor came out in 1991 and was written in three weeks.")

    assert any(text.lower().startswith(("when", "in which year", "what year", "since when")) for text in texts)
    assert any(text.lower().startswith("how many weeks") for text in texts)


def test_a_third_of_the_words_are_replaced_by_synonyms() -> None:
    synonyms = {"rename": ("retitle",), "branch": ("limb",)}
    texts = [maker(seed, synonyms).ask(SENTENCE, "A title", "en") for seed in range(80)]

    assert any("retitle" in question.text or "limb" in question.text for question in texts if question)


def test_keywords_are_words_of_the_sentence() -> None:
    for seed in range(60):
        question = maker(seed).ask(SENTENCE, "A title", "en")
        assert question is not None
        assert question.keywords
        assert not STOP_WORDS & set(question.keywords)


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("de", "Die Bibliothek öffnet werktags um neun Uhr und schließt um zehn Uhr abends."),
        ("ko", "도서관은 평일 오전 아홉 시에 문을 열고 오후 열 시에 문을 닫습니다."),
        ("ja", "図書館は平日の午前九時に開館し、午後十時に閉館します。"),
        ("zh", "图书馆工作日上午九点开门,晚上十点关门,周一闭馆休息。"),
    ],
)
def test_other_languages_are_asked_in_their_own_words(language: str, sentence: str) -> None:
    texts = asked(sentence, language)

    assert texts
    assert not any(text.lower().startswith(("what", "how", "why")) for text in texts)


def test_a_sentence_with_nothing_to_ask_for() -> None:
    assert maker(0).ask("It is as it was.", "A title", "en") is None


def test_keywords_leave_out_what_carries_no_meaning() -> None:
    assert keywords_of("What is the Height of a Tower?") == ["height", "tower"]
