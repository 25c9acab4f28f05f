"""The README's table: what was promised, what was measured, and whether it holds.

`python -m benchmarks.engine.table` prints it from benchmarks/results/engine.json.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.engine.metrics import amount
from benchmarks.engine.results import Results, ResultsUnusable
from benchmarks.engine.targets import TARGETS, Target

RESULTS_FILE = Path(__file__).parents[1] / "results" / "engine.json"

_HEAD = ("Measured", "Groundwire", "Peer", "", "Ratio", "Promised", "Holds")
_ALIGNED = ("---", "---:", "---:", "---", "---:", "---:", "---")


def readme_table(results: Results) -> str:
    """A Markdown table of every target, and a line that says on what machine it was measured."""
    lines = [_line(_HEAD), _line(_ALIGNED), *(_line(_cells(target, results)) for target in TARGETS)]
    return "\n".join(["\n".join(lines), "", _machine(results), ""])


def _cells(target: Target, results: Results) -> tuple[str, ...]:
    ratio = target.ratio(results)
    if ratio is None:
        return target.title, "", "", target.role, "not measured", target.bound, ""
    holds = "" if not target.bound else "yes" if target.holds(ratio) else "**no**"
    rows = target.rows(results)
    if len(rows) > 1:
        return target.title, "", "", target.role, f"{ratio:.2f}", target.bound, holds
    (row,) = rows
    peer = "" if row.peer is None else amount(row.peer, row.unit)
    return target.title, amount(row.ours, row.unit), peer, row.peer_name or "", f"{ratio:.2f}", target.bound, holds


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _machine(results: Results) -> str:
    machine, commits = results.machine, sorted({row.commit for row in results.rows})
    return (
        f"Measured at {', '.join(commits) or results.commit} on {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['os']}, llama-cpp-python {machine['llama_cpp_python']}, by "
        "`make bench-engine`. Each number is the median of its rounds; a ratio is the median of the rounds' own ratios."
    )


def main(path: Path = RESULTS_FILE) -> int:
    """Print the table of a file of results. Returns 1 where there are none."""
    try:
        print(readme_table(Results.load(path)))
    except ResultsUnusable as error:
        print(f"table: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
