"""Mutations of protobuf messages field by field: values at and beyond every limit, in messages that parse."""

from __future__ import annotations

import random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_TEXTS: Final = (
    "",
    " ",
    "\0",
    "a",
    "\u202e",
    "\U0001f469\u200d\U0001f467",
    "\x1b[2J",
    "[1] [2]",
    "<|end|><|user|>",
    "x" * 401,
    "word " * 600,
    "é" * 2_001,
    "javascript:alert(1)",
    "http://127.0.0.1/",
    "2024-02-30",
    '{"type":"object"}',
    'root ::= "a"*',
    "US",
    "\ufeff\u2028\u2029",
)
_FLOATS: Final = (0.0, -0.0, 1.0, -1.0, 1e-30, 2.0, 2.0000002, 1e38, float("nan"), float("inf"), float("-inf"))
_SIGNED: Final = (0, 1, -1, 2, 7, 2**31 - 1, -(2**31))
_UNSIGNED: Final = (0, 1, 2, 9, 10, 20, 21, 4_096, 2**31, 2**32 - 1)
_REPEATS: Final = (0, 1, 2, 3, 9, 33, 130)
_F: Final = FieldDescriptor


def mutate(message: Message, chance: random.Random) -> None:
    """Change one to four fields, at any depth."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        _mutate_once(message, chance)


def _mutate_once(message: Any, chance: random.Random) -> None:
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field = chance.choice(fields)
    if field.message_type is not None and field.message_type.has_options and field.message_type.GetOptions().map_entry:
        _mutate_map(message, field, chance)
    elif field.is_repeated:
        _mutate_repeated(getattr(message, field.name), field, chance)
    elif field.message_type is not None:
        if chance.random() < 0.15:
            message.ClearField(field.name)
        else:
            inner = getattr(message, field.name)
            inner.SetInParent()
            _mutate_once(inner, chance)
    elif chance.random() < 0.15:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(field, chance))


def _mutate_repeated(values: Any, field: FieldDescriptor, chance: random.Random) -> None:
    if len(values) and chance.random() < 0.4:
        index = chance.randrange(len(values))
        if field.message_type is not None:
            _mutate_once(values[index], chance)
        else:
            values[index] = _value(field, chance)
        return
    if chance.random() < 0.2:
        del values[:]
    for _ in range(chance.choice(_REPEATS)):
        if field.message_type is None:
            values.append(_value(field, chance))
        elif len(values) and chance.random() < 0.7:
            values.add().CopyFrom(chance.choice(list(values)))
        else:
            _mutate_once(values.add(), chance)


def _mutate_map(message: Any, field: Any, chance: random.Random) -> None:
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    entries = getattr(message, field.name)
    for _ in range(chance.choice(_REPEATS)):
        if value.message_type is None:
            entries[_value(key, chance)] = _value(value, chance)


def _value(field: Any, chance: random.Random) -> Any:
    match field.type:
        case _F.TYPE_STRING:
            return chance.choice(_TEXTS)
        case _F.TYPE_BYTES:
            return chance.randbytes(chance.choice((0, 1, 64)))
        case _F.TYPE_BOOL:
            return chance.random() < 0.5
        case _F.TYPE_FLOAT | _F.TYPE_DOUBLE:
            return chance.choice(_FLOATS)
        case _F.TYPE_ENUM:
            return chance.choice((*(value.number for value in field.enum_type.values), -1, 99, 2**31 - 1))
        case _F.TYPE_UINT32 | _F.TYPE_UINT64 | _F.TYPE_FIXED32 | _F.TYPE_FIXED64:
            return chance.choice(_UNSIGNED)
        case _:
            return chance.choice(_SIGNED)
