from __future__ import annotations

from pathlib import Path

import pytest

from groundwire_rpc.settings import SettingsError, load_settings
from search_service.config import SearchConfig


def load() -> SearchConfig:
    return load_settings(SearchConfig, env_file=None)


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    config = load()
    assert config.search_listen == "127.0.0.1:50052"
    assert config.brave_api_key is None
    assert config.brave_base_url == "https://api.search.brave.com/res/v1"
    assert config.default_provider == "local"
    assert config.index_path == Path("/data/groundwire/index.sqlite3")
    assert (config.search_cache_entries, config.search_cache_seconds) == (1024, 300)
    assert (config.search_timeout_seconds, config.shutdown_grace_seconds) == (10, 10)


def test_the_index_is_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert load().index_path == Path("~/.local/share/groundwire/index.sqlite3").expanduser()
    monkeypatch.setenv("GROUNDWIRE_INDEX_PATH", "~/mine.sqlite3")
    assert load().index_path == Path("~/mine.sqlite3").expanduser()


@pytest.mark.parametrize(
    ("provider", "token", "default"),
    [("auto", "t", "brave"), ("auto", " ", "local"), ("local", "t", "local"), ("brave", "", "brave")],
)
def test_the_default_provider(monkeypatch: pytest.MonkeyPatch, provider: str, token: str, default: str) -> None:
    monkeypatch.setenv("GROUNDWIRE_SEARCH_PROVIDER", provider)
    monkeypatch.setenv("BRAVE_API_KEY", token)
    assert load().default_provider == default


def test_the_token_hides_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAVE_API_KEY", " made-up-5c1e ")
    config = load()
    assert config.brave_api_key is not None
    assert config.brave_api_key.get_secret_value() == "made-up-5c1e"
    assert "5c1e" not in f"{config!r} {config} {config.model_dump_json()}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRAVE_API_KEY", "two words 5c1e"),
        ("BRAVE_API_KEY", "line\nbreak 5c1e"),
        ("BRAVE_API_KEY", "schlüssel 5c1e"),
        ("GROUNDWIRE_BRAVE_BASE_URL", "ftp://example.org"),
        ("GROUNDWIRE_BRAVE_BASE_URL", "https://example.org/?x=1"),
        ("GROUNDWIRE_BRAVE_BASE_URL", "https://user:5c1e@example.org"),
        ("GROUNDWIRE_SEARCH_LISTEN", "50052"),
        ("GROUNDWIRE_SEARCH_PROVIDER", "bing"),
        ("GROUNDWIRE_SEARCH_CACHE_ENTRIES", "-1"),
        ("GROUNDWIRE_SEARCH_CACHE_SECONDS", "soon"),
        ("GROUNDWIRE_SEARCH_TIMEOUT_SECONDS", "0"),
        ("GROUNDWIRE_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_setting_is_named_and_a_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as caught:
        load()
    assert "5c1e" not in str(caught.value)


def test_a_trailing_slash_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWIRE_BRAVE_BASE_URL", "http://127.0.0.1:9/res/v1/")
    assert load().brave_base_url == "http://127.0.0.1:9/res/v1"
