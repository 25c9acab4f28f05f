"""What was added to an index, noted in a small file beside it too: all that is needed to build the index anew."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search_service.adapters.local_index_errors import IndexNotWritable


@dataclass(frozen=True, slots=True)
class Root:
    """A folder or file as it was added."""

    id: int
    path: Path
    """Absolute, without symbolic links."""
    is_folder: bool


def roots_file(index_path: Path) -> Path:
    """Where they are noted."""
    return Path(f"{index_path}.roots")


def write_roots(index_path: Path, roots: Sequence[Root]) -> None:
    """Note the paths, all at once or not at all. Raises IndexNotWritable."""
    target = roots_file(index_path)
    draft = Path(f"{target}.new")
    # A name that is no UTF-8 survives as escaped surrogates.
    content = json.dumps({"roots": [os.fspath(root.path) for root in roots]}, indent=1) + "\n"
    try:
        with draft.open("w", encoding="ascii") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        raise IndexNotWritable(
            f"The list of what was added, kept beside the local index, cannot be written: {error.strerror}."
        ) from error


def read_roots(index_path: Path) -> list[Path] | None:
    """The paths as they were noted. None where there is no such list, or one that cannot be read."""
    try:
        noted = json.loads(roots_file(index_path).read_text(encoding="ascii"))
        paths = noted["roots"]
        return [Path(path) for path in paths if isinstance(path, str)] if isinstance(paths, list) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
