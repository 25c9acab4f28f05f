"""Every test starts with an environment that sets nothing for Groundwire."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith(("GROUNDWIRE_", "BRAVE_", "HF_")):
            monkeypatch.delenv(name)
