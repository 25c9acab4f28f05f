"""The three real services wired to each other, for end-to-end tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ServiceProcess, clean_environment, running

DOCUMENTS = {
    "rain.md": (
        "# Rain gauges\n\nA rain gauge measures how much rain has fallen. Empty the gauge every morning at nine.\n\n"
        "## Cleaning\n\nClean the funnel of the rain gauge with warm water. Leaves in the funnel spoil what it shows.\n"
    ),
    "wind.md": "# Anemometers\n\nAn anemometer measures the speed of the wind. It stands ten metres above ground.\n",
    "korean.md": "# 우량계\n\n우량계는 비가 얼마나 왔는지 잰다. 매일 아침 아홉 시에 비운다.\n",
}
"""What the local index of the tests holds. Nothing else in the tests' questions is found in it."""

SLOTS = 2
INFERENCE = {
    "GROUNDWIRE_MODEL": "builtin",
    "GROUNDWIRE_INFERENCE_SLOTS": str(SLOTS),
    "GROUNDWIRE_INFERENCE_CONTEXT": "4096",
    # One, as threads that wait for each other in every step crawl where other tests use the cores too.
    "GROUNDWIRE_INFERENCE_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """Running services."""

    folder: Path
    index_path: Path
    search: ServiceProcess
    inference: ServiceProcess
    gateway: ServiceProcess

    def settings(self) -> dict[str, str]:
        """What a `groundwire` command needs to find them."""
        return {
            "GROUNDWIRE_GATEWAY_LISTEN": self.gateway.address,
            "GROUNDWIRE_SEARCH_LISTEN": self.search.address,
            "GROUNDWIRE_INFERENCE_LISTEN": self.inference.address,
        }


def build_index(folder: Path) -> Path:
    """Index DOCUMENTS with the real command. Returns the index file."""
    documents = folder / "documents"
    documents.mkdir()
    for name, text in DOCUMENTS.items():
        (documents / name).write_text(text, encoding="utf-8")
    index_path = folder / "index.sqlite3"
    subprocess.run(
        [sys.executable, "-m", "groundwire_cli", "index", "add", str(documents)],
        cwd=folder,
        env=clean_environment(GROUNDWIRE_INDEX_PATH=str(index_path)),
        check=True,
        capture_output=True,
        timeout=60,
    )
    return index_path


@contextmanager
def running_stack(folder: Path) -> Iterator[Stack]:
    """Index the documents and start all three services; stop them at the end."""
    index_path = build_index(folder)
    with ExitStack() as stack:
        inference = stack.enter_context(running("inference", folder, INFERENCE))
        search = stack.enter_context(running("search", folder, {"GROUNDWIRE_INDEX_PATH": str(index_path)}))
        gateway = stack.enter_context(running("gateway", folder, wiring(search, inference)))
        yield Stack(folder, index_path, search, inference, gateway)


def wiring(search: ServiceProcess, inference: ServiceProcess) -> dict[str, str]:
    """A gateway's settings for these services behind it."""
    return {"GROUNDWIRE_SEARCH_TARGET": search.address, "GROUNDWIRE_INFERENCE_TARGET": inference.address}
