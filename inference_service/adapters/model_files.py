"""Finds model files: where the manifest and the downloads are, and which file a name or a path means."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from inference_service.adapters.model_manifest import MANIFEST_NAME, HubSource, Manifest, ModelEntry, load_manifest
from inference_service.core.errors import ModelError

GGUF_MAGIC: Final = b"GGUF"
PARTIAL_SUFFIX: Final = ".part"
"""Behind the name of a file that is not whole yet."""

_BESIDE_THE_PACKAGES: Final = Path(__file__).resolve().parents[2] / "models"
_IN_THE_PACKAGE: Final = Path(__file__).resolve().parents[1] / "models"


class FileState(Enum):
    """How much of a model is here."""

    READY = "ready"
    MISSING = "missing"
    PARTIAL = "partly downloaded"
    WRONG_SIZE = "wrong size"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file that is there."""

    path: Path
    name: str
    system_text: str | None = None
    """The model's own instructions, where the manifest gives some."""


def manifest_path() -> Path:
    """The manifest that came with Groundwire: in an installed package, else in the checkout."""
    installed = _IN_THE_PACKAGE / MANIFEST_NAME
    return installed if installed.is_file() else _BESIDE_THE_PACKAGES / MANIFEST_NAME


def default_models_dir() -> Path:
    """Where pulled models are kept: in a checkout below models/, else in the user's cache."""
    if manifest_path().parent == _BESIDE_THE_PACKAGES:
        return _BESIDE_THE_PACKAGES / "downloads"
    return Path.home() / ".cache" / "groundwire" / "models"


def model_path(entry: ModelEntry, models_dir: Path | None) -> Path:
    """Where a model of the manifest is, or will be once it is pulled."""
    if isinstance(entry.source, HubSource):
        return (models_dir or default_models_dir()).expanduser() / entry.source.file_name
    return entry.source


def partial_path(path: Path) -> Path:
    """Where a download is kept until it is whole."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def file_state(entry: ModelEntry, models_dir: Path | None) -> FileState:
    """How much of a model is here, by its size alone."""
    path = model_path(entry, models_dir)
    if path.is_file():
        return FileState.READY if path.stat().st_size == entry.size_bytes else FileState.WRONG_SIZE
    return FileState.PARTIAL if partial_path(path).is_file() else FileState.MISSING


def resolve_model(name_or_path: str, models_dir: Path | None = None, *, manifest: Manifest | None = None) -> ModelFile:
    """Find the file that GROUNDWIRE_MODEL means: a path of a GGUF file, or a name in the manifest.

    Raises ModelError, one paragraph that says what to do, where it is missing, cut short or no GGUF file.
    """
    known = manifest or load_manifest(manifest_path())
    if name_or_path in known.models:
        return _known_model(known.models[name_or_path], models_dir)
    try:
        path = Path(name_or_path).expanduser()
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except (OSError, RuntimeError) as error:  # no right to look, too long a name, ~ of a user there is not
        why = error.strerror if isinstance(error, OSError) else error
        raise ModelError(
            f"GROUNDWIRE_MODEL cannot be looked up: {why}. It must be the path of a GGUF file that this process may "
            f"read, or one of these names: {known.names}."
        ) from None
    if mode is not None and stat.S_ISDIR(mode):
        raise ModelError(f"GROUNDWIRE_MODEL is {name_or_path}, a folder. Give the path of a GGUF file in it.")
    if mode is None:
        if "/" in name_or_path or name_or_path.endswith(".gguf"):
            raise ModelError(
                f"There is no model file {name_or_path}. Set GROUNDWIRE_MODEL to the path of a GGUF file, or to one of "
                f"these names: {known.names}."
            )
        raise ModelError(
            f"There is no model named {name_or_path!r}, and no file of that name. Set GROUNDWIRE_MODEL to one of these "
            f"names: {known.names}; or to the path of a GGUF file."
        )
    if not stat.S_ISREG(mode):  # to open a pipe would wait for someone to write
        raise ModelError(f"GROUNDWIRE_MODEL is {name_or_path}, which is no regular file. Set it to a GGUF file.")
    _check_magic(path, "Set GROUNDWIRE_MODEL to a GGUF file.")
    return ModelFile(path, path.stem)


def _known_model(entry: ModelEntry, models_dir: Path | None) -> ModelFile:
    path = model_path(entry, models_dir)
    pulled = isinstance(entry.source, HubSource)
    fetch = f"`groundwire model pull {entry.name}`"
    remedy = (
        f"Fetch it with {fetch}." if pulled else "It came with Groundwire: restore it, or install Groundwire again."
    )
    if path.is_dir():
        raise ModelError(f"{path}, where the model {entry.name} should be, is a folder. Move it away. {remedy}")
    match file_state(entry, models_dir):
        case FileState.MISSING:
            raise ModelError(f"The model {entry.name} is not here: there is no file {path}. {remedy}")
        case FileState.PARTIAL:
            done = partial_path(path).stat().st_size
            raise ModelError(
                f"The model {entry.name} is only partly downloaded: {done:,} of {entry.size_bytes:,} bytes. "
                f"Go on with {fetch}."
            )
        case FileState.WRONG_SIZE:
            raise ModelError(
                f"The model file {path} is damaged: it has {path.stat().st_size:,} bytes, and {entry.size_bytes:,} are "
                f"right. {remedy}"
            )
        case FileState.READY:
            _check_magic(path, remedy)
    return ModelFile(path, entry.name, entry.system_text)


def _check_magic(path: Path, remedy: str) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        raise ModelError(f"The model file {path} cannot be read: {error.strerror}.") from None
    if magic != GGUF_MAGIC:
        raise ModelError(f"The file {path} is no GGUF file: it does not begin with GGUF. {remedy}")
