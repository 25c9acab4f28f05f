from __future__ import annotations

import json

from groundwire_cli.proto_json import json_line
from tests.support.answer_events import citation, delta, sources, whole_answer


def test_one_key_names_the_event() -> None:
    for event in whole_answer():
        assert list(json.loads(json_line(event))) == [event.WhichOneof("event")]


def test_names_are_the_contracts_own_and_defaults_are_there() -> None:
    written = json.loads(json_line(citation(3, resolved=False)))
    assert written["citation"]["resolved"] is False
    assert written["citation"]["source_index"] == 3
    assert json.loads(json_line(sources()))["sources"]["sources"] == []


def test_a_line_is_one_line_and_keeps_every_script_readable() -> None:
    line = json_line(delta("한국어\n日本語"))
    assert line.count("\n") == 1
    assert "한국어" in line
    assert json.loads(line)["delta"]["text"] == "한국어\n日本語"


def test_what_a_terminal_would_act_on_is_escaped_but_not_lost() -> None:
    text = "\x1b[2J\x9b1m\u202e\u2028\x7f"
    line = json_line(delta(text))
    assert not any(character in line for character in text if not character.isascii() or character < " ")
    assert "\x7f" not in line
    assert json.loads(line)["delta"]["text"] == text
