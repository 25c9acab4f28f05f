"""The texts that examples are made of: documentation that Debian packages under free licences."""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from selectolax.lexbor import LexborHTMLParser

from inference_service.core.sentences import sentence_ends

SHORTEST_PARAGRAPH: Final = 60
LONGEST_PARAGRAPH: Final = 900
"""Characters. Shorter ones are headings and menu entries; longer ones would fill a prompt alone."""
SHORTEST_SENTENCE: Final = 25
LONGEST_SENTENCE: Final = 260
"""Characters of a sentence that may be asked for."""
TITLE_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package and where its texts are."""

    name: str
    pattern: str
    """Of its files, from the folder that it is unpacked into. `{language}` stands for the language's folder."""
    licence: str
    languages: tuple[tuple[str, str], ...] = (("en", ""),)
    """Language codes and their folders."""


PACKAGES: Final = (
    Package("dict-foldoc", "usr/share/dictd/foldoc.dict.dz", "GFDL-1.2+"),
    Package("postgresql-doc-15", "usr/share/doc/postgresql-doc-15/html/**/*.html", "PostgreSQL"),
    Package("sqlite3-doc", "usr/share/doc/sqlite3/**/*.html", "public domain"),
    Package("python3.11-doc", "usr/share/doc/python3.11/html/**/*.html", "PSF-2.0"),
    Package("git-doc", "usr/share/doc/git/html/**/*.html", "GPL-2.0"),
    Package("debian-reference-en", "usr/share/debian-reference/*.html", "GPL-2.0+"),
    Package("anarchism", "usr/share/doc/anarchism/html/*.html", "GPL-2.0+"),
    Package(
        "debian-handbook",
        "usr/share/doc/debian-handbook/html/{language}/*.html",
        "GPL-2.0+",
        (
            ("en", "en-US"), ("de", "de-DE"), ("fr", "fr-FR"), ("es", "es-ES"), ("it", "it-IT"), ("pt", "pt-BR"),
            ("nl", "nl-NL"), ("ru", "ru-RU"), ("ja", "ja-JP"), ("zh", "zh-CN"), ("ko", "ko-KR"), ("pl", "pl-PL"),
        ),
    ),
    Package(
        "gnome-user-docs",
        "usr/share/help/{language}/gnome-help/*.page",
        "CC-BY-SA-3.0",
        (
            ("en", "C"), ("de", "de"), ("fr", "fr"), ("es", "es"), ("it", "it"), ("ko", "ko"), ("pl", "pl"),
            ("ru", "ru"), ("ja", "ja"), ("zh", "zh_CN"), ("sv", "sv"), ("nl", "nl"), ("pt", "pt_BR"),
        ),
    ),
    *(
        Package(
            f"libreoffice-help-{package}",
            f"usr/share/libreoffice/help/{folder}/text/**/*.html",
            "MPL-2.0",
            ((language, ""),),
        )
        for package, folder, language in (
            ("en-us", "en-US", "en"), ("ko", "ko", "ko"), ("de", "de", "de"), ("fr", "fr", "fr"),
            ("es", "es", "es"), ("ja", "ja", "ja"),
        )
    ),
)  # fmt: skip
"""What `download` brings. The licences are those of each package's copyright file."""

THESAURUS: Final = "wordnet-base"
"""WordNet 3.0, of which questions take their synonyms."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph of a document, in sentences."""

    document: int
    """The document's number: passages of one document are about the same subject."""
    title: str
    language: str
    sentences: tuple[str, ...]


