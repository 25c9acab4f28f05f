"""What `groundwire index` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from groundwire_cli.terminal_text import printable_line
from search_service.adapters.local_index_files import NOT_TAKEN, SkippedFile
from search_service.adapters.local_index_rebuild import Rebuilt
from search_service.adapters.local_index_roots import Root
from search_service.adapters.local_index_store import DocumentRow, IndexStats
from search_service.adapters.local_indexer import Changes

_NAMED_FILES: Final = 5
"""Of each reason for skipping, this many files are named."""


def changes_line(changes: Changes) -> str:
    """One line: what an update did."""
    return (
        f"Added {changes.added:,}, updated {changes.updated:,}, unchanged {changes.unchanged:,}, "
        f"removed {changes.removed:,}, skipped {len(changes.skipped):,}."
    )


def rebuilt_lines(rebuilt: Rebuilt) -> str:
    """What a rebuild did, and what could not be brought back."""
    lines = [f"Built the index anew: {_count(rebuilt.changes.found, 'document')}."]
    lines += [
        f"  {printable_line(str(root))} was added once and is not there any more: what it held is not in the index now."
        for root in rebuilt.missing
    ]
    if rebuilt.kept is not None:
        lines.append(f"  The old file is kept as {printable_line(str(rebuilt.kept))}.")
    return "\n".join(lines)


def skipped_lines(skipped: Sequence[SkippedFile]) -> list[str]:
    """A line for each reason, with the first files that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for file in skipped:
        by_reason.setdefault(file.reason, []).append(printable_line(file.path) or ".")
    lines = []
    for reason, paths in sorted(by_reason.items()):
        # Pictures and programs beside documents are no surprise, and there may be thousands.
        named = [] if reason == NOT_TAKEN and len(paths) > _NAMED_FILES else paths[:_NAMED_FILES]
        more = f", and {len(paths) - len(named):,} more" if named and len(paths) > len(named) else ""
        lines.append(f"  skipped {len(paths):,}: {reason}" + (f": {', '.join(named)}{more}" if named else ""))
    return lines


def listing_lines(roots: Sequence[tuple[Root, Sequence[DocumentRow]]]) -> Iterator[str]:
    """What was added, each with its documents below it."""
    if not roots:
        yield "The index is empty. Add files with: groundwire index add PATH…"
    for root, documents in roots:
        chunks = sum(document.chunk_count for document in documents)
        shown = printable_line(str(root.path)) + ("/" if root.is_folder else "")
        yield f"{shown}  ({_count(len(documents), 'document')}, {_count(chunks, 'passage')})"
        for document in documents:
            indexed = datetime.fromtimestamp(document.indexed_ns / 1e9).astimezone()
            path, title = printable_line(document.path), printable_line(document.title)
            title = "" if title == path.rpartition("/")[2] else f"  {title}"
            yield f"  {document.chunk_count:>5,}  {indexed:%Y-%m-%d %H:%M}  {path}{title}"


def stats_lines(path: Path, roots: Sequence[Root], stats: IndexStats) -> list[str]:
    """How much the index holds, and where it is."""
    on_disk = sum(file.stat().st_size for suffix in ("", "-wal") if (file := Path(f"{path}{suffix}")).exists())
    return [
        f"documents   {stats.documents:,} in {_count(len(roots), 'added folder or file', 'added folders or files')}",
        f"passages    {stats.chunks:,}",
        f"their size  {stats.document_bytes:,} bytes",
        f"index size  {on_disk:,} bytes",
        f"index file  {printable_line(str(path.absolute()))}",
    ]


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
