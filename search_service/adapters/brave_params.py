"""What Brave takes: the contract's query as parameters of one request, checked against Brave's own limits.

The lists are those of Brave's documentation and of the messages with which it refuses anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from search_service.core.errors import InvalidQuery
from search_service.core.types import DateRange, FreshnessPreset, SearchQuery, Vertical

MAX_QUERY_CHARACTERS: Final = 400
MAX_QUERY_WORDS: Final = 50

_COUNTRIES: Final = """
ALL AR AT AU BE BR CA CH CL CN DE DK ES FI FR GB GR HK ID IN IT JP KR MX MY NL NO NZ PH PL PT RU SA SE TR TW US ZA
"""
COUNTRIES: Final = frozenset(_COUNTRIES.split())
"""The 37 countries and ALL."""

_SEARCH_LANGUAGES: Final = """
ar bg bn ca cs da de el en en-gb es et eu fi fr gl gu he hi hr hu is it jp kn ko lt lv ml mr ms nb nl pa pl pt-br pt-pt
ro ru sk sl sr sv ta te th tr uk vi zh-hans zh-hant
"""
SEARCH_LANGUAGES: Final = frozenset(_SEARCH_LANGUAGES.split())
"""Not ISO codes: Japanese is jp, Chinese and Portuguese name their variant."""

_UI_LANGUAGES: Final = """
da-DK de-AT de-CH de-DE el-GR en-AU en-CA en-GB en-ID en-IN en-MY en-NZ en-PH en-US en-ZA es-AR es-CL es-ES es-MX es-US
fi-FI fr-BE fr-CA fr-CH fr-FR it-IT ja-JP ko-KR nl-BE nl-NL no-NO pl-PL pt-BR ru-RU sv-SE tr-TR zh-CN zh-HK zh-TW
"""
UI_LANGUAGES: Final = {name.lower(): name for name in _UI_LANGUAGES.split()}
"""By their lower case."""

_OWN_SPELLING: Final = {
    "ja": "jp", "zh": "zh-hans or zh-hant", "zh-cn": "zh-hans", "zh-tw": "zh-hant", "pt": "pt-br or pt-pt", "no": "nb"
}  # fmt: skip
_PRESETS: Final = {
    FreshnessPreset.PAST_DAY: "pd",
    FreshnessPreset.PAST_WEEK: "pw",
    FreshnessPreset.PAST_MONTH: "pm",
    FreshnessPreset.PAST_YEAR: "py",
}

FIELDS: Final = {
    "q": "query",
    "count": "page_size",
    "offset": "page",
    "country": "country",
    "search_lang": "search_language",
    "ui_lang": "ui_language",
    "safesearch": "safe_search",
    "freshness": "freshness",
    "result_filter": "verticals",
    "extra_snippets": "extra_snippets",
    "goggles": "goggles",
}
"""The field of SearchRequest that each of Brave's parameters comes from."""


@dataclass(frozen=True, slots=True)
class BraveRequest:
    """One request to Brave, without its token."""

    path: str
    """Below the base URL."""
    params: tuple[tuple[str, str], ...]


def brave_request(query: SearchQuery, *, extra_snippets: bool) -> BraveRequest:
    """The one request that answers a query. Raises InvalidQuery that names every field Brave does not take."""
    check_query(query)
    news_only = query.verticals == (Vertical.NEWS,)
    params = [
        ("q", query.text),
        ("count", str(web_count(query))),
        ("offset", str(query.page)),
        ("safesearch", query.safe_search.value),
        ("spellcheck", "true"),
    ]
    if query.country:
        params.append(("country", query.country.upper()))
    if query.search_language:
        params.append(("search_lang", query.search_language.lower()))
    if query.ui_language:
        params.append(("ui_lang", UI_LANGUAGES[query.ui_language.lower()]))
    if query.freshness is not None:
        params.append(("freshness", _freshness(query.freshness)))
    if extra_snippets:
        params.append(("extra_snippets", "true"))
    params += (("goggles", goggle) for goggle in query.goggles)
    if news_only:
        return BraveRequest("/news/search", tuple(params))
    # Without `query` among them the corrected spelling and whether more follows would be left out.
    wanted = [vertical.value for vertical in (Vertical.WEB, Vertical.NEWS) if vertical in query.verticals]
    params += (("text_decorations", "false"), ("result_filter", ",".join((*wanted, "query"))))
    return BraveRequest("/web/search", tuple(params))


def web_count(query: SearchQuery) -> int:
    """How many results to ask for. Brave counts web results alone: where news is wanted too, a quarter is left to it.

    Asking for fewer, rather than cutting the page, keeps every web result on some page.
    """
    both = Vertical.WEB in query.verticals and Vertical.NEWS in query.verticals
    return query.page_size - query.page_size // 4 if both else query.page_size


def check_query(query: SearchQuery) -> None:
    """Raise InvalidQuery with every field that Brave would refuse."""
    problems: list[tuple[str, str]] = []
    words = len(query.text.split())
    if len(query.text) > MAX_QUERY_CHARACTERS:
        problems.append(("query", f"has {len(query.text):,} characters; Brave takes at most {MAX_QUERY_CHARACTERS}"))
    if words > MAX_QUERY_WORDS:
        problems.append(("query", f"has {words:,} words; Brave takes at most {MAX_QUERY_WORDS}"))
    if query.country and query.country.upper() not in COUNTRIES:
        problems.append(("country", f"Brave does not know it; it knows {', '.join(sorted(COUNTRIES))}"))
    language = query.search_language.lower()
    if language and language not in SEARCH_LANGUAGES:
        hint = f"; it spells this one {_OWN_SPELLING[language]}" if language in _OWN_SPELLING else ""
        listed = ", ".join(sorted(SEARCH_LANGUAGES))
        problems.append(("search_language", f"Brave does not know it{hint}; it knows {listed}"))
    if query.ui_language and query.ui_language.lower() not in UI_LANGUAGES:
        listed = ", ".join(sorted(UI_LANGUAGES.values()))
        problems.append(("ui_language", f"Brave does not know it; it knows {listed}"))
    if Vertical.LOCAL in query.verticals:
        problems.append(("verticals", "VERTICAL_LOCAL comes from the local provider only"))
    if problems:
        raise InvalidQuery(problems)


def _freshness(freshness: FreshnessPreset | DateRange) -> str:
    if isinstance(freshness, DateRange):
        return f"{freshness.start.isoformat()}to{freshness.end.isoformat()}"
    return _PRESETS[freshness]
