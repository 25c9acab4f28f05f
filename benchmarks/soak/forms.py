"""Answers of a given form: grammars and schemas to ask for, and whether an answer has that form."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from random import Random

import jsonschema

from groundwire.inference.v1 import inference_pb2 as pb

_FRESH_SHARE = 0.3
"""Of the forms that are asked for, how many the service has not checked yet."""


@dataclass(frozen=True, slots=True)
class Form:
    """One response format."""

    json_schema: str = ""
    gbnf: str = ""
    pattern: str = ""
    """For `gbnf`: the regular expression of the same language."""

    def response_format(self) -> pb.ResponseFormat:
        """The form as a request states it."""
        if self.json_schema:
            return pb.ResponseFormat(json_schema=self.json_schema)
        return pb.ResponseFormat(gbnf=self.gbnf)

    def fits(self, text: str) -> bool:
        """Whether a whole answer has this form."""
        if not self.json_schema:
            return re.fullmatch(self.pattern, text, re.DOTALL) is not None
        try:
            jsonschema.validate(json.loads(text), json.loads(self.json_schema))
        except (ValueError, jsonschema.ValidationError):
            return False
        return True


_ANSWER = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "maxLength": 24},
        "source": {"type": "integer", "minimum": 1, "maximum": 9},
        "sure": {"type": "boolean"},
    },
    "required": ["answer", "source"],
    "additionalProperties": False,
}

FORMS = (
    Form(json_schema=json.dumps(_ANSWER)),
    Form(json_schema=json.dumps({"enum": ["yes", "no", "the sources do not say"]})),
    Form(json_schema=json.dumps({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 4})),
    Form(gbnf='root ::= ("yes" | "no") " [" [1-9] "]"', pattern=r"(yes|no) \[[1-9]\]"),
    Form(gbnf='root ::= word (" " word)* "."\nword ::= [a-z]+', pattern=r"[a-z]+( [a-z]+)*\."),
)


def random_form(random: Random) -> Form:
    """One of FORMS, or now and then one that nobody has asked for before."""
    if random.random() < _FRESH_SHARE:
        choices = [f"{word} {random.randrange(10**6)}" for word in ("north", "south", "élan")]
        return Form(json_schema=json.dumps({"enum": choices}))
    return random.choice(FORMS)
