"""What a grammar may not do, checked before llama.cpp sees it.

llama.cpp follows every way to read the text at once, each with a stack of its own. A rule that can start with
itself never stops growing that stack, and one that starts in very many ways makes as many. llama.cpp's own check
misses left recursion behind a rule that is empty only through another, so these checks are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Final

from inference_service.core.gbnf import parse_gbnf
from inference_service.core.grammar import (
    ROOT,
    BadGrammar,
    CharacterClass,
    Choice,
    Grammar,
    Literal,
    Node,
    Reference,
    Repeat,
    Sequence,
)

MAX_BYTES: Final = 16_384
"""UTF-8 bytes of a grammar or a schema, as the contract says."""
MAX_RULES: Final = 1_000
MAX_REPETITIONS: Final = 1_000
"""Largest count in {n,m}. llama.cpp refuses counts above 2,000 and reads a larger maximum as no bound at all."""
MAX_ELEMENTS: Final = 20_000
"""Characters, classes and references, each counted as often as its repetition counts copy it."""
MAX_STARTS: Final = 1_000
"""Ways in which one rule can start: llama.cpp keeps a stack for each."""


def checked_gbnf(text: str) -> Grammar:
    """Parse GBNF text and check it. Raises BadGrammar."""
    check_size(text, "grammar")
    if "\0" in text:
        raise BadGrammar("a grammar cannot hold NUL characters")
    grammar = parse_gbnf(text)
    check_grammar(grammar)
    return grammar


def check_size(text: str, what: str) -> None:
    """Refuse a text that is empty, too long or no Unicode. Raises BadGrammar."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise BadGrammar(f"the {what} holds a surrogate, which is no character") from None
    if not 1 <= size <= MAX_BYTES:
        raise BadGrammar(f"the {what} has {size:,} bytes; 1 to {MAX_BYTES:,} are allowed")


def check_grammar(grammar: Grammar) -> None:
    """Refuse a grammar that could make llama.cpp fail, grow without end or crawl. Raises BadGrammar."""
    rules = grammar.rules
    if ROOT not in rules:
        raise BadGrammar(f"there is no rule named {ROOT!r}")
    if len(rules) > MAX_RULES:
        raise BadGrammar(f"there are {len(rules):,} rules; at most {MAX_RULES:,} are allowed")
    for name, node in rules.items():
        _check_parts(name, node, rules)
    elements = sum(_elements(node) for node in rules.values())
    if elements > MAX_ELEMENTS:
        raise BadGrammar(
            f"with its repetitions written out it has {elements:,} parts; at most {MAX_ELEMENTS:,} are allowed"
        )
    empty = _rules_that_can_be_empty(rules)
    for name, node in rules.items():
        for repeat in (part for part in _parts(node) if isinstance(part, Repeat) and part.maximum is None):
            if _can_be_empty(repeat.item, empty):
                raise BadGrammar(f"rule {name!r} repeats without end something that can be empty")
    _check_starts(rules, empty)


def _check_parts(name: str, node: Node, rules: dict[str, Node]) -> None:
    for part in _parts(node):
        if isinstance(part, Reference) and part.rule not in rules:
            raise BadGrammar(f"rule {name!r} uses the rule {part.rule!r}, which is not defined")
        if isinstance(part, Repeat) and max(part.minimum, part.maximum or 0) > MAX_REPETITIONS:
            raise BadGrammar(
                f"rule {name!r} repeats something {max(part.minimum, part.maximum or 0):,} times; "
                f"at most {MAX_REPETITIONS:,} are allowed"
            )


def _parts(node: Node) -> Iterator[Node]:
    todo = [node]
    while todo:
        part = todo.pop()
        yield part
        todo.extend(_children(part))


def _children(node: Node) -> tuple[Node, ...]:
    match node:
        case Sequence(items):
            return items
        case Choice(alternatives):
            return alternatives
        case Repeat(item):
            return (item,)
        case _:
            return ()


def _elements(node: Node) -> int:
    match node:
        case Literal(text):
            return len(text)
        case CharacterClass(characters):
            return min(len(characters.ranges), len(characters.complement().ranges))
        case Reference():
            return 1
        case Repeat(item, minimum, maximum):
            # llama.cpp copies the item for each count; a group is written as a rule of its own, so not copied.
            copied = _elements(item) if not _children(item) else 1
            return (_elements(item) if _children(item) else 0) + copied * max(minimum, maximum or 1, 1)
        case _:
            return sum(_elements(child) for child in _children(node))


def _can_be_empty(node: Node, empty: set[str]) -> bool:
    match node:
        case Literal(text):
            return not text
        case CharacterClass():
            return False
        case Reference(rule):
            return rule in empty
        case Sequence(items):
            return all(_can_be_empty(item, empty) for item in items)
        case Choice(alternatives):
            return any(_can_be_empty(alternative, empty) for alternative in alternatives)
        case Repeat(item, minimum):
            return minimum == 0 or _can_be_empty(item, empty)


def _rules_that_can_be_empty(rules: dict[str, Node]) -> set[str]:
    empty: set[str] = set()
    users: dict[str, list[str]] = {}
    for name, node in rules.items():
        for part in _parts(node):
            if isinstance(part, Reference):
                users.setdefault(part.rule, []).append(name)
    todo = list(rules)
    while todo:
        name = todo.pop()
        if name not in empty and _can_be_empty(rules[name], empty):
            empty.add(name)
            todo.extend(users.get(name, ()))
    return empty


def _starting(node: Node, empty: set[str]) -> Iterator[Node]:
    """Yield the terminals and references that a node can start with, doubles included."""
    match node:
        case Sequence(items):
            for item in items:
                yield from _starting(item, empty)
                if not _can_be_empty(item, empty):
                    break
        case Choice(alternatives):
            for alternative in alternatives:
                yield from _starting(alternative, empty)
        case Repeat(item, minimum, maximum):
            # Counted repetitions of what can be empty are gone through one by one.
            times = max(minimum, maximum or 1) if _can_be_empty(item, empty) else 1
            for _ in range(times):
                yield from _starting(item, empty)
        case _:
            yield node


def _check_starts(rules: dict[str, Node], empty: set[str]) -> None:
    starts = {name: list(_bounded(name, _starting(node, empty))) for name, node in rules.items()}
    sorter = TopologicalSorter(
        {name: {part.rule for part in parts if isinstance(part, Reference)} for name, parts in starts.items()}
    )
    try:
        order = list(sorter.static_order())
    except CycleError as error:
        path = " → ".join(reversed(error.args[1]))
        raise BadGrammar(f"a rule can start with itself (left recursion): {path}") from None
    ways: dict[str, int] = {}
    for name in order:
        ways[name] = 1 + sum(ways[part.rule] if isinstance(part, Reference) else 1 for part in starts[name])
        if ways[name] > MAX_STARTS:
            raise _too_many_starts(name)


def _bounded(name: str, parts: Iterator[Node]) -> Iterator[Node]:
    for count, part in enumerate(parts):
        if count > MAX_STARTS:
            raise _too_many_starts(name)
        yield part


def _too_many_starts(name: str) -> BadGrammar:
    return BadGrammar(
        f"rule {name!r} can start in more than {MAX_STARTS:,} ways; share the common beginnings of its alternatives"
    )
