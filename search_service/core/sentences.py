"""Splitting text into sentences, in any script."""

from __future__ import annotations

import re
from typing import Final

_END: Final = re.compile(
    # Before white space only: 3.14 and groundwire.toml hold no end. Each run is tried once, from its start.
    r"""(?<![.!?…])[.!?…]++[)\]"'”’»]*+(?=\s)"""
    r"""|[。！？｡]+[」』）〕】》”’"')\]]*"""  # these need no space after them
)
_ABBREVIATIONS: Final = frozenset(
    "mr mrs ms dr prof st sr jr rev gen col lt sgt capt vs cf viz resp e.g i.e eg ie".split()  # noqa: SIM905 - words read better as text
)
_BEFORE_NUMBERS: Final = frozenset("no nr fig figs eq sec ch vol pp p ver art approx ca".split())  # noqa: SIM905 - words read better as text
_MAYBE_LAST: Final = frozenset("etc inc ltd co corp al est dept".split())  # noqa: SIM905 - words read better as text
"""Abbreviations that end a sentence where a capital letter follows."""
_INITIALS: Final = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_NEIGHBOURHOOD: Final = 40
"""Characters looked at on either side of a mark: splitting takes time in proportion to the text, whatever it is."""
_OPENING: Final = "([{\"'“‘«*_`"


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without the white space between them. A line end ends a sentence too."""
    sentences: list[str] = []
    for line in text.splitlines():
        start = 0
        for match in _END.finditer(line):
            if _ends_sentence(line, start, match):
                sentences.append(line[start : match.end()].strip())
                start = match.end()
        sentences.append(line[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _ends_sentence(line: str, start: int, match: re.Match[str]) -> bool:
    mark = match[0]
    if mark[0] in "。！？｡":
        return True
    rest = line[match.end() : match.end() + _NEIGHBOURHOOD].lstrip().lstrip(_OPENING)
    following = rest[:1]
    if following.islower():
        return False  # "Really?" he said; an ellipsis … in the middle
    if mark[0] != "." or mark.startswith(".."):
        return True
    window = max(start, match.start() - _NEIGHBOURHOOD)
    before = line[window : match.start()].split()
    word = before[-1].lstrip(_OPENING) if before else ""
    if len(before) == 1 and window == start and word.isdigit():
        return False  # the number of a list item
    lowered = word.lower()
    if lowered in _ABBREVIATIONS or (lowered in _BEFORE_NUMBERS and following.isdigit()):
        return False
    if lowered in _MAYBE_LAST:
        return following.isupper()
    # Initials: J. Smith, U.S. Navy. Scripts without case (그. 나) have none.
    return not (_INITIALS.fullmatch(word) and word[0].isupper())
