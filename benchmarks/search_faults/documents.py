"""A folder of documents that changes from round to round, and what an index of it must hold."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from search_service.adapters.local_index_reader import IndexReader
from search_service.adapters.local_index_store import IndexWriter

_WORDS: Final = ("rain", "river", "bridge", "harbour", "lantern", "copper", "meadow", "signal", "winter", "engine")


class ChangingFolder:
    """Documents that are added and rewritten, and never removed."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self._chance = chance
        self.count = 0
        folder.mkdir(parents=True, exist_ok=True)

    def grow(self, added: int, rewritten: int) -> None:
        """Write so many new documents, and so many of the old ones again with other text."""
        for number in self._chance.sample(range(self.count), min(rewritten, self.count)):
            self._write(number)
        for number in range(self.count, self.count + added):
            self._write(number)
        self.count += added

    def _write(self, number: int) -> None:
        paragraphs = (" ".join(self._chance.choices(_WORDS, k=60)) for _ in range(self._chance.randint(1, 20)))
        text = f"# Document {number}\n\n" + ".\n\n".join(paragraphs) + f".\n\nmark{number}x ends it.\n"
        (self.folder / f"{number:06}.md").write_text(text)


def indexed_paths(index: Path) -> set[str]:
    """The documents that the index holds, read as a writer does."""
    if not index.exists():
        return set()
    with IndexWriter(index) as writer:
        return {document.path for root in writer.roots() for document in writer.documents(root)}


def not_found(index: Path, count: int) -> int:
    """How many of the folder's documents a search for their own mark does not find."""
    with IndexReader(index) as reader:
        return sum(not reader.candidates([f"mark{number}x"]) for number in range(count))
