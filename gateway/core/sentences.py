"""Where sentences end, decided as the text streams in.

A sentence ends at . ! ? or one of their kin in other scripts, closing quotation marks and brackets included, and at the
end of a line. It does not end

- inside a number, a version, a domain or a file name (3.14, v1.2.3, example.org): no space follows (but a capital
  letter or digit behind "[1]." begins a sentence);
- after an abbreviation that stands before what it belongs to (Dr., e.g., vs.), after initials (J. R., U.S., z.B.: the
  sentence may then run on too long, which hurts a claim less than losing its subject), and after one that needs a
  number behind it (No. 5, Fig. 2); but for the first two a citation marker behind the period says that it ends, where
  no small letter follows;
- after an abbreviation that may close a sentence (etc., Inc., p.m.) or an ellipsis, where a small letter or digit
  follows;
- inside a quotation that goes on in small letters ("Really?" he said), or without a space (「はい。」と言った);
- after the number of a list's item (1. or 2) at the beginning of a line), which is no part of the sentence either.

Every decision is made when the next character of text arrives, so it does not depend on how a text was cut into deltas.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

LINE_ENDS: Final = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
"""Characters that end a line."""

_UNSPACED_TERMINATORS: Final = frozenset("。！？｡")
"""They end a sentence whatever follows: their scripts put no space behind it."""

_EMPHATIC: Final = frozenset("!?！？؟।॥۔።") | _UNSPACED_TERMINATORS
TERMINATORS: Final = _EMPHATIC | frozenset(".…")
"""Characters that may end a sentence."""

_CLOSERS: Final = frozenset("\"'”’»›)]}）］】」』〉》*_~`")
"""What may follow a terminator and belongs to its sentence; emphasis marks too."""

_OPENERS: Final = frozenset("\"'“‘«‹([{（［【「『〈《*_~`")

_BEFORE_A_NAME: Final = frozenset(
    """dr mr mrs ms mx prof st mt vs e.g i.e cf viz gen sen rep gov lt col sgt capt rev hon pres approx dept univ
    bzw ggf vgl mme mlle sra""".split()  # noqa: SIM905 - words read better as words
)
_BEFORE_A_NUMBER: Final = frozenset("no nos nr fig figs eq vol pp p ch sec art ca c".split())  # noqa: SIM905 - words read better as words
_MAY_CLOSE: Final = frozenset(
    """etc ft inc ltd co corp bros jr sr al est a.m p.m ph.d m.d b.a m.a b.c a.d usw jan feb mar apr jun jul aug sep
    sept oct nov dec""".split()  # noqa: SIM905 - words read better as words
)
_INITIALS: Final = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]|[A-Z]")
_LIST_NUMBER: Final = re.compile(r"\d{1,3}[.)]|[A-Za-z]\)")

_MAX_WORD: Final = 12
"""Characters of a word to remember: longer ones are no abbreviation."""


class Sentence:
    """One sentence, or the beginning of one. Offsets are UTF-8 bytes in the whole text."""

    __slots__ = ("cited", "end", "has_prose", "opening", "start")

    MAX_OPENING: Final = 80

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        """Behind the last character of text so far; markers and white space do not count."""
        self.has_prose = False
        """There is a letter, digit or symbol outside code."""
        self.cited = False
        """A resolved citation claims it. Set by who reads the citations."""
        self.opening = ""
        """The first MAX_OPENING characters, to compare the sentence with a known one."""


class SentenceTracker:
    """Follows a text character by character. `current` grows; `last` is the one that ended before it.

    Markers are no text: the caller leaves them out and calls `marker` in their place. O(1) for each character.
    """

    def __init__(self) -> None:
        self.current: Sentence | None = None
        """The sentence being written, once it has text (a letter, digit or symbol)."""
        self.last: Sentence | None = None
        """The latest one that ended."""
        self._begun: Sentence | None = None
        """Where the current word stands before any text: an opening quotation mark, a bullet."""
        self._word = ""
        self._at_line_start = True
        self._after_list_number = False
        self._gap = False
        """White space or a marker stands between the last text and the next."""
        self._marked = False
        """A marker is what stands there."""
        self._behind_marker = False
        """One stands before the terminator."""
        self._terminator = ""
        """The run of terminators that may have ended the current sentence."""
        self._before_terminator = ""
        self._closed = False
        """A quotation mark or bracket closed behind the terminator."""

    def text(self, character: str, at: int, size: int, *, code: bool = False) -> Sentence | None:
        """Take the next character, `size` bytes long at byte `at`. Returns a sentence that ended."""
        if character in LINE_ENDS:
            return self.line_end()
        if character.isspace():
            self._space()
            return None
        ended = self._end_before(character, code)
        self._extend(character, at, size, code)
        return ended

    def marker(self) -> None:
        """A citation marker stands here."""
        self._gap = self._marked = True

    def line_end(self) -> Sentence | None:
        """The line ends here, or the text. Returns a sentence that ended."""
        ended = self._finish()
        self._at_line_start = True
        self._after_list_number = False
        return ended

    def _space(self) -> None:
        self._gap = True
        if self.current is None:
            self._begun = None  # bullets and stray punctuation begin no sentence
        elif self._at_line_start and not self._after_list_number and _LIST_NUMBER.fullmatch(self.current.opening):
            self._after_list_number = True
        self._at_line_start = self._at_line_start and self.current is None

    def _end_before(self, character: str, code: bool) -> Sentence | None:
        if self._after_list_number:
            # Only now is it a list's number, and not a text that is nothing but a number.
            self._after_list_number = False
            self.current = self._begun = None
            self._forget_terminator()
        elif self._terminator and self._ends_before(character, code):
            return self._finish()
        return None

    def _ends_before(self, character: str, code: bool) -> bool:
        """Whether the terminator read last ends its sentence, seeing the next character of text."""
        if not self._gap:
            if character in _CLOSERS or character in TERMINATORS:
                return False
            unspaced = self._terminator[-1] in _UNSPACED_TERMINATORS or (
                _is_uncased_letter(character) and _is_uncased_letter(self._before_terminator)
            )
            behind_marker = self._behind_marker and not character.islower()
            return (unspaced or behind_marker) and not self._closed
        goes_on = not code and character.islower()
        if self._closed and goes_on:
            return False
        if _EMPHATIC & set(self._terminator):
            return True
        if self._terminator != ".":
            return not goes_on
        return self._period_ends(character, goes_on)

    def _period_ends(self, character: str, goes_on: bool) -> bool:
        word = self._word.rstrip(".")
        folded = word.casefold()
        if folded in _MAY_CLOSE:
            return not goes_on and not character.isdigit()
        if folded in _BEFORE_A_NUMBER and word not in ("C", "P"):
            return not character.isdigit()
        stands_before = folded in _BEFORE_A_NAME or bool(_INITIALS.fullmatch(word))
        return not stands_before or (self._marked and not goes_on)

    def _extend(self, character: str, at: int, size: int, code: bool) -> None:
        self._read_terminator(character, code)
        begun = self.current or self._begun
        if begun is None:
            begun = self._begun = Sentence(at)
        begun.end = at + size
        if len(begun.opening) < Sentence.MAX_OPENING:
            begun.opening += " " + character if self._gap and begun.opening else character
        if _is_text(character):
            self.current = begun
            begun.has_prose = begun.has_prose or not code
        self._gap = self._marked = False

    def _read_terminator(self, character: str, code: bool) -> None:
        if character in TERMINATORS and not code:
            if not self._terminator or self._gap:
                self._terminator = ""
                self._before_terminator = self._word[-1:]
                self._behind_marker = self._marked
            self._terminator += character if len(self._terminator) < 4 else ""
            self._closed = False
        elif self._terminator and not self._gap and character in _CLOSERS:
            self._closed = True
            return
        else:
            self._forget_terminator()
        if self._gap or character in _OPENERS:
            self._word = ""
        if character not in _OPENERS:
            self._word = (self._word + character)[-_MAX_WORD:]

    def _forget_terminator(self) -> None:
        self._terminator = ""
        self._behind_marker = False
        self._closed = False

    def _finish(self) -> Sentence | None:
        ended = self.current
        if ended is not None:
            self.last = ended
        self.current = self._begun = None
        self._word = ""
        self._gap = self._marked = False
        self._forget_terminator()
        return ended


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, without the white space around them. What has no letter, digit or symbol is left out."""
    tracker = SentenceTracker()
    encoded = text.encode()
    sentences: list[str] = []
    at = 0
    ended: Sentence | None
    for character in text:
        size = utf8_size(character)
        ended = tracker.text(character, at, size)
        at += size
        if ended:
            sentences.append(encoded[ended.start : ended.end].decode())
    ended = tracker.line_end()
    if ended:
        sentences.append(encoded[ended.start : ended.end].decode())
    return sentences


def utf8_size(character: str) -> int:
    """Bytes of a character as UTF-8."""
    point = ord(character)
    return 1 if point < 0x80 else 2 if point < 0x800 else 3 if point < 0x10000 else 4


def _is_text(character: str) -> bool:
    return character.isalnum() or (not character.isascii() and unicodedata.category(character) == "So")


def _is_uncased_letter(character: str) -> bool:
    return bool(character) and not character.isascii() and unicodedata.category(character) == "Lo"
