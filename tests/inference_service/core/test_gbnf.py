import pytest

from inference_service.core.gbnf import parse_gbnf, write_gbnf
from inference_service.core.grammar import BadGrammar
from tests.support.grammar_words import WordMaker


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ('root ::= "yes" | "no"', 'root ::= "yes" | "no"\n'),
        ("root ::= [a-z_]+", "root ::= [\\x5Fa-z]+\n"),
        ("root ::= [^a]", "root ::= [^a]\n"),
        ("root ::= .", "root ::= .\n"),
        ('root ::= "\\"\\\\\\n\\u00e9é日"', 'root ::= "\\x22\\x5C\\x0A\\xE9\\xE9\\U000065E5"\n'),
        ('root ::= "a"{2}"b"{0,3} "c"{4,}', 'root ::= "a"{2} "b"{0,3} "c"{4,}\n'),
        ('root ::= ("a" | "b")*', 'g0 ::= "a" | "b"\nroot ::= g0*\n'),
        ('root ::= # c1\n  "a" # c2\nx-1 ::= root', 'root ::= "a"\nr0 ::= root\n'),
        ('root ::= ("a"\n"b")', 'root ::= "a" "b"\n'),
        ('root ::= "a" |\n "b"', 'root ::= "a" | "b"\n'),
        ('root ::= "a"{0}', 'root ::= ""\n'),
        ("root ::=", 'root ::= ""\n'),
    ],
)
def test_what_is_written(source: str, written: str) -> None:
    assert write_gbnf(parse_gbnf(source)) == written


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('root ::= "a"\nroot ::= "b"', "line 2, column 1: rule 'root' is defined twice"),
        ('root ::= "a\n', "line 1, column 10: this string is not closed"),
        ('a ::= "x"\r\nroot ::= [b-a]', "line 2, column 11: this range of characters runs backwards"),
        ('root ::= "a" ?? )', "line 1, column 17: unexpected ')'"),
        ('root ::= "\\y"', "line 1, column 11: unknown escape"),
        ("root ::= <|end|>", "line 1, column 10: token references"),
        ("wörter ::= x", "line 1, column 2: expected ::= after a rule's name"),
        ("root ::= " + "(" * 33 + "x" + ")" * 33, "line 1, column 42: groups are nested deeper than 32"),
    ],
)
def test_what_is_refused_and_where(source: str, problem: str) -> None:
    with pytest.raises(BadGrammar) as refusal:
        parse_gbnf(source)
    assert str(refusal.value).startswith(problem)


SAMPLE = r"""
root   ::= item ("," [ \t]? item){0,3} "\n"
item   ::= "<" [^<>\x00-\x1F]+ ">" | number | (("x" | "é") ("y")?)+
number ::= "-"? ([0-9] | [1-9] [0-9]*) ("." [0-9]{1,4})?
"""


def test_written_grammar_reads_back_to_the_same_words() -> None:
    first = parse_gbnf(SAMPLE)
    again = parse_gbnf(write_gbnf(first))
    for seed in range(50):
        assert WordMaker(first, seed).word() == WordMaker(again, seed).word()
