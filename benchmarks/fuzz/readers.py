"""What reads untrusted bytes without a server: each tries one input, and raises only what it must not."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.core.citations import CitationParser
from gateway.core.events import Citation
from gateway.core.query import derive_query
from gateway.core.sources import tidy
from groundwire_cli.terminal_text import link_target, printable_line
from inference_service.adapters.grammar import read_grammar
from inference_service.core.gbnf import write_gbnf
from inference_service.core.grammar import BadGrammar
from inference_service.core.types import GrammarKind, ResponseFormat
from search_service.adapters.brave_errors import brave_error
from search_service.adapters.brave_http import json_of
from search_service.adapters.brave_parse import parse_news, parse_web
from search_service.adapters.brave_rates import rate_windows
from search_service.adapters.document_text import Unreadable
from search_service.adapters.documents import Kind, read_document
from search_service.core.chunking import chunk_blocks
from search_service.core.plain_text import one_line, plain_text
from search_service.core.query_terms import query_terms
from search_service.core.terms import index_terms
from search_service.core.types import SearchAnswer, SearchQuery, Vertical
from search_service.core.urls import web_address
from search_service.wire import encode_answer
from tests.support import brave_answers
from tests.support.brave_stand_in import BROKEN_TEXTS, INTERNAL_LINKS, WRONG_TYPES

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_ROOT: Final = Path(__file__).resolve().parents[2]
_GRAMMARS: Final = _ROOT / "tests" / "inference_service" / "hostile_grammars"

Try = Callable[[bytes, random.Random], str]
"""Reads one input; tells in a word how that ended."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader with inputs to begin from."""

    name: str
    seeds: Sequence[bytes]
    attempt: Try
    reads_json: bool = False
    """Whether most inputs should be JSON still, or it would see little but errors of syntax."""


class Wrong(Exception):
    """A reader's answer breaks one of its own promises."""


def readers() -> list[Reader]:
    """All of them."""
    brave = [json.dumps(answer).encode() for answer in (*_brave_answers(), WRONG_TYPES, BROKEN_TEXTS, INTERNAL_LINKS)]
    docs = sorted((_ROOT / "docs").rglob("*.md"))
    texts = [path.read_bytes()[:1_500] for path in docs]
    return [
        Reader("citations", _ANSWERS, _citations),
        Reader("brave json", brave, _brave, reads_json=True),
        Reader("html", _PAGES, _document(Kind.HTML)),
        Reader("markdown", texts, _document(Kind.MARKDOWN)),
        Reader("plain text", texts, _document(Kind.TEXT)),
        Reader("gbnf", _grammars("gbnf"), _grammar(GrammarKind.GBNF)),
        Reader("json schema", _grammars("json"), _grammar(GrammarKind.JSON_SCHEMA), reads_json=True),
        Reader("clean text", [*_PAGES, *_ANSWERS, *_URLS], _clean),
    ]


def _brave_answers() -> list[object]:
    web = brave_answers.web_answer([("q", "rain"), ("count", "3"), ("result_filter", "web,news")])
    news = brave_answers.news_answer([("q", "rain"), ("count", "3")])
    error = json.loads(
        brave_answers.error_body(
            429, "RATE_LIMITED", "Slowly", {"quota_limit": 5, "quota_current": 9, "errors": [{"loc": ["query", "q"]}]}
        )
    )
    return [web, news, error]


def _grammars(suffix: str) -> list[bytes]:
    paths = sorted(_GRAMMARS.rglob(f"*.{suffix}"))
    return [data for path in paths if 0 < len(data := path.read_bytes()) < 4_000]


_ANSWERS: Final = (
    b"Vienna is the capital of Austria [1]. It lies on the Danube. [2][3]",
    "빈은 수도다 [1]. 東京は首都である。[2]".encode(),
    b"See `a[1]` and\n```\nx[2]\n```\nDr. Who, e.g. 3.5 km [1, 2; 3] - [4\xe2\x80\x936].",
    b"- one [1]\n- two [2]\n\n1. three [10]",
    b"The sources do not answer this question.",
)
_PAGES: Final = (
    b"<html><head><title>Coffee &amp; tea</title><meta charset='latin-1'></head><body><nav>x</nav><h1>Brew</h1>",
    b"<title>x</title><p>Water <b>hot</b>.<br>Beans</p><ul><li>one<li>two</ul><table><tr><td>a<td>b</table><pre>x\n y",
    b"\xff\xfe<\0p\0>\0a\0",
    b"<svg><math><template><select><option><p>deep</template>" + b"<div>" * 300 + b"text",
    b"<p>a<script>if (a<b) {}</script><style>p{}</style><!-- c --><![CDATA[x]]><textarea>&lt;p&gt;</textarea>",
)
_URLS: Final = (
    b"https://www.Example.org:443/a?b=c&utm_source=x#d",
    b"http://[::ffff:127.0.0.1]:80/",
    "https://bücher.example/ü?q=é".encode(),
    b"http://0x7f.1/",
)


