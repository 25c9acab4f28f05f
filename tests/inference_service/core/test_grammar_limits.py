import pytest

from inference_service.core.grammar import BadGrammar
from inference_service.core.grammar_limits import checked_gbnf


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("", "the grammar has 0 bytes; 1 to 16,384 are allowed"),
        ("#" + "é" * 8192, "the grammar has 16,385 bytes"),
        ("\ud800", "holds a surrogate"),
        ('root ::= "a\0"', "cannot hold NUL"),
        ('start ::= "a"', "there is no rule named 'root'"),
        ("root ::= a", "rule 'root' uses the rule 'a', which is not defined"),
        ("root ::= [a-z]{1001}", "repeats something 1,001 times; at most 1,000"),
        ("root ::= [a-z]{1,1001}", "repeats something 1,001 times; at most 1,000"),
        ('root ::= "abcdefghijk"{1000} "abcdefghijk"{1000}', "it has 22,000 parts; at most 20,000"),
        ('root ::= "a"?*', "rule 'root' repeats without end something that can be empty"),
        ('root ::= (a b)+\na ::= "x"?\nb ::= a{0,2}', "rule 'root' repeats without end something that can be empty"),
        ('root ::= root "a" | "b"', "left recursion): root → root"),
        ('root ::= "a" x\nx ::= y "b" | "c"\ny ::= x', "(left recursion): x → y → x"),
        ('root ::= e root | "a"\ne ::= f\nf ::= ""', "(left recursion): root → root"),
        ('root ::= (("a"? root) | "b")', "(left recursion): root → root"),
        ("root ::= x{0,1000} x{0,1000}\nx ::= [a-z]?", "can start in more than 1,000 ways"),
    ],
)
def test_what_is_refused(source: str, problem: str) -> None:
    with pytest.raises(BadGrammar) as refusal:
        checked_gbnf(source)
    assert problem in str(refusal.value)


def test_ways_to_start_multiply_over_rules() -> None:
    def doubling(levels: int) -> str:
        rules = [f'a{i} ::= a{i + 1} "x" | a{i + 1} "y"' for i in range(levels)]
        return "\n".join(["root ::= a0", *rules, f'a{levels} ::= "z"'])

    checked_gbnf(doubling(7))
    with pytest.raises(BadGrammar, match="can start in more than 1,000 ways"):
        checked_gbnf(doubling(60))


@pytest.mark.parametrize(
    "source",
    [
        'root ::= "a" root | ""',
        'root ::= x root "b" | "c"\nx ::= "a"',
        "root ::= [a-z]{1000}",
        "root ::= [a-z]{0,1000}",
        "root ::= ([a-z]{1000} | [0-9]{1000}){1000}",
        'root ::= " "* " "* "x"',
        'root ::= ("a" | "b"?)? "c"',
    ],
)
def test_what_is_fine(source: str) -> None:
    checked_gbnf(source)
