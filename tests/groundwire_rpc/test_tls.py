"""TLS between a real server and real channels, with real certificates that are good, bad and replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from groundwire_cli.certificates import LOCAL_HOSTS
from groundwire_rpc.channels import PLAINTEXT, ChannelSecurity, open_channel
from groundwire_rpc.security import ServerSecurity
from groundwire_rpc.server import RpcServer
from groundwire_rpc.settings import SettingsError
from groundwire_rpc.tls import client_tls, closed_at_once, server_tls, tls_problem
from tests.support.certificates import Certificates, Files, Secured
from tests.support.scripted_service import SCRIPTED_METHOD, SCRIPTED_SERVICE, add_scripted_service


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "theirs")


async def answer(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    await asyncio.sleep(float(request or b"0"))
    return b"done"


@asynccontextmanager
async def serving(files: Files, client_ca: Path | None = None) -> AsyncIterator[str]:
    settings = Secured(
        search_tls_certificate=files.certificate, search_tls_key=files.key, search_tls_client_ca=client_ca
    )
    server = RpcServer("127.0.0.1:0", [SCRIPTED_SERVICE], ServerSecurity(tls=server_tls(settings, "search")))
    add_scripted_service(server.grpc_server, answer)
    address = await server.start()
    await server.set_serving(True)
    try:
        yield address
    finally:
        await server.stop(0)


def calling(ca: Path, client: Files | None = None) -> ChannelSecurity:
    settings = Secured(
        search_tls_ca=ca,
        client_tls_certificate=client.certificate if client else None,
        client_tls_key=client.key if client else None,
    )
    return ChannelSecurity(client_tls(settings, "search"))


async def call(address: str, security: ChannelSecurity) -> bytes:
    async with open_channel(address, security) as channel:
        return await channel.unary_unary(SCRIPTED_METHOD)(b"", timeout=10)


async def refused(address: str, security: ChannelSecurity) -> str:
    """The details of a call that is refused, always as UNAVAILABLE: there is no connection to say more over."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(address, security)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return caught.value.details() or ""


@pytest.mark.parametrize("host", LOCAL_HOSTS)
async def test_a_server_of_the_trusted_ca_is_called_by_each_of_its_names(ours: Certificates, host: str) -> None:
    async with serving(ours.server) as address:
        if host != "::1":  # it listens on 127.0.0.1; that ::1 is in the certificate is held elsewhere
            assert await call(f"{host}:{address.rpartition(':')[2]}", calling(ours.ca)) == b"done"


async def test_a_server_of_another_ca_is_refused(ours: Certificates, theirs: Certificates) -> None:
    async with serving(theirs.server) as address:
        details = await refused(address, calling(ours.ca))
    assert "certificate that is not accepted" in (tls_problem(details) or "")


async def test_a_server_with_an_expired_certificate_is_refused(ours: Certificates) -> None:
    async with serving(ours.expired_server()) as address:
        details = await refused(address, calling(ours.ca))
    assert tls_problem(details) == "has a certificate that is not accepted (certificate has expired)"


async def test_a_server_with_another_name_is_refused(ours: Certificates) -> None:
    elsewhere = ours.write("elsewhere", ours.authority.server(["gpu.example.org"], days=2))
    async with serving(elsewhere) as address:
        details = await refused(address, calling(ours.ca))
    assert tls_problem(details) == "has a certificate for other names than this"


async def test_a_server_without_tls_is_told(ours: Certificates) -> None:
    server = RpcServer("127.0.0.1:0", [])
    address = await server.start()
    try:
        details = await refused(address, calling(ours.ca))
    finally:
        await server.stop(0)
    assert tls_problem(details) == "does not speak TLS"


async def test_plaintext_to_a_server_with_tls_is_refused(ours: Certificates) -> None:
    async with serving(ours.server) as address:
        assert closed_at_once(await refused(address, PLAINTEXT))


