"""`groundwire model`: downloads, lists and tunes models.

Imported only when it is used (groundwire_cli.lazy_group), so this module may import what downloading needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from groundwire_cli.errors import CommandError, Interrupted
from groundwire_cli.model_progress import ModelProgress, megabytes
from groundwire_cli.terminal import write_output
from groundwire_cli.terminal_text import printable, printable_line
from groundwire_cli.tune import tune
from groundwire_rpc.settings import SettingsError
from inference_service.adapters.model_files import (
    FileState,
    file_state,
    manifest_path,
    model_path,
    partial_path,
    resolve_model,
)
from inference_service.adapters.model_manifest import HubSource, Manifest, ModelEntry, load_manifest
from inference_service.config import InferenceConfig, load_config
from inference_service.core.errors import ModelError

DEFAULT_MODEL: Final = "phi-3-mini"
"""What `pull` fetches when it is not told."""

app = typer.Typer(no_args_is_help=True)

ManifestOption = Annotated[
    Path | None,
    typer.Option(
        "--manifest", metavar="FILE", help="Take the models from this file.", dir_okay=False, show_default=False
    ),
]


@app.callback()
def model() -> None:
    """Download, list and tune models."""


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A name from `groundwire model list`.")] = DEFAULT_MODEL,
    manifest: ManifestOption = None,
) -> None:
    """Download a model, or what is missing of it, and check it. After a stop, the same command goes on from there.

    Obeys HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE. Models are kept in GROUNDWIRE_MODELS_DIR.

    Examples:

    groundwire model pull

    HF_ENDPOINT=https://hub.example.org groundwire model pull phi-3-mini
    """
    # Only here: huggingface_hub takes a second to import.
    from inference_service.adapters.model_pull import pull_model

    with _explained():
        config, entry = load_config(), _manifest(manifest).entry(name)
        try:
            with ModelProgress() as progress:
                pulled = pull_model(entry, config.models_dir, progress)
        except KeyboardInterrupt:
            raise Interrupted(
                "Stopped. What was downloaded is kept; run the same command to go on from there."
            ) from None
    verb = (
        f"downloaded ({megabytes(pulled.downloaded_bytes)}) and checked" if pulled.downloaded_bytes else "already here"
    )
    write_output(f"{entry.name} is {verb}: {printable_line(str(pulled.path))}\n")
    if isinstance(entry.source, HubSource) and config.model != entry.name:
        write_output(f"Use it with: GROUNDWIRE_MODEL={entry.name if manifest is None else pulled.path} groundwire up\n")


@app.command("list")
def list_(manifest: ManifestOption = None) -> None:
    """List the models that are known by name: size, licence, whether it is here; * marks the one set to be used."""
    with _explained():
        config, known = load_config(), _manifest(manifest)
    width = max(len(name) for name in known.models)
    for entry in known.models.values():
        mark = "*" if entry.name == config.model else " "
        size, state = megabytes(entry.size_bytes), _state(entry, config)
        line = f"{mark} {entry.name:<{width}}  {size:>9}  {entry.licence:<10}  {state:<24}  {entry.title}"
        write_output(f"{printable(line)}\n")  # a manifest may be someone else's


@app.command()
def path(
    name: Annotated[str, typer.Argument(help="A name from `groundwire model list`, or a path.", show_default=False)],
    manifest: ManifestOption = None,
) -> None:
    """Print where a model's file is. Fails where it is not here or damaged, and says what to do."""
    with _explained():
        config = load_config()
        found = resolve_model(name, config.models_dir, manifest=_manifest(manifest))
    write_output(f"{found.path}\n")


app.command()(tune)


def _manifest(path: Path | None) -> Manifest:
    return load_manifest(path or manifest_path())


def _state(entry: ModelEntry, config: InferenceConfig) -> str:
    state = file_state(entry, config.models_dir)
    if state is FileState.PARTIAL:
        done = partial_path(model_path(entry, config.models_dir)).stat().st_size
        return f"{done / entry.size_bytes:.0%} downloaded"
    pulled = isinstance(entry.source, HubSource)
    if state is FileState.READY:
        return "here" if pulled else "built in"
    return "not downloaded" if state is FileState.MISSING and pulled else state.value


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (ModelError, SettingsError) as error:
        raise CommandError(str(error)) from None
