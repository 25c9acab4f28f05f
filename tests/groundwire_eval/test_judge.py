"""Words, and the judge that counts them."""

import pytest

from groundwire_eval.judge import ContainmentJudge
from groundwire_eval.words import holds, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The tower's 81 metres.", ["the", "tower", "s", "81", "metres"]),
        ("ＡＢＣ  Straße", ["abc", "strasse"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("서울은 크다", ["서울은", "크다"]),
        ("…", []),
    ],
)
def test_words(text, found):
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "part", "there"),
    [
        ("It is 81 metres high.", "81 metres", True),
        ("It is 81 Metres, high.", "81 metres", True),
        ("It is 181 metres high.", "81 metres", False),
        ("It is 81 square metres.", "81 metres", False),
        ("高さは三百三十三メートルです", "三百三十三メートル", True),
        ("높이는 1,947미터로 가장 높다", "1,947미터", True),
        ("높이는 11,947미터로 가장 높다", "1,947미터", False),
        ("It is 81 metrestall", "81 metres", False),
        ("anything", "…", False),
    ],
)
def test_a_text_holds_words_that_stand_together(text, part, there):
    assert holds(text, part) is there


@pytest.mark.parametrize(
    ("sources", "statement", "supported"),
    [
        (["The tower is 81 metres high."], "The tower is 81 metres high", True),
        (["The tower is high.", "It is 81 metres."], "The tower is 81 metres high", True),
        (["The tower is 80 metres high."], "The tower is 81 metres high", False),
        (["a b c d e f g h i"], "a b c d e f g h i j", True),
        (["a b c d e f g h"], "a b c d e f g h i j", False),
        (["again"], "again again", False),
        ([], "anything", False),
        (["anything"], "", False),
    ],
    ids=["quoted", "by both", "another number", "nine of ten", "eight of ten", "twice", "no source", "no words"],
)
def test_what_is_supported(sources, statement, supported):
    assert ContainmentJudge().supports(sources, statement) is supported
