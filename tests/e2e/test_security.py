"""All three services with certificates, keys and a token on every hop, set up as docs/security.md says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from dotenv import dotenv_values

from groundwire_rpc.channels import open_channel
from tests.e2e.test_up import ANY_PORT, READY, running_up
from tests.support.command_line import Ended, ended, groundwire
from tests.support.processes import clean_environment, running
from tests.support.questions import ABOUT_RAIN
from tests.support.stack import INFERENCE, Stack, build_index, wiring

TOKEN = "made-up-0123456789abcdef"


def made(folder: Path, *arguments: str) -> str:
    """What a `groundwire` command that must succeed prints."""
    ran = subprocess.run(
        [sys.executable, "-m", "groundwire_cli", *arguments],
        cwd=folder,
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.stdout


@dataclass(frozen=True, slots=True)
class Secured:
    """Running services whose settings are in a .env file of their folder, and a key of their gateway."""

    stack: Stack
    key: str

    async def command(self, *arguments: str, key: str | None = None, **environment: str) -> Ended:
        """Run a command as somebody who has the certificates and the key."""
        settings = {"GROUNDWIRE_API_KEY": self.key if key is None else key, **self.stack.settings()}
        return await groundwire(*arguments, folder=self.stack.folder, **{**settings, **environment})


def write_settings(folder: Path, index_path: Path) -> str:
    """A .env file with everything on. Returns the key."""
    key = made(folder, "keys", "new", "--file", "keys.txt", "tests").strip()
    lines = [
        made(folder, "certs", "dev"),
        f"GROUNDWIRE_GATEWAY_API_KEYS_FILE={folder / 'keys.txt'}",
        f"GROUNDWIRE_BACKEND_TOKEN={TOKEN}",
        f"GROUNDWIRE_INDEX_PATH={index_path}",
        *(f"{name}={value}" for name, value in INFERENCE.items()),
    ]
    (folder / ".env").write_text("\n".join(lines) + "\n")
    return key


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    index_path = build_index(folder)
    key = write_settings(folder, index_path)
    with ExitStack() as stack:
        inference = stack.enter_context(running("inference", folder))
        search = stack.enter_context(running("search", folder))
        gateway = stack.enter_context(running("gateway", folder, wiring(search, inference)))
        yield Secured(Stack(folder, index_path, search, inference, gateway), key)


async def test_everything_works_for_who_has_the_key_and_the_certificates(secured: Secured) -> None:
    asked = await secured.command("ask", "--max-tokens", "3", ABOUT_RAIN)
    assert asked.code in (0, 3, 5), asked.stderr
    assert "rain.md" in asked.stdout
    found = await secured.command("search", "anemometer")
    assert found.code == 0, found.stderr
    status = json.loads((await secured.command("status", "--json")).stdout)
    assert status["all_serve"] is True
    assert status["inference"]["model"]["context_length"] > 0


async def test_eval_brings_the_key_too(secured: Secured) -> None:
    item = {
        "id": "rain-1",
        "set": "tests",
        "language": "en",
        "question": "What does a rain gauge measure?",
        "sources": [{"title": "Rain", "url": "", "text": "A rain gauge measures how much rain has fallen."}],
        "evidence": [{"source": 1, "sentence": "A rain gauge measures how much rain has fallen."}],
        "held_aside": False,
    }
    items = secured.stack.folder / "items.jsonl"
    items.write_text(json.dumps(item) + "\n")
    told = await secured.command("eval", "--max-tokens", "3", str(items), key="gwk_not-one-that-it-knows")
    assert "does not know the API key" in told.stderr
    told = await secured.command("eval", "--max-tokens", "3", str(items))
    assert told.code == 0, told.stderr


@pytest.mark.parametrize(("key", "reason"), [("", "wants an API key"), ("gwk_not-one-that-it-knows", "does not know")])
async def test_without_a_key_that_it_knows_the_gateway_says_so(secured: Secured, key: str, reason: str) -> None:
    asked = await secured.command("ask", ABOUT_RAIN, key=key)
    assert (asked.code, asked.stdout) == (1, "")
    assert reason in asked.stderr
    status = await secured.command("status", key=key)
    assert status.code == 1
    assert reason in status.stdout


async def test_without_the_token_the_services_behind_say_so(secured: Secured) -> None:
    found = await secured.command("search", "anemometer", GROUNDWIRE_BACKEND_TOKEN="another-0123456789abcdef")
    assert (found.code, found.stdout) == (1, "")
    assert "GROUNDWIRE_BACKEND_TOKEN" in found.stderr


async def test_without_a_certificate_nobody_is_heard(secured: Secured, tmp_path: Path) -> None:
    # In another folder, so that the .env file is not read.
    settings = {**secured.stack.settings(), "GROUNDWIRE_API_KEY": secured.key}
    plain = await groundwire("ask", ABOUT_RAIN, folder=tmp_path, **settings)
    assert plain.code == 6
    assert "set GROUNDWIRE_GATEWAY_TLS_CA" in plain.stderr
    ca = str(secured.stack.folder / "certs" / "ca.pem")
    nameless = await groundwire("ask", ABOUT_RAIN, folder=tmp_path, GROUNDWIRE_GATEWAY_TLS_CA=ca, **settings)
    assert nameless.code == 6
    assert "GROUNDWIRE_CLIENT_TLS_CERTIFICATE" in nameless.stderr
    for service in (secured.stack.gateway, secured.stack.search, secured.stack.inference):
        async with open_channel(service.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_secrets_are_in_no_log(secured: Secured) -> None:
    await secured.command("ask", "--max-tokens", "1", ABOUT_RAIN)
    for service in (secured.stack.gateway, secured.stack.search, secured.stack.inference):
        log = service.log()
        assert '"code": "OK"' in log
        assert secured.key not in log
        assert TOKEN not in log


async def test_a_deleted_key_is_refused_and_a_new_one_taken_by_the_running_gateway(secured: Secured) -> None:
    file = secured.stack.folder / "keys.txt"
    before = file.read_text()
    try:
        other = made(secured.stack.folder, "keys", "new", "other").strip()
        assert (await secured.command("status", key=other)).code == 0
        file.write_text(before)
        assert (await secured.command("status", key=other)).code == 1
        assert (await secured.command("status")).code == 0
    finally:
        file.write_text(before)


async def test_one_keys_kept_prompts_are_of_no_use_to_another(secured: Secured) -> None:
    other = made(secured.stack.folder, "keys", "new", "other").strip()
    question = ("ask", "--json", "--max-tokens", "2", "What does an anemometer measure, and where does it stand?")

    async def cached_tokens(key: str) -> int:
        asked = await secured.command(*question, key=key)
        (finished,) = (event["finished"] for event in map(json.loads, asked.stdout.splitlines()) if "finished" in event)
        return int(finished["usage"]["cached_tokens"])

    try:
        await cached_tokens(secured.key)
        assert await cached_tokens(secured.key) > 0
        assert await cached_tokens(other) == 0
        assert await cached_tokens(other) > 0
    finally:
        made(secured.stack.folder, "keys", "remove", "other")
    assert made(secured.stack.folder, "keys", "list") == "tests\n"


async def test_all_certificates_change_while_everything_runs(secured: Secured, tmp_path: Path) -> None:
    certificates = secured.stack.folder / "certs"
    old = tmp_path / "old"
    shutil.copytree(certificates, old)
    made(secured.stack.folder, "certs", "dev", "--force")
    asked = await secured.command("ask", "--max-tokens", "3", ABOUT_RAIN)
    assert asked.code in (0, 3, 5), asked.stderr
    # The gateway's connections from before would go on; a service that comes back is called with the new certificate.
    secured.stack.search.restart()
    assert (await secured.command("status")).code == 0
    outdated = {
        "GROUNDWIRE_CLIENT_TLS_CERTIFICATE": str(old / "client.pem"),
        "GROUNDWIRE_CLIENT_TLS_KEY": str(old / "client.key"),
    }
    assert (await secured.command("ask", ABOUT_RAIN, **outdated)).code == 6
    distrusting = await secured.command("ask", ABOUT_RAIN, GROUNDWIRE_GATEWAY_TLS_CA=str(old / "ca.pem"))
    assert distrusting.code == 6
    assert "certificate that is not accepted" in distrusting.stderr


async def test_up_with_everything_on(stack: Stack, tmp_path: Path) -> None:
    key = write_settings(tmp_path, stack.index_path)
    async with running_up(tmp_path) as up:
        target = (await up.until(READY))[1]
        await up.until(re.compile("Ctrl-C stops everything"))
        assert f"grpcurl -cacert {tmp_path / 'certs' / 'ca.pem'} -cert " in up.shown
        asked = await groundwire(
            *("ask", "--target", target, "--max-tokens", "3", ABOUT_RAIN), folder=tmp_path, GROUNDWIRE_API_KEY=key
        )
        assert asked.code in (0, 3, 5), asked.stderr
        up.process.terminate()
        ran = await ended(up.process)
    assert ran.code == 0, ran.stderr


async def test_up_without_the_ca_says_so_before_anything_starts(tmp_path: Path) -> None:
    made(tmp_path, "certs", "dev")
    certificate = str(tmp_path / "certs" / "server.pem")
    ran = await groundwire("up", folder=tmp_path, GROUNDWIRE_SEARCH_TLS_CERTIFICATE=certificate, **ANY_PORT)
    assert (ran.code, ran.stdout) == (1, "")
    assert "Set GROUNDWIRE_SEARCH_TLS_CA too" in ran.stderr


@pytest.mark.parametrize("service", ["search", "inference", "gateway"])
async def test_an_open_door_is_refused_in_one_paragraph(tmp_path: Path, service: str) -> None:
    listen = f"GROUNDWIRE_{service.upper()}_LISTEN"
    ran = await groundwire("serve", service, folder=tmp_path, **{listen: "0.0.0.0:0"})
    assert (ran.code, ran.stdout) == (1, "")
    assert "Traceback" not in ran.stderr
    assert f"{listen} is 0.0.0.0:0, which other hosts can reach" in ran.stderr
    assert "GROUNDWIRE_ALLOW_INSECURE_LISTEN=true" in ran.stderr


@pytest.mark.parametrize("service", ["search", "inference", "gateway"])
async def test_a_key_of_another_certificate_is_refused_in_one_paragraph(tmp_path: Path, service: str) -> None:
    lines = made(tmp_path, "certs", "dev").replace("server.key", "client.key")
    (tmp_path / ".env").write_text(lines)
    variable = f"GROUNDWIRE_{service.upper()}_TLS_KEY"
    assert dotenv_values(tmp_path / ".env")[variable]
    listen = {f"GROUNDWIRE_{service.upper()}_LISTEN": "127.0.0.1:0"}
    ran = await groundwire("serve", service, folder=tmp_path, **listen)
    assert (ran.code, ran.stdout) == (1, "")
    told = [line for line in ran.stderr.splitlines() if not line.startswith("{")]
    assert len(told) == 1, told
    assert f"{variable} names {tmp_path / 'certs' / 'client.key'}, which is not the key of the certificate" in told[0]


async def test_an_operator_may_insist_on_an_open_door(tmp_path: Path) -> None:
    settings = {"GROUNDWIRE_SEARCH_LISTEN": "0.0.0.0:0", "GROUNDWIRE_ALLOW_INSECURE_LISTEN": "true"}
    with running("search", tmp_path, settings) as search:
        port = search.address.rpartition(":")[2]
        async with open_channel(f"127.0.0.1:{port}") as channel:
            assert await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10)
