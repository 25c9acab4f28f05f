"""Items as JSON Lines: what is taken, and what is said of what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groundwire_eval.items import BadItems, Evidence, Kind, PinnedSource, load_items

RAIN: dict[str, Any] = {
    "id": "rain-01",
    "subject": "weather",
    "language": "en",
    "kind": "single",
    "traits": ["number"],
    "held_aside": True,
    "question": "How high is it?",
    "sources": [
        {"title": "Gauge", "url": "https://example.org/", "text": "A gauge stands there. It is two metres high."},
        {"title": "Other", "url": "", "text": "Nothing."},
    ],
    "evidence": [{"source": 1, "sentence": "It is two metres high."}],
    "answers": [["two metres", "2 m"]],
}


def load(folder: Path, *items: dict[str, Any] | str) -> list[Any]:
    path = folder / "items.jsonl"
    path.write_text("\n".join(item if isinstance(item, str) else json.dumps(item) for item in items), encoding="utf-8")
    return load_items([path])


def test_all_of_an_item_is_read(tmp_path: Path) -> None:
    (item,) = load(tmp_path, RAIN)
    assert (item.id, item.subject, item.language, item.kind) == ("rain-01", "weather", "en", Kind.SINGLE)
    assert item.sources[0] == PinnedSource("Gauge", "https://example.org/", RAIN["sources"][0]["text"])
    assert item.evidence == (Evidence(1, "It is two metres high."),)
    assert item.answers == (("two metres", "2 m"),)
    assert item.traits == {"number"}
    assert item.held_aside


def test_a_question_with_sources_is_enough(tmp_path: Path) -> None:
    (item,) = load(tmp_path, {"id": "a", "question": "q?", "sources": [{"title": "t", "text": "x"}]})
    assert item.kind is None
    assert not item.evidence
    assert not item.held_aside


def test_files_are_read_one_after_the_other_and_blank_lines_left_out(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text(json.dumps(RAIN) + "\n\n")
    second.write_text(
        "\n" + json.dumps(RAIN | {"id": "rain-02", "question": "line\u2028separator?"}, ensure_ascii=False)
    )
    assert [item.id for item in load_items([first, second])] == ["rain-01", "rain-02"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": ""}, "id: is empty"),
        ({"id": 3}, "id: is no string"),
        ({"question": None}, "question: is missing"),
        ({"question": " "}, "question: is empty"),
        ({"question": "half \ud83d"}, "question: is not valid Unicode text"),
        ({"answers": [["\udc00"]]}, r"answers\[1\]: is not valid Unicode text"),
        ({"sources": []}, "sources: has fewer than 1 entries"),
        ({"sources": "none"}, "sources: is no list"),
        ({"sources": [{"title": "t", "text": "x"}] * 33, "kind": ""}, "sources: has 33 entries; at most 32"),
        ({"sources": [{"title": "t"}]}, r"sources\[1\]: text: is missing"),
        ({"sources": ["t"]}, r"sources\[1\]: is no JSON object"),
        ({"kind": "triple"}, "kind: is 'triple', which is none of single, double, unanswerable"),
        ({"kind": "double"}, "evidence: has 1 entries, which does not suit the kind double"),
        ({"kind": "unanswerable"}, "evidence: has 1 entries"),
        ({"evidence": []}, "evidence: has 0 entries"),
        ({"evidence": [{"source": 3, "sentence": "x"}]}, r"evidence\[1\]: source: is 3; there are 2 sources"),
        ({"evidence": [{"source": True, "sentence": "x"}]}, "source: is no whole number"),
        ({"evidence": [{"source": 2, "sentence": "It is two metres high."}]}, "does not occur in the text of source 2"),
        ({"answers": [[]]}, r"answers\[1\]: is no list of strings"),
        ({"answers": [["a", 2]]}, r"answers\[1\]: holds something else"),
        ({"traits": [1]}, "traits: holds something else"),
        ({"held_aside": "yes"}, "held_aside: is neither true nor false"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadItems, match=f"items.jsonl, line 2: .*{complaint}"):
        load(tmp_path, RAIN, RAIN | {"id": "other"} | change)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["{"], "line 1: is not JSON"),
        (["[" * 100_000], "line 1: is not JSON"),
        (["[]"], "line 1: is no JSON object"),
        (["", "  "], "there is no item to ask"),
        ([json.dumps(RAIN)] * 2, "line 2: the id 'rain-01' is that of .*line 1"),
    ],
)
def test_files_that_hold_no_items(tmp_path: Path, lines: list[str], complaint: str) -> None:
    with pytest.raises(BadItems, match=complaint):
        load(tmp_path, *lines)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadItems, match=r"missing\.jsonl: cannot be read: No such file"):
        load_items([tmp_path / "missing.jsonl"])
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}')
    with pytest.raises(BadItems, match="is not UTF-8 text"):
        load_items([tmp_path / "latin.jsonl"])
