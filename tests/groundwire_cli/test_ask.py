"""`groundwire ask` as a real process against a scripted gateway."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

import grpc
import pytest

from groundwire.gateway.v1 import gateway_pb2
from groundwire_rpc.status import FieldViolation, RichStatus
from tests.support.answer_events import RAIN, citation, context, delta, finished, searching, sources, whole_answer
from tests.support.command_line import ended, groundwire, groundwire_on_terminal, start_groundwire
from tests.support.scripted_gateway import Pause, UntilCancelled, scripted_gateway


async def test_a_whole_answer_piped(tmp_path: Path) -> None:
    async with scripted_gateway(*whole_answer()) as gateway:
        ran = await groundwire(
            "ask", "How", "is rain measured?", folder=tmp_path, GROUNDWIRE_GATEWAY_TARGET=gateway.target
        )
    assert ran.code == 0
    assert ran.stderr == ""
    assert ran.stdout == (
        "Sources from the local index for “rain”\n"
        "  [1] Rain gauges  example.org\n"
        "      https://example.org/rain?a=1\n"
        "  [2] Guide  guide.md › Guide > Rain\n"
        "\n"
        "A gauge measures rain. [1]\n"
        "\n"
        "Cited\n"
        "  [1] Rain gauges  example.org\n"
        "\n"
        "search 250 ms · queue 0 ms · prompt 1.5 s (1,234 tokens, 34 of them cached) · first token 1.8 s · "
        "50.0 tokens/s · total 3.8 s · tiny\n"
    )
    assert [request.question for request in gateway.requests] == ["How is rain measured?"]


async def test_options_and_metadata_reach_the_gateway(tmp_path: Path) -> None:
    async with scripted_gateway(*whole_answer()) as gateway:
        ran = await groundwire(
            *("ask", "--target", gateway.target, "--max-sources", "3", "--provider", "local", "--country", "DE"),
            *("--language", "de", "--freshness", "week", "--news", "--max-tokens", "64", "--temperature", "0.5"),
            *("--seed", "7", "--timeout", "30", "--request-id", "mine-1", "q"),
            folder=tmp_path,
        )
    assert ran.code == 0, ran.stderr
    expected = gateway_pb2.AskRequest(
        question="q",
        max_sources=3,
        provider=gateway_pb2.PROVIDER_LOCAL,
        country="DE",
        search_language="de",
        verticals=[gateway_pb2.VERTICAL_NEWS],
        max_tokens=64,
        temperature=0.5,
        seed=7,
    )
    expected.freshness.preset = gateway_pb2.FRESHNESS_PRESET_PAST_WEEK
    assert gateway.requests == [expected]
    assert gateway.metadata[0]["x-request-id"] == "mine-1"
    assert "traceparent" not in gateway.metadata[0]  # the command has no trace of its own that a service could join
    assert 0 < (gateway.deadlines_seconds[0] or 0) <= 30


async def test_json_is_one_event_a_line_and_nothing_else(tmp_path: Path) -> None:
    async with scripted_gateway(*whole_answer()) as gateway:
        ran = await groundwire("ask", "--json", "--target", gateway.target, "q", folder=tmp_path)
    lines = ran.stdout.splitlines()
    assert ran.code == 0
    assert [next(iter(json.loads(line))) for line in lines] == [event.WhichOneof("event") for event in whole_answer()]
    assert "".join(event["delta"]["text"] for event in map(json.loads, lines) if "delta" in event) == (
        "A gauge measures rain. [1]"
    )


@pytest.mark.parametrize("json_option", [(), ("--json",)])
async def test_tokens_appear_at_once(tmp_path: Path, json_option: tuple[str, ...]) -> None:
    async with scripted_gateway(sources(RAIN), context(1), delta("first"), UntilCancelled()) as gateway:
        process = await start_groundwire("ask", *json_option, "--target", gateway.target, "q", folder=tmp_path)
        assert process.stdout is not None
        received = b""
        while b"first" not in received:  # while the gateway still holds the rest back
            received += await asyncio.wait_for(process.stdout.read(4096), 20)
        process.send_signal(signal.SIGINT)
        await ended(process)


@pytest.mark.parametrize(("arguments"), [("ask", "-"), ("ask",)])
async def test_the_question_from_standard_input(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with scripted_gateway(*whole_answer()) as gateway:
        ran = await groundwire(
            *arguments, folder=tmp_path, text="Wie misst man Regen? 비\n", GROUNDWIRE_GATEWAY_TARGET=gateway.target
        )
    assert ran.code == 0
    assert gateway.requests[0].question == "Wie misst man Regen? 비"


async def test_no_question_at_all(tmp_path: Path) -> None:
    ran = await groundwire("ask", folder=tmp_path, text="  \n")
    assert ran.code == 2
    assert "No question was given" in ran.stderr


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (gateway_pb2.OUTCOME_NOT_IN_SOURCES, 3, "found no answer"),
        (gateway_pb2.OUTCOME_UNCITED, 5, "treat this as unverified"),
    ],
)
async def test_outcomes_that_are_no_answer(
    tmp_path: Path, outcome: gateway_pb2.Outcome.ValueType, code: int, said: str
) -> None:
    async with scripted_gateway(sources(RAIN), context(1), delta("Text."), finished(outcome)) as gateway:
        ran = await groundwire("ask", "--target", gateway.target, "q", folder=tmp_path)
    assert ran.code == code
    assert said in ran.stdout


async def test_nothing_found(tmp_path: Path) -> None:
    async with scripted_gateway(searching(), sources(), finished(gateway_pb2.OUTCOME_NO_RESULTS)) as gateway:
        ran = await groundwire("ask", "--target", gateway.target, "q", folder=tmp_path)
    assert ran.code == 4
    assert "The search found nothing" in ran.stdout


async def test_hostile_text_reaches_a_terminal_harmless(tmp_path: Path) -> None:
    evil = gateway_pb2.Source(index=1, title="t\x1b]0;owned\x07itle\x1b[2J", url="https://example.org/\x1b\\", host="h")
    script = (
        sources(evil),
        context(1),
        delta("a\x1b"),
        delta("[2Jb\x9b1m"),
        delta("c\x1b]0;owned\x07d\re"),
        finished(),
    )
    async with scripted_gateway(*script) as gateway:
        ran = await groundwire_on_terminal(["ask", "--target", gateway.target, "q"], folder=tmp_path)
    assert "abcde" in ran.stdout
    assert "owned" not in ran.stdout
    assert "\x1b[2J" not in ran.stdout
    assert "\x9b" not in ran.stdout
    assert "https://example.org/%1B%5C" in ran.stdout


async def test_a_terminal_gets_links_progress_and_style(tmp_path: Path) -> None:
    script = (searching(), Pause(0.4), *whole_answer()[1:])
    async with scripted_gateway(*script) as gateway:
        ran = await groundwire_on_terminal(["ask", "--target", gateway.target, "q"], folder=tmp_path)
    assert ran.code == 0
    assert re.search(r"\x1b]8;[^;]*;https://example.org/rain\?a=1\x1b\\", ran.stdout)
    assert "Searching" in ran.stdout
    assert "A gauge measures rain. [1]" in ran.stdout
    assert ran.stdout.index("Searching") < ran.stdout.index("Sources") < ran.stdout.index("A gauge measures rain.")


async def test_no_color_has_no_colour(tmp_path: Path) -> None:
    async with scripted_gateway(
        sources(RAIN), context(1), delta("t"), citation(8, resolved=False), finished()
    ) as gateway:
        coloured = await groundwire_on_terminal(["ask", "--target", gateway.target, "q"], folder=tmp_path)
        plain = await groundwire_on_terminal(["ask", "--target", gateway.target, "q"], folder=tmp_path, NO_COLOR="1")
    assert re.search(r"\x1b\[[0-9;]*33m", coloured.stdout)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain.stdout)


async def test_ctrl_c_cancels_the_call_and_says_so(tmp_path: Path) -> None:
    async with scripted_gateway(sources(RAIN), context(1), delta("begun"), UntilCancelled()) as gateway:
        process = await start_groundwire("ask", "--target", gateway.target, "q", folder=tmp_path)
        await asyncio.wait_for(gateway.reached_the_wait.wait(), 20)
        assert process.stdout is not None
        shown = b""
        while b"begun" not in shown:
            shown += await asyncio.wait_for(process.stdout.read(4096), 20)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(gateway.cancelled.wait(), 20)
        ran = await ended(process)
    assert ran.code == 130
    assert ran.stderr == "groundwire: Cancelled: the gateway was told to stop answering.\n"
    assert ran.stdout == "\n"  # the line that was begun is ended


async def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    script = (sources(RAIN), context(1), *(delta("word " * 50) for _ in range(400)), UntilCancelled())
    async with scripted_gateway(*script) as gateway:
        process = await start_groundwire("ask", "--json", "--target", gateway.target, "q", folder=tmp_path)
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 20)
        process.stdout._transport.close()  # type: ignore[attr-defined]  # as `head -1` closes its end
        assert process.stderr is not None
        said = await asyncio.wait_for(process.stderr.read(), 20)
        code = await asyncio.wait_for(process.wait(), 20)
        await asyncio.wait_for(gateway.cancelled.wait(), 20)
    assert said == b""
    assert code == 141


async def test_nothing_answers(tmp_path: Path) -> None:
    ran = await groundwire("ask", "--target", "127.0.0.1:1", "q", folder=tmp_path)
    assert ran.code == 6
    assert "Nothing answers at 127.0.0.1:1. Start everything with `groundwire up`" in ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr


async def test_a_refused_request_names_every_option(tmp_path: Path) -> None:
    refusal = RichStatus(
        grpc.StatusCode.INVALID_ARGUMENT,
        "not valid",
        reason="INVALID_FIELDS",
        field_violations=(FieldViolation("question", "too long"), FieldViolation("country", "unknown")),
    )
    async with scripted_gateway(refusal) as gateway:
        ran = await groundwire("ask", "--target", gateway.target, "q", folder=tmp_path)
    assert ran.code == 2
    assert "  QUESTION: too long\n  --country: unknown" in ran.stderr


async def test_a_failure_after_the_first_words(tmp_path: Path) -> None:
    lost = RichStatus(
        grpc.StatusCode.UNAVAILABLE, "The engine died.", reason="ENGINE", metadata={"service": "inference"}
    )
    async with scripted_gateway(sources(RAIN), context(1), delta("begun"), lost) as gateway:
        ran = await groundwire("ask", "--target", gateway.target, "q", folder=tmp_path)
    assert ran.code == 6
    assert ran.stdout.endswith("begun\n")
    assert "The inference service is unavailable.\n  The engine died." in ran.stderr
    assert "The answer is not whole" in ran.stderr


async def test_a_deadline_of_its_own(tmp_path: Path) -> None:
    async with scripted_gateway(sources(RAIN), UntilCancelled()) as gateway:
        ran = await groundwire("ask", "--timeout", "0.5", "--target", gateway.target, "q", folder=tmp_path)
    assert ran.code == 8
    assert "No whole answer within 0.5 s" in ran.stderr


async def test_a_stream_without_an_end_is_no_success(tmp_path: Path) -> None:
    async with scripted_gateway(sources(RAIN), context(1), delta("begun")) as gateway:
        ran = await groundwire("ask", "--target", gateway.target, "q", folder=tmp_path)
    assert ran.code == 1
    assert "not whole" in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--freshness", "decade"),
        ("--max-sources", "0"),
        ("--temperature", "3"),
        ("--seed", "-1"),
        ("--timeout", "inf"),
        ("--provider", "bing"),
        ("--target", "noport"),
        ("--no-such-option",),
    ],
)
async def test_bad_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ran = await groundwire("ask", *arguments, "q", folder=tmp_path)
    assert ran.code == 2
    assert ran.stdout == ""
    assert arguments[0] in ran.stderr


async def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    ran = await groundwire("ask", "q", folder=tmp_path, GROUNDWIRE_GATEWAY_LISTEN="nowhere")
    assert ran.code == 1
    assert "GROUNDWIRE_GATEWAY_LISTEN" in ran.stderr
    assert "Traceback" not in ran.stderr


async def test_settings_come_from_a_dotenv_file(tmp_path: Path) -> None:
    async with scripted_gateway(*whole_answer()) as gateway:
        (tmp_path / ".env").write_text(f"GROUNDWIRE_GATEWAY_LISTEN={gateway.target}\n")
        ran = await groundwire("ask", "q", folder=tmp_path)
    assert ran.code == 0


async def test_a_terminal_that_knows_only_ascii(tmp_path: Path) -> None:
    async with scripted_gateway(sources(RAIN), context(1), delta("한국어 ok"), finished()) as gateway:
        ran = await groundwire("ask", "--target", gateway.target, "q", folder=tmp_path, PYTHONIOENCODING="ascii")
    assert ran.code == 0
    assert "??? ok" in ran.stdout
