"""The files for Prometheus and Grafana. tests/e2e/test_observability.py tells whether what they name exists."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "grafana/groundwire.json").read_text(encoding="utf-8"))["panels"]
    return found


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "action"}
    for text in rule["annotations"].values():
        assert text.endswith(".")
    for used in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
        kept = used == "instance" or re.search(rf"by \([^)]*\b{used}\b", rule["expr"])
        assert kept, f"{used} is not among the labels that the expression leaves"


def test_every_alert_is_tested() -> None:
    tests = (PROMETHEUS / "alerts_test.yaml").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules() if rule["alert"] not in tests] == []


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yaml"), ("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")],
)
def test_prometheus_own_tool_agrees(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip(
            "promtool is not installed: go install github.com/prometheus/prometheus/cmd/promtool@latest. "
            "What the rules do has not been tested."
        )
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_places_and_ids_of_their_own() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels()], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_panels_say_what_they_show_and_ask_the_chosen_source() -> None:
    for panel in panels():
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["targets"], panel["title"]
