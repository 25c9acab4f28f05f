import json
import re

import pytest

from inference_service.core.grammar import ROOT, BadGrammar, Grammar
from inference_service.core.json_pattern import pattern_string
from inference_service.core.json_text import BASE_RULES
from tests.support.grammar_words import WordMaker


@pytest.mark.parametrize(
    "pattern",
    [
        "^abc$",
        "^a|b$",
        "b",
        "^[a-z]{2,4}-\\d+$",
        "^(?:x|yz)*?$",
        '^["\\\\/]+$',
        "^[^a-y]$",
        "^\\u00e9\\x41[\\u4e00-\\u9fff]$",
        "^\\w\\W\\S\\D$",
        "^.{3}$",
        "^\\t\\n\\r\\f$",
        "^[\\d_\\]^-]{5}$",
        "^[\\b]$",
        "^(a(b(c)?)?)+$",
        "^]}$",
        "^$",
        "",
        "^a{2}b{1,}c{0,2}$",
        "^\\.\\*\\+\\?\\(\\)\\[\\]\\{\\}\\|\\^\\$$",
    ],
)
def test_every_string_matches(pattern: str) -> None:
    grammar = Grammar({ROOT: pattern_string(pattern)} | BASE_RULES)
    for seed in range(60):
        text = json.loads(WordMaker(grammar, seed).word())
        # Python's \\w and \\d know more characters than ECMAScript's unless told otherwise.
        assert re.search(pattern, text, re.ASCII), text


def test_white_space_is_of_every_script() -> None:
    grammar = Grammar({ROOT: pattern_string("^\\s+$")} | BASE_RULES)
    seen = {c for seed in range(200) for c in json.loads(WordMaker(grammar, seed).word())}
    assert {" ", "\t", "\n", "\u00a0", "\u3000", "\ufeff"} <= seen
    assert all(c.isspace() or c == "\ufeff" for c in seen)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("^(a", "at character 2: this group is not closed"),
        ("^a)$", "at character 3: unexpected ')'"),
        ("^a^b$", "anchors are supported only at the ends"),
        ("^(a$)b", "anchors are supported only at the ends"),
        ("^[a-z", "this character class is not closed"),
        ("^[z-a]$", "runs backwards"),
        ("^a{2,1}$", "run backwards"),
        ("^a{x}$", "a repetition is written"),
        ("^+$", "nothing stands before"),
        ("^(?!a)$", "only (?:…) is supported"),
        ("^\\1$", "escape \\1 is not supported"),
        ("^\\bword$", "escape \\b is not supported"),
        ("^\\p{L}$", "escape \\p is not supported"),
        ("^a\\", "escape \\ is not supported"),
        ("^[]$", "no character that JSON can hold"),
        ("^[\\x00]$", "no character that JSON can hold"),
        ("(" * 40, "groups are nested deeper than 32"),
    ],
)
def test_what_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(BadGrammar) as refusal:
        pattern_string(pattern)
    assert problem in str(refusal.value)
