"""Random words of a grammar, made without llama.cpp: what the grammar itself says, to hold against its source."""

from __future__ import annotations

import random

from inference_service.core.grammar import (
    ROOT,
    UNWRITABLE,
    CharacterClass,
    Choice,
    Grammar,
    Literal,
    Node,
    Reference,
    Repeat,
    Sequence,
)

MAX_DEPTH = 12
"""Deeper than this, the shortest way out is taken."""


class WordMaker:
    """Makes words of a grammar, the same ones for the same seed."""

    def __init__(self, grammar: Grammar, seed: int) -> None:
        self._rules = grammar.rules
        self._random = random.Random(seed)
        self._heights = dict.fromkeys(grammar.rules, 1_000)
        changed = True
        while changed:
            heights = {name: min(1_000, self._height(node) + 1) for name, node in self._rules.items()}
            changed, self._heights = heights != self._heights, heights

    def word(self) -> str:
        return self._word(Reference(ROOT), 0)

    def _height(self, node: Node) -> int:
        match node:
            case Reference(rule):
                return self._heights[rule]
            case Sequence(items):
                return max((self._height(item) for item in items), default=0)
            case Choice(alternatives):
                return min(self._height(alternative) for alternative in alternatives)
            case Repeat(item, minimum):
                return self._height(item) if minimum else 0
            case _:
                return 0

    def _word(self, node: Node, depth: int) -> str:
        match node:
            case Literal(text):
                return text
            case CharacterClass(characters):
                ranges = (characters - UNWRITABLE).ranges
                return chr(self._random.randint(*self._random.choice(ranges)))
            case Reference(rule):
                return self._word(self._rules[rule], depth + 1)
            case Sequence(items):
                return "".join(self._word(item, depth) for item in items)
            case Choice(alternatives):
                if depth > MAX_DEPTH:
                    return self._word(min(alternatives, key=self._height), depth)
                return self._word(self._random.choice(alternatives), depth)
            case Repeat(item, minimum, maximum):
                most = minimum + (0 if depth > MAX_DEPTH else 4)
                count = self._random.randint(minimum, most if maximum is None else min(most, maximum))
                return "".join(self._word(item, depth) for _ in range(count))
