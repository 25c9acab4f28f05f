"""`groundwire model` as a real process against a hub on the loopback interface."""

import asyncio
import hashlib
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from groundwire_cli.exit_codes import ExitCode
from tests.support.command_line import ended, groundwire, groundwire_on_terminal, start_groundwire
from tests.support.model_hub_stand_in import HubState, model_hub

CONTENT = b"GGUF" + random.Random(2).randbytes(300_000)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubState]:
    local = b"GGUF local"
    (tmp_path / "local.gguf").write_bytes(local)
    (tmp_path / "manifest.toml").write_text(
        f"""
        [models.phi-3-mini]
        title = "A small stand-in"
        repo = "owner/name"
        file = "tiny.gguf"
        bytes = {len(CONTENT)}
        sha256 = "{hashlib.sha256(CONTENT).hexdigest()}"
        licence = "MIT"
        context = 512

        [models.builtin]
        title = "A local one"
        path = "local.gguf"
        bytes = {len(local)}
        sha256 = "{hashlib.sha256(local).hexdigest()}"
        licence = "MIT"
        context = 512
        """,
        encoding="utf-8",
    )
    with model_hub() as state:
        state.files["owner/name/tiny.gguf"] = CONTENT
        yield state


def settings(hub: HubState, folder: Path, **more: str) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "", "GROUNDWIRE_MODELS_DIR": str(folder / "models"), **more}


MANIFEST = ("--manifest", "manifest.toml")


async def test_what_is_not_here_is_listed_so(hub: HubState, tmp_path: Path) -> None:
    environment = settings(hub, tmp_path)
    before = await groundwire("model", "list", *MANIFEST, folder=tmp_path, **environment)
    assert before.stdout.splitlines() == [
        "  phi-3-mini     0.3 MB  MIT         not downloaded            A small stand-in",
        "* builtin        0.0 MB  MIT         built in                  A local one",
    ]
    missing = await groundwire("model", "path", "phi-3-mini", *MANIFEST, folder=tmp_path, **environment)
    assert missing.code == ExitCode.FAILED
    assert "Fetch it with `groundwire model pull phi-3-mini`." in missing.stderr


async def test_pull_brings_it_once_and_path_finds_it(hub: HubState, tmp_path: Path) -> None:
    environment = settings(hub, tmp_path)
    file = tmp_path / "models" / "tiny.gguf"
    pulled = await groundwire("model", "pull", *MANIFEST, folder=tmp_path, **environment)
    assert (pulled.code, pulled.stdout.splitlines()) == (
        ExitCode.OK,
        [
            f"phi-3-mini is downloaded (0.3 MB) and checked: {file}",
            f"Use it with: GROUNDWIRE_MODEL={file} groundwire up",
        ],
    )
    assert pulled.stderr.splitlines() == ["downloading: 0.0 MB of 0.3 MB (0%)", "checking: 0.0 MB of 0.3 MB (0%)"]
    assert file.read_bytes() == CONTENT
    again = await groundwire("model", "pull", "phi-3-mini", *MANIFEST, folder=tmp_path, **environment)
    assert again.stdout.startswith(f"phi-3-mini is already here: {file}\n")
    assert hub.content_bytes == len(CONTENT)
    found = await groundwire("model", "path", "phi-3-mini", *MANIFEST, folder=tmp_path, **environment)
    assert (found.code, found.stdout) == (ExitCode.OK, f"{file}\n")


async def test_ctrl_c_keeps_what_there_is_and_the_next_pull_goes_on(hub: HubState, tmp_path: Path) -> None:
    environment = settings(hub, tmp_path)
    hub.piece_pause_seconds = 0.2
    process = await start_groundwire("model", "pull", *MANIFEST, folder=tmp_path, **environment)
    partial = tmp_path / "models" / "tiny.gguf.part"
    async with asyncio.timeout(20):
        while not partial.is_file() or partial.stat().st_size < 40_000:
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stopped = await ended(process)
    assert stopped.code == ExitCode.INTERRUPTED
    assert "What was downloaded is kept; run the same command to go on from there." in stopped.stderr
    assert "Traceback" not in stopped.stderr
    kept = partial.stat().st_size
    listed = await groundwire("model", "list", *MANIFEST, folder=tmp_path, **environment)
    assert f"{kept / len(CONTENT):.0%} downloaded" in listed.stdout
    hub.piece_pause_seconds = 0.0
    hub.served.clear()
    assert (await groundwire("model", "pull", *MANIFEST, folder=tmp_path, **environment)).code == ExitCode.OK
    assert hub.content_bytes == len(CONTENT) - kept
    assert (tmp_path / "models" / "tiny.gguf").read_bytes() == CONTENT


async def test_a_terminal_shows_a_bar(hub: HubState, tmp_path: Path) -> None:
    hub.cuts = [100_000]
    shown = await groundwire_on_terminal(["model", "pull", *MANIFEST], folder=tmp_path, **settings(hub, tmp_path))
    assert shown.code == ExitCode.OK
    assert "━" in shown.stdout
    assert "the connection was cut; trying again in 1 s." in shown.stdout
    assert "phi-3-mini is downloaded" in shown.stdout


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, so nothing is downloaded"),
        ({"HF_TOKEN": "hf_wrong"}, "refuses access to owner/name (401): set HF_TOKEN"),
        ({"HF_ENDPOINT": "nonsense"}, "check HF_ENDPOINT"),
        ({"GROUNDWIRE_MODELS_DIR": "/proc/none"}, "cannot be stored in /proc/none"),
        ({"GROUNDWIRE_INFERENCE_SLOTS": "many"}, "GROUNDWIRE_INFERENCE_SLOTS"),
    ],
)
async def test_a_failure_is_one_sentence_and_exit_code_1(
    hub: HubState, tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    hub.token = "hf_secret"
    failed = await groundwire("model", "pull", *MANIFEST, folder=tmp_path, **settings(hub, tmp_path, **environment))
    assert failed.code == ExitCode.FAILED
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "hf_" not in failed.stderr


async def test_the_token_from_the_environment_opens_the_hub(hub: HubState, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    pulled = await groundwire(
        "model", "pull", *MANIFEST, folder=tmp_path, **settings(hub, tmp_path, HF_TOKEN="hf_secret")
    )
    assert pulled.code == ExitCode.OK


async def test_an_unknown_name_lists_the_known_ones(hub: HubState, tmp_path: Path) -> None:
    failed = await groundwire("model", "pull", "phi-9", *MANIFEST, folder=tmp_path, **settings(hub, tmp_path))
    assert failed.code == ExitCode.FAILED
    assert "There is no model named 'phi-9'. Known models: phi-3-mini, builtin." in failed.stderr


async def test_the_built_in_model_is_here(tmp_path: Path) -> None:
    found = await groundwire("model", "path", "builtin", folder=tmp_path)
    assert found.code == ExitCode.OK
    assert found.stdout.endswith("/builtin/groundwire-builtin.gguf\n")
