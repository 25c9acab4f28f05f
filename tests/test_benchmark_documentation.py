"""The documentation shows what the benchmarks wrote, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.engine.results import Results
from benchmarks.engine.table import RESULTS_FILE, readme_table
from benchmarks.faults.readme_table import readme_table as faults_table
from groundwire_eval.report import shown

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def test_the_readme_has_the_table_of_the_committed_results():
    table = readme_table(Results.load(RESULTS_FILE)).strip()
    assert table in README.read_text(encoding="utf-8"), "put what `python -m benchmarks.engine.table` prints there"


def test_the_readme_has_the_faults_that_were_measured() -> None:
    table = faults_table(ROOT / "benchmarks" / "results" / "faults.json")
    assert table in README.read_text(encoding="utf-8"), "put what `python -m benchmarks.faults.readme_table` prints"


def test_the_quality_table_is_made_from_the_results() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "quality.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    assert results["judge"] in page
    sets = list(results["sets"])
    heads = " | ".join(f"{name.replace('_', ' ')} ({results['items'][name]})" for name in sets)
    assert f"| Measure | {heads} |" in page
    for measure in results["sets"]["all"]:
        cells = " | ".join(shown(measure, results["sets"][name].get(measure)) for name in sets)
        assert f"| `{measure}` | {cells} |" in page
