"""What a real gateway tells the services behind it of who calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.adapters.api_keys import key_line, new_key
from gateway.adapters.callers import Callers
from groundwire_rpc.callers import CALLER_KEY, CALLER_NAME
from tests.support.wired_gateway import wired

ALICE, BOB = new_key(), new_key()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"{key_line('alice', ALICE)}\n{key_line('bob', BOB)}\n")
    return path


async def told(key: str | None, count: int = 1, *, forged: str = "", **settings: Any) -> list[tuple[str, str]]:
    """The caller's name and salt that the inference service is told, for each of so many questions."""
    metadata = [("authorization", f"Bearer {key}")] if key else []
    if forged:
        metadata.append((CALLER_KEY, forged))
    async with wired(**settings) as gateway:
        for _ in range(count):
            await gateway.ask(metadata=tuple(metadata))
        searches = [call.metadata[CALLER_KEY] for call in gateway.search.calls]
        received = [(call.metadata[CALLER_KEY], call.request.cache_salt) for call in gateway.inference.calls]
    assert searches == [name for name, _ in received]
    return received


async def test_each_key_is_another_caller_with_prompts_of_its_own(keys_file: Path) -> None:
    hashes = keys_file.read_text().split()  # noqa: ASYNC240 - of a small file
    alice, again = await told(ALICE, 2, gateway_api_keys_file=keys_file)
    (bob,) = await told(BOB, gateway_api_keys_file=keys_file)
    assert alice == again
    assert alice[0] != bob[0]
    assert alice[1] != bob[1]
    for name, salt in (alice, bob):
        assert CALLER_NAME.fullmatch(name)
        assert len(salt) == 32
        assert name != salt
        for secret in (ALICE, BOB, "alice", "bob", *hashes):
            assert secret not in name + salt


async def test_nobody_names_themselves(keys_file: Path) -> None:
    honest = await told(ALICE, gateway_api_keys_file=keys_file)
    assert await told(ALICE, forged="bob", gateway_api_keys_file=keys_file) == honest
    ((name, salt),) = await told(None, forged="bob")
    assert (name == "bob", salt) == (False, "")


async def test_prompts_are_shared_where_the_operator_says_so(keys_file: Path) -> None:
    settings = {"gateway_api_keys_file": keys_file, "gateway_share_kept_prompts": True}
    ((alice, salt),), ((bob, other),) = await told(ALICE, **settings), await told(BOB, **settings)
    assert alice != bob
    assert salt == other == ""


async def test_callers_without_a_key_share_prompts_and_are_told_apart_by_address() -> None:
    first, second = await told(None, 2)
    assert first == second
    assert first[1] == ""


class Peer:
    """A call's context as far as who calls goes."""

    def __init__(self, host: str, *names: bytes) -> None:
        self._host, self._names = host, names

    def peer(self) -> str:
        return f"ipv4:{self._host}:4242"

    def peer_identities(self) -> tuple[bytes, ...] | None:
        return self._names or None


def test_gateways_that_share_a_token_give_the_same_names_and_others_do_not() -> None:
    token, other = SecretStr("made-up-0123456789"), SecretStr("made-up-9876543210")
    for peer in (Peer("192.0.2.1"), Peer("192.0.2.1", b"laptop")):
        named = [Callers(secret, share_prompts=False).named(peer) for secret in (token, token, other, None)]  # type: ignore[arg-type]
        assert named[0] == named[1]
        assert len({each.name for each in named}) == 3
        assert all(each.cache_salt for each in named) == (peer.peer_identities() is not None)
