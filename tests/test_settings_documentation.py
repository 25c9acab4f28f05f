"""`.env.example` and the README's table name every setting, with the default that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.config import GatewayConfig
from groundwire_cli.config import CliConfig
from groundwire_rpc.settings import ENV_PREFIX, Settings
from inference_service.config import InferenceConfig
from search_service.config import SearchConfig

ROOT = Path(__file__).parents[1]
SERVICES: list[type[Settings]] = [GatewayConfig, SearchConfig, InferenceConfig]


def variable(name: str, settings: type[Settings]) -> str:
    alias = settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else ENV_PREFIX + name.upper()


def all_variables(*settings_types: type[Settings]) -> set[str]:
    return {variable(name, settings) for settings in settings_types for name in settings.model_fields}


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_example_names_every_setting_and_no_other():
    assert set(example()) == all_variables(*SERVICES, CliConfig)


def test_the_readme_names_every_setting_and_no_other():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("## Settings") :]
    named = set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE))
    assert named == all_variables(*SERVICES, CliConfig)


@pytest.mark.parametrize("settings", SERVICES)
def test_the_example_is_what_the_services_do_without_it(settings: type[Settings], monkeypatch: pytest.MonkeyPatch):
    without = settings()
    for name, value in example().items():
        monkeypatch.setenv(name, value)
    assert settings() == without


def test_secrets_mask_themselves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BRAVE_API_KEY", "very-secret")
    config = SearchConfig()
    assert isinstance(config.brave_api_key, SecretStr)
    assert "very-secret" not in repr(config)
    assert "very-secret" not in str(config)
