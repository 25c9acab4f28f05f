"""A real gateway that asks for keys and certificates, between services that ask for tokens and certificates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.adapters.api_keys import key_line, new_key
from gateway.config import GatewayConfig
from gateway.server import build_server
from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.search.v1 import search_pb2_grpc
from groundwire_rpc.channels import PLAINTEXT, ChannelSecurity, open_channel
from groundwire_rpc.guard import SharedToken
from groundwire_rpc.security import ServerSecurity
from groundwire_rpc.server import RpcServer
from groundwire_rpc.settings import SettingsError
from groundwire_rpc.status import RichStatus, from_rpc_error
from groundwire_rpc.tls import client_tls, server_tls
from tests.support.certificates import LONG_AGO, Certificates, Secured
from tests.support.fake_services import HANG, SEARCH_SERVICE, FakeSearch
from tests.support.wired_gateway import QUESTION, TWO_SOURCES, unused_target, wired

KEY, OTHER_KEY = new_key(), new_key()
TOKEN = "0123456789abcdef-made-up"


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"{key_line('alice', KEY)}\n{key_line('bob', OTHER_KEY)}\n")
    return path


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


async def test_a_key_opens_every_method_and_none_opens_health(keys_file: Path) -> None:
    async with wired(gateway_api_keys_file=keys_file) as gateway:
        events = await gateway.ask(metadata=bearer(KEY))
        assert events[-1].HasField("finished")
        answer = await gateway.stub.Answer(
            gateway_pb2.AnswerRequest(ask=QUESTION), timeout=5, metadata=bearer(OTHER_KEY)
        )
        assert answer.finished.outcome
        health = await health_pb2_grpc.HealthStub(gateway.channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(("metadata", "reason"), [((), "KEY_MISSING"), (bearer(new_key()), "KEY_REFUSED")])
async def test_without_one_nothing_is_asked_of_the_services_behind(
    keys_file: Path, metadata: tuple[tuple[str, str], ...], reason: str
) -> None:
    async with wired(gateway_api_keys_file=keys_file) as gateway:
        calls: list[Any] = [
            gateway.ask(metadata=metadata),
            gateway.stub.Answer(gateway_pb2.AnswerRequest(ask=QUESTION), timeout=5, metadata=metadata),
            gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5, metadata=metadata),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            status = from_rpc_error(caught.value)
            assert (status.code, status.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
            assert "x-request-id" in dict(caught.value.trailing_metadata())
        assert not gateway.search.arrived.is_set()


async def test_each_key_may_have_so_many_answers_at_once(keys_file: Path) -> None:
    search = ([HANG], [TWO_SOURCES])
    async with wired(search=search, gateway_api_keys_file=keys_file, gateway_api_key_concurrency=1) as gateway:
        first = gateway.stub.Ask(QUESTION, timeout=30, metadata=bearer(KEY))
        await asyncio.wait_for(gateway.search.arrived.wait(), 10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.ask(metadata=bearer(KEY))
        status = from_rpc_error(caught.value)
        assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "KEY_BUSY")
        assert status.retry_after_seconds == 1.0
        for key in (KEY, OTHER_KEY):  # the status is told however many run
            told = gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5, metadata=bearer(key))
            assert (await told).running_asks == 1
        first.cancel()
        async with asyncio.timeout(10):
            while True:
                try:
                    await gateway.ask(metadata=bearer(KEY))
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.02)
                else:
                    break


async def test_each_key_may_ask_so_often(keys_file: Path) -> None:
    settings = {"gateway_api_keys_file": keys_file, "gateway_api_key_requests_per_minute": 2}
    async with wired(**settings) as gateway:
        for _ in range(2):
            await gateway.ask(metadata=bearer(KEY))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.ask(metadata=bearer(KEY))
        status = from_rpc_error(caught.value)
        assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "KEY_RATE_LIMITED")
        assert status.metadata == {"key": "alice", "limit": "2"}
        assert status.retry_after_seconds is not None
        assert 0 < status.retry_after_seconds <= 30
        pushback = dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]
        assert 0 < int(pushback) <= 30_000
        await gateway.ask(metadata=bearer(OTHER_KEY))
        told = gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5, metadata=bearer(KEY))
        assert len((await told).backends) == 2


async def test_log_lines_of_a_call_name_its_key_and_hold_no_key(keys_file: Path) -> None:
    hashes = keys_file.read_text().split()[1::2]  # noqa: ASYNC240 - a small file
    settings = {"gateway_api_keys_file": keys_file, "gateway_api_key_requests_per_minute": 1}
    with capture_logs() as logs:
        async with wired(**settings) as gateway:
            await gateway.ask(metadata=bearer(KEY))
            for key in (KEY, new_key()):
                with pytest.raises(grpc.aio.AioRpcError):
                    await gateway.ask(metadata=bearer(key))
            async with asyncio.timeout(10):
                while len(asked := [entry for entry in logs if entry.get("rpc") == "Ask"]) < 3:
                    await asyncio.sleep(0.01)
    assert [(entry["code"], entry.get("key")) for entry in asked] == [
        ("OK", "alice"),
        ("RESOURCE_EXHAUSTED", "alice"),
        ("UNAUTHENTICATED", None),
    ]
    for secret in (KEY, *hashes, "gwk_"):
        assert secret not in repr(logs)


@asynccontextmanager
async def secured_search(security: ServerSecurity) -> AsyncIterator[str]:
    server = RpcServer("127.0.0.1:0", [SEARCH_SERVICE], security)
    search_pb2_grpc.add_SearchServiceServicer_to_server(FakeSearch([TWO_SOURCES]), server.grpc_server)
    address = await server.start()
    await server.set_serving(True)
    try:
        yield address
    finally:
        await server.stop(0)


def search_security(files: Certificates) -> ServerSecurity:
    tls = Secured(
        search_tls_certificate=files.server.certificate,
        search_tls_key=files.server.key,
        search_tls_client_ca=files.ca,
    )
    return ServerSecurity(server_tls(tls, "search"), SharedToken(SecretStr(TOKEN), "GROUNDWIRE_BACKEND_TOKEN"))


def towards_search(files: Certificates, **changes: Any) -> dict[str, Any]:
    return {
        "search_tls_ca": files.ca,
        "client_tls_certificate": files.client.certificate,
        "client_tls_key": files.client.key,
        "backend_token": TOKEN,
        **changes,
    }


async def test_a_service_behind_that_asks_for_everything_is_reached(files: Certificates) -> None:
    async with (
        secured_search(search_security(files)) as target,
        wired(search_target=target, **towards_search(files)) as gateway,
    ):
        assert (await gateway.ask())[-1].HasField("finished")
        assert (await gateway.backend("search")).state == gateway_pb2.BACKEND_STATE_SERVING


async def refused(target: str, **settings: Any) -> RichStatus:
    async with wired(search_target=target, **settings) as gateway:
        status = await gateway.refused()
        detail = (await gateway.backend("search")).detail
        if status.code is grpc.StatusCode.UNAVAILABLE:
            assert detail == status.message
        return status


async def test_where_the_gateway_refuses_a_certificate_the_caller_is_told(files: Certificates, tmp_path: Path) -> None:
    theirs = Certificates(tmp_path / "theirs")
    async with secured_search(search_security(files)) as target:
        status = await refused(target, **towards_search(files, search_tls_ca=theirs.ca))
        assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNTRUSTED")
        assert status.metadata == {"service": "search", "target": target}
        assert "GROUNDWIRE_SEARCH_TLS_CA" in status.message
    files.write("server", files.authority.server(["localhost", "127.0.0.1"], days=1, now=LONG_AGO))
    async with secured_search(search_security(files)) as target:
        status = await refused(target, **towards_search(files))
        assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNTRUSTED")
        assert "certificate has expired" in status.message


async def test_where_the_gateway_is_refused_the_caller_is_told(files: Certificates) -> None:
    async with secured_search(search_security(files)) as target:
        plain = await refused(target, backend_token=TOKEN)
        nameless = await refused(target, **towards_search(files, client_tls_certificate=None, client_tls_key=None))
        for status in (plain, nameless):
            assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNTRUSTED")
            assert "closed the connection at once" in status.message
        status = await refused(target, **towards_search(files, backend_token=TOKEN + "x"))
        assert (status.code, status.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOKEN_REFUSED")
        assert status.metadata == {"service": "search", "setting": "GROUNDWIRE_BACKEND_TOKEN"}
        assert TOKEN not in status.message


async def test_the_gateway_itself_speaks_tls_and_asks_for_certificates(files: Certificates) -> None:
    async with AsyncExitStack() as resources:
        config = GatewayConfig(
            gateway_listen="127.0.0.1:0",
            search_target=unused_target(),
            inference_target=unused_target(),
            gateway_tls_certificate=files.server.certificate,
            gateway_tls_key=files.server.key,
            gateway_tls_client_ca=files.ca,
        )
        server = build_server(config, resources)
        address = await server.start()
        resources.push_async_callback(server.stop, 0)
        ours = Secured(
            search_tls_ca=files.ca,
            client_tls_certificate=files.client.certificate,
            client_tls_key=files.client.key,
        )
        for security, is_taken in (
            (ChannelSecurity(client_tls(ours, "search")), True),
            (ChannelSecurity(client_tls(Secured(search_tls_ca=files.ca), "search")), False),
            (PLAINTEXT, False),
        ):
            async with open_channel(address, security) as channel:
                asked = gateway_pb2_grpc.AnswerServiceStub(channel).GetStatus(
                    gateway_pb2.GetStatusRequest(), timeout=10
                )
                if is_taken:
                    assert len((await asked).backends) == 2
                    continue
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await asked
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_files_that_are_no_good_and_open_doors_are_refused_when_it_is_built(
    files: Certificates, keys_file: Path, tmp_path: Path
) -> None:
    tls = {"gateway_tls_certificate": files.server.certificate, "gateway_tls_key": files.server.key}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"gateway_api_keys_file": tmp_path / "none"}, "GROUNDWIRE_GATEWAY_API_KEYS_FILE names"),
        ({"inference_tls_ca": tmp_path / "none"}, "GROUNDWIRE_INFERENCE_TLS_CA names"),
        ({**tls, "gateway_tls_key": files.client.key}, "GROUNDWIRE_GATEWAY_TLS_KEY names"),
        ({"gateway_listen": "0.0.0.0:0"}, "GROUNDWIRE_GATEWAY_API_KEYS_FILE or GROUNDWIRE_GATEWAY_TLS_CLIENT_CA"),
        ({"gateway_listen": "0.0.0.0:0", "gateway_api_keys_file": keys_file}, "no TLS"),
        ({"gateway_listen": "0.0.0.0:0", **tls}, "nobody is asked"),
    ]
    good: list[dict[str, Any]] = [
        {"gateway_listen": "0.0.0.0:0", **tls, "gateway_api_keys_file": keys_file},
        {"gateway_listen": "0.0.0.0:0", **tls, "gateway_tls_client_ca": files.ca},
        {"gateway_listen": "0.0.0.0:0", "allow_insecure_listen": True},
    ]
    async with AsyncExitStack() as resources:
        for settings, told in bad:
            with pytest.raises(SettingsError, match=told):
                build_server(GatewayConfig(**settings), resources)
        for settings in good:
            build_server(GatewayConfig(**settings), resources)
