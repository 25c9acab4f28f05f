"""Text from strangers, made into one line of plain text.

What a web page says about itself may hold markup, entities (also encoded twice), control characters, overrides of the
writing direction and invisible characters that carry hidden instructions. None of that comes through.
"""

from __future__ import annotations

import html
import re
from typing import Final

MAX_RAW_CHARACTERS: Final = 20_000
"""Longer texts are cut before they are cleaned, so that cleaning takes bounded time. A snippet is far below it."""

_ENTITY_PASSES: Final = 3
"""Search indexes hold text that was encoded twice; a third time is the limit, so that no nesting costs more."""

# Only names of HTML elements make a tag, and only what looks like attributes may follow: `List<String>`, `a < b` and
# `if a<b and c>d` are text.
_BARE: Final = (
    "allowfullscreen|async|autoplay|checked|controls|defer|disabled|download|hidden|ismap|itemscope|loop|multiple|muted|"
    "nomodule|novalidate|nowrap|open|playsinline|readonly|required|reversed|selected"
)
_ATTRIBUTES: Final = (
    rf"""(?:\s++(?:[\w:@.-]++\s*+=\s*+(?:"[^"<]*+"|'[^'<]*+'|[^\s"'<>]++)|(?:{_BARE})(?=[\s/>])))*+\s*+/?"""
)
_INLINE: Final = re.compile(
    r"</?(?:a|abbr|b|bdi|bdo|big|cite|code|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|tt|u|var|wbr)"
    rf"{_ATTRIBUTES}>",
    re.IGNORECASE,
)
_BLOCK: Final = re.compile(
    r"</?(?:article|aside|blockquote|body|br|button|caption|center|dd|div|dl|dt|figcaption|figure|footer|form|h[1-6]|head|"
    r"header|hr|html|iframe|img|input|label|li|link|main|meta|nav|noscript|object|ol|option|p|picture|pre|script|section|"
    r"select|source|style|svg|table|tbody|td|textarea|tfoot|th|thead|title|tr|ul|video)"
    rf"{_ATTRIBUTES}>",
    re.IGNORECASE,
)
_TEXTLESS_START: Final = re.compile(r"<(script|style)\b[^<>]*+>|<!--", re.IGNORECASE)
_TEXTLESS_ENDS: Final = {
    "script": re.compile(r"</script\s*+>", re.IGNORECASE),
    "style": re.compile(r"</style\s*+>", re.IGNORECASE),
    "": re.compile("-->"),
}
# The semicolon is required: in `?a=1&copy=2` there is no entity.
_ENTITY: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_INVISIBLE: Final = re.compile(
    "["
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # controls but white space
    "\u00ad\u034f\u061c\u17b4\u17b5"  # soft hyphen, grapheme joiner, Arabic mark, Khmer fillers
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"  # zero width, direction, fillers
    "\ufff0-\uffff\ud800-\udfff"  # specials, noncharacters and lone surrogates
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"  # shorthand, musical and tag characters
    "]"
)
# Persian, Indic scripts and emoji need U+200C and U+200D between two characters of their own; elsewhere they hide.
_STRAY_JOINER: Final = re.compile(r"(?<![^\x00-\x7f\u200c\u200d\s])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f\s])")
_JOINERS: Final = re.compile(r"([\u200c\u200d])[\u200c\u200d]+")


def plain_text(raw: str, *, max_characters: int = MAX_RAW_CHARACTERS) -> str:
    """One line of plain text of at most max_characters: no tags, entities, controls or invisible characters."""
    text = raw[:MAX_RAW_CHARACTERS]
    text = _BLOCK.sub(" ", _INLINE.sub("", _without_textless(text)))
    # Tags go first: what was encoded, `&lt;b&gt;`, is text that speaks of a tag.
    for _ in range(_ENTITY_PASSES):
        decoded = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
        if decoded == text:
            break
        text = decoded
    return cut(one_line(text), max_characters)


def _without_textless(text: str) -> str:
    """The text without comments, and without scripts and styles that are closed; in one pass, whatever it holds."""
    kept: list[str] = []
    unclosed: set[str] = set()
    at = 0
    for start in _TEXTLESS_START.finditer(text):
        kind = (start[1] or "").lower()
        if start.start() < at or kind in unclosed:
            continue
        end = _TEXTLESS_ENDS[kind].search(text, start.end())
        if end is None:
            unclosed.add(kind)
            continue
        kept += text[at : start.start()], " "
        at = end.end()
    return "".join((*kept, text[at:]))


def one_line(text: str) -> str:
    """The text without control and invisible characters, its white space collapsed to single spaces."""
    text = _INVISIBLE.sub("", text)
    text = _JOINERS.sub(r"\1", _STRAY_JOINER.sub("", text))
    return " ".join(text.split())


def cut(text: str, max_characters: int) -> str:
    """The text, or its beginning and an ellipsis, within max_characters."""
    return text if len(text) <= max_characters else text[: max_characters - 1].rstrip() + "…"
