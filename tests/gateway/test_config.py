from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from groundwire_rpc.settings import SettingsError, load_settings


def test_the_defaults_are_the_pinned_ones() -> None:
    config = load_settings(GatewayConfig, env_file=None)
    assert config.gateway_listen == "127.0.0.1:50051"
    assert config.search_target == "127.0.0.1:50052"
    assert config.inference_target == "127.0.0.1:50053"
    assert config.ask_timeout_seconds == 120
    assert config.gateway_search_timeout_seconds == 10
    assert (config.gateway_circuit_failures, config.gateway_circuit_open_seconds) == (5, 5)
    assert config.shutdown_grace_seconds == 10


def test_a_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROUNDWIRE_SEARCH_TARGET", "dns:///search:50052")
    (tmp_path / ".env").write_text("GROUNDWIRE_ASK_TIMEOUT_SECONDS=30\n")
    config = load_settings(GatewayConfig, env_file=tmp_path / ".env")
    assert (config.search_target, config.ask_timeout_seconds) == ("dns:///search:50052", 30)


@pytest.mark.parametrize(
    "name",
    [
        "ASK_TIMEOUT_SECONDS",
        "GATEWAY_SEARCH_TIMEOUT_SECONDS",
        "GATEWAY_CIRCUIT_FAILURES",
        "GATEWAY_CIRCUIT_OPEN_SECONDS",
    ],
)
def test_no_time_and_no_failures_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GROUNDWIRE_{name}", "0")
    with pytest.raises(SettingsError, match=name):
        load_settings(GatewayConfig, env_file=None)
