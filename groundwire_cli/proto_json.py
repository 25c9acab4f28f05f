"""Messages as JSON in the contracts' own names, one line each."""

from __future__ import annotations

import json
import re
from typing import Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

# JSON need not escape these, but a terminal that the line is shown on would act on them.
_RISKY: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def json_line(message: Message) -> str:
    """The message in proto JSON on one line, fields with their default values included, and a line end."""
    return plain_json_line(message_dict(message))


def message_dict(message: Message) -> dict[str, object]:
    """The message in proto JSON as a dictionary, fields with their default values included."""
    return dict(
        MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True).items()
    )


def plain_json_line(value: object) -> str:
    """Any JSON value on one line, and a line end. Text in every script stays readable."""
    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    return _RISKY.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"
