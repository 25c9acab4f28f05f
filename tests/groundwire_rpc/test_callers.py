"""Who a call is from: by key, certificate or address; and whose word on it counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from groundwire_rpc.callers import CALLER_KEY, CALLER_NAME, Identity, IdentityKind, caller_label, caller_of, identity_of
from groundwire_rpc.channels import PLAINTEXT, ChannelSecurity, open_channel
from groundwire_rpc.guard import Gate, SharedToken
from groundwire_rpc.security import ServerSecurity
from groundwire_rpc.server import RpcServer
from groundwire_rpc.tls import client_tls, server_tls
from tests.support.certificates import Certificates, Secured
from tests.support.scripted_service import SCRIPTED_METHOD, SCRIPTED_SERVICE, add_scripted_service

TOKEN = "0123456789abcdef-made-up"
TOLD = ((CALLER_KEY, "alice-1"),)


class Peer:
    """A call's context as far as a caller's identity goes, for peers that no test can be."""

    def __init__(self, peer: str, *, told: tuple[str | bytes, ...] = (), names: tuple[bytes, ...] = ()) -> None:
        self._peer, self._told, self._names = peer, told, names

    def peer(self) -> str:
        return self._peer

    def peer_identities(self) -> tuple[bytes, ...] | None:
        return self._names or None

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return tuple((CALLER_KEY, value) for value in self._told)


def name_of(peer: str, *told: str | bytes, names: tuple[bytes, ...] = ()) -> str:
    return caller_of(Peer(peer, told=told, names=names))  # type: ignore[arg-type]


def identity(peer: str, names: tuple[bytes, ...] = ()) -> Identity:
    return identity_of(Peer(peer, names=names))  # type: ignore[arg-type]


class OneKey:
    """A Gate and a Caller: everyone has the same key."""

    label = "alice"
    secret = "5" * 64

    def identify(self, token: str | None) -> OneKey:
        return self

    def enter(self) -> None: ...

    def leave(self) -> None: ...


async def tell(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    return f"{caller_of(context)} {identity_of(context).kind.value} {caller_label()}".encode()


@asynccontextmanager
async def asking(
    gate: Gate | None = None, files: Certificates | None = None, *, token: str | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A client of a server that tells who its caller is."""
    tls = None
    security = PLAINTEXT
    if files is not None:
        settings = Secured(
            search_tls_certificate=files.server.certificate,
            search_tls_key=files.server.key,
            search_tls_client_ca=files.ca,
            search_tls_ca=files.ca,
            client_tls_certificate=files.client.certificate,
            client_tls_key=files.client.key,
        )
        tls = server_tls(settings, "search")
        security = ChannelSecurity(client_tls(settings, "search"))
    if token is not None:
        security = ChannelSecurity(security.tls, SecretStr(token))
    server = RpcServer("127.0.0.1:0", [SCRIPTED_SERVICE], ServerSecurity(tls, gate))
    add_scripted_service(server.grpc_server, tell)
    address = await server.start()
    try:
        async with open_channel(address, security) as channel:
            yield channel
    finally:
        await server.stop(0)


async def told(channel: grpc.aio.Channel, metadata: Any = ()) -> list[str]:
    answer: bytes = await channel.unary_unary(SCRIPTED_METHOD)(b"", timeout=10, metadata=metadata)
    return answer.decode().split(" ")


async def test_a_peer_of_this_host_may_name_the_caller_and_is_named_itself_where_it_does_not() -> None:
    async with asking() as channel:
        assert await told(channel, TOLD) == ["alice-1", "address", ""]
        own = await told(channel)
        assert own == [identity("ipv4:127.0.0.1:1").pseudonym("caller"), "address", ""]


async def test_so_may_one_who_has_the_token_and_its_own_name_is_no_secret_of_the_token() -> None:
    gate = SharedToken(SecretStr(TOKEN), "GROUNDWIRE_BACKEND_TOKEN")
    async with asking(gate, token=TOKEN) as channel:
        assert await told(channel, TOLD) == ["alice-1", "address", ""]
        assert (await told(channel))[1] == "address"


