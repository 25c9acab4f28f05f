"""A JSON schema to a grammar that generates only what the schema allows.

What the schema allows and no grammar can express is refused, never dropped in silence. What is generated may be less
than what is allowed: objects have the listed properties, in their order, and no others; oneOf is read as anyOf.
"""

from __future__ import annotations

import json
import math
from typing import Final, NoReturn, TypeVar
from urllib.parse import unquote

from inference_service.core.grammar import (
    ROOT,
    BadGrammar,
    Grammar,
    Literal,
    Node,
    Reference,
    Repeat,
    Sequence,
    choice,
    one_of,
    optional,
    sequence,
)
from inference_service.core.grammar_limits import check_grammar, check_size
from inference_service.core.json_pattern import pattern_string
from inference_service.core.json_text import (
    BASE_RULES,
    CHARACTER,
    FORMATS,
    NUMBER,
    NUMBER_FROM_ZERO,
    QUOTE,
    SPACE,
    STRING,
    VALUE,
    JsonValue,
    array,
    constant,
    entry,
    integer_between,
    list_of,
    map_of,
)

MAX_DEPTH: Final = 32
"""Arrays and objects within one another in the schema's text."""

Schema = dict[str, JsonValue]
T = TypeVar("T")

_TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
_KEYWORDS: Final[dict[str, tuple[str, ...]]] = {
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("pattern", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_FORMS: Final = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")
"""Keywords that say all by themselves, the first that is there."""
_UNSUPPORTED: Final = (
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "patternProperties", "propertyNames",
    "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedItems", "unevaluatedProperties",
    "$dynamicRef", "$recursiveRef",
)  # fmt: skip
_MERGED: Final = ("type", "properties", "required", "additionalProperties")


def read_schema(text: str) -> Schema | bool:
    """Read a schema's JSON text, bounded in size and depth. Raises BadGrammar."""
    check_size(text, "schema")
    try:
        schema = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise BadGrammar(f"it is nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise BadGrammar(f"it is not JSON: {error}") from None
    todo = [(schema, 1)]
    while todo:
        value, depth = todo.pop()
        children = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        if children and depth > MAX_DEPTH:
            raise BadGrammar(f"it is nested deeper than {MAX_DEPTH}")
        todo += [(child, depth + 1) for child in children]
    if not isinstance(schema, dict | bool):
        raise BadGrammar("a schema is an object, or true")
    return schema


def _no_constant(name: str) -> NoReturn:
    raise BadGrammar(f"it is not JSON: {name} is no JSON number")


def schema_grammar(schema: Schema | bool) -> Grammar:
    """Turn a valid Draft 2020-12 schema into a checked grammar. Raises BadGrammar that names the place."""
    grammar = _Converter(schema).grammar()
    check_grammar(grammar)
    return grammar


class _Converter:
    def __init__(self, document: Schema | bool) -> None:
        self._document = document
        self._rules: dict[str, Node] = {}
        self._named = 0

    def grammar(self) -> Grammar:
        root = self._node(self._document, "#")
        return Grammar({ROOT: root} | BASE_RULES | self._rules)

    def _node(self, schema: JsonValue, path: str) -> Node:
        if schema is True or schema == {}:
            return VALUE
        if not isinstance(schema, dict):
            raise BadGrammar(f"{path}: no value is allowed here")
        for keyword in _UNSUPPORTED:
            if keyword in schema:
                raise BadGrammar(f"{path}: {keyword!r} is not supported")
        form = next((name for name in _FORMS if name in schema), None)
        if form is None:
            return choice(*(self._typed(name, schema, path) for name in _types(schema)))
        if form != "allOf":
            _refuse_beside(form, schema, path)
        match form:
            case "$ref":
                return self._reference(_text(schema["$ref"]), path)
            case "const" | "enum":
                return _constants(schema, path)
            case "allOf":
                return self._merged(schema, path)
            case _:
                options = _list(schema[form])
                return choice(*(self._node(option, f"{path}/{form}/{i}") for i, option in enumerate(options)))

    def _rule(self, kind: str, node: Node) -> Node:
        """Give a node a name, so that using it twice does not write it twice."""
        if isinstance(node, Reference | Literal):
            return node
        self._named += 1
        name = f"{kind} {self._named}"
        self._rules[name] = node
        return Reference(name)

    def _reference(self, reference: str, path: str) -> Node:
        rule = f"$ref {reference}"
        if rule not in self._rules:
            target = self._resolve(reference, path)
            self._rules[rule] = Literal("")  # found by a reference back to here, and replaced below
            self._rules[rule] = self._node(target, reference)
        return Reference(rule)

    def _resolve(self, reference: str, path: str) -> JsonValue:
        if reference != "#" and not reference.startswith("#/"):
            raise BadGrammar(f"{path}: $ref {reference!r}: only references into this schema (#/…) are followed")
        target: JsonValue = self._document
        for part in reference.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and key in target:
                target = target[key]
            elif isinstance(target, list) and key.isdecimal() and len(key) < 6 and int(key) < len(target):
                target = target[int(key)]
            else:
                raise BadGrammar(f"{path}: $ref {reference!r} points to nothing")
        return target

    def _merged(self, schema: Schema, path: str) -> Node:
        parts = _list(schema["allOf"])
        if len(parts) == 1:
            _refuse_beside("allOf", schema, path)
            return self._node(parts[0], f"{path}/allOf/0")
        properties: Schema = {}
        required: list[JsonValue] = []
        for i, part in enumerate([*parts, {k: v for k, v in schema.items() if k != "allOf"}]):
            seen: set[str] = set()
            while isinstance(part, dict) and "$ref" in part and _text(part["$ref"]) not in seen:
                seen.add(_text(part["$ref"]))
                part = self._resolve(_text(part["$ref"]), path)
            if not isinstance(part, dict) or any(k in part for k in _constraints() if k not in _MERGED):
                raise BadGrammar(f"{path}/allOf/{i}: allOf is supported for plain objects only")
            if part.get("type", "object") != "object":
                raise BadGrammar(f"{path}/allOf/{i}: allOf is supported for plain objects only")
            for name, value in _map(part.get("properties", {})).items():
                if properties.setdefault(name, value) != value:
                    raise BadGrammar(f"{path}/allOf/{i}: the property {name!r} is described twice")
            required += _list(part.get("required", []))
        return self._object({"properties": properties, "required": required}, path)

    def _typed(self, name: str, schema: Schema, path: str) -> Node:
        match name:
            case "object":
                return self._object(schema, path)
            case "array":
                return self._array(schema, path)
            case "string":
                return _string(schema, path)
            case "integer" | "number":
                return _number(name, schema, path)
            case "boolean":
                return one_of(["true", "false"])
            case _:
                return Literal("null")

    def _object(self, schema: Schema, path: str) -> Node:
        others = schema.get("additionalProperties", True)
        required = {_text(name) for name in _list(schema.get("required", []))}
        properties = {k: v for k, v in _map(schema.get("properties", {})).items() if k in required or v is not False}
        for name in sorted(required - properties.keys()):
            if others is False:
                raise BadGrammar(f"{path}: the property {name!r} is required and not allowed")
            properties[name] = others
        if _count(schema, "minProperties", 0) > len(required):
            raise BadGrammar(f"{path}: 'minProperties' is supported only up to the number of required properties")
        if _count(schema, "maxProperties", len(properties)) < len(properties) or (
            "maxProperties" in schema and not properties
        ):
            raise BadGrammar(f"{path}: 'maxProperties' below the number of properties is not supported")
        if not properties:
            closed = Sequence((Literal("{"), SPACE, Literal("}")))
            return (
                closed
                if others is False
                else map_of(self._rule("value", self._node(others, f"{path}/additionalProperties")))
            )
        entries = [
            (
                self._rule("entry", entry(Literal(constant(name)), self._node(value, f"{path}/properties/{name}"))),
                name in required,
            )
            for name, value in properties.items()
        ]
        return Sequence((Literal("{"), SPACE, self._entries(entries), SPACE, Literal("}")))

    def _entries(self, entries: list[tuple[Node, bool]]) -> Node:
        """Two rules for each entry: what may follow from here on, after a first one and before any."""
        after: Node = Literal("")
        before: Node = Literal("")
        for node, required in reversed(entries):
            with_comma = Sequence((Literal(","), SPACE, node))
            first = sequence(node, after)
            before = self._rule("first", first if required else choice(first, before))
            after = self._rule("next", sequence(with_comma if required else optional(with_comma), after))
        return before

    def _array(self, schema: Schema, path: str) -> Node:
        if schema.get("uniqueItems"):
            raise BadGrammar(f"{path}: 'uniqueItems' is not supported")
        first = [self._node(s, f"{path}/prefixItems/{i}") for i, s in enumerate(_list(schema.get("prefixItems", [])))]
        minimum = _count(schema, "minItems", 0)
        maximum = _count(schema, "maxItems", None)
        if maximum is not None and maximum < max(minimum, len(first)):
            raise BadGrammar(f"{path}: 'maxItems' is below 'minItems' or the number of 'prefixItems'")
        rest = schema.get("items", True)
        if first and ("items" not in schema or rest is False) and minimum <= len(first):
            maximum = len(first)
        if rest is False and minimum > len(first):
            raise BadGrammar(f"{path}: 'minItems' asks for items that 'items' forbids")
        more_low = max(minimum - len(first), 0)
        more_high = None if maximum is None else maximum - len(first)
        if rest is False or more_high == 0:
            return array(_all_of(first))
        item = self._rule("item", self._node(rest, f"{path}/items"))
        if not first:
            return array(list_of(item, more_low, more_high))
        more = Repeat(Sequence((Literal(","), SPACE, item)), more_low, more_high)
        return array(Sequence((_all_of(first), more)))


def _all_of(items: list[Node]) -> Node:
    parts = [part for item in items for part in (Literal(","), SPACE, item)]
    return sequence(*parts[2:]) if parts else Literal("")


def _constraints() -> tuple[str, ...]:
    return (*_FORMS, "type", *(keyword for group in _KEYWORDS.values() for keyword in group))


def _refuse_beside(form: str, schema: Schema, path: str) -> None:
    allowed = {form, "type"} if form in ("const", "enum") else {form}
    beside = [keyword for keyword in _constraints() if keyword in schema and keyword not in allowed]
    if beside:
        raise BadGrammar(f"{path}: {beside[0]!r} beside {form!r} is not supported")


def _types(schema: Schema) -> tuple[str, ...]:
    given = schema.get("type")
    if isinstance(given, str):
        return (given,)
    if isinstance(given, list):
        return tuple(_text(name) for name in given if name != "integer" or "number" not in given)
    # Without a type, keywords of one type tell which is meant; of several, all of those are allowed.
    meant = tuple(name for name, keywords in _KEYWORDS.items() if any(k in schema for k in keywords))
    if schema.get("format") in FORMATS and "string" not in meant:
        meant += ("string",)
    return meant or tuple(name for name in _TYPES if name != "integer")


def _constants(schema: Schema, path: str) -> Node:
    values = [schema["const"]] if "const" in schema else _list(schema["enum"])
    types = _types(schema) if "type" in schema else _TYPES
    kept = [value for value in values if any(_is_of(value, name) for name in types)]
    if not kept:
        raise BadGrammar(f"{path}: no value is allowed here")
    return one_of([constant(value) for value in kept])


def _is_of(value: JsonValue, name: str) -> bool:
    match value:
        case None:
            return name == "null"
        case bool():
            return name == "boolean"
        case int() | float():
            return name == "number" or (name == "integer" and value == int(value))
        case str():
            return name == "string"
        case list():
            return name == "array"
        case _:
            return name == "object"


def _string(schema: Schema, path: str) -> Node:
    low = _count(schema, "minLength", 0)
    high = _count(schema, "maxLength", None)
    if "pattern" in schema:
        if low or high is not None:
            raise BadGrammar(f"{path}: 'pattern' beside 'minLength' or 'maxLength' is not supported")
        try:
            return pattern_string(_text(schema["pattern"]))
        except BadGrammar as error:
            raise BadGrammar(f"{path}/pattern: {error}") from None
    if low or high is not None:
        if high is not None and high < low:
            raise BadGrammar(f"{path}: 'maxLength' is below 'minLength'")
        return Sequence((QUOTE, Repeat(CHARACTER, low, high), QUOTE))
    known = schema.get("format")
    return FORMATS[known] if isinstance(known, str) and known in FORMATS else STRING


def _number(name: str, schema: Schema, path: str) -> Node:
    low = [_real(schema[k]) for k in ("minimum", "exclusiveMinimum") if k in schema]
    high = [_real(schema[k]) for k in ("maximum", "exclusiveMaximum") if k in schema]
    step = schema.get("multipleOf", 1)
    if name == "number":
        if high or "multipleOf" in schema or "exclusiveMinimum" in schema or any(low):
            raise BadGrammar(f"{path}: of the bounds of a 'number' only 'minimum': 0 is supported; use 'integer'")
        return NUMBER_FROM_ZERO if low else NUMBER
    if step != 1:
        raise BadGrammar(f"{path}: 'multipleOf' is not supported")
    lowest = [math.ceil(_real(schema["minimum"]))] if "minimum" in schema else []
    lowest += [math.floor(_real(schema["exclusiveMinimum"])) + 1] if "exclusiveMinimum" in schema else []
    highest = [math.floor(_real(schema["maximum"]))] if "maximum" in schema else []
    highest += [math.ceil(_real(schema["exclusiveMaximum"])) - 1] if "exclusiveMaximum" in schema else []
    try:
        return integer_between(max(lowest, default=None), min(highest, default=None))
    except BadGrammar as error:
        raise BadGrammar(f"{path}: {error}") from None


def _real(value: JsonValue) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadGrammar(f"{value!r} is no finite number")
    # Whole numbers are finite whatever their size, and may be too large for isfinite.
    if isinstance(value, float) and not math.isfinite(value):
        raise BadGrammar(f"{value!r} is no finite number")
    return value


def _count(schema: Schema, keyword: str, default: T) -> int | T:
    return int(_real(schema[keyword])) if keyword in schema else default


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise BadGrammar(f"{value!r} is no string")
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise BadGrammar(f"{value!r} is no list")
    return value


def _map(value: JsonValue) -> Schema:
    if not isinstance(value, dict):
        raise BadGrammar(f"{value!r} is no object")
    return value
