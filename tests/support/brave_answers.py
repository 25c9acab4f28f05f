"""What the stand-in for Brave says: results, and refusals in Brave's own form."""

from __future__ import annotations

import json
from datetime import date

TOTAL_RESULTS = 55
_COUNTRIES = """
ALL AR AT AU BE BR CA CH CL CN DE DK ES FI FR GB GR HK ID IN IT JP KR MX MY NL NO NZ PH PL PT RU SA SE TR TW US ZA
"""
_LANGUAGES = """
ar bg bn ca cs da de el en en-gb es et eu fi fr gl gu he hi hr hu is it jp kn ko lt lv ml mr ms nb nl pa pl pt-br pt-pt
ro ru sk sl sr sv ta te th tr uk vi zh-hans zh-hant
"""
COUNTRIES = set(_COUNTRIES.split())
LANGUAGES = set(_LANGUAGES.split())
BOOLEANS = {"true", "false", "0", "1"}


def error_body(status: int, code: str, detail: str, meta: dict[str, object] | None = None) -> bytes:
    error = {"id": "00000000-0000-4000-8000-000000000000", "status": status, "code": code, "detail": detail}
    return json.dumps({"type": "ErrorResponse", "error": {**error, "meta": meta or {}}, "time": 1_700_000_000}).encode()


def violation(location: list[str], message: str, given: object, kind: str = "value_error") -> dict[str, object]:
    return {"type": kind, "loc": location, "msg": message, "input": given}


def parameter_violations(path: str, params: list[tuple[str, str]]) -> list[dict[str, object]]:
    """What Brave's own checks would say."""
    given = dict(params)
    found = []

    def check(name: str, holds: bool, message: str) -> None:
        if not holds:
            found.append(violation(["query", name], message, given.get(name)))

    q = given.get("q", "")
    check("q", q.strip() != "" and len(q) <= 400 and len(q.split()) <= 50, "String should have 1 to 400 characters")
    check(
        "count",
        given.get("count", "20").isdigit() and 1 <= int(given.get("count", "20")) <= 20,
        "Input should be 1 to 20",
    )
    check("offset", given.get("offset", "0") in set("0123456789"), "Input should be less than or equal to 9")
    check("country", given.get("country", "US").upper() in COUNTRIES, "Input should be 'AR', 'AU', 'AT' …")
    check("search_lang", given.get("search_lang", "en") in LANGUAGES, "Input should be 'ar', 'eu', 'bn' …")
    check("safesearch", given.get("safesearch", "moderate") in {"off", "moderate", "strict"}, "Input should be 'off' …")
    for flag in ("text_decorations", "spellcheck", "extra_snippets"):
        check(flag, given.get(flag, "true") in BOOLEANS, "Input should be a valid boolean")
    check("freshness", _is_freshness(given.get("freshness", "pd")), "Input should be 'pd', 'pw', 'pm', 'py' or a range")
    known = {"q", "count", "offset", "country", "search_lang", "ui_lang", "safesearch", "freshness", "spellcheck"}
    known |= {"extra_snippets", "goggles"} | (
        {"text_decorations", "result_filter"} if path.startswith("/web") else set()
    )
    for name in given.keys() - known:
        check(name, False, "Extra inputs are not permitted")
    return found


def _is_freshness(text: str) -> bool:
    if text in {"pd", "pw", "pm", "py"}:
        return True
    start, _, end = text.partition("to")
    try:
        return date.fromisoformat(start) <= date.fromisoformat(end)
    except ValueError:
        return False


def results(query: str, *, count: int, offset: int, kind: str, extra: bool) -> list[dict[str, object]]:
    first = offset * count
    return [
        {
            "type": "search_result" if kind == "web" else "news_result",
            "title": f"{query}: <strong>result</strong> {n} &amp; more",
            "url": f"https://www.example.org/{kind}/{n}",
            "description": f"Passage {n} about <strong>{query}</strong>. It isn&#x27;t long.",
            "age": "2 days ago",
            "page_age": "2024-03-01T12:00:00",
            "language": "en",
            "family_friendly": True,
            "meta_url": {"scheme": "https", "hostname": "www.example.org"},
            **({"extra_snippets": [f"More of {n}, part {part}." for part in (1, 2)]} if extra else {}),
        }
        for n in range(first + 1, min(first + count, TOTAL_RESULTS) + 1)
    ]


def web_answer(params: list[tuple[str, str]]) -> dict[str, object]:
    given = dict(params)
    query, count, offset = given["q"], int(given.get("count", "20")), int(given.get("offset", "0"))
    extra = given.get("extra_snippets") in {"true", "1"}
    wanted = set(given["result_filter"].split(",")) if "result_filter" in given else {"web", "news", "query", "infobox"}
    answer: dict[str, object] = {"type": "search"}
    web = results(query, count=count, offset=offset, kind="web", extra=extra)
    if "query" in wanted:
        altered = {"altered": query.replace("teh", "the")} if "teh" in query else {}
        more = (offset + 1) * count < TOTAL_RESULTS
        answer["query"] = {"original": query, **altered, "more_results_available": more}
    if "web" in wanted:
        answer["web"] = {"type": "search", "results": web, "family_friendly": True}
        main = [{"type": "web", "index": index, "all": False} for index in range(len(web))]
        answer["mixed"] = {"type": "mixed", "main": main, "top": [], "side": []}
    if "news" in wanted:
        answer["news"] = {"type": "news", "results": results(query, count=3, offset=offset, kind="news", extra=False)}
    if "infobox" in wanted:  # Brave sends it as an object or as an array
        answer["infobox"] = {"type": "graph", "results": [{"title": query}] if offset else {"title": query}}
    return answer


def news_answer(params: list[tuple[str, str]]) -> dict[str, object]:
    given = dict(params)
    count, offset = int(given.get("count", "20")), int(given.get("offset", "0"))
    extra = given.get("extra_snippets") in {"true", "1"}
    found = results(given["q"], count=count, offset=offset, kind="news", extra=extra)
    return {"type": "news", "query": {"original": given["q"]}, "results": found}
