"""The README shows what the benchmark wrote, and nothing else."""

from __future__ import annotations

from pathlib import Path

from benchmarks.engine.results import Results
from benchmarks.engine.table import RESULTS_FILE, readme_table

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_has_the_table_of_the_committed_results():
    table = readme_table(Results.load(RESULTS_FILE)).strip()
    assert table in README.read_text(encoding="utf-8"), "put what `python -m benchmarks.engine.table` prints there"
