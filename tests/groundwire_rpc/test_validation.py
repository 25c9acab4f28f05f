from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from groundwire_rpc.status import FieldViolation
from groundwire_rpc.validation import FieldChecks, InvalidFields


def test_all_violations_are_raised_together_in_order() -> None:
    check = FieldChecks()
    check.characters("a", "", low=1, high=5)
    check.number("b", 3, low=1, high=2)
    check.add("c", "is wrong")
    with pytest.raises(InvalidFields, match=r"a: is required.*b: is 3.*c: is wrong") as caught:
        check.done()
    assert [violation.field for violation in caught.value.violations] == ["a", "b", "c"]


def test_nothing_wrong_raises_nothing() -> None:
    check = FieldChecks()
    assert check.characters("a", "x", low=1, high=1)
    check.done()


def test_a_prefix_stands_before_every_field() -> None:
    check = FieldChecks("ask.")
    check.add("question", "is empty")
    assert check.violations == [FieldViolation("ask.question", "is empty")]


@pytest.mark.parametrize(
    ("use", "holds"),
    [
        (lambda c: c.characters("f", "", high=3), True),
        (lambda c: c.characters("f", "", low=1, high=3), False),
        (lambda c: c.characters("f", " \n ", low=1, high=3), False),
        (lambda c: c.characters("f", " x ", low=1, high=3), True),
        (lambda c: c.characters("f", "é😀", high=2), True),
        (lambda c: c.characters("f", "abcd", high=3), False),
        (lambda c: c.characters("f", "a", low=2, high=3), False),
        (lambda c: c.utf8_bytes("f", "", high=3), True),
        (lambda c: c.utf8_bytes("f", "", low=1, high=3), False),
        (lambda c: c.utf8_bytes("f", "한", high=3), True),
        (lambda c: c.utf8_bytes("f", "é한", high=4), False),
        (lambda c: c.count("f", 3, high=3), True),
        (lambda c: c.count("f", 4, high=3), False),
        (lambda c: c.count("f", 0, low=1, high=3), False),
        (lambda c: c.number("f", 0, low=0, high=2), True),
        (lambda c: c.number("f", 2, low=0, high=2), True),
        (lambda c: c.number("f", 2.001, low=0, high=2), False),
        (lambda c: c.number("f", -0.001, low=0, high=2), False),
        (lambda c: c.number("f", 0, low=0, high=1, low_open=True), False),
        (lambda c: c.number("f", 0.001, low=0, high=1, low_open=True), True),
        (lambda c: c.number("f", math.nan, low=0, high=2), False),
        (lambda c: c.number("f", math.inf, low=0, high=math.inf), False),
        (lambda c: c.known_enum("f", 0, (0, 1)), True),
        (lambda c: c.known_enum("f", 0, (0, 1), required=True), False),
        (lambda c: c.known_enum("f", 7, (0, 1)), False),
    ],
)
def test_checks(use: Callable[[FieldChecks], bool], holds: bool) -> None:
    check = FieldChecks()
    assert use(check) is holds
    assert [violation.field for violation in check.violations] == ([] if holds else ["f"])
