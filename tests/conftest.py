"""Every test starts with an environment that sets nothing for Groundwire."""

from __future__ import annotations

import os

import hypothesis
import pytest

# A busy machine is no failure; pytest-timeout bounds each test.
hypothesis.settings.register_profile("groundwire", deadline=None, print_blob=True)
hypothesis.settings.load_profile("groundwire")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith(("GROUNDWIRE_", "BRAVE_", "HF_", "OTEL_")):
            monkeypatch.delenv(name)