async def test_one_with_a_key_is_known_by_it(tmp_path: Path) -> None:
    async with asking(OneKey()) as channel:
        named = await told(channel)
        assert named == [Identity(IdentityKind.KEY, OneKey.secret).pseudonym("caller"), "key", "alice"]
    async with asking(OneKey(), Certificates(tmp_path)) as channel:
        assert await told(channel) == named


async def test_one_with_a_certificate_is_known_by_it_and_may_name_others(tmp_path: Path) -> None:
    files = Certificates(tmp_path)
    async with asking(files=files) as channel:
        named, kind, _ = await told(channel)
        assert kind == "certificate"
        assert named != identity("ipv4:127.0.0.1:1").pseudonym("caller")
        assert (await told(channel, TOLD))[0] == "alice-1"
    files.write("client", files.authority.client("others", days=2))
    async with asking(files=files) as channel:
        assert (await told(channel))[0] != named


def test_nobody_else_is_believed() -> None:
    stranger = name_of("ipv4:192.0.2.7:1")
    assert name_of("ipv4:192.0.2.7:2", "alice-1") == stranger
    assert name_of("ipv6:%5B2001:db8::1%5D:1", "alice-1") == name_of("ipv6:%5B2001:db8::1%5D:2")
    assert name_of("something new", "alice-1") == name_of("something new")
    for believed in ("ipv4:127.0.0.1:1", "ipv6:%5B::1%5D:1", "ipv6:%5B::ffff:127.0.0.1%5D:1", "unix:", "unix:/run/x"):
        assert name_of(believed, "alice-1") == "alice-1"
    assert name_of("ipv4:192.0.2.7:1", "alice-1", names=(b"gateway",)) == "alice-1"


@pytest.mark.parametrize("told", [("",), ("x" * 65,), ("a b",), ("é".encode(),), ("a\n",), ("alice", "bob")])
def test_what_is_no_name_is_not_taken(told: tuple[str | bytes, ...]) -> None:
    assert name_of("ipv4:127.0.0.1:1", *told) == name_of("ipv4:127.0.0.1:2")


def test_callers_are_told_apart_by_what_they_cannot_change_at_will() -> None:
    def one(first: Identity, second: Identity) -> bool:
        return first.pseudonym("caller") == second.pseudonym("caller")

    assert one(identity("ipv4:192.0.2.7:1"), identity("ipv4:192.0.2.7:65535"))
    assert not one(identity("ipv4:192.0.2.7:1"), identity("ipv4:192.0.2.8:1"))
    assert one(identity("ipv6:%5B2001:db8::1%5D:1"), identity("ipv6:%5B2001:db8::ffff:2%5D:1"))
    assert not one(identity("ipv6:%5B2001:db8::1%5D:1"), identity("ipv6:%5B2001:db8:0:1::1%5D:1"))
    assert one(identity("ipv6:%5B::ffff:192.0.2.7%5D:1"), identity("ipv4:192.0.2.7:9"))
    assert one(identity("ipv6:%5Bfe80::1%25eth0%5D:1"), identity("ipv6:%5Bfe80::1%25eth1%5D:1"))
    assert one(identity("ipv4:192.0.2.7:1", names=(b"a", b"b")), identity("ipv4:192.0.2.8:1", names=(b"a", b"b")))
    assert not one(identity("ipv4:192.0.2.7:1", names=(b"a",)), identity("ipv4:192.0.2.7:1", names=(b"b",)))


def test_a_pseudonym_is_a_name_that_gives_nothing_away() -> None:
    known = Identity(IdentityKind.ADDRESS, "192.0.2.7")
    assert CALLER_NAME.fullmatch(known.pseudonym("caller"))
    assert known.pseudonym("caller") == known.pseudonym("caller")
    assert known.pseudonym("caller") != known.pseudonym("prompts")
    assert known.pseudonym("caller", b"one process") != known.pseudonym("caller", b"another process")
    key = Identity(IdentityKind.KEY, "5" * 64)
    assert key.pseudonym("caller", b"one process") == key.pseudonym("caller", b"another process")
    assert "5" * 64 not in repr(key)
