"""The real process: what it says when it starts, serves, cannot start, and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundwire.search.v1 import search_pb2 as pb
from groundwire.search.v1 import search_pb2_grpc
from groundwire_rpc.channels import open_channel
from search_service.server import SERVICE_NAME, sample_folder
from tests.support.brave_stand_in import BraveStandIn

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "made-up-token-5c1e"


def start(folder: Path, **settings: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GROUNDWIRE_", "BRAVE_"))}
    defaults = {"GROUNDWIRE_SEARCH_LISTEN": "127.0.0.1:0", "GROUNDWIRE_INDEX_PATH": str(folder / "index.sqlite3")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "protos" / "gen")])
    return subprocess.Popen(
        [sys.executable, "-m", "search_service"],
        cwd=folder,
        env={**kept, "PYTHONPATH": path, **defaults, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = start(folder, **settings)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("search serving on 127.0.0.1:"), line
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.communicate(timeout=5)


async def test_it_serves_and_leaves_in_order(tmp_path: Path) -> None:
    async with BraveStandIn(token=TOKEN) as brave:
        with serving(tmp_path, BRAVE_API_KEY=TOKEN, GROUNDWIRE_BRAVE_BASE_URL=brave.base_url) as (process, address):
            async with open_channel(address) as channel:
                stub = search_pb2_grpc.SearchServiceStub(channel)
                health = health_pb2_grpc.HealthStub(channel)
                for name in ("", SERVICE_NAME):
                    state = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
                    assert state.status == health_pb2.HealthCheckResponse.SERVING
                response = await stub.Search(pb.SearchRequest(query="teh cats", page_size=3), timeout=5)
                assert [result.host for result in response.results] == ["example.org"] * 3
                assert response.altered_query == "the cats"
                status = await stub.GetStatus(pb.GetStatusRequest(), timeout=5)
                assert status.default_provider == pb.PROVIDER_BRAVE
                assert [quota.limit for quota in status.providers[0].quotas] == [50, 15_000]
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Search(pb.SearchRequest(query="fault:token-422"), timeout=5)
                assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            process.send_signal(signal.SIGTERM)
            rest, log = process.communicate(timeout=10)
            assert process.returncode == 0
            assert rest == ""
            lines = [json.loads(line) for line in log.splitlines()]
            assert [line["code"] for line in lines if line["event"] == "call"][-1] == "FAILED_PRECONDITION"
            assert TOKEN not in log


async def test_without_a_token_the_local_index_answers_and_brave_says_what_to_set(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, address):
        async with open_channel(address) as channel:
            stub = search_pb2_grpc.SearchServiceStub(channel)
            status = await stub.GetStatus(pb.GetStatusRequest(), timeout=5)
            assert status.default_provider == pb.PROVIDER_LOCAL
            assert not status.providers[0].available
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Search(pb.SearchRequest(query="x", provider=pb.PROVIDER_BRAVE), timeout=5)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert "BRAVE_API_KEY" in (caught.value.details() or "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"GROUNDWIRE_SEARCH_PROVIDER": "bing"}, "GROUNDWIRE_SEARCH_PROVIDER"),
        ({"BRAVE_API_KEY": "two words"}, "BRAVE_API_KEY"),
        (
            {"GROUNDWIRE_SEARCH_LISTEN": "203.0.113.1:50052", "GROUNDWIRE_ALLOW_INSECURE_LISTEN": "true"},
            "Cannot listen on 203.0.113.1:50052",
        ),
        ({"GROUNDWIRE_SEARCH_LISTEN": "203.0.113.1:50052"}, "GROUNDWIRE_ALLOW_INSECURE_LISTEN=true"),
    ],
)
def test_a_bad_setting_ends_it_with_one_paragraph(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    process = start(tmp_path, **settings)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert "two words" not in err


def test_a_port_in_use_ends_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = start(tmp_path, GROUNDWIRE_SEARCH_LISTEN=address)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"Cannot listen on {address}" in err
    assert "Traceback" not in err


def test_the_sample_folder_is_this_projects_docs() -> None:
    folder = ROOT / "docs"
    assert sample_folder() == (folder if folder.is_dir() else None)
