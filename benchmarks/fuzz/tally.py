"""What is counted while inputs are tried."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SLOW_SECONDS: Final = 5.0
"""Of processor time: an input that takes its reader longer has found something too."""
_MOST_TOLD: Final = 20


@dataclass(slots=True)
class Tally:
    """Over all targets. Crashing inputs are written to `folder`."""

    folder: Path
    inputs: Counter[str] = field(default_factory=Counter)
    """By target."""
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (target, how it ended)."""
    crashes: int = 0
    unlogged: int = 0
    """Statuses INTERNAL or UNKNOWN without a cause in the log."""
    slow: int = 0
    told: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def total(self) -> int:
        """Inputs tried."""
        return sum(self.inputs.values())

    def tried(self, target: str, outcome: str, seconds: float, data: bytes) -> None:
        """Count one input."""
        self.inputs[target] += 1
        self.outcomes[target, outcome] += 1
        if seconds > SLOW_SECONDS:
            self.slow += 1
            self._tell(target, data, f"took {seconds:.1f} s")

    def crashed(self, target: str, data: bytes, error: BaseException | str) -> None:
        """Note an input that ended as none may."""
        self.crashes += 1
        told = error if isinstance(error, str) else "".join(traceback.format_exception(error)[-6:])
        self._tell(target, data, told)

    def unexplained(self, target: str, data: bytes, status: str) -> None:
        """Note an INTERNAL whose cause nothing tells."""
        self.unlogged += 1
        self._tell(target, data, status)

    def _tell(self, target: str, data: bytes, told: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{target.replace('/', '-')}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
        is_known = path.exists()
        path.write_bytes(data)
        if not is_known and len(self.told) < _MOST_TOLD:
            self.told.append(f"{target}: {path}: {told}")
