"""Makes text from elsewhere safe to print on a terminal.

Titles, passages, answers and error messages come from web pages and from a model. Printed as they are they could move
the cursor, rewrite what stands above, change the window's title or, in some terminals, run commands.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Final

LONGEST_SEQUENCE: Final = 256
"""How many characters a control string may have to be dropped as one; of a longer one only the control goes."""

# ECMA-48: CSI parameters, intermediates and a final byte; OSC, DCS, SOS, PM and APC strings up to BEL or ST; two- and
# three-character escapes. What may still become one of them is looked for together with them, for it may hold one.
_STRING: Final = rf"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]{{0,{LONGEST_SEQUENCE}}}"
_CSI: Final = r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,16}"
_WHOLE: Final = rf"{_CSI}[@-~]|{_STRING}(?:\x07|\x1b\\|\x9c)|\x1b[ -/]{{0,4}}[0-OQ-WYZ\\`-~]"
_UNFINISHED: Final = rf"(?:{_CSI}|{_STRING}\x1b?|\x1b[ -/]{{0,4}}|\r)\Z"
_SEQUENCE: Final = re.compile(rf"{_WHOLE}|(?P<unfinished>{_UNFINISHED})")

# C0 but tab and newline, DEL, C1, and the bidirectional embeddings, overrides and isolates that can show text in
# another order than it has.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LINE_ENDS: Final = re.compile("\r\n|[\u2028\u2029\x85]")


class TextCleaner:
    """Cleans a stream of text piece by piece: a sequence split over pieces is found all the same.

    Only what may still turn out to be an escape sequence is held back, so ordinary text passes at once.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """The printable part of what has arrived."""
        text = self._held + piece
        passed, end = [], 0
        self._held = ""
        for found in _SEQUENCE.finditer(text):
            passed.append(text[end : found.start()])
            end = found.end()
            self._held = found["unfinished"] or ""
        return _drop_controls("".join([*passed, text[end:]]))

    def flush(self) -> str:
        """The printable part of what was held back. Call at the end."""
        held, self._held = self._held, ""
        return _drop_controls(held)


def _drop_controls(text: str) -> str:
    return _CONTROLS.sub("", _LINE_ENDS.sub("\n", text))


def printable(text: str) -> str:
    """The text without escape sequences and control characters; line ends and tabs stay."""
    cleaner = TextCleaner()
    return cleaner.feed(text) + cleaner.flush()


def printable_line(text: str) -> str:
    """The same on one line, with runs of white space as one space."""
    return " ".join(printable(text).split())


def link_target(url: str) -> str | None:
    """The URL as it may stand in a terminal hyperlink: http or https, printable ASCII. None for any other."""
    if not url.lower().startswith(("http://", "https://")):
        return None
    # What is not printable ASCII is percent-encoded, so nothing in it can end the hyperlink's own sequence.
    return urllib.parse.quote(url, safe="!#$%&'()*+,/:;=?@[]~-._", errors="replace")
