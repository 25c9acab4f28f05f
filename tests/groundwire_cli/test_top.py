"""The live view: what a frame says, and the real command with pipes, on a terminal, and with nothing to show."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from groundwire.gateway.v1 import gateway_pb2
from groundwire.inference.v1 import inference_pb2
from groundwire.search.v1 import search_pb2
from groundwire_cli.services import GATEWAY, INFERENCE, SEARCH
from groundwire_cli.status_client import Report, ServiceReport
from groundwire_cli.top_text import Sample, frame
from tests.support.command_line import ended, groundwire, start_groundwire
from tests.support.scripted_gateway import scripted_gateway

NOWHERE = "127.0.0.1:1"


def report(**changes: object) -> Report:
    parts: dict[str, object] = {
        "gateway": ServiceReport(GATEWAY, "127.0.0.1:50051", "serving"),
        "search": ServiceReport(SEARCH, "127.0.0.1:50052", "serving"),
        "inference": ServiceReport(INFERENCE, "127.0.0.1:50053", "serving"),
        "gateway_status": gateway_pb2.GetStatusResponse(
            version="0.1.0",
            running_asks=64,
            max_asks=256,
            held_mib=2,
            held_limit_mib=256,
            backends=[
                gateway_pb2.BackendStatus(name="search", circuit=gateway_pb2.CIRCUIT_STATE_CLOSED),
                gateway_pb2.BackendStatus(
                    name="infer\x1b[2Jence",
                    circuit=gateway_pb2.CIRCUIT_STATE_OPEN,
                    failures_in_row=5,
                    retry_after=Duration(seconds=3),
                ),
            ],
        ),
        "search_status": search_pb2.GetStatusResponse(
            default_provider=search_pb2.PROVIDER_BRAVE,
            cached_queries=1234,
            running_searches=1,
            max_searches=256,
            providers=[
                search_pb2.ProviderStatus(
                    provider=search_pb2.PROVIDER_BRAVE,
                    detail="The quota is \x1b[2Jspent.",
                    quotas=[search_pb2.Quota(window=Duration(seconds=2_592_000), limit=15_000, remaining=0)],
                )
            ],
        ),
        "inference_status": engine(),
        "model": inference_pb2.GetModelResponse(name="tiny", context_length=4096),
    }
    return Report(**{**parts, **changes})  # type: ignore[arg-type]  # a table of parts


def engine(**totals: int) -> inference_pb2.GetStatusResponse:
    return inference_pb2.GetStatusResponse(
        slots=4,
        slots_used=2,
        queue_capacity=64,
        queue_length=64,
        kv_cells=4096,
        kv_cells_reserved=700,
        kv_cells_cached=120,
        **totals,  # type: ignore[arg-type]
    )


def shown(now: Report, before: Report | None = None, seconds: float = 2.0) -> str:
    earlier = Sample(before, 10.0) if before is not None else None
    return "\n".join(line.plain for line in frame(Sample(now, 10.0 + seconds), earlier))


def test_a_frame_says_what_is_in_use() -> None:
    text = shown(report())
    for told in (
        "streams     #####...............  64 of 256",
        "memory      #...................  2 of 256 MiB",
        "search closed   inference open, tried again in 3 s, 5 failed in a row",
        "searches    #...................  1 of 256",
        "cached      1,234 answers",
        "brave       The quota is spent.",
        "quota       ####################  15,000 of 15,000 calls of brave in 30 days, 0 left",
        "model       tiny, context 4,096 tokens",
        "slots       ##########..........  2 of 4",
        "queue       ####################  64 of 64",
        "KV cache    ###.................  700 of 4,096 tokens reserved, 120 kept",
        "tokens/s    measuring",
    ):
        assert told in text
    assert "\x1b" not in text


def test_rates_are_those_between_two_frames() -> None:
    before = report(inference_status=engine(prompt_tokens_total=100, completion_tokens_total=10))
    now = report(
        inference_status=engine(
            prompt_tokens_total=400,
            completion_tokens_total=110,
            cached_tokens_total=100,
            drafted_tokens_total=40,
            accepted_tokens_total=10,
        )
    )
    told = "50.0 generated, 150.0 read of prompts, 25% of prompts from kept ones, 25% of drafts right"
    assert told in shown(now, before)
    # A service that was started again counts from nothing.
    assert "0.0 generated, 0.0 read of prompts\n" in shown(before, now) + "\n"


def test_what_does_not_answer_is_told_and_the_rest_shown() -> None:
    gone = ServiceReport(INFERENCE, "127.0.0.1:50053", "unreachable", "Nothing listens there.")
    text = shown(report(inference=gone, inference_status=None, model=None))
    assert "inference   unreachable  127.0.0.1:50053\n  Nothing listens there." in text
    assert "slots" not in text
    assert "streams" in text


async def test_where_there_is_no_gateway_it_says_what_to_do(tmp_path: Path) -> None:
    for arguments in (("top",), ("top", "--once"), ("top", "--target", NOWHERE)):
        ran = await groundwire(*arguments, folder=tmp_path, GROUNDWIRE_GATEWAY_LISTEN=NOWHERE)
        assert ran.code == 1
        assert f"There is no gateway at {NOWHERE}. Nothing listens there." in ran.stderr
        assert "`groundwire serve gateway`" in ran.stderr
        assert ran.stdout == ""


@pytest.mark.parametrize("interval", ["0", "x"])
async def test_an_interval_that_is_none_is_refused(interval: str, tmp_path: Path) -> None:
    ran = await groundwire("top", "--interval", interval, folder=tmp_path)
    assert ran.code == 2
    assert "--interval" in ran.stderr


STATUS = gateway_pb2.GetStatusResponse(version="7.0.0", running_asks=3, max_asks=9)


async def test_one_frame_into_a_pipe(tmp_path: Path) -> None:
    async with scripted_gateway(status=STATUS) as gateway:
        ran = await groundwire("top", "--once", "--interval", "0.2", "--target", gateway.target, folder=tmp_path)
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.startswith("groundwire top  7.0.0  ")
    assert ran.stdout.count("  3 of 9\n") == 1
    assert "\x1b" not in ran.stdout


async def test_frames_follow_each_other_into_a_pipe_until_ctrl_c(tmp_path: Path) -> None:
    async with scripted_gateway(status=STATUS) as gateway:
        process = await start_groundwire("top", "--interval", "0.2", "--target", gateway.target, folder=tmp_path)
        assert process.stdout is not None
        frames = 0
        async with asyncio.timeout(30):
            while frames < 3:
                frames += b"groundwire top" in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        ran = await ended(process)
    assert (ran.code, ran.stderr) == (0, "")


async def test_a_pipe_that_nobody_reads_any_more_ends_it(tmp_path: Path) -> None:
    async with scripted_gateway(status=STATUS) as gateway:
        reading, writing = os.pipe()
        process = await start_groundwire(
            "top", "--interval", "0.2", "--target", gateway.target, folder=tmp_path, stdout=writing
        )
        os.close(writing)
        assert await asyncio.to_thread(os.read, reading, 10)
        os.close(reading)
        ran = await ended(process)
    assert (ran.code, ran.stderr) == (141, "")


async def test_a_terminal_gets_a_screen_and_has_it_back(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    async with scripted_gateway(status=STATUS) as gateway:
        process = await start_groundwire(
            "top", "--interval", "0.2", "--target", gateway.target, folder=tmp_path, stdout=theirs, stderr=theirs,
            TERM="xterm-256color",
        )  # fmt: skip
        os.close(theirs)
        seen = b""
        async with asyncio.timeout(30):
            while seen.count(b"groundwire top") < 3:
                seen += await asyncio.to_thread(os.read, ours, 65_536)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            try:
                while piece := await asyncio.to_thread(os.read, ours, 65_536):
                    seen += piece
            except OSError:  # EIO: the other side is closed
                pass
            code = await process.wait()
    os.close(ours)
    assert code == 0
    assert seen.startswith(b"\x1b[?1049h")
    assert b"\x1b[?1049l" in seen
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l")  # the cursor is back
    assert b"Traceback" not in seen
