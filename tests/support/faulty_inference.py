"""The real inference service over a runner that fails when a file says so: `python -m tests.support.faulty_inference`.

The file is `fault` in the folder that the service runs in, and holds the name of one of FAULTS. It is looked for before
each forward pass, and each name but `decode-always` counts once.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from inference_service.__main__ import main
from inference_service.adapters.llama import LlamaRunner
from inference_service.core.ports import Chunk, Sampled

FAULT = Path("fault")
_libc = ctypes.CDLL(None)


class FaultyRunner(LlamaRunner):
    def run(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        if FAULT.exists():
            name = FAULT.read_text(encoding="utf-8")
            if name != "decode-always":
                FAULT.unlink()
            return FAULTS[name](self, chunks)
        return super().run(chunks)

    def throw(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        raise ZeroDivisionError("nobody expected this")

    def decode(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        """llama_decode refuses tokens that the vocabulary does not have."""
        return super().run([replace(chunk, tokens=(10**6, *chunk.tokens[1:])) for chunk in chunks])

    def fill_cells(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        """Take all KV cells that are left for a sequence that nobody knows, then go on."""
        spare = max(chunk.slot for chunk in chunks) + 1
        for position in range(0, 100_000, 64):
            super().run([Chunk(spare, [500] * 64, position, wants_token=False)])
        raise AssertionError("there is no end of KV cells")

    def hang(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        """In native code, as in a driver: nothing can interrupt it."""
        _libc.sleep(600)
        return super().run(chunks)

    def abort(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        """What an exception in C++ does that nobody catches."""
        _libc.abort()
        return super().run(chunks)


FAULTS: dict[str, Callable[[FaultyRunner, Sequence[Chunk]], list[Sampled]]] = {
    "throw": FaultyRunner.throw,
    "decode": FaultyRunner.decode,
    "decode-always": FaultyRunner.decode,
    "fill-cells": FaultyRunner.fill_cells,
    "hang": FaultyRunner.hang,
    "abort": FaultyRunner.abort,
}

if __name__ == "__main__":
    sys.exit(main(FaultyRunner))