async def test_a_client_with_a_certificate_is_taken(ours: Certificates) -> None:
    async with serving(ours.server, ours.ca) as address:
        assert await call(address, calling(ours.ca, ours.client)) == b"done"


@pytest.mark.parametrize("kind", ["none", "of another ca", "expired", "a server's"])
async def test_other_clients_are_not(ours: Certificates, theirs: Certificates, kind: str) -> None:
    client = {"none": None, "of another ca": theirs.client, "a server's": ours.server, "expired": ours.expired_client()}
    async with serving(ours.server, ours.ca) as address:
        details = await refused(address, calling(ours.ca, client[kind]))
        assert tls_problem(details) is None  # nothing is wrong with the server
        assert await call(address, calling(ours.ca, ours.client)) == b"done"


async def test_health_needs_a_certificate_too(ours: Certificates) -> None:
    async with serving(ours.server, ours.ca) as address:
        for security, taken in ((calling(ours.ca, ours.client), True), (calling(ours.ca), False)):
            async with open_channel(address, security) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
                if taken:
                    assert (await check).status == health_pb2.HealthCheckResponse.SERVING
                    continue
                with pytest.raises(grpc.aio.AioRpcError):
                    await check


async def test_a_running_server_takes_up_a_replaced_certificate_and_a_replaced_client_ca(
    ours: Certificates, theirs: Certificates
) -> None:
    async with (
        serving(ours.server, ours.ca) as address,
        open_channel(address, calling(ours.ca, ours.client)) as before,
    ):
        running = before.unary_unary(SCRIPTED_METHOD)(b"1", timeout=10)
        await asyncio.sleep(0.2)
        ours.write("server", theirs.authority.server(LOCAL_HOSTS, days=2))
        ours.write("ca", theirs.authority.issued)
        assert await call(address, calling(theirs.ca, theirs.client)) == b"done"
        await refused(address, calling(theirs.ca, ours.client))
        assert await running == b"done"  # on a connection that was there before


async def test_half_a_replacement_changes_nothing_and_is_logged_once(ours: Certificates) -> None:
    before = ours.ca
    async with serving(ours.server) as address:
        new = ours.authority.server(LOCAL_HOSTS, days=2)
        with capture_logs() as logs:
            ours.server.certificate.write_bytes(new.certificate)  # its key comes later
            for _ in range(3):
                assert await call(address, calling(before)) == b"done"
            assert [entry["event"] for entry in logs] == ["changed files are not taken"]
            assert "_TLS_KEY" in logs[0]["problem"]
            ours.server.key.write_bytes(new.key)
            assert await call(address, calling(before)) == b"done"
            assert logs[-1]["event"] == "files loaded again"
        ours.server.certificate.unlink()
        assert await call(address, calling(before)) == b"done"


async def test_an_open_channel_takes_up_a_replaced_client_certificate_and_ca(
    ours: Certificates, theirs: Certificates
) -> None:
    async with serving(ours.server, ours.ca) as old, serving(theirs.server, theirs.ca) as new:
        security = calling(ours.ca, ours.client)
        async with open_channel(old, security) as to_old, open_channel(new, security) as to_new:
            running = to_old.unary_unary(SCRIPTED_METHOD)(b"1", timeout=10)
            await asyncio.sleep(0.2)
            with pytest.raises(grpc.aio.AioRpcError):
                await to_new.unary_unary(SCRIPTED_METHOD)(b"", timeout=10)
            ours.write("client", theirs.authority.client("tests", days=2))
            ours.write("ca", theirs.authority.issued)
            assert await to_new.unary_unary(SCRIPTED_METHOD)(b"", timeout=10) == b"done"
            with pytest.raises(grpc.aio.AioRpcError):
                await to_old.unary_unary(SCRIPTED_METHOD)(b"", timeout=10)
            assert await running == b"done"


