"""`groundwire ask`: one question, one streamed answer."""

from __future__ import annotations

from typing import Annotated

import typer

from groundwire_cli.search_options import ProviderName, SearchOptions, parse_freshness
from groundwire_cli.words import words_or_stdin

DEFAULT_TIMEOUT_SECONDS = 120.0
"""What the gateway applies itself where a caller sets no deadline."""


def ask(
    question: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUESTION…",
            help="The question. Read from standard input where it is - or absent.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one event a line in JSON, and nothing else on standard output.")
    ] = False,
    max_sources: Annotated[
        int | None, typer.Option(min=1, max=10, help="How many sources to offer to the model. Default 5.")
    ] = None,
    provider: Annotated[
        ProviderName | None, typer.Option(help="Where to search. Default: the search service's choice.")
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
    max_tokens: Annotated[
        int | None, typer.Option(min=1, max=4096, help="The most tokens to generate. Default 512.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0, the default, always takes the likeliest token.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Makes sampling repeatable.")] = None,
    timeout: Annotated[
        float, typer.Option(min=0.001, max=86_400, metavar="SECONDS", help="Give up after this long.")
    ] = DEFAULT_TIMEOUT_SECONDS,
    target: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where the gateway is. Default: GROUNDWIRE_GATEWAY_TARGET, or here."),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="An id that the logs of all services will show.")
    ] = None,
) -> None:
    """Ask a question and get a streamed answer that cites its sources.

    Examples:

    groundwire ask "Can a web page forge a control token?"

    groundwire ask --freshness week --news "Who won the election in Iceland?"

    echo "What is gRPC?" | groundwire ask --json | jq -r "select(.delta).delta.text"
    """
    from groundwire_cli.answer_output import AnswerLines, AnswerPrinter
    from groundwire_cli.asking import ask_and_print
    from groundwire_cli.config import channel_security, target_or_default
    from groundwire_cli.gateway_client import Question, call_metadata
    from groundwire_cli.interrupts import run_interruptible
    from groundwire_cli.services import GATEWAY

    asked = Question(
        words_or_stdin(question or (), what="question"),
        SearchOptions(provider, country, language, parse_freshness(freshness), news),
        max_sources,
        max_tokens,
        temperature,
        seed,
    )
    raise typer.Exit(
        run_interruptible(
            ask_and_print(
                target_or_default(target, GATEWAY),
                asked,
                AnswerLines() if as_json else AnswerPrinter(),
                metadata=call_metadata(request_id),
                timeout_seconds=timeout,
                security=channel_security(GATEWAY),
            ),
            saying="Cancelled: the gateway was told to stop answering.",
        )
    )
