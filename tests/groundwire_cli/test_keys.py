from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.adapters.api_keys import ApiKeys, KeyLimits
from groundwire_rpc.guard import CallRefused
from groundwire_rpc.settings import FileSetting
from tests.support.command_line import groundwire


def gate(file: Path) -> ApiKeys:
    return ApiKeys(FileSetting("FILE", file), KeyLimits(1))


async def test_a_new_key_is_printed_once_and_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    made = await groundwire("keys", "new", "alice", folder=tmp_path, GROUNDWIRE_GATEWAY_API_KEYS_FILE=str(file))
    assert made.code == 0, made.stderr
    key = made.stdout.strip()
    assert made.stdout == f"{key}\n"
    assert key not in made.stderr
    assert key not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    gate(file).identify(key)


async def test_more_keys_are_added_behind_whatever_is_there(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# ours\nbob {'0' * 64}")  # no line end
    made = await groundwire("keys", "new", "--file", "keys.txt", "ci.linux-2_x", folder=tmp_path)
    assert made.code == 0, made.stderr
    assert file.read_text().startswith(f"# ours\nbob {'0' * 64}\nci.linux-2_x ")
    gate(file).identify(made.stdout.strip())


async def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"bob {'0' * 64}\n")
    refused = await groundwire("keys", "new", "--file", "keys.txt", "bob", folder=tmp_path)
    assert (refused.code, refused.stdout) == (1, "")
    assert "has a key bob already" in refused.stderr
    assert file.read_text() == f"bob {'0' * 64}\n"


@pytest.mark.parametrize("name", ["a b", "", "x" * 65, "#x", "a\nb"])
async def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    refused = await groundwire("keys", "new", "--file", "keys.txt", name, folder=tmp_path)
    assert refused.code == 2
    assert not (tmp_path / "keys.txt").exists()


async def test_without_a_file_it_says_how_to_name_one(tmp_path: Path) -> None:
    refused = await groundwire("keys", "new", "alice", folder=tmp_path)
    assert refused.code == 2
    assert "GROUNDWIRE_GATEWAY_API_KEYS_FILE" in refused.stderr
    assert "--file" in refused.stderr


async def test_a_file_that_is_no_list_of_keys_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Dear diary\n")
    refused = await groundwire("keys", "new", "--file", "notes.txt", "alice", folder=tmp_path)
    assert refused.code == 1
    assert "--file names notes.txt, which is no list of keys" in refused.stderr
    assert file.read_text() == "Dear diary\n"


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    refused = await groundwire("keys", "new", "--file", "no/such/folder/keys.txt", "alice", folder=tmp_path)
    assert refused.code == 1
    assert "cannot be added to no/such/folder/keys.txt" in refused.stderr
    assert refused.stdout == ""


async def test_names_are_listed_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# ours\nbob {'0' * 64}\nci.linux-2_x {'1' * 64}\n")
    listed = await groundwire("keys", "list", folder=tmp_path, GROUNDWIRE_GATEWAY_API_KEYS_FILE=str(file))
    assert (listed.code, listed.stdout, listed.stderr) == (0, "bob\nci.linux-2_x\n", "")
    file.write_text("# nobody\n")
    listed = await groundwire("keys", "list", "--file", "keys.txt", folder=tmp_path)
    assert (listed.code, listed.stdout) == (0, "")
    assert "keys.txt holds no key" in listed.stderr


async def test_a_removed_key_is_gone_and_all_else_stays(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    alice = (await groundwire("keys", "new", "--file", "keys.txt", "alice", folder=tmp_path)).stdout.strip()
    bob = (await groundwire("keys", "new", "--file", "keys.txt", "alice.2", folder=tmp_path)).stdout.strip()
    file.write_text("# ours, \u00fc\r\n\n" + file.read_text() + "  # the end")
    file.chmod(0o640)
    before = file.read_bytes()
    keys = gate(file)
    keys.identify(alice)
    removed = await groundwire("keys", "remove", "--file", "keys.txt", "alice", folder=tmp_path)
    assert (removed.code, removed.stdout) == (0, "")
    assert "alice is removed from keys.txt" in removed.stderr
    (line,) = (line for line in before.splitlines(keepends=True) if line.startswith(b"alice "))
    assert file.read_bytes() == before.replace(line, b"")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    keys.identify(bob)
    with pytest.raises(CallRefused):
        keys.identify(alice)
    removed = await groundwire("keys", "remove", "--file", "keys.txt", "alice.2", folder=tmp_path)
    assert "It was the last key" in removed.stderr
    again = await groundwire("keys", "new", "--file", "keys.txt", "alice", folder=tmp_path)
    assert again.code == 0, again.stderr


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (f"bob {'0' * 64}\n", "keys.txt has no key alice"),
        ("Dear diary\n", "is no list of keys"),
        (None, "cannot be read"),
    ],
)
async def test_a_key_that_is_not_there_is_not_removed(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "keys.txt"
    if content is not None:
        file.write_text(content)
    refused = await groundwire("keys", "remove", "--file", "keys.txt", "alice", folder=tmp_path)
    assert (refused.code, refused.stdout) == (1, "")
    assert told in refused.stderr
    assert content is None or file.read_text() == content
    if content is None or "diary" in content:
        listed = await groundwire("keys", "list", "--file", "keys.txt", folder=tmp_path)
        assert listed.code == 1
        assert told in listed.stderr


@pytest.mark.parametrize("arguments", [("list",), ("remove", "alice")])
async def test_the_others_say_too_how_to_name_a_file(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    refused = await groundwire("keys", *arguments, folder=tmp_path)
    assert refused.code == 2
    assert "GROUNDWIRE_GATEWAY_API_KEYS_FILE" in refused.stderr
