"""Reading a file as a document, by its kind."""

from __future__ import annotations

from enum import Enum
from pathlib import PurePath
from typing import Final

from search_service.adapters import html_document, markdown_document, text_document
from search_service.adapters.document_text import Unreadable, clean_text, decode
from search_service.core.chunking import Document

_MARKDOWN: Final = frozenset({".md", ".markdown", ".mdown", ".mkd"})
_HTML: Final = frozenset({".html", ".htm", ".xhtml"})
_TEXT: Final = frozenset({".txt", ".text", ".rst", ".adoc", ".org", ""})


class Kind(Enum):
    """How a file is written."""

    MARKDOWN = "Markdown"
    HTML = "HTML"
    TEXT = "text"


def kind_of(path: PurePath) -> Kind | None:
    """The kind by the file's name; None for a name that is of none of the three (a picture, a program, data)."""
    suffix = path.suffix.lower()
    if suffix in _MARKDOWN:
        return Kind.MARKDOWN
    if suffix in _HTML:
        return Kind.HTML
    return Kind.TEXT if suffix in _TEXT else None


def read_document(data: bytes, kind: Kind) -> Document:
    """The document in a file's bytes. Raises Unreadable where there is no text in it."""
    text = clean_text(decode(data, is_html=kind is Kind.HTML))
    match kind:
        case Kind.MARKDOWN:
            document = markdown_document.read(text)
        case Kind.HTML:
            document = html_document.read(text)
        case Kind.TEXT:
            document = text_document.read(text)
    if not document.blocks:
        raise Unreadable("empty")
    return document
