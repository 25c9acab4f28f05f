"""What this host offers: memory and cores, as far as this process may use them."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def free_memory_bytes() -> int:
    """Memory that can be taken without swapping, within the container's limit where there is one (cgroup v2)."""
    free = int(psutil.virtual_memory().available)
    limit, used = _read_number(_CGROUP / "memory.max"), _read_number(_CGROUP / "memory.current")
    return free if limit is None or used is None else max(0, min(free, limit - used))


def usable_cores() -> int:
    """Physical cores that this process may run on, at least 1. Hyper-threads do not speed up matrix products."""
    allowed = len(os.sched_getaffinity(0))
    logical = psutil.cpu_count(logical=True) or allowed
    physical = psutil.cpu_count(logical=False) or logical
    return max(1, min(physical, allowed * physical // logical))


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no cgroup v2 here, or "max": no limit
        return None
