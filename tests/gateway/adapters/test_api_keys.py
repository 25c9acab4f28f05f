from __future__ import annotations

import hashlib
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from gateway.adapters.api_keys import ApiKeys, KeyLimits, key_line, new_key, parse_keys
from groundwire_rpc.guard import CallRefused
from groundwire_rpc.settings import FileSetting, SettingsError
from tests.support.clocks import ManualClock

SETTING = "GROUNDWIRE_GATEWAY_API_KEYS_FILE"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


def gate(file: Path, limit: int = 2) -> ApiKeys:
    return ApiKeys(FileSetting(SETTING, file), KeyLimits(limit))


def refusal(keys: ApiKeys, token: str | None) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(CallRefused) as caught:
        keys.identify(token).enter()
    return caught.value.status.code, caught.value.status.reason


def test_new_keys_differ_are_long_and_go_into_a_header() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("gwk_") and len(key) == 47 and key.isascii() and " " not in key for key in keys)


def test_the_file_holds_hashes_only(file: Path) -> None:
    key = new_key()
    line = key_line("alice", key)
    assert line == f"alice {hashlib.sha256(key.encode()).hexdigest()}"
    assert parse_keys(f"# who\n\n  {line}\r\nbob\t{'0' * 64}".encode(), FileSetting(SETTING, file)) == {
        line.split()[1]: "alice",
        "0" * 64: "bob",
    }


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("alice", "line 1 is not a name and a SHA-256 hash"),
        ("# fine\ngwk_secret-made-up", "line 2 is not"),
        ("alice " + "g" * 64, "line 1 is not"),
        ("al ice " + "0" * 64, "line 1 is not"),
        ("alice " + "0" * 63, "line 1 is not"),
        ("a" * 65 + " " + "0" * 64, "line 1 is not"),
        (f"alice {'0' * 64}\nalice {'1' * 64}", "names alice twice: line 2"),
        ("\x00\xff", "line 1 is not"),
        ("", "holds no key"),
        ("# nobody\n", "holds no key"),
    ],
)
def test_a_file_that_is_no_list_of_keys_is_told_with_its_line_and_without_what_it_holds(
    file: Path, content: str, told: str
) -> None:
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(SettingsError) as caught:
        gate(file)
    assert str(caught.value).startswith(f"{SETTING} names {file}, which ")
    assert told in str(caught.value)
    assert "made-up" not in str(caught.value)


def test_a_file_that_is_missing_is_told(file: Path) -> None:
    with pytest.raises(SettingsError, match=f"{SETTING} names .* cannot be read: No such file"):
        gate(file)


def test_who_has_a_key_is_let_in_and_nobody_else(file: Path) -> None:
    alice, bob = new_key(), new_key()
    file.write_text(f"{key_line('alice', alice)}\n{key_line('bob', bob)}\n")
    keys = gate(file)
    assert keys.identify(alice) is keys.identify(alice)
    assert keys.identify(alice) is not keys.identify(bob)
    assert refusal(keys, None) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING")
    for other in (new_key(), alice[:-1], alice + "x", alice.upper(), key_line("alice", alice).split()[1], "ü", ""):
        assert refusal(keys, other) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_REFUSED")


def test_each_key_has_its_own_limit(file: Path) -> None:
    alice, bob = new_key(), new_key()
    file.write_text(f"{key_line('alice', alice)}\n{key_line('bob', bob)}\n")
    keys = gate(file, limit=2)
    for _ in range(2):
        keys.identify(alice).enter()
    with pytest.raises(CallRefused) as caught:
        keys.identify(alice).enter()
    status = caught.value.status
    assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "KEY_BUSY")
    assert status.retry_after_seconds == 1.0
    assert status.metadata == {"key": "alice", "limit": "2"}
    keys.identify(bob).enter()
    keys.identify(alice).leave()
    keys.identify(alice).enter()


def test_new_and_deleted_keys_count_at_once_and_a_damaged_file_changes_nothing(file: Path) -> None:
    alice, bob = new_key(), new_key()
    file.write_text(key_line("alice", alice) + "\n")
    keys = gate(file)
    assert refusal(keys, bob)[1] == "KEY_REFUSED"
    file.write_text(f"{key_line('alice', alice)}\n{key_line('bob', bob)}\n")
    keys.identify(bob)
    file.write_text(key_line("bob", bob) + "\n")
    assert refusal(keys, alice)[1] == "KEY_REFUSED"
    with capture_logs() as logs:
        file.write_text("nonsense made-up\n")
        for _ in range(3):
            keys.identify(bob)
        file.unlink()
        keys.identify(bob)
    assert [entry["event"] for entry in logs] == ["changed files are not taken"] * 2
    assert "made-up" not in repr(logs)
    file.write_text("# nobody any more\n")
    assert refusal(keys, bob)[1] == "KEY_REFUSED"


async def test_each_key_may_begin_so_many_calls_a_minute(file: Path) -> None:
    alice, bob = new_key(), new_key()
    file.write_text(f"{key_line('alice', alice)}\n{key_line('bob', bob)}\n")  # noqa: ASYNC240 - a small file
    clock = ManualClock()
    keys = ApiKeys(FileSetting(SETTING, file), KeyLimits(100, requests_per_minute=6), clock.monotonic)

    def call(key: str) -> None:
        holder = keys.identify(key)
        holder.enter()
        holder.leave()

    for _ in range(6):
        call(alice)
    with pytest.raises(CallRefused) as caught:
        call(alice)
    status = caught.value.status
    assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "KEY_RATE_LIMITED")
    assert status.metadata == {"key": "alice", "limit": "6"}
    assert status.retry_after_seconds == pytest.approx(10)
    call(bob)
    await clock.advance(9)
    assert refusal(keys, alice)[1] == "KEY_RATE_LIMITED"  # and asking too early costs nothing
    await clock.advance(1)
    call(alice)
    assert refusal(keys, alice)[1] == "KEY_RATE_LIMITED"
    await clock.advance(3_600)
    for _ in range(6):
        call(alice)
    assert refusal(keys, alice)[1] == "KEY_RATE_LIMITED"


def test_a_call_that_is_refused_as_too_many_run_counts_for_no_rate(file: Path) -> None:
    alice = new_key()
    file.write_text(key_line("alice", alice) + "\n")
    keys = ApiKeys(FileSetting(SETTING, file), KeyLimits(1, requests_per_minute=2), ManualClock().monotonic)
    holder = keys.identify(alice)
    holder.enter()
    for _ in range(5):
        assert refusal(keys, alice)[1] == "KEY_BUSY"
    holder.leave()
    holder.enter()
    holder.leave()
    assert refusal(keys, alice)[1] == "KEY_RATE_LIMITED"


def test_keys_that_are_gone_are_forgotten_once_their_calls_have_ended(file: Path) -> None:
    alice, bob = new_key(), new_key()
    file.write_text(key_line("alice", alice) + "\n")
    keys = gate(file)
    keys.identify(alice).enter()
    file.write_text(key_line("bob", bob) + "\n")
    keys.identify(bob)
    assert len(keys._holders) == 2
    next(iter(keys._holders.values())).leave()
    file.write_text(f"# again\n{key_line('bob', bob)}\n")
    keys.identify(bob)
    assert [holder.label for holder in keys._holders.values()] == ["bob"]
