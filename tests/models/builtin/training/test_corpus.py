"""Texts from packages: what is taken for prose, and how it is parted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from models.builtin.training import corpus

PROSE = "The herring gull breeds on cliffs and on flat roofs near the coast. It eats almost anything that it finds."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pages = tmp_path / "text" / "sqlite3-doc" / "usr/share/doc/sqlite3"
    pages.mkdir(parents=True)
    (pages / "gulls.html").write_text(
        f"<html><head><title>Gulls of the\n coast</title></head><body><nav><p>{PROSE[:-1]} here, as a menu.</p></nav>"
        f"<p>{PROSE}</p><p>Too short.</p><pre>{PROSE} x</pre><p>x = (1 + 2) * {{3: 4}}; y = [5, 6, 7]; z = 8 / 9; "
        f"print(x, y, z) # 10 11 12 13 14.</p><p>{PROSE}</p></body></html>"
    )
    dictionary = tmp_path / "text" / "dict-foldoc" / "usr/share/dictd"
    dictionary.mkdir(parents=True)
    entry = f"kittiwake\n\n   <bird> A small {{gull}} of the open sea. {PROSE}\n\n   (1999-01-02)\n"
    (dictionary / "foldoc.dict.dz").write_bytes(gzip.compress(entry.encode()))
    for package in corpus.PACKAGES:
        (tmp_path / "text" / package.name).mkdir(exist_ok=True)
    return tmp_path


def test_a_corpus_holds_prose_once(folder: Path) -> None:
    documents = [json.loads(line) for line in corpus.build(folder).read_text().splitlines()]

    by_title = {document["title"]: document["text"] for document in documents}
    assert by_title == {
        "Gulls of the coast": [PROSE],
        "kittiwake": [f"A small gull of the open sea. {PROSE}"],
    }


def test_passages_come_in_sentences(folder: Path) -> None:
    passages = corpus.load(corpus.build(folder))

    gulls = next(passage for passage in passages if passage.title == "Gulls of the coast")
    assert gulls.sentences == (
        "The herring gull breeds on cliffs and on flat roofs near the coast.",
        "It eats almost anything that it finds.",
    )
    assert gulls.language == "en"
    assert corpus.by_language(passages) == {"en": 2}


@pytest.mark.parametrize(
    ("paragraph", "language", "prose"),
    [
        (PROSE, "en", True),
        (PROSE.rstrip("."), "en", False),
        (PROSE, "ko", False),
        ("한라산을 정상까지 오르는 길은 두 가지가 있다. 겨울에는 미리 예약해야 한다.", "ko", True),
        ("このページでは、文書にオブジェクトを挿入する方法を説明します。", "ja", True),
        (PROSE * 20, "en", False),
    ],
)
def test_what_prose_is(paragraph: str, language: str, prose: bool) -> None:
    assert corpus.is_prose(paragraph, language) is prose


def test_a_machine_without_debian_packages_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(OSError, match="apt-get is not installed: the texts come from Debian packages"):
        corpus.download(tmp_path)


def test_licences_are_stated() -> None:
    assert all(package.licence for package in corpus.PACKAGES)
