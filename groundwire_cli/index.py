"""`groundwire index`: adds, lists and removes documents of the local index. It opens the index file itself.

Imported only when it is used (groundwire_cli.lazy_group), so this module may import what indexing needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from groundwire_cli.errors import CommandError, Interrupted
from groundwire_cli.index_text import changes_line, listing_lines, rebuilt_lines, skipped_lines, stats_lines
from groundwire_cli.terminal import error_console, write_output
from groundwire_cli.terminal_text import printable_line
from groundwire_rpc.settings import SettingsError, load_settings
from search_service.adapters.local_index_check import check_index
from search_service.adapters.local_index_errors import IndexDamaged, IndexMissing, IndexOutdated, IndexProblem
from search_service.adapters.local_index_rebuild import Rebuilt, rebuild
from search_service.adapters.local_index_roots import Root
from search_service.adapters.local_index_store import IndexWriter
from search_service.adapters.local_indexer import Changes, Indexer
from search_service.config import SearchConfig

app = typer.Typer(no_args_is_help=True)

IndexOption = Annotated[
    Path | None,
    typer.Option("--index", metavar="FILE", help="The index file. Default: GROUNDWIRE_INDEX_PATH.", dir_okay=False),
]
Paths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Folders or files.", show_default=False)]


@app.callback()
def index() -> None:
    """Add, list and remove documents of the local index, which the local search provider searches."""


@app.command()
def add(paths: Paths, index_file: IndexOption = None) -> None:
    """Index Markdown, text and HTML files, and folders of them; bring up to date what was added before.

    Only new and changed files are read, and what is gone from a folder is removed. A running search service sees
    each file as soon as it is through. Hidden files, symbolic links, binary files and files over 8 MiB are skipped.
    An index that is damaged is built anew first.

    Examples:

    groundwire index add ~/notes handbook.html
    """
    for path in paths:
        _require_readable(path)
    _mend(_index_path(index_file))
    with _opened(index_file) as writer:
        changes = Changes()
        try:
            with _progress_bar() as progress:
                for path in paths:
                    changes += Indexer(writer, progress=progress).add(path)
        except KeyboardInterrupt:
            raise Interrupted(
                "Stopped. What was indexed so far is kept; run the same command to do the rest."
            ) from None
        except FileNotFoundError as error:
            raise CommandError(f"{printable_line(str(error.filename))} is gone. Nothing more was indexed.") from None
    lines = skipped_lines(changes.skipped)
    if not changes.found and not changes.removed:
        named = ", ".join(printable_line(str(path)) for path in paths)
        raise CommandError("\n".join([f"Nothing to index in {named}: no Markdown, text or HTML with content.", *lines]))
    write_output("\n".join([changes_line(changes), *lines]) + "\n")


@app.command("list")
def list_(index_file: IndexOption = None) -> None:
    """List what was added, and every document in it: passages, when it was indexed, path and title."""
    with _opened_existing(index_file) as writer:
        for line in listing_lines([(root, writer.documents(root)) for root in writer.roots()]):
            write_output(line + "\n")


@app.command()
def remove(paths: Paths, index_file: IndexOption = None) -> None:
    """Remove folders or files from the index, named as they were added. The files themselves stay.

    Examples:

    groundwire index remove ~/notes
    """
    with _opened_existing(index_file) as writer:
        roots = writer.roots()
        chosen = [_root_at(path, roots) for path in paths]
        removed = sum(writer.remove_root(root) for root in {root.id: root for root in chosen}.values())
    write_output(f"Removed {removed:,} document{'' if removed == 1 else 's'}.\n")


@app.command()
def stats(index_file: IndexOption = None) -> None:
    """Tell how much the index holds, and where it is."""
    path = _index_path(index_file)
    with _opened_existing(index_file) as writer:
        write_output("\n".join(stats_lines(path, writer.roots(), writer.stats())) + "\n")


@app.command("rebuild")
def rebuild_(index_file: IndexOption = None) -> None:
    """Build the index anew from the files that were added. The old file is kept beside it, as FILE.damaged."""
    path = _index_path(index_file)
    if not path.exists():
        raise _no_index(path)
    write_output(f"{rebuilt_lines(_rebuild(path))}\n")


def _mend(path: Path) -> None:
    """Look the index over, and build it anew where it is damaged or was made by an older Groundwire."""
    with _problems_of(path):
        try:
            if path.exists() and path.stat().st_size:
                check_index(path, words=True)
        except IndexMissing:
            return
        except (IndexDamaged, IndexOutdated) as problem:
            error_console().print(f"{problem}\nBuilding it anew.", markup=False, highlight=False)
            error_console().print(rebuilt_lines(_rebuild(path)), markup=False, highlight=False)


def _rebuild(path: Path) -> Rebuilt:
    with _problems_of(path), _progress_bar() as progress:
        try:
            return rebuild(path, progress=progress)
        except KeyboardInterrupt:
            raise Interrupted("Stopped. The index is as it was.") from None


def _require_readable(path: Path) -> None:
    shown = printable_line(str(path))
    if not path.exists():
        raise CommandError(f"{shown} does not exist. If it was added before, take it out with: groundwire index remove")
    if not os.access(path, os.R_OK):
        raise CommandError(f"{shown} cannot be read by this user.")
    if not (path.is_dir() or path.is_file()):
        raise CommandError(f"{shown} is neither a folder nor a file.")


def _root_at(path: Path, roots: list[Root]) -> Root:
    resolved = path.resolve()
    for root in roots:
        if root.path == resolved:
            return root
    shown = printable_line(str(path))
    for root in roots:
        if root.is_folder and resolved.is_relative_to(root.path):
            raise CommandError(
                f"{shown} was added as a part of {printable_line(str(root.path))}. Remove that; or delete the file, "
                "then add the folder again."
            )
    raise CommandError(f"{shown} was not added. `groundwire index list` shows what was.")


def _index_path(index_file: Path | None) -> Path:
    if index_file is not None:
        return index_file
    try:
        return load_settings(SearchConfig).index_path
    except SettingsError as error:
        raise CommandError(str(error)) from None


@contextmanager
def _opened(index_file: Path | None) -> Iterator[IndexWriter]:
    path = _index_path(index_file)
    with _problems_of(path), IndexWriter(path) as writer:
        yield writer


@contextmanager
def _problems_of(path: Path) -> Iterator[None]:
    try:
        yield
    except IndexProblem as problem:
        raise CommandError(f"{problem}\nThe index file is {printable_line(str(path.absolute()))}.") from None


@contextmanager
def _opened_existing(index_file: Path | None) -> Iterator[IndexWriter]:
    path = _index_path(index_file)
    if not path.exists():
        raise _no_index(path)
    with _opened(path) as writer:
        yield writer


def _no_index(path: Path) -> CommandError:
    shown = printable_line(str(path.absolute()))
    return CommandError(f"There is no index at {shown}. Make one with: groundwire index add PATH…")


class _ProgressBar:
    """Shows how far indexing is, on standard error where that is a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def __call__(self, *, done: int, total: int, path: str) -> None:
        self._progress.update(self._task, completed=done, total=total, description=printable_line(path)[-40:])


@contextmanager
def _progress_bar() -> Iterator[_ProgressBar]:
    console = error_console()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _ProgressBar(progress)
