"""Mutations of JSON that stays JSON: other types, extremes and strangers in the places of values."""

from __future__ import annotations

import copy
import json
import random
from typing import Any, Final

_STRANGERS: Final[tuple[object, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**400,
    -(2**63),
    1e308,
    "",
    "\ud800",
    "\0\x1b[2J\u202e",
    "x" * 30_000,
    "<b>&amp;lt;i&gt;</b>",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+14:00",
    "https://example.org/" + "a" * 9_000,
    "http://127.0.0.1/",
    "javascript:alert(1)",
    [],
    {},
    [[[[[[]]]]]],
    {"$ref": "#"},
    {"type": "array", "items": {"$ref": "#"}},
    {"pattern": "^(a+)+$"},
    {"minLength": 10**9},
    {"enum": []},
    {"anyOf": [{}, False]},
)


def mutated_json(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one to four values replaced, removed or repeated. As they are where they are no JSON."""
    try:
        value = [json.loads(data)]
    except (ValueError, RecursionError):
        return data
    for _ in range(chance.choice((1, 1, 2, 4))):
        _mutate_once(value, chance)
    return json.dumps(value[0] if value else None).encode()


def _mutate_once(container: Any, chance: random.Random) -> None:
    """Go down by chance, and change what is there."""
    while True:
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        if not keys:
            break
        key = chance.choice(keys)
        if isinstance(container[key], (dict, list)) and container[key] and chance.random() < 0.75:
            container = container[key]
            continue
        match chance.randrange(4):
            case 0 if isinstance(container, dict):
                del container[key]
            case 1 if isinstance(container, list) and len(container) < 200:
                container.extend([copy.deepcopy(container[key])] * chance.choice((1, 3, 60)))
            case _:
                container[key] = copy.deepcopy(chance.choice(_STRANGERS))
        return
    if isinstance(container, dict):
        container["extra"] = copy.deepcopy(chance.choice(_STRANGERS))
    else:
        container.append(copy.deepcopy(chance.choice(_STRANGERS)))
