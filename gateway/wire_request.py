"""From an AskRequest to a question. Every limit that the gateway's contract states is checked here."""

from __future__ import annotations

import re
from datetime import date
from typing import Final
from urllib.parse import urlsplit

from gateway.core.sources import tidy
from gateway.core.types import (
    DEFAULT_MAX_SOURCES,
    RESULTS_FETCHED,
    DateRange,
    FreshnessPreset,
    GenerationOptions,
    GivenSource,
    GrammarKind,
    Provider,
    Question,
    ResponseFormat,
    Role,
    SafeSearch,
    Sampling,
    SearchOptions,
    Turn,
    Vertical,
)
from groundwire.gateway.v1 import gateway_pb2 as pb
from groundwire_rpc.validation import FieldChecks

MAX_QUESTION_CHARACTERS: Final = 4_000
MAX_HISTORY_TURNS: Final = 64
MAX_TURN_BYTES: Final = 65_536
MAX_GIVEN_SOURCES: Final = 32
MAX_TITLE_BYTES: Final = 1_024
MAX_URL_BYTES: Final = 8_192
MAX_TEXT_BYTES: Final = 65_536
MAX_GOGGLES: Final = 3
MAX_GOGGLE_BYTES: Final = 2_048
MAX_TOKENS: Final = 4_096
MAX_STOPS: Final = 8
MAX_STOP_BYTES: Final = 64
MAX_GRAMMAR_BYTES: Final = 16_384

_SAMPLING_RANGES: Final = (
    ("temperature", 0.0, 2.0, False),
    ("top_p", 0.0, 1.0, True),
    ("top_k", 0.0, 1_000.0, False),
    ("min_p", 0.0, 1.0, False),
    ("repeat_penalty", 0.5, 2.0, False),
)
"""Field, least and most, and whether the least itself is excluded."""

_COUNTRY: Final = re.compile(r"[A-Za-z]{2}|ALL", re.IGNORECASE)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_WEB_ADDRESS: Final = re.compile(r"https?://[^\s\x00-\x20\x7f]+", re.IGNORECASE)

_PROVIDERS: Final = {
    pb.PROVIDER_BRAVE: Provider.BRAVE,
    pb.PROVIDER_LOCAL: Provider.LOCAL,
}
_ROLES: Final = {
    pb.ROLE_USER: Role.USER,
    pb.ROLE_ASSISTANT: Role.ASSISTANT,
}
_VERTICALS: Final = {
    pb.VERTICAL_WEB: Vertical.WEB,
    pb.VERTICAL_NEWS: Vertical.NEWS,
}
_SAFE_SEARCHES: Final = {
    pb.SAFE_SEARCH_OFF: SafeSearch.OFF,
    pb.SAFE_SEARCH_MODERATE: SafeSearch.MODERATE,
    pb.SAFE_SEARCH_STRICT: SafeSearch.STRICT,
}
_PRESETS: Final = {
    pb.FRESHNESS_PRESET_PAST_DAY: FreshnessPreset.PAST_DAY,
    pb.FRESHNESS_PRESET_PAST_WEEK: FreshnessPreset.PAST_WEEK,
    pb.FRESHNESS_PRESET_PAST_MONTH: FreshnessPreset.PAST_MONTH,
    pb.FRESHNESS_PRESET_PAST_YEAR: FreshnessPreset.PAST_YEAR,
}


def decode_answer_request(request: pb.AnswerRequest, *, max_request_bytes: int) -> Question:
    """The question of an AnswerRequest. Raises InvalidFields with every offending field."""
    if not request.HasField("ask"):
        check = FieldChecks()
        check.add("ask", "is required")
        check.done()
    return decode_question(request.ask, max_request_bytes=max_request_bytes, prefix="ask.")


