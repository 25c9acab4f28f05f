"""`groundwire model tune` as a real process on the built-in model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from rich.console import Console

from groundwire_cli.exit_codes import ExitCode
from groundwire_cli.tune_progress import TuneProgress
from groundwire_cli.tune_text import Report, env_settings, report_json, report_lines
from inference_service.core.options import FlashAttention, KvType
from inference_service.core.tuning import Combination, Rates
from tests.support.builtin_model import BUILTIN_MODEL
from tests.support.command_line import ended, groundwire, start_groundwire

DEFAULT = Combination(threads=4, batch_tokens=512)
BEST = replace(DEFAULT, threads=8, flash_attention=FlashAttention.OFF)


def report(**changes: object) -> Report:
    parts: dict[str, object] = {
        "model": "tiny",
        "quantization": "Q8_0",
        "slots": 8,
        "default": DEFAULT,
        "start": DEFAULT,
        "best": BEST,
        "rates": {
            DEFAULT: Rates(1000.0, 100.0, 400.0),
            BEST: Rates(2000.0, 200.0, 800.0),
            replace(BEST, kv_type=KvType.Q8_0, flash_attention=FlashAttention.AUTO): Rates(500.0, 50.0, 200.0),
        },
        "failures": {replace(DEFAULT, batch_tokens=1024): "no room"},
        "kv_bytes": {KvType.F16: 393_216, KvType.Q8_0: 208_896},
        "unsteady": False,
        "settings": env_settings(BEST, has_gpu=False),
    }
    return Report(**{**parts, **changes})  # type: ignore[arg-type]  # a table of parts


def test_the_best_settings_stand_below_what_was_measured() -> None:
    assert "\n".join(report_lines(report())) == (
        "# tiny, Q8_0, 8 slots. Tokens a second, medians: read of a prompt, generated for one stream, and for "
        "8.\n"
        "# threads  batch  flash    KV  mapped   prompt  1 stream  8 streams   gain\n"
        "#       4    512   auto   f16     yes  1,000.0     100.0      400.0    +0%  default\n"
        "#       8    512    off   f16     yes  2,000.0     200.0      800.0  +100%  best\n"
        "#       8    512   auto  q8_0     yes    500.0      50.0      200.0   -50%  not asked for\n"
        "# The gain is the geometric mean over the three rates. A gain of more than 3% over the settings as they are "
        "is needed to win.\n"
        "# A token in the KV cache takes: f16 384.0 KiB, q8_0 204.0 KiB.\n"
        "# q8_0 changes the logits a little, so it is chosen only where it is asked for: --kv-type q8_0.\n"
        "# Did not run: threads 4, batch_tokens 1024, flash_attention auto, kv_type f16, memory_map True: no room\n"
        "GROUNDWIRE_INFERENCE_THREADS=8\n"
        "GROUNDWIRE_INFERENCE_BATCH_TOKENS=512\n"
        "GROUNDWIRE_INFERENCE_FLASH_ATTENTION=off\n"
        "GROUNDWIRE_INFERENCE_KV_TYPE=f16\n"
        "GROUNDWIRE_INFERENCE_MEMORY_MAP=true"
    )


def test_gpu_layers_are_told_where_there_is_a_gpu() -> None:
    assert env_settings(BEST, has_gpu=True)["GROUNDWIRE_INFERENCE_GPU_LAYERS"] == ""
    on_the_host = replace(BEST, gpu_layers=0)
    settings = env_settings(on_the_host, has_gpu=True)
    assert settings["GROUNDWIRE_INFERENCE_GPU_LAYERS"] == "0"
    rates = {DEFAULT: Rates(9, 9, 9), on_the_host: Rates(9, 9, 9)}
    lines = report_lines(report(rates=rates, settings=settings, best=on_the_host))
    assert "mapped   GPU  prompt" in lines[1]
    assert "yes  auto" in lines[2]
    assert "yes     0" in lines[3]


def test_one_slot_has_one_rate_of_generation() -> None:
    lines = report_lines(report(slots=1))
    assert lines[0].startswith("# tiny, Q8_0, 1 slot. ")
    assert lines[0].endswith("generated for one stream.")
    assert lines[1].endswith("prompt  1 stream   gain")
    assert lines[2].endswith("100.0    +0%  default")


def test_what_is_set_and_what_was_asked_for_is_told_apart() -> None:
    asked = replace(DEFAULT, kv_type=KvType.Q8_0)
    text = "\n".join(
        report_lines(report(start=asked, best=asked, rates=dict.fromkeys([asked, DEFAULT], Rates(9, 9, 9))))
    )
    assert "as set, best" in text
    assert "default, not asked for" in text
    assert "--kv-type" not in text


def test_json_has_everything() -> None:
    told = json.loads(json.dumps(report_json(report())))
    assert told["settings"]["GROUNDWIRE_INFERENCE_THREADS"] == "8"
    assert told["best"]["flash_attention"] == "off"
    assert [entry["gain"] for entry in told["measured"]] == [0.0, 1.0, -0.5]
    assert told["measured"][0]["default"]
    assert told["failed"][0]["reason"] == "no room"


def test_progress_off_a_terminal_is_a_line_for_each_setting() -> None:
    text = StringIO()
    with TuneProgress(console=Console(file=text)) as progress:
        progress.start("tiny", 21, 12.0)
        progress.begin("threads")
        assert progress.counting(lambda _combination: Rates(1, 2, 3))(DEFAULT) == Rates(1, 2, 3)
    assert text.getvalue() == ("Tuning tiny: at most 21 measurements, about 12 s on an idle host.\nmeasuring threads\n")


def test_progress_on_a_terminal_is_a_bar() -> None:
    text = StringIO()
    with TuneProgress(console=Console(file=text, force_terminal=True, width=100)) as progress:
        progress.start("tiny", 2, 12.0)
        progress.begin("flash attention")
        progress.counting(lambda _combination: Rates(1, 2, 3))(DEFAULT)
    assert "flash attention" in text.getvalue()
    assert "1/2" in text.getvalue()


@pytest.fixture
def one_core() -> Iterator[None]:
    """Started processes see one core: llama.cpp's threads spin, which a busy test machine does not forgive."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.model
