"""WordNet's database files (wndb(5WN)), of which a few lines are enough."""

from __future__ import annotations

from pathlib import Path

from models.builtin.training import synonyms

DATA = """  1 a licence line
00000100 29 v 03 begin 0 start 0 set_out 0 000 | take the first step
00000200 29 v 02 begin 1 open 0 000 | have a beginning
00000300 29 v 02 begin 2 never_used 0 000 | a third sense
"""
INDEX = """  1 a licence line
begin v 3 1 @ 3 2 00000100 00000200 00000300
set_out v 1 0 1 0 00000100
start v 1 0 1 0 00000100
"""


def test_the_first_senses_words(tmp_path: Path) -> None:
    for part in ("noun", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text("")
        (tmp_path / f"index.{part}").write_text("")
    (tmp_path / "data.verb").write_text(DATA)
    (tmp_path / "index.verb").write_text(INDEX)

    assert synonyms.load(tmp_path) == {"begin": ("start", "open"), "start": ("begin",)}
