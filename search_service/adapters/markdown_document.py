"""Markdown as a document, through markdown-it-py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from search_service.adapters import html_document
from search_service.adapters.document_text import join_wrapped
from search_service.core.chunking import Block, Document, Heading, Paragraph
from search_service.core.plain_text import one_line

_FRONT_MATTER: Final = re.compile(r"\A(---|\+\+\+)[ \t]*\n(?P<body>(?:.*\n){0,200}?)\1[ \t]*(?:\n|\Z)")
_FRONT_TITLE: Final = re.compile(r"""(?im)^title\s*[:=]\s*(?P<quote>["']?)(?P<title>.+?)(?P=quote)\s*$""")
_PARSER: Final = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def read(text: str) -> Document:
    """Headings and paragraphs; the title is the front matter's, else the first heading of the highest level."""
    title = ""
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :]
        if named := _FRONT_TITLE.search(front["body"]):
            title = one_line(named["title"])
    reader = _Reader()
    for token in _PARSER.parse(text):
        reader.take(token)
    if not title:
        headings = [block for block in reader.blocks if isinstance(block, Heading)]
        title = min(headings, key=lambda heading: heading.level).text if headings else ""
    return Document(title, tuple(reader.blocks))


@dataclass(slots=True)
class _Reader:
    """Gathers blocks from the parser's flat list of tokens."""

    blocks: list[Block] = field(default_factory=list)
    lists: list[int | None] = field(default_factory=list)
    """For each open list the number of its next item; None for bullets."""
    item_prefix: str = ""
    """Starts the first text of a list item."""
    rows: list[list[str]] = field(default_factory=list)
    in_table: bool = False

    def take(self, token: Token) -> None:
        match token.type:
            case "inline":
                self._take_inline(token)
            case "fence" | "code_block":
                self._add(token.content.rstrip())
            case "html_block":
                self.blocks.extend(html_document.read(token.content).blocks)
            case "heading_open":
                self.blocks.append(Heading(int(token.tag[1:]), ""))  # its text comes with the next token
            case "bullet_list_open":
                self.lists.append(None)
            case "ordered_list_open":
                self.lists.append(int(token.attrGet("start") or 1))
            case "bullet_list_close" | "ordered_list_close":
                self.lists.pop()
            case "list_item_open":
                self._open_item()
            case "table_open":
                self.in_table, self.rows = True, []
            case "tr_open":
                self.rows.append([])
            case "table_close":
                self.in_table = False
                self._add("\n".join(" | ".join(row) for row in self.rows))
            case "heading_close":
                if isinstance(self.blocks[-1], Heading) and not self.blocks[-1].text:
                    self.blocks.pop()
            case _:
                pass

    def _open_item(self) -> None:
        number = self.lists[-1]
        self.item_prefix = "- " if number is None else f"{number}. "
        if number is not None:
            self.lists[-1] = number + 1

    def _take_inline(self, token: Token) -> None:
        text = _inline_text(token.children or ())
        last = self.blocks[-1] if self.blocks else None
        if self.in_table:
            self.rows[-1].append(one_line(text))
        elif isinstance(last, Heading) and not last.text:
            self.blocks[-1] = Heading(last.level, one_line(text))
        else:
            self._add(text)

    def _add(self, text: str) -> None:
        if text.strip():
            self.blocks.append(Paragraph(self.item_prefix + text))
            self.item_prefix = ""


def _inline_text(tokens: Sequence[Token]) -> str:
    """What a reader sees: words of links and alternative texts of images, without marks and addresses."""
    lines: list[str] = []
    wrapped: list[str] = []
    text: list[str] = []
    for token in tokens:
        match token.type:
            case "text" | "text_special" | "code_inline":
                text.append(token.content)
            case "image":
                text.append(_inline_text(token.children or ()))
            case "softbreak":
                wrapped.append("".join(text))
                text.clear()
            case "hardbreak":
                lines.append(join_wrapped([*wrapped, "".join(text)]))
                wrapped.clear()
                text.clear()
            case _:
                pass
    lines.append(join_wrapped([*wrapped, "".join(text)]))
    return "\n".join(lines)