async def test_a_call_without_a_reader_is_cancelled_through_a_secured_channel(ours: Certificates) -> None:
    async with serving(ours.server) as address, open_channel(address, calling(ours.ca)) as channel:
        running = channel.unary_unary(SCRIPTED_METHOD)(b"60", timeout=60)
        await asyncio.sleep(0.2)
        assert running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.READY


def problem(**settings: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        server_tls(Secured(**settings), "search")
    return str(caught.value)


def test_one_setting_without_the_other_is_told(ours: Certificates) -> None:
    told = problem(search_tls_certificate=ours.server.certificate)
    assert told.startswith("GROUNDWIRE_SEARCH_TLS_CERTIFICATE is set without GROUNDWIRE_SEARCH_TLS_KEY")
    assert problem(search_tls_key=ours.server.key).startswith("GROUNDWIRE_SEARCH_TLS_KEY is set without")
    assert problem(search_tls_client_ca=ours.ca).startswith("GROUNDWIRE_SEARCH_TLS_CLIENT_CA is set without")
    with pytest.raises(SettingsError, match="GROUNDWIRE_CLIENT_TLS_KEY is set without"):
        client_tls(Secured(search_tls_ca=ours.ca, client_tls_key=ours.client.key), "search")


def test_files_that_are_no_good_are_told_with_their_setting(
    ours: Certificates, theirs: Certificates, tmp_path: Path
) -> None:
    certificate, key = ours.server.certificate, ours.server.key
    missing = tmp_path / "missing.pem"
    told = problem(search_tls_certificate=missing, search_tls_key=key)
    assert (
        told == f"GROUNDWIRE_SEARCH_TLS_CERTIFICATE names {missing}, which cannot be read: No such file or directory."
    )
    told = problem(search_tls_certificate=certificate, search_tls_key=theirs.server.key)
    assert told == (
        f"GROUNDWIRE_SEARCH_TLS_KEY names {theirs.server.key}, which is not the key of the certificate in "
        f"GROUNDWIRE_SEARCH_TLS_CERTIFICATE ({certificate})."
    )
    assert "holds no certificate in PEM" in problem(search_tls_certificate=key, search_tls_key=key)
    assert "holds no private key in PEM" in problem(search_tls_certificate=certificate, search_tls_key=certificate)
    told = problem(search_tls_certificate=certificate, search_tls_key=key, search_tls_client_ca=key)
    assert told.startswith(f"GROUNDWIRE_SEARCH_TLS_CLIENT_CA names {key}, which holds no CA certificate in PEM")
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    assert "cannot be used with the key" in problem(search_tls_certificate=damaged, search_tls_key=key)
    assert "holds no CA" in problem(
        search_tls_certificate=certificate, search_tls_key=key, search_tls_client_ca=damaged
    )
    protected = tmp_path / "protected.key"
    protected.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nnonsense\n-----END ENCRYPTED PRIVATE KEY-----\n")
    assert "passphrase" in problem(search_tls_certificate=certificate, search_tls_key=protected)


@pytest.mark.parametrize("make", [ed25519.Ed25519PrivateKey.generate, ed448.Ed448PrivateKey.generate])
def test_a_key_that_grpc_cannot_sign_with_is_told(ours: Certificates, tmp_path: Path, make: Callable[[], Any]) -> None:
    key = tmp_path / "edwards.key"
    key.write_bytes(make().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "Use one for ECDSA" in problem(search_tls_certificate=ours.server.certificate, search_tls_key=key)


def test_nothing_set_is_no_tls() -> None:
    assert server_tls(Secured(), "search") is None
    assert client_tls(Secured(), "search") is None
    assert ChannelSecurity() == PLAINTEXT


def test_a_client_certificate_without_a_ca_is_plaintext(ours: Certificates) -> None:
    settings = Secured(client_tls_certificate=ours.client.certificate, client_tls_key=ours.client.key)
    assert client_tls(settings, "search") is None


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, ours: Certificates) -> None:
    monkeypatch.setenv("HOME", str(ours.folder))
    assert client_tls(Secured(search_tls_ca="~/ca.pem"), "search") is not None
