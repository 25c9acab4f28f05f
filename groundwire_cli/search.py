"""`groundwire search`: one query, a list of results, no model."""

from __future__ import annotations

from typing import Annotated

import typer

from groundwire_cli.search_options import ProviderName, SearchOptions, parse_freshness
from groundwire_cli.words import words_or_stdin

DEFAULT_TIMEOUT_SECONDS = 10.0
"""What the search service applies itself where a caller sets no deadline."""


def search(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY…",
            help="The query. Read from standard input where it is - or absent.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the response on one line in JSON, and nothing else.")
    ] = False,
    max_results: Annotated[
        int | None, typer.Option("--max-results", "-n", min=1, max=20, help="How many results. Default 10.")
    ] = None,
    page: Annotated[int | None, typer.Option(min=0, max=9, help="Which page of results, from 0.")] = None,
    provider: Annotated[
        ProviderName | None, typer.Option(help="Where to search. Default: the service's choice.")
    ] = None,
    country: Annotated[str, typer.Option(help="Where results come from: DE, KR, US, … or ALL.")] = "",
    language: Annotated[
        str, typer.Option(help="The language of the results as the provider spells it: en, ko, jp, …")
    ] = "",
    freshness: Annotated[
        str | None,
        typer.Option(metavar="PERIOD", help="day, week, month, year, or YYYY-MM-DDtoYYYY-MM-DD."),
    ] = None,
    news: Annotated[bool, typer.Option("--news", help="Search news articles instead of web pages.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0.001, max=86_400, metavar="SECONDS", help="Give up after this long.")
    ] = DEFAULT_TIMEOUT_SECONDS,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Where the search service is. Default: GROUNDWIRE_SEARCH_TARGET, or here."
        ),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="An id that the service's log will show.")
    ] = None,
) -> None:
    """Search the web or the local index, without asking the model.

    Examples:

    groundwire search "grpc deadline propagation"

    groundwire search --provider local --json "context fitting" | jq -r ".results | .0.title"
    """
    from groundwire_cli.config import channel_security, target_or_default
    from groundwire_cli.exit_codes import ExitCode
    from groundwire_cli.gateway_client import call_metadata
    from groundwire_cli.interrupts import run_interruptible
    from groundwire_cli.proto_json import json_line
    from groundwire_cli.search_client import Query, run_search
    from groundwire_cli.search_text import print_results
    from groundwire_cli.services import SEARCH
    from groundwire_cli.terminal import write_output

    asked = Query(
        words_or_stdin(query or (), what="query"),
        SearchOptions(provider, country, language, parse_freshness(freshness), news),
        max_results,
        page,
    )
    response = run_interruptible(
        run_search(
            target_or_default(target, SEARCH),
            asked,
            metadata=call_metadata(request_id),
            timeout_seconds=timeout,
            security=channel_security(SEARCH),
        ),
        saying="Cancelled: the search was dropped.",
    )
    if as_json:
        write_output(json_line(response))
    else:
        print_results(response)
    raise typer.Exit(ExitCode.OK if response.results else ExitCode.NOTHING_FOUND)
