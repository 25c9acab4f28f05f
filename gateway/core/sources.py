"""From what a search found, or what the caller brought, to the numbered sources that the model is offered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from gateway.core.types import FoundResult, GivenSource, Source

MAX_TITLE_BYTES: Final = 1_024
MAX_HOST_BYTES: Final = 255
MAX_TEXT_BYTES: Final = 65_536
"""What the inference service takes of a document."""

LOCAL_HOST: Final = "local"
"""Stands for a host where a source has no address."""

_UNTITLED: Final = "Untitled"

_LINE_BREAKS_AND_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MARKER: Final = re.compile(r"\[(\s*\d[\s\d,;\u060c\u3001\uff0c\uff1b\u2013\u2014-]*)\]")


def one_line(text: str) -> str:
    """The text such that it can neither begin a line of its own nor cite a source.

    Every control character and everything that Unicode breaks lines at becomes a space, and square brackets around
    nothing but digits (of any script), white space, commas, semicolons and dashes become round ones. This is the
    inference service's own rule for documents, so that the text reported for a source is the text that is offered to
    the model; a test holds the two equal. Applying it again changes nothing.
    """
    return _MARKER.sub(r"(\1)", _LINE_BREAKS_AND_CONTROLS.sub(" ", text))


def tidy(text: str) -> str:
    """`one_line` with each run of white space as one space, and none at the ends. Also a fixed point, of both."""
    return " ".join(one_line(text).split())


def from_results(results: Sequence[FoundResult], max_sources: int) -> tuple[Source, ...]:
    """The best results as sources, from 1. Those without a passage are left out, unless none has one."""
    passages = [_passage(result) for result in results]
    if not any(passages):
        passages = [tidy(result.title) for result in results]
    offered = [pair for pair in zip(results, passages, strict=True) if pair[1]][:max_sources]
    return tuple(
        Source(
            index=index,
            title=_title(result.title, result.host),
            host=_host(result.host),
            text=_cut(text, MAX_TEXT_BYTES),
            url=result.url,
            location=result.location,
            published_time=result.published_time,
        )
        for index, (result, text) in enumerate(offered, start=1)
    )


def from_given(given: Sequence[GivenSource]) -> tuple[Source, ...]:
    """The caller's own sources, all of them, in their order."""
    return tuple(
        Source(
            index=index,
            title=_title(source.title, host_of(source.url)),
            host=_host(host_of(source.url)),
            text=_cut(tidy(source.text), MAX_TEXT_BYTES),
            url=source.url or None,
        )
        for index, source in enumerate(given, start=1)
    )


def host_of(url: str) -> str:
    """The host name of an address in lower case, without "www."; "local" where there is none."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return host.removeprefix("www.") or LOCAL_HOST


def _passage(result: FoundResult) -> str:
    """The description and the extra snippets, without those that another one contains."""
    passages = list(dict.fromkeys(tidy(text) for text in (result.description, *result.extra_snippets)))
    kept = [text for text in passages if text and not any(text in other for other in passages if other is not text)]
    # Once more as a whole: brackets may meet where two passages do.
    return tidy(" ".join(kept))


def _title(title: str, host: str) -> str:
    return _cut(tidy(title), MAX_TITLE_BYTES) or _cut(tidy(host), MAX_TITLE_BYTES) or _UNTITLED


def _host(host: str) -> str:
    return _cut(tidy(host), MAX_HOST_BYTES) or LOCAL_HOST


def _cut(text: str, max_bytes: int) -> str:
    """The longest beginning of whole characters that fits."""
    encoded = text.encode()
    return text if len(encoded) <= max_bytes else encoded[:max_bytes].decode(errors="ignore").rstrip()