def decode_question(request: pb.AskRequest, *, max_request_bytes: int, prefix: str = "") -> Question:
    """The question of an AskRequest. Raises InvalidFields with every offending field, `prefix` before each name."""
    check = FieldChecks()
    check.characters("question", request.question, low=1, high=MAX_QUESTION_CHARACTERS)
    if request.HasField("max_sources"):
        check.number("max_sources", request.max_sources, low=1, high=RESULTS_FETCHED)
    history = _decode_history(check, request)
    sources = _decode_sources(check, request)
    search = _decode_search(check, request)
    generation = _decode_generation(check, request)
    if sources:
        _forbid_search_options(check, request)
    size = request.ByteSize()
    if size > max_request_bytes:
        larger = "sources" if sum(s.ByteSize() for s in request.sources) > size / 2 else "history"
        check.add(larger, f"makes the request {size:,} bytes long; this gateway takes {max_request_bytes:,}")
    violations, check = check.violations, FieldChecks()
    for violation in violations:
        check.add(prefix + violation.field, violation.description)
    check.done()
    return Question(
        text=request.question,
        history=history,
        given_sources=sources,
        max_sources=request.max_sources if request.HasField("max_sources") else DEFAULT_MAX_SOURCES,
        search=search,
        generation=generation,
    )


def _decode_history(check: FieldChecks, request: pb.AskRequest) -> tuple[Turn, ...]:
    check.count("history", len(request.history), high=MAX_HISTORY_TURNS)
    turns: list[Turn] = []
    for index, turn in enumerate(request.history):
        expected = (pb.ROLE_USER, pb.ROLE_ASSISTANT)[index % 2]
        if check.known_enum(f"history[{index}].role", turn.role, list(_ROLES), required=True):
            if turn.role != expected:
                wanted = f"must be {pb.Role.Name(expected)} here: user and assistant alternate, a user's turn first"
                check.add(f"history[{index}].role", wanted)
            turns.append(Turn(_ROLES[turn.role], turn.content))
        check.utf8_bytes(f"history[{index}].content", turn.content, low=1, high=MAX_TURN_BYTES)
    if len(request.history) % 2:
        check.add("history", "must end with the assistant's turn")
    return tuple(turns)


def _decode_sources(check: FieldChecks, request: pb.AskRequest) -> tuple[GivenSource, ...]:
    check.count("sources", len(request.sources), high=MAX_GIVEN_SOURCES)
    for index, source in enumerate(request.sources):
        field = f"sources[{index}]"
        for name, value, high in (("title", source.title, MAX_TITLE_BYTES), ("text", source.text, MAX_TEXT_BYTES)):
            if check.utf8_bytes(f"{field}.{name}", value, low=1, high=high) and not tidy(value):
                check.add(f"{field}.{name}", "has nothing but white space and control characters")
        if check.utf8_bytes(f"{field}.url", source.url, high=MAX_URL_BYTES) and source.url:
            _check_web_address(check, f"{field}.url", source.url)
    return tuple(GivenSource(source.title, source.text, source.url) for source in request.sources)


def _check_web_address(check: FieldChecks, field: str, url: str) -> None:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host or not _WEB_ADDRESS.fullmatch(url):
        check.add(field, "must be a whole http or https address, such as https://example.org/page")


def _decode_search(check: FieldChecks, request: pb.AskRequest) -> SearchOptions:
    check.known_enum("provider", request.provider, [0, *_PROVIDERS])
    check.known_enum("safe_search", request.safe_search, [0, *_SAFE_SEARCHES])
    if request.country and not _COUNTRY.fullmatch(request.country):
        check.add("country", "must be two letters (ISO 3166-1 alpha-2) or ALL")
    seen: set[int] = set()
    for index, vertical in enumerate(request.verticals):
        known = check.known_enum(f"verticals[{index}]", vertical, list(_VERTICALS), required=True)
        if known and vertical in seen:
            check.add(f"verticals[{index}]", f"{pb.Vertical.Name(vertical)} is given twice")
        seen.add(vertical)
    check.count("goggles", len(request.goggles), high=MAX_GOGGLES)
    for index, goggle in enumerate(request.goggles):
        check.utf8_bytes(f"goggles[{index}]", goggle, low=1, high=MAX_GOGGLE_BYTES)
    return SearchOptions(
        provider=_PROVIDERS.get(request.provider),
        country=request.country,
        search_language=request.search_language,
        safe_search=_SAFE_SEARCHES.get(request.safe_search),
        freshness=_decode_freshness(check, request.freshness) if request.HasField("freshness") else None,
        verticals=tuple(_VERTICALS[vertical] for vertical in request.verticals if vertical in _VERTICALS),
        goggles=tuple(request.goggles),
        bypass_cache=request.bypass_cache,
    )


