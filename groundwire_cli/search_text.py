"""Search results on standard output, for a person."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text

from groundwire.search.v1 import search_pb2
from groundwire_cli.terminal import output_console
from groundwire_cli.terminal_text import link_target, printable_line

PROVIDER_NAMES: dict[int, str] = {
    search_pb2.PROVIDER_BRAVE: "Brave",
    search_pb2.PROVIDER_LOCAL: "the local index",
}


def print_results(response: search_pb2.SearchResponse) -> None:
    """Print every result with its address and description, then a line about the search."""
    console = output_console()
    for result in response.results:
        for line in result_lines(result, terminal=console.is_terminal):
            console.print(line)
    console.print(summary(response))


def result_lines(result: search_pb2.SearchResult, *, terminal: bool) -> list[Text]:
    """Rank, title and place; the address, where it cannot be a link; the description."""
    target = link_target(result.url) if result.HasField("url") else None
    line = Text(f"{result.rank:>3}. ", style="bold")
    line.append(printable_line(result.title), style=Style(bold=True, link=target if terminal else None))
    line.append(f"  {_place(result)}", style="not bold dim")
    if result.HasField("published_time"):
        line.append(f"  {result.published_time.ToDatetime():%Y-%m-%d}", style="not bold dim")
    lines = [line]
    if target and not terminal:
        lines.append(Text(f"     {target}"))
    description = printable_line(result.description)
    if description:
        lines.append(Text(f"     {description}"))
    return lines


def _place(result: search_pb2.SearchResult) -> str:
    if not result.HasField("location"):
        return printable_line(result.host)
    path, heading = printable_line(result.location.path), printable_line(result.location.heading)
    return f"{path} › {heading}" if heading else path


def summary(response: search_pb2.SearchResponse) -> Text:
    """How many results, from where, how fast; and the query where it was corrected."""
    count = len(response.results)
    told = f"{count} result{'' if count == 1 else 's'}" if count else "Nothing found"
    told += f" from {PROVIDER_NAMES.get(response.provider, 'an unknown provider')}"
    if response.from_cache:
        told += " (cached)"
    if response.HasField("altered_query"):
        told += f", searched for “{printable_line(response.altered_query)}”"
    if response.more_results_available:
        told += ", more with --page"
    milliseconds = response.elapsed.ToNanoseconds() / 1e6
    return Text(f"{told} · {milliseconds:.0f} ms", style="dim")
