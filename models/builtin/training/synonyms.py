"""Words of the same meaning, from WordNet's database files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

SENSES: Final = 2
"""Of each word, the most frequent ones: rarer senses give odd questions."""
_PARTS_OF_SPEECH: Final = ("noun", "verb", "adj", "adv")


def load(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """For each word (lower case, one word) its synonyms. `folder` holds index.noun, data.noun and so on: wndb(5WN)."""
    found: dict[str, list[str]] = {}
    for part in _PARTS_OF_SPEECH:
        synsets = _synsets(folder / f"data.{part}")
        for line in (folder / f"index.{part}").read_text(encoding="ascii").splitlines():
            if line.startswith(" "):
                continue
            fields = line.split()
            lemma, count = fields[0], int(fields[2])
            if "_" in lemma or not lemma.isalpha():
                continue
            for offset in fields[-count:][:SENSES]:
                words = (word for word in synsets.get(offset, ()) if word != lemma)
                found.setdefault(lemma, []).extend(words)
    return {lemma: tuple(dict.fromkeys(words)) for lemma, words in found.items() if words}


def _synsets(path: Path) -> dict[str, list[str]]:
    synsets = {}
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(" "):
            continue
        fields = line.split()
        count = int(fields[3], 16)
        words = [fields[4 + 2 * number].partition("(")[0].lower() for number in range(count)]
        synsets[fields[0]] = [word for word in words if word.isalpha()]
    return synsets
