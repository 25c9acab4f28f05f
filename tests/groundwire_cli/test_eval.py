"""`groundwire eval` as a real process against a scripted gateway."""

from __future__ import annotations

import json
from pathlib import Path

import grpc

from groundwire.gateway.v1 import gateway_pb2
from groundwire_rpc.status import RichStatus
from tests.support.answer_events import whole_answer
from tests.support.command_line import groundwire
from tests.support.scripted_gateway import scripted_gateway

ITEM = {
    "id": "rain-01",
    "kind": "single",
    "question": "What measures rain?",
    "sources": [
        {"title": "Rain gauges", "url": "https://example.org/rain", "text": "A gauge measures rain."},
        {"title": "Guide", "text": "Empty the gauge."},
    ],
    "evidence": [{"source": 1, "sentence": "A gauge measures rain."}],
    "answers": [["gauge"]],
}


def write_items(folder: Path, *items: dict[str, object]) -> str:
    path = folder / "items.jsonl"
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items or (ITEM,)), encoding="utf-8")
    return str(path)


async def test_questions_go_with_their_sources_and_answers_are_measured(tmp_path: Path) -> None:
    file = write_items(tmp_path, ITEM, ITEM | {"id": "rain-02"})
    async with scripted_gateway(*whole_answer()) as gateway:
        ran = await groundwire("eval", "--target", gateway.target, "--max-tokens", "99", file, folder=tmp_path)
    assert ran.code == 0, ran.stderr
    assert gateway.requests == 2 * [
        gateway_pb2.AskRequest(
            question="What measures rain?",
            sources=[
                gateway_pb2.GivenSource(
                    title="Rain gauges", url="https://example.org/rain", text="A gauge measures rain."
                ),
                gateway_pb2.GivenSource(title="Guide", text="Empty the gauge."),
            ],
            max_tokens=99,
        )
    ]
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("Model tiny, judged by ")
    assert any(line.split()[:2] == ["right_sentence", "100.0%"] for line in lines)
    assert "2 of 2 answered" in ran.stderr


async def test_json_alone_goes_to_standard_output_and_answers_to_a_file(tmp_path: Path) -> None:
    async with scripted_gateway(*whole_answer()) as gateway:
        ran = await groundwire(
            *("eval", "--json", "--answers", "answers.jsonl", "--target", gateway.target, write_items(tmp_path)),
            folder=tmp_path,
        )
    report = json.loads(ran.stdout)
    assert report["model"] == "tiny"
    assert report["sets"]["all"]["right_sentence"] == 1
    assert report["confusion"] == {"single, answered right": 1}
    assert json.loads((tmp_path / "answers.jsonl").read_text()) == {
        "id": "rain-01",
        "outcome": "answered",
        "question": "What measures rain?",
        "answer": "A gauge measures rain. [1]",
        "expected": ["A gauge measures rain."],
        "cited": [1],
        "fault": "",
    }


async def test_a_question_without_an_answer_fails_the_run_and_is_not_measured(tmp_path: Path) -> None:
    async with scripted_gateway(RichStatus(grpc.StatusCode.UNAVAILABLE, "away")) as gateway:
        ran = await groundwire("eval", "--target", gateway.target, write_items(tmp_path), folder=tmp_path)
    assert ran.code == 1
    assert "no answer to rain-01: " in ran.stderr
    assert "away" in ran.stderr
    assert "single, failed" in ran.stdout
    assert "right_sentence" not in ran.stdout


async def test_a_file_that_holds_no_items_is_bad_usage(tmp_path: Path) -> None:
    ran = await groundwire("eval", write_items(tmp_path, ITEM | {"kind": "triple"}), folder=tmp_path)
    assert ran.code == 2
    assert "line 1: kind: is 'triple'" in ran.stderr
    ran = await groundwire("eval", "missing.jsonl", folder=tmp_path)
    assert ran.code == 2
    assert "missing.jsonl: cannot be read: No such file or directory" in ran.stderr


async def test_answers_that_cannot_be_written_are_reported(tmp_path: Path) -> None:
    async with scripted_gateway(*whole_answer()) as gateway:
        ran = await groundwire(
            *("eval", "--answers", "no/such/folder", "--target", gateway.target, write_items(tmp_path)), folder=tmp_path
        )
    assert ran.code == 1
    assert not gateway.requests, "no question is asked in vain"
    assert "The answers cannot be written to no/such/folder: No such file or directory." in ran.stderr
