"""HTML as a document, through selectolax: the main text, without what surrounds it on every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from search_service.adapters.document_text import Unreadable
from search_service.core.chunking import Block, Document, Heading, Paragraph
from search_service.core.plain_text import one_line

MAX_OPEN_TAGS: Final = 5_000
"""Deeper pages are refused: the parser's time grows with the square of the depth."""

_HEADINGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6")
_DROPPED: Final = frozenset(
    """script style nav footer aside noscript template iframe object embed svg canvas audio video button select
    datalist textarea input dialog menu head""".split()  # noqa: SIM905 - words read better as text
)
_BLOCKS: Final = frozenset(
    """address article blockquote body caption center dd details div dl dt fieldset figcaption figure form header hr
    html legend li main ol p pre section summary table tbody tfoot thead tr ul""".split()  # noqa: SIM905 - words read better as text
) | frozenset(_HEADINGS)
_DROPPED_ROLES: Final = frozenset({"navigation", "banner", "contentinfo", "complementary", "search", "menu"})
_DISPLAY_NONE: Final = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_SPACES: Final = re.compile(r"[ \t\n]+")
_CELL_END: Final = "\0"
"""Closes a cell in the text of an open row; the text itself was cleaned of it."""
_CELLS: Final = frozenset({"td", "th"})
_TAG: Final = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)[^<>]*?(/?)>")
_NEVER_NESTED: Final = frozenset(
    """area base br col hr img input link meta source track wbr p li td tr th dt dd tbody thead tfoot option html head
    body""".split()  # noqa: SIM905 - words read better as text
)


def read(text: str) -> Document:
    """Headings and paragraphs of the main text; the title is <title>, else the first <h1>.

    Raises Unreadable for a page nested deeper than MAX_OPEN_TAGS.
    """
    if _deepest(text) > MAX_OPEN_TAGS:
        raise Unreadable("nested too deeply")
    tree = LexborHTMLParser(text)
    body = tree.body
    if body is None:
        return Document("", ())
    main = body.css_first("main, [role=main]") or _only_article(body) or body
    reader = _Reader()
    reader.read(main)
    title = _text_of(tree.css_first("head > title")) or _text_of(body.css_first("h1"))
    return Document(title, tuple(reader.blocks))


def _deepest(text: str) -> int:
    depth = deepest = 0
    for closing, tag, self_closing in _TAG.findall(text):
        if tag.lower() in _NEVER_NESTED or self_closing:
            continue
        depth = max(0, depth - 1) if closing else depth + 1
        deepest = max(deepest, depth)
    return deepest


def _only_article(body: LexborNode) -> LexborNode | None:
    articles = body.css("article")
    return articles[0] if len(articles) == 1 else None


def _text_of(node: LexborNode | None) -> str:
    return one_line(node.text()) if node is not None else ""


@dataclass(slots=True)
class _Reader:
    """Gathers blocks while it walks the tree."""

    blocks: list[Block] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    """The text of the block that is open."""
    lists: list[int | None] = field(default_factory=list)
    """For each open list the number of its next item; None for bullets."""
    item_prefix: str = ""
    """Starts the first text of a list item."""
    open_pre: int = 0

    def read(self, main: LexborNode) -> None:
        for node, is_entered in _walk(main):
            tag = node.tag or ""
            if tag == "-text":
                text = (node.text_content or "") if is_entered else ""
                self.parts.append(text if self.open_pre else _SPACES.sub(" ", text))
            elif tag == "br":
                self.parts.append("\n" if is_entered else "")
            elif tag in _CELLS:
                self.parts.append("" if is_entered else _CELL_END)
            elif tag in _BLOCKS:
                self._flush(heading_level=int(tag[1]) if tag in _HEADINGS and not is_entered else 0)
                self._open(tag) if is_entered else self._close(tag)
        self._flush()

    def _open(self, tag: str) -> None:
        if tag == "pre":
            self.open_pre += 1
        elif tag in ("ul", "ol"):
            self.lists.append(1 if tag == "ol" else None)
        elif tag == "li":
            number = self.lists[-1] if self.lists else None
            self.item_prefix = "- " if number is None else f"{number}. "
            if number is not None:
                self.lists[-1] = number + 1

    def _close(self, tag: str) -> None:
        if tag == "pre":
            self.open_pre -= 1
        elif tag in ("ul", "ol"):
            self.lists.pop()
        elif tag == "li":
            self.item_prefix = ""

    def _flush(self, *, heading_level: int = 0) -> None:
        """Close the open block."""
        text = "".join(self.parts).strip("\n").rstrip()
        self.parts.clear()
        if not self.open_pre:
            lines = (_row(line) if _CELL_END in line else one_line(line) for line in text.split("\n"))
            text = "\n".join(line for line in lines if line)
        if not text.strip():
            return
        if heading_level:
            self.blocks.append(Heading(heading_level, one_line(text)))
        else:
            self.blocks.append(Paragraph(self.item_prefix + text))
            self.item_prefix = ""


def _row(line: str) -> str:
    """A table's row as "a | b"; empty where all cells are."""
    *cells, rest = [one_line(cell) for cell in line.split(_CELL_END)]
    cells += [rest] if rest else []
    return " | ".join(cells) if any(cells) else ""


def _walk(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Every node that is shown, when it is entered and when it is left; without recursion, however deep."""
    pending: list[tuple[LexborNode, bool]] = [(root, True)]
    while pending:
        node, is_entered = pending.pop()
        if is_entered and node is not root and not _is_shown(node):
            continue
        yield node, is_entered
        if is_entered:
            pending.append((node, False))
            children = []
            child = node.child
            while child is not None:
                children.append((child, True))
                child = child.next
            pending.extend(reversed(children))


def _is_shown(node: LexborNode) -> bool:
    tag = node.tag or ""
    if tag in _DROPPED or (tag.startswith("-") and tag != "-text"):
        return False
    if tag == "header" and not _in_article(node):
        return False  # the site's; an article's own header holds its heading
    if tag.startswith("-"):
        return True
    attributes = node.attributes
    return not (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or attributes.get("role") in _DROPPED_ROLES
        or _DISPLAY_NONE.search(attributes.get("style") or "")
    )


def _in_article(node: LexborNode) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.tag in ("article", "main"):
            return True
        parent = parent.parent
    return False