def download(folder: Path) -> None:
    """Bring and unpack the packages into `folder`/text; what is there stays.

    Raises OSError where apt-get or dpkg-deb is missing, CalledProcessError where a package cannot be had.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise OSError(f"{tool} is not installed: the texts come from Debian packages, so this runs on Debian")
    packed, text = folder / "packages", folder / "text"
    packed.mkdir(parents=True, exist_ok=True)
    for name in (*(package.name for package in PACKAGES), THESAURUS):
        if (text / name).is_dir():
            continue
        if not list(packed.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", "--quiet", name], cwd=packed, check=True)  # noqa: S607
        unpacking = text / f"{name}.unpacking"
        shutil.rmtree(unpacking, ignore_errors=True)
        unpacking.mkdir(parents=True)
        deb = next(packed.glob(f"{name}_*.deb"))
        subprocess.run(["dpkg-deb", "--extract", str(deb), str(unpacking)], check=True)  # noqa: S607
        unpacking.rename(text / name)


def build(folder: Path) -> Path:
    """Write the passages of `folder`/text to `folder`/corpus.jsonl, one document a line, in a seeded order."""
    documents = []
    seen: set[str] = set()
    for package in PACKAGES:
        for language, title, paragraphs in _documents(folder / "text" / package.name, package):
            fresh = [paragraph for paragraph in dict.fromkeys(paragraphs) if paragraph not in seen]
            seen.update(fresh)
            if fresh:
                documents.append({"package": package.name, "language": language, "title": title, "text": fresh})
    random.Random(0).shuffle(documents)
    path = folder / "corpus.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for document in documents:
            lines.write(json.dumps(document, ensure_ascii=False) + "\n")
    return path


def load(path: Path) -> list[Passage]:
    """The passages of a corpus that have a sentence to ask for."""
    passages = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            document = json.loads(line)
            for paragraph in document["text"]:
                sentences = tuple(
                    sentence
                    for sentence in split_sentences(paragraph)
                    if least_sentence(document["language"]) < len(sentence) < LONGEST_SENTENCE
                )
                if sentences:
                    passages.append(Passage(number, document["title"], document["language"], sentences))
    return passages


def least_sentence(language: str) -> int:
    """Characters of the shortest sentence: scripts that write a syllable or a word a character need fewer."""
    return SHORTEST_SENTENCE // 2 if language in ("ja", "ko", "zh") else SHORTEST_SENTENCE


def split_sentences(text: str) -> list[str]:
    """The sentences of a paragraph, by the inference service's own rule."""
    sentences, start = [], 0
    for end in sentence_ends(text):
        if sentence := text[start:end].strip():
            sentences.append(sentence)
        start = end
    return sentences


def _documents(folder: Path, package: Package) -> Iterator[tuple[str, str, list[str]]]:
    if package.name == "dict-foldoc":
        for title, paragraphs in _dictionary(folder / package.pattern):
            yield "en", title, [paragraph for paragraph in paragraphs if is_prose(paragraph, "en")]
        return
    for language, name in package.languages:
        for path in sorted(folder.glob(package.pattern.format(language=name))):
            title, paragraphs = _page(path)
            prose = [paragraph for paragraph in paragraphs if is_prose(paragraph, language)]
            if title and prose:
                yield language, title, prose


def _page(path: Path) -> tuple[str, list[str]]:
    tree = LexborHTMLParser(path.read_text(encoding="utf-8", errors="replace"))
    for node in tree.css("pre, script, style, table, header, nav, aside, info, cite"):
        node.decompose()
    found = tree.css_first("title")
    title = _one_space(found.text()) if found else ""
    return title[:TITLE_CHARACTERS].strip(), [_one_space(node.text()) for node in tree.css("p, dd")]


def _dictionary(path: Path) -> Iterator[tuple[str, list[str]]]:
    entries = re.split(r"\n(?=\S)", gzip.decompress(path.read_bytes()).decode(errors="replace"))
    for entry in entries:
        title, _, body = entry.partition("\n")
        paragraphs = (_one_space(re.sub("[{}]", "", part)) for part in re.split(r"\n\s*\n", body))
        # Entries begin with labels such as <language> and end with their date.
        bare = [re.sub(r"^(<[^>]*>\s*)+|\s*\([^)]*\)\s*$", "", paragraph) for paragraph in paragraphs]
        if 1 < len(title.strip()) < TITLE_CHARACTERS:
            yield title.strip(), bare


def is_prose(paragraph: str, language: str) -> bool:
    """Whether a paragraph reads like text: long enough, of letters for the most part, with an end."""
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    return (
        least_sentence(language) * 2 < len(paragraph) < LONGEST_PARAGRAPH
        and letters / len(paragraph) > 0.85
        and paragraph[-1] in ".!?。"
        and "\ufffd" not in paragraph
        and _in_its_script(paragraph, language)
    )


_SCRIPTS: Final = {"ko": "[\uac00-\ud7a3]", "ja": "[\u3040-\u30ff]", "zh": "[\u4e00-\u9fff]", "ru": "[\u0400-\u04ff]"}


def _in_its_script(paragraph: str, language: str) -> bool:
    """Translations hold paragraphs that are not translated yet."""
    script = _SCRIPTS.get(language)
    return script is None or len(re.findall(script, paragraph)) > len(paragraph) / 5


def _one_space(text: str) -> str:
    return " ".join(text.split())


def by_language(passages: Iterable[Passage]) -> dict[str, int]:
    """How many passages there are of each language."""
    counts: dict[str, int] = {}
    for passage in passages:
        counts[passage.language] = counts.get(passage.language, 0) + 1
    return counts
