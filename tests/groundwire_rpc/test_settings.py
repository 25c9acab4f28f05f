from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError

from groundwire_rpc.settings import ListenAddress, Settings, SettingsError, load_settings


class Example(Settings):
    """Settings of an example."""

    slots: int = 4
    listen: ListenAddress = "127.0.0.1:0"
    token: SecretStr | None = Field(default=None, validation_alias="EXAMPLE_TOKEN")


def load() -> Example:
    return load_settings(Example, env_file=None)


def test_defaults_and_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().slots == 4
    monkeypatch.setenv("GROUNDWIRE_SLOTS", "7")
    monkeypatch.setenv("GROUNDWIRE_UNKNOWN", "ignored")
    assert load().slots == 7


def test_an_empty_variable_is_as_if_it_were_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWIRE_SLOTS", "")
    assert load().slots == 4


def test_an_alias_is_read_under_its_own_name_and_masks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_TOKEN", "made-up")
    settings = load()
    assert settings.token is not None
    assert settings.token.get_secret_value() == "made-up"
    assert "made-up" not in repr(settings)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load().slots = 5


def test_every_bad_variable_is_named_without_a_traceback_or_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWIRE_SLOTS", "secret-ish")
    monkeypatch.setenv("GROUNDWIRE_LISTEN", "50051")
    with pytest.raises(SettingsError) as caught:
        load()
    message = str(caught.value)
    assert message.splitlines()[0] == "Some settings are not valid:"
    assert "  GROUNDWIRE_SLOTS: Input should be a valid integer" in message
    assert "  GROUNDWIRE_LISTEN: '50051' is not HOST:PORT" in message
    assert "secret-ish" not in message
    assert caught.value.__cause__ is None


def test_a_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("GROUNDWIRE_SLOTS=8\nEXAMPLE_TOKEN=made-up\nOTHER=1\n", encoding="utf-8")
    settings = load_settings(Example, env_file=file)
    assert settings.slots == 8
    assert settings.token is not None
    monkeypatch.setenv("GROUNDWIRE_SLOTS", "9")
    assert load_settings(Example, env_file=file).slots == 9


def test_a_missing_file_is_no_matter(tmp_path: Path) -> None:
    assert load_settings(Example, env_file=tmp_path / ".env").slots == 4


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"GROUNDWIRE_SLOTS=\xff\xfe")
    with pytest.raises(SettingsError, match=r"\.env cannot be read"):
        load_settings(Example, env_file=file)


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "0.0.0.0:0", "[::1]:65535", "search:1", "localhost:0"])
def test_addresses(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWIRE_LISTEN", address)
    assert load().listen == address


@pytest.mark.parametrize(
    "address", ["127.0.0.1", ":50051", "host:", "host:65536", "::1:5", "a b:1", "http://h:1", "h:-1"]
)
def test_no_addresses(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWIRE_LISTEN", address)
    with pytest.raises(SettingsError, match="GROUNDWIRE_LISTEN"):
        load()
