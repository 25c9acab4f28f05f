import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from inference_service.core.gbnf import parse_gbnf, write_gbnf
from inference_service.core.grammar import ROOT, BadGrammar, Grammar
from inference_service.core.json_schema import read_schema, schema_grammar
from inference_service.core.json_text import BASE_RULES, integer_between
from tests.support.grammar_words import WordMaker

TREE = {
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
            },
            "required": ["name"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/tree",
}
SCHEMAS: list[Any] = [
    {},
    True,
    {"type": "object"},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "additionalProperties": False},
    {"type": "object", "properties": {"a": {}, "b": {"type": "null"}, "c": {"type": "boolean"}}},
    {"type": "object", "properties": {"a": {}, "b": {"type": "null"}, "c": {"type": "boolean"}}, "required": ["b"]},
    {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["b", "a"]},
    {"type": "object", "properties": {"a": False, "b": True}},
    {"type": "object", "required": ["x", "y"], "additionalProperties": {"enum": [1, 2]}},
    {"properties": {"a": {"type": "number"}}, "minProperties": 1, "required": ["a"], "maxProperties": 1},
    {"type": "array"},
    {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 4},
    {"type": "array", "maxItems": 0},
    {"type": "array", "minItems": 3},
    {"type": "array", "items": False},
    {"type": "array", "prefixItems": [{"type": "null"}, {"const": "x"}]},
    {"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "integer"}, "minItems": 3, "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "null"}], "items": False},
    {"type": "array", "prefixItems": [{"type": "null"}], "minItems": 3},
    {"type": "string", "minLength": 2, "maxLength": 3},
    {"type": "string", "minLength": 1},
    {"type": "string", "pattern": "^[A-Z]{3}-\\d+$"},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "date-time"},
    {"format": "uuid", "type": "string"},
    {"type": "string", "format": "email"},
    {"type": "integer", "minimum": 3, "exclusiveMaximum": 1024},
    {"type": "integer", "minimum": 0.5, "maximum": 7.9},
    {"type": "integer", "exclusiveMinimum": -30, "maximum": -3},
    {"type": "number", "minimum": 0},
    {"type": ["string", "null", "integer"]},
    {"type": ["integer", "number"]},
    {"enum": ["a", "ab", "b", 1, None, {"x": [1, 2]}, 'é"\n']},
    {"enum": [1, "a", None], "type": ["string", "null"]},
    {"const": {"k": [True, "x"]}},
    {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}]},
    {"oneOf": [{"const": "a"}, {"const": "b"}], "description": "one of two"},
    {"allOf": [{"type": "integer", "minimum": 1}]},
    {
        "$defs": {"p": {"properties": {"a": {"const": 1}}, "required": ["a"]}},
        "allOf": [{"$ref": "#/$defs/p"}, {"properties": {"b": {"const": 2}}}],
    },
    TREE,
    {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_all_that_is_generated_is_valid(schema: Any) -> None:
    grammar = schema_grammar(read_schema(json.dumps(schema)))
    validator = Draft202012Validator(schema, format_checker=FormatChecker(["date", "uuid"]))
    again = parse_gbnf(write_gbnf(grammar))
    for seed in range(60):
        validator.validate(json.loads(WordMaker(grammar, seed).word()))
        validator.validate(json.loads(WordMaker(again, seed).word()))


def test_required_properties_come_and_optional_ones_may() -> None:
    schema = {"properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}, "required": ["b"]}
    grammar = schema_grammar(read_schema(json.dumps(schema)))
    seen = {tuple(json.loads(WordMaker(grammar, seed).word())) for seed in range(200)}
    assert seen == {("b",), ("a", "b"), ("b", "c"), ("a", "b", "c")}


def test_all_optional_properties_in_every_combination() -> None:
    schema = {"properties": {name: {"const": 1} for name in "abc"}}
    grammar = schema_grammar(read_schema(json.dumps(schema)))
    seen = {"".join(json.loads(WordMaker(grammar, seed).word())) for seed in range(400)}
    assert seen == {"", "a", "b", "c", "ab", "ac", "bc", "abc"}


def test_nesting_does_not_double_the_grammar() -> None:
    schema: Any = {"type": "null"}
    for _ in range(10):
        schema = {"type": "object", "properties": {"a": {"type": "array", "items": schema}}}
    assert len(write_gbnf(schema_grammar(read_schema(json.dumps(schema))))) < 6_000


@given(st.integers(-2_000, 2_000), st.integers(0, 1_500), st.integers(0, 1_000))
def test_integers_stay_between_their_bounds(low: int, width: int, seed: int) -> None:
    grammar = Grammar({ROOT: integer_between(low, low + width)} | BASE_RULES)
    for offset in range(5):
        text = WordMaker(grammar, seed + offset).word()
        assert low <= int(text) <= low + width
        assert text == str(int(text))


@pytest.mark.parametrize(("low", "high"), [(-12, 12), (0, 105), (95, 1203), (-3, -1), (7, 7), (0, 0), (-100, -9)])
def test_every_integer_between_can_come(low: int, high: int) -> None:
    grammar = Grammar({ROOT: integer_between(low, high)} | BASE_RULES)
    found: set[int] = set()
    maker = WordMaker(grammar, 1)
    for _ in range(40_000):
        found.add(int(maker.word()))
        if len(found) == high - low + 1:
            break
    assert found == set(range(low, high + 1))


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ('{"a": ', "it is not JSON"),
        ('{"a": Infinity}', "Infinity is no JSON number"),
        ("[" * 5000, "it is nested deeper than 32"),
        ("[" * 40 + "1" + "]" * 40, "it is nested deeper than 32"),
        ("3", "a schema is an object, or true"),
        ("false", "#: no value is allowed here"),
        ('{"$ref": "https://example.org/s.json"}', "only references into this schema"),
        ('{"$ref": "other.json#/a"}', "only references into this schema"),
        ('{"$ref": "#/$defs/x"}', "points to nothing"),
        ('{"$ref": "#"}', "left recursion"),
        ('{"properties": {"a": {"not": {}}}}', "#/properties/a: 'not' is not supported"),
        ('{"type": "array", "uniqueItems": true}', "'uniqueItems' is not supported"),
        ('{"type": "array", "maxItems": 100000}', "at most 1,000 are allowed"),
        ('{"type": "array", "minItems": 3, "maxItems": 2}', "'maxItems' is below 'minItems'"),
        ('{"type": "string", "minLength": 3, "maxLength": 2}', "'maxLength' is below 'minLength'"),
        ('{"type": "string", "pattern": "a", "minLength": 2}', "'pattern' beside 'minLength'"),
        ('{"type": "string", "pattern": "(a"}', "#/pattern: at character 1: this group is not closed"),
        ('{"type": "number", "maximum": 3}', "only 'minimum': 0 is supported"),
        ('{"type": "integer", "multipleOf": 3}', "'multipleOf' is not supported"),
        ('{"type": "integer", "minimum": 5, "maximum": 4}', "no integer is at least 5 and at most 4"),
        ('{"type": "integer", "minimum": 1e300}', "more than 16 digits"),
        ('{"enum": ["a"], "minLength": 1}', "'minLength' beside 'enum' is not supported"),
        ('{"enum": ["a"], "type": "integer"}', "no value is allowed here"),
        ('{"const": "\\ud800"}', "half a surrogate pair"),
        ('{"required": ["a"], "additionalProperties": false}', "'a' is required and not allowed"),
        ('{"allOf": [{"type": "string"}, {"minLength": 1}]}', "allOf is supported for plain objects only"),
        ('{"minProperties": 2, "required": ["a"]}', "'minProperties' is supported only up to"),
    ],
)
def test_what_is_refused(schema: str, problem: str) -> None:
    with pytest.raises(BadGrammar) as refusal:
        schema_grammar(read_schema(schema))
    assert problem in str(refusal.value)
