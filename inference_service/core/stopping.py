"""From the bytes of tokens to whole UTF-8 text, ended at a stop string."""

from __future__ import annotations

import codecs


class TextAssembler:
    """Joins the bytes of one sequence's tokens into text that may be sent.

    - Text is whole characters only: the bytes of a character split over tokens are held back until it is whole. Bytes
      that are no UTF-8 become U+FFFD.
    - Stop strings are found across token borders. The one that is *complete first* ends the text; where several end
      at the same character, the longest of them. So the outcome does not depend on how the text is split into tokens.
      What may become a stop string is held back; of a stop string nothing is ever returned.
    - A token costs time by its own length and by the longest stop string, not by the text so far.
    """

    def __init__(self, stop: tuple[str, ...], *, strip_leading_space: bool = False) -> None:
        """Begin a text that ends at any of `stop` (no empty strings).

        `strip_leading_space` drops one space at the very beginning, before stop strings are looked for. It is right
        for an answer to a chat by a SentencePiece model: its vocabulary marks the beginning of a word by a space, so
        that the answer "Hello" comes as the token " Hello". It is wrong where a text is continued, for there the
        space belongs to the text.
        """
        self.matched: str | None = None
        """The stop string that ended the text, once one has."""
        self._stop = stop
        self._prefixes = frozenset(text[:length] for text in stop for length in range(1, len(text)))
        self._longest_prefix = max(map(len, stop), default=1) - 1
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._strip_leading_space = strip_leading_space

    def push(self, token: bytes) -> str:
        """Take the next token's bytes and return the text that may be sent now, which may be empty.

        After a stop string has appeared everything is ignored.
        """
        if self.matched is not None:
            return ""
        return self._take(self._decoder.decode(token))

    def flush(self) -> str:
        """Return what was held back, at the end of the sequence. An incomplete character becomes U+FFFD."""
        if self.matched is not None:
            return ""
        text = self._take(self._decoder.decode(b"", final=True)) + self._held
        self._held = ""
        return text

    def _take(self, text: str) -> str:
        if self._strip_leading_space and text:
            self._strip_leading_space = False
            text = text.removeprefix(" ")
        if not self._stop or not text:
            return text
        text = self._held + text
        begin = self._find_stop(text)
        if begin is not None:
            self._held = ""
            return text[:begin]
        kept = len(text) - self._possible_stop_length(text)
        self._held = text[kept:]
        return text[:kept]

    def _find_stop(self, text: str) -> int | None:
        """Set `matched` and return where it begins, if a stop string is in `text`."""
        found = [(begin + len(stop), begin, stop) for stop in self._stop if (begin := text.find(stop)) >= 0]
        if not found:
            return None
        _, begin, self.matched = min(found)
        return begin

    def _possible_stop_length(self, text: str) -> int:
        """Return the length of the longest end of `text` that a stop string begins with."""
        for length in range(min(self._longest_prefix, len(text)), 0, -1):
            if text[-length:] in self._prefixes:
                return length
        return 0
