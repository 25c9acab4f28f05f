"""The `groundwire` command. Only typer is imported here: each command imports what it needs when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from groundwire_cli import ask, search, serve
from groundwire_cli.errors import CommandError
from groundwire_cli.exit_codes import ASK_EPILOG, SEARCH_EPILOG
from groundwire_cli.lazy_group import lazy_group
from groundwire_cli.terminal import open_missing_streams, report_error, settle_output, tolerate_any_encoding

app = typer.Typer(
    name="groundwire",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from groundwire_rpc.version import version

        typer.echo(f"groundwire {version()}")
        raise typer.Exit


@app.callback()
def groundwire(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A self-hosted answer engine: cited, streamed answers from search results, on a model you host yourself.

    Start with `groundwire demo`, or with `groundwire up` and then `groundwire ask "your question"`.
    Settings are environment variables (GROUNDWIRE_…, BRAVE_API_KEY), also from a .env file in the working folder.
    """


app.command(epilog=ASK_EPILOG)(ask.ask)
app.command(epilog=SEARCH_EPILOG)(search.search)


@app.command()
def up() -> None:
    """Run all three services until Ctrl-C. What dies is started again; what cannot run ends it with the reason.

    Examples:

    groundwire up

    GROUNDWIRE_MODEL=/models/phi-3.gguf BRAVE_API_KEY=… groundwire up
    """
    import asyncio

    from groundwire_cli.up import run_up

    asyncio.run(run_up())


app.command()(serve.serve)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")] = False,
    target: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where the gateway is. Default: GROUNDWIRE_GATEWAY_TARGET, or here."),
    ] = None,
) -> None:
    """Tell how the services are: health, versions, model, quota, slots. Exit code 0 if all serve, else 1.

    Examples:

    groundwire status

    groundwire status --json | jq .inference.model
    """
    from groundwire_cli.status import show_status

    raise typer.Exit(show_status(target=target, as_json=as_json))


@app.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Print one frame, after one interval, and exit.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, max=3600, metavar="SECONDS", help="How long from one frame to the next.")
    ] = 1.0,
    target: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where the gateway is. Default: GROUNDWIRE_GATEWAY_TARGET, or here."),
    ] = None,
) -> None:
    """Show live how busy the services are: streams, queue, tokens a second, KV cache, quota, circuits. Ctrl-C leaves.

    Examples:

    groundwire top

    groundwire top --once

    groundwire top --interval 10 >> top.log
    """
    from groundwire_cli.top import show_top

    show_top(target=target, interval_seconds=interval, once=once)


@app.command()
def demo(
    question: Annotated[
        list[str] | None, typer.Argument(help="A question of your own about this project.", show_default=False)
    ] = None,
) -> None:
    """Start all three services on free ports, ask one question through them, and stop them again.

    Runs on the built-in model and on this project's own documents; on GROUNDWIRE_MODEL and BRAVE_API_KEY where set.
    """
    from groundwire_cli.demo import DEMO_QUESTION, run_demo
    from groundwire_cli.interrupts import run_interruptible

    raise typer.Exit(
        run_interruptible(run_demo(" ".join(question or ()).strip() or DEMO_QUESTION), saying="Cancelled.")
    )


@app.command(name="eval")
def evaluate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Items in JSON Lines: docs/quality.md says how they look.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")] = False,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write every answer there, one JSON object a line.")
    ] = None,
    nli_model: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Judge citations by this NLI model in ONNX. Default: by contained words."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="The most tokens of an answer.")] = 256,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Questions asked at once.")] = 2,
    timeout: Annotated[
        float, typer.Option(min=0.001, max=86_400, metavar="SECONDS", help="Give up on a question after this long.")
    ] = ask.DEFAULT_TIMEOUT_SECONDS,
    target: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where the gateway is. Default: GROUNDWIRE_GATEWAY_TARGET, or here."),
    ] = None,
) -> None:
    """Ask questions with pinned sources, and tell how good the answers are: citations, quotations, refusals.

    Nothing is searched. Exit code 0 if every question got an answer, good or bad, else 1.

    Examples:

    groundwire eval benchmarks/quality/sets/*.jsonl

    groundwire eval --json --answers answers.jsonl my-questions.jsonl | jq .sets.all
    """
    from groundwire_cli.evaluate import evaluate

    raise typer.Exit(
        evaluate(
            files,
            target=target,
            max_tokens=max_tokens,
            timeout_seconds=timeout,
            concurrency=concurrency,
            answers_file=answers,
            nli_model=nli_model,
            as_json=as_json,
        )
    )


app.add_typer(
    typer.Typer(cls=lazy_group("groundwire_cli.index", "search")),
    name="index",
    help="Add, list and remove documents of the local index.",
    no_args_is_help=True,
)
app.add_typer(
    typer.Typer(cls=lazy_group("groundwire_cli.model", "inference")),
    name="model",
    help="Download, list and tune models.",
    no_args_is_help=True,
)
app.add_typer(
    typer.Typer(cls=lazy_group("groundwire_cli.certs", "cli")),
    name="certs",
    help="Make certificates to try TLS with.",
    no_args_is_help=True,
)
app.add_typer(
    typer.Typer(cls=lazy_group("groundwire_cli.keys", "gateway")),
    name="keys",
    help="Make, list and remove API keys of the gateway.",
    no_args_is_help=True,
)


def main() -> None:
    """Run the command line and exit with one of groundwire_cli.exit_codes."""
    open_missing_streams()
    tolerate_any_encoding()
    try:
        app(prog_name="groundwire")
    except CommandError as error:
        report_error(error)
        sys.exit(error.exit_code)
    finally:
        settle_output()