def _citations(data: bytes, chance: random.Random) -> str:
    text = data.decode("utf-8", errors="replace")
    whole = CitationParser((1, 2, 3))
    at_once = [*whole.feed(text), *whole.finish()]
    parts = CitationParser((1, 2, 3))
    found: list[Citation] = []
    at = 0
    while at < len(text):
        size = chance.choice((1, 2, 3, 7, 50))
        found += parts.feed(text[at : at + size])
        at += size
    found += parts.finish()
    if found != at_once or parts.counts != whole.counts:
        raise Wrong("it depends on where the deltas are cut")
    size = len(text.encode())
    for citation in at_once:
        if not 0 <= citation.claim_start <= citation.claim_end <= size:
            raise Wrong(f"a claim is outside of the answer: {citation}")
        if not 0 <= citation.marker_start < citation.marker_end <= size:
            raise Wrong(f"a marker is outside of the answer: {citation}")
    return "cited" if at_once else "uncited"


def _brave(data: bytes, chance: random.Random) -> str:
    payload = json_of(data, "made-up-token")
    headers = {f"x-ratelimit-{name}": _header(data, chance) for name in ("limit", "policy", "remaining", "reset")}
    rate_windows(headers)
    brave_error(chance.choice((400, 403, 422, 429, 500, 302)), payload)
    query = SearchQuery("rain", page_size=chance.choice((1, 10, 20)), verticals=(Vertical.WEB, Vertical.NEWS))
    for parse in (parse_web, parse_news):
        page = parse(payload, query)
        encode_answer(SearchAnswer(page, from_cache=False, elapsed_seconds=0.1)).SerializeToString()
        if any(result.url is not None and web_address(result.url) is None for result in page.results):
            raise Wrong("an address came through that may not")
    return "json" if payload is not None else "no json"


def _header(data: bytes, chance: random.Random) -> str:
    at = chance.randrange(len(data) + 1)
    return chance.choice(("1, 15000", "1;w=1, 15000;w=2592000", "-1, inf", data[at : at + 20].decode("latin-1")))


def _document(kind: Kind) -> Try:
    def attempt(data: bytes, _: random.Random) -> str:
        try:
            document = read_document(data, kind)
        except Unreadable:
            return "unreadable"
        for chunk in chunk_blocks(document.blocks):
            if not chunk.text:
                raise Wrong("a passage is empty")
            for text in (chunk.heading, chunk.text):
                text.encode()
                list(index_terms(text))
        one_line(document.title).encode()
        return "read"

    return attempt


def _grammar(kind: GrammarKind) -> Try:
    def attempt(data: bytes, _: random.Random) -> str:
        try:
            grammar = read_grammar(ResponseFormat(kind, data.decode("utf-8", errors="replace")))
            write_gbnf(grammar).encode()
        except BadGrammar:
            return "refused"
        except RecursionError:  # the gate, whose step this is, takes it for a refusal
            return "too deep"
        return "accepted"

    return attempt


def _clean(data: bytes, _: random.Random) -> str:
    text = data.decode("utf-8", errors="surrogateescape")
    plain = plain_text(text, max_characters=500)
    if len(plain) > 500 or plain != one_line(plain):
        raise Wrong("it is no line of plain text")
    plain.encode()
    query_terms(plain)
    shown = printable_line(text)
    if _CONTROL.search(shown):
        raise Wrong("a control character reaches the terminal")
    link_target(text)
    if tidy(tidy(plain)) != tidy(plain):
        raise Wrong("tidying again changes it")
    if plain.strip():
        derive_query(plain[:4_000], ())
    address = web_address(text)
    if address is not None and web_address(address.url) != address:
        raise Wrong("the address is not its own address")
    return "address" if address else "text"
