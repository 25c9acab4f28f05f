"""Holds docs/contracts.md against the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from gateway.core.citations import CitationParser

ROOT = Path(__file__).parents[1]
CONTRACTS = (ROOT / "docs/contracts.md").read_text(encoding="utf-8")
NAMERS = (
    "groundwire_rpc/status.py",
    "gateway/core/errors.py",
    "gateway/servicer.py",
    "gateway/adapters/backends.py",
    "gateway/adapters/api_keys.py",
    "groundwire_rpc/guard.py",
    "groundwire_rpc/request_reading.py",
    "groundwire_rpc/malformed.py",
    "search_service/servicer.py",
    "inference_service/servicer.py",
)
"""The modules that give errors their reasons."""


def reasons_in(module: str) -> set[str]:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if re.fullmatch(r"[A-Z]+(?:_[A-Z]+)+|INTERNAL", text)}


def test_every_reason_of_an_error_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"^\| ([A-Z_]+) \| (?:[A-Z_]+|as received) \|", CONTRACTS, re.MULTILINE))
    assert documented == set[str]().union(*(reasons_in(module) for module in NAMERS))


def test_the_worked_example_is_what_the_parser_says() -> None:
    told = re.search(r"the answer `(.+)`, which has (\d+) characters and\s+(\d+) bytes", CONTRACTS)
    assert told is not None
    answer = told[1]
    encoded = answer.encode()
    assert (len(answer), len(encoded)) == (int(told[2]), int(told[3]))
    parser = CitationParser((1, 2))
    cited = [
        f"| {c.source_index} | {c.marker_start} to {c.marker_end} | {c.claim_start} to {c.claim_end} | "
        f"`{encoded[c.claim_start : c.claim_end].decode()}` |"
        for c in [*parser.feed(answer), *parser.finish()]
    ]
    assert cited == re.findall(r"^\| \d \| \d+ to \d+ \|.*", CONTRACTS, re.MULTILINE)