@pytest.mark.usefixtures("one_core")
async def test_a_quick_run_prints_an_env_file_and_writes_one(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("# mine\nGROUNDWIRE_MODEL=builtin\nGROUNDWIRE_INFERENCE_THREADS=2  # guessed\n")
    ran = await groundwire(
        "model",
        "tune",
        "--quick",
        "--write",
        ".env",
        folder=tmp_path,
        GROUNDWIRE_INFERENCE_KV_TYPE="f16",
        GROUNDWIRE_INFERENCE_SLOTS="1",
    )
    assert ran.code == ExitCode.OK, ran.stderr
    (tmp_path / "printed").write_text(ran.stdout)
    printed = dotenv_values(tmp_path / "printed")
    assert list(printed) == [
        f"GROUNDWIRE_INFERENCE_{name}"
        for name in ("THREADS", "BATCH_TOKENS", "FLASH_ATTENTION", "KV_TYPE", "MEMORY_MAP")
    ]
    assert dotenv_values(env_file) == {"GROUNDWIRE_MODEL": "builtin", **printed}
    assert env_file.read_text().startswith("# mine\nGROUNDWIRE_MODEL=builtin\nGROUNDWIRE_INFERENCE_THREADS=")
    assert "  # guessed\n" in env_file.read_text()
    assert "at most" in ran.stderr
    assert "Written to .env." in ran.stderr
    assert "The environment sets GROUNDWIRE_INFERENCE_KV_TYPE, which wins over a .env file." in ran.stderr


@pytest.mark.model
@pytest.mark.usefixtures("one_core")
async def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    process = await start_groundwire("model", "tune", "--quick", "--write", ".env", folder=tmp_path)
    assert process.stderr is not None
    assert b"Tuning builtin" in await asyncio.wait_for(process.stderr.readline(), 60)
    process.send_signal(signal.SIGINT)
    stopped = await ended(process)
    assert stopped.code == ExitCode.INTERRUPTED
    assert "Stopped. Nothing was written." in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert stopped.stdout == ""
    assert not (tmp_path / ".env").exists()


async def test_a_model_that_cannot_be_served_is_refused_as_serve_does(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(BUILTIN_MODEL.read_bytes()[:100_000])
    tuned = await groundwire("model", "tune", str(cut), folder=tmp_path)
    served = await groundwire("serve", "inference", folder=tmp_path, GROUNDWIRE_MODEL=str(cut))
    assert (tuned.code, served.code) == (ExitCode.FAILED, 1)
    message = tuned.stderr.removeprefix("groundwire: ")
    assert "cut short" in message
    assert message in served.stderr
    missing = await groundwire("model", "tune", "phi-3-mini", folder=tmp_path, GROUNDWIRE_MODELS_DIR=str(tmp_path))
    assert missing.code == ExitCode.FAILED
    assert "Fetch it with `groundwire model pull phi-3-mini`." in missing.stderr


async def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    ran = await groundwire("model", "tune", "--write", "nowhere/.env", folder=tmp_path)
    assert ran.code == ExitCode.FAILED
    assert "nowhere/.env cannot be written" in ran.stderr
    assert "Tuning" not in ran.stderr
