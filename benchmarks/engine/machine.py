"""Where and of what a result was measured: it means nothing without."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

import psutil

_ROOT = Path(__file__).parents[2]

Machine = dict[str, str | int]
"""Named facts, as they are written into the results."""


def describe_machine() -> Machine:
    """This machine, and the versions that decide how fast it is."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "os": _os(),
        "python": platform.python_version(),
        "llama_cpp_python": importlib.metadata.version("llama-cpp-python"),
    }


def current_commit() -> str:
    """The commit that is checked out, with `+changes` where files differ from it; `unknown` without git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"

    def ask(*arguments: str) -> str:
        finished = subprocess.run([git, "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=False)
        return finished.stdout.strip()

    commit = ask("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    # What the benchmark writes is no change of what it measures.
    changed = ask("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
    return f"{commit}+changes" if changed else commit


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _os() -> str:
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release().split('-')[0]}"
    except (OSError, KeyError):
        return platform.platform()