def _decode_freshness(check: FieldChecks, freshness: pb.Freshness) -> FreshnessPreset | DateRange | None:
    which = freshness.WhichOneof("period")
    if which is None:
        check.add("freshness.period", "is required: one of preset, range")
        return None
    if which == "preset":
        check.known_enum("freshness.preset", freshness.preset, list(_PRESETS), required=True)
        return _PRESETS.get(freshness.preset)
    start = _decode_day(check, "freshness.range.start", freshness.range.start)
    end = _decode_day(check, "freshness.range.end", freshness.range.end)
    if start is None or end is None:
        return None
    if end < start:
        check.add("freshness.range.end", f"{end} is before the start, {start}")
    return DateRange(start, end)


def _decode_day(check: FieldChecks, field: str, text: str) -> date | None:
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # such as the 30th of February
    check.add(field, "must be a day, as YYYY-MM-DD")
    return None


def _decode_generation(check: FieldChecks, request: pb.AskRequest) -> GenerationOptions:
    if request.HasField("max_tokens"):
        check.number("max_tokens", request.max_tokens, low=1, high=MAX_TOKENS)
    check.count("stop", len(request.stop), high=MAX_STOPS)
    for index, stop in enumerate(request.stop):
        check.utf8_bytes(f"stop[{index}]", stop, low=1, high=MAX_STOP_BYTES)
    given = {descriptor.name: value for descriptor, value in request.ListFields()}
    for field, low, high, low_open in _SAMPLING_RANGES:
        if field in given:
            check.number(field, given[field], low=low, high=high, low_open=low_open)
    return GenerationOptions(
        max_tokens=request.max_tokens if request.HasField("max_tokens") else None,
        stop=tuple(request.stop),
        sampling=Sampling(
            temperature=request.temperature if request.HasField("temperature") else None,
            top_p=request.top_p if request.HasField("top_p") else None,
            top_k=request.top_k if request.HasField("top_k") else None,
            min_p=request.min_p if request.HasField("min_p") else None,
            repeat_penalty=request.repeat_penalty if request.HasField("repeat_penalty") else None,
            seed=request.seed if request.HasField("seed") else None,
        ),
        response_format=_decode_response_format(check, request),
    )


def _decode_response_format(check: FieldChecks, request: pb.AskRequest) -> ResponseFormat | None:
    if not request.HasField("response_format"):
        return None
    form = request.response_format
    which = form.WhichOneof("format")
    if which is None:
        check.add("response_format.format", "is required: one of json_schema, gbnf")
        return None
    kind = GrammarKind(which)
    source = form.json_schema if kind is GrammarKind.JSON_SCHEMA else form.gbnf
    check.utf8_bytes(f"response_format.{which}", source, low=1, high=MAX_GRAMMAR_BYTES)
    return ResponseFormat(kind, source)


def _forbid_search_options(check: FieldChecks, request: pb.AskRequest) -> None:
    # ListFields has what is set: `optional` fields also where they are zero, others where they are not.
    options = {"max_sources", "provider", "country", "search_language", "safe_search", "freshness", "verticals"}
    options |= {"goggles", "bypass_cache"}
    for descriptor, _ in request.ListFields():
        if descriptor.name in options:
            check.add(descriptor.name, "must be absent where sources are given: then nothing is searched")
