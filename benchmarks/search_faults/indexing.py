"""Processes that index a folder and say which documents are through, so that they can be killed at any moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]
_PROGRAM: Final = """
import resource, sys
from pathlib import Path
from search_service.adapters.local_index_errors import IndexProblem
from search_service.adapters.local_index_store import IndexWriter
from search_service.adapters.local_indexer import Indexer

index, folder, max_file_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if max_file_bytes:
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

def tell(*, done, total, path):
    print(done, flush=True)

print("ready", flush=True)
try:
    with IndexWriter(index) as writer:
        Indexer(writer, progress=tell).add(folder)
except IndexProblem as problem:
    print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
    sys.exit(3)
"""

REFUSED: Final = 3
"""The exit status where the index could not be written; standard error then says why."""


def start_indexing(index: Path, folder: Path, *, max_file_bytes: int = 0) -> subprocess.Popen[str]:
    """A process that adds the folder to the index. It prints `ready`, then how many files are through, a line each.

    `max_file_bytes` is the size that no file of it may exceed; 0: any may.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(index), str(folder), str(max_file_bytes)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
