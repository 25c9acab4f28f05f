"""models/manifest.toml: the models that are known by name, where they come from and what they must be."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from inference_service.core.errors import ModelError

MANIFEST_NAME: Final = "manifest.toml"

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]*")
_REPO: Final = re.compile(r"[\w.-]+/[\w.-]+")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_KINDS: Final[dict[str, type]] = {
    "title": str,
    "licence": str,
    "bytes": int,
    "sha256": str,
    "context": int,
    "path": str,
    "repo": str,
    "file": str,
    "revision": str,
    "system_text": str,
}
_REQUIRED: Final = ("title", "licence", "bytes", "sha256", "context")


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file on a Hugging Face hub."""

    repo: str
    """Owner and name, such as microsoft/Phi-3-mini-4k-instruct-gguf."""
    file: str
    """The file's path in the repository."""
    revision: str = "main"

    @property
    def file_name(self) -> str:
        """The file's own name: what it is called once it is here."""
        return PurePosixPath(self.file).name


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the manifest."""

    name: str
    title: str
    licence: str
    size_bytes: int
    sha256: str
    """In lower-case hexadecimal."""
    context: int
    """Tokens that the model was trained for."""
    source: HubSource | Path
    """Where it is pulled from, or the file that came with Groundwire."""
    system_text: str | None = None
    """The model's own instructions, in place of the usual ones."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """All models by name, in the file's order."""

    path: Path
    models: dict[str, ModelEntry]

    def entry(self, name: str) -> ModelEntry:
        """The model of this name. Raises ModelError that lists those there are."""
        if name not in self.models:
            raise ModelError(f"There is no model named {name!r}. Known models: {self.names}.")
        return self.models[name]

    @property
    def names(self) -> str:
        """The names, for a message."""
        return ", ".join(self.models)


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises ModelError that names the model and the key."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"The model manifest {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"The model manifest {path} is not valid TOML: {error}.") from None
    tables = document.pop("models", None)
    if document or not isinstance(tables, dict) or not tables:
        raise ModelError(f"The model manifest {path} must hold tables [models.NAME] and nothing else.")
    models = {name: _entry(path, name, table) for name, table in tables.items()}
    files = [entry.source.file_name for entry in models.values() if isinstance(entry.source, HubSource)]
    for file in files:
        if files.count(file) > 1:
            raise ModelError(f"The model manifest {path} has two models with a file named {file}.")
    return Manifest(path, models)


def _entry(path: Path, name: str, table: object) -> ModelEntry:
    def refuse(problem: str) -> ModelError:
        return ModelError(f"The model manifest {path} is not valid: [models.{name}] {problem}.")

    if not _NAME.fullmatch(name):
        raise refuse("needs a name of lower-case letters, digits, '-' and '.'")
    if not isinstance(table, dict):
        raise refuse("must be a table")
    for key, value in table.items():
        if key not in _KINDS:
            raise refuse(f"has the unknown key {key!r}")
        if not isinstance(value, _KINDS[key]) or isinstance(value, bool):
            raise refuse(f"{key} must be {'a number' if _KINDS[key] is int else 'a text'}")
        if not value or (isinstance(value, int) and value < 0):
            raise refuse(f"{key} must not be empty")
    missing = [key for key in _REQUIRED if key not in table]
    if missing:
        raise refuse(f"lacks {', '.join(missing)}")
    if not _SHA256.fullmatch(table["sha256"]):
        raise refuse("sha256 must be 64 lower-case hexadecimal digits")
    return ModelEntry(
        name=name,
        title=table["title"],
        licence=table["licence"],
        size_bytes=table["bytes"],
        sha256=table["sha256"],
        context=table["context"],
        source=_source(path, table, refuse),
        system_text=table.get("system_text"),
    )


def _source(path: Path, table: dict[str, str], refuse: Callable[[str], ModelError]) -> HubSource | Path:
    if ("path" in table) == ("repo" in table and "file" in table):
        raise refuse("needs either a path, or a repo and a file")
    file = PurePosixPath(table.get("path") or table["file"])
    if file.is_absolute() or ".." in file.parts:
        raise refuse(f"{'path' if 'path' in table else 'file'} must be relative and stay below its folder")
    if "path" in table:
        return path.parent / file
    if not _REPO.fullmatch(table["repo"]):
        raise refuse("repo must be OWNER/NAME")
    return HubSource(table["repo"], table["file"], table.get("revision", "main"))
