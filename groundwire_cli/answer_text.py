"""The words around an answer: progress, sources, citations, verdict and timings as styled lines.

Every text that comes from outside goes through terminal_text first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.duration_pb2 import Duration
from rich.style import Style
from rich.text import Text

from groundwire.gateway.v1 import gateway_pb2
from groundwire_cli.terminal_text import link_target, printable_line

PROVIDER_NAMES: dict[int, str] = {
    gateway_pb2.PROVIDER_BRAVE: "Brave",
    gateway_pb2.PROVIDER_LOCAL: "the local index",
}


def progress(event: gateway_pb2.Progress) -> Text:
    """What the answer is waiting for."""
    if event.stage == gateway_pb2.STAGE_READING:
        if event.prompt_tokens_total:
            percent = 100 * event.prompt_tokens_processed // event.prompt_tokens_total
            return Text(f"The model reads the sources: {percent} % of {event.prompt_tokens_total:,} tokens")
        return Text("The model reads the sources")
    return Text("Searching")


def sources(event: gateway_pb2.Sources, *, terminal: bool) -> list[Text]:
    """The numbered list of sources. On a terminal a title is a link; elsewhere the address has its own line."""
    if not event.sources:
        return []
    heading = Text("Sources", style="bold")
    told = [f"from {PROVIDER_NAMES[event.provider]}"] if event.provider in PROVIDER_NAMES else []
    if event.query:
        told.append(f"for “{printable_line(event.altered_query or event.query)}”")
    if event.HasField("stale_age"):
        told.append(f"(search is down; found {event.stale_age.ToSeconds():,} s ago)")
    elif event.from_cache:
        told.append("(cached)")
    heading.append(f" {' '.join(told)}" if told else "", style="not bold dim")
    lines = [heading]
    for source in event.sources:
        lines += source_lines(source, terminal=terminal)
    return lines


def source_lines(source: gateway_pb2.Source, *, terminal: bool) -> list[Text]:
    """One source: number, title and host or path; its address below, where it cannot be a link."""
    target = link_target(source.url) if source.HasField("url") else None
    line = Text("  ").append(f"[{source.index}] ", style="bold")
    line.append(printable_line(source.title), style=Style(link=target) if target and terminal else "")
    line.append(f"  {_place(source)}", style="dim")
    if source.HasField("published_time"):
        line.append(f"  {source.published_time.ToDatetime():%Y-%m-%d}", style="dim")
    lines = [line]
    if target and not terminal:
        lines.append(Text(f"      {target}"))
    return lines


def _place(source: gateway_pb2.Source) -> str:
    if not source.HasField("location"):
        return printable_line(source.host)
    heading = printable_line(source.location.heading)
    path = printable_line(source.location.path)
    return f"{path} › {heading}" if heading else path


def context(event: gateway_pb2.Context) -> list[Text]:
    """What the model did not see of the sources. Nothing where it saw all of it."""
    told = []
    if event.dropped:
        told.append(f"Not shown to the model, whose context is full: {_numbers(event.dropped)}.")
    if event.cut:
        told.append(f"Shown to the model only in part: {_numbers(event.cut)}.")
    return [Text(f"  {' '.join(told)}", style="dim")] if told else []


def _numbers(indexes: Iterable[int]) -> str:
    return ", ".join(f"[{index}]" for index in indexes)


def citations(
    cited: Sequence[gateway_pb2.Citation], offered: Mapping[int, gateway_pb2.Source], *, terminal: bool
) -> list[Text]:
    """Which sources the answer cites, and which numbers in it name no source."""
    if not cited:
        return []
    counts: dict[tuple[int, bool], int] = {}
    for citation in cited:
        key = (citation.source_index, citation.resolved)
        counts[key] = counts.get(key, 0) + 1
    lines = [Text(), Text("Cited", style="bold")]
    for (index, resolved), count in sorted(counts.items(), key=lambda item: (not item[0][1], item[0][0])):
        times = f"  {count} times" if count > 1 else ""
        source = offered.get(index)
        if resolved and source is not None:
            line = source_lines(source, terminal=terminal)[0]
            line.append(times, style="dim")
        else:
            line = Text("  ").append(f"[{index}] ", style="bold yellow")
            line.append(f"names no source that was shown to the model: do not rely on it.{times}", style="yellow")
        lines.append(line)
    return lines


def verdict(finished: gateway_pb2.Finished) -> list[Text]:
    """What to think of the answer, in a sentence each. Nothing for a whole answer with every sentence cited."""
    told = []
    match finished.outcome:
        case gateway_pb2.OUTCOME_NOT_IN_SOURCES:
            told.append("The model found no answer to the question in these sources.")
        case gateway_pb2.OUTCOME_UNCITED:
            told.append("The model cited none of the sources: treat this as unverified.")
        case gateway_pb2.OUTCOME_NO_RESULTS:
            told.append("The search found nothing, so the model was not asked. Try other words.")
        case gateway_pb2.OUTCOME_ANSWERED if finished.citations.uncited_sentences:
            count = finished.citations.uncited_sentences
            told.append("1 sentence cites no source." if count == 1 else f"{count} sentences cite no source.")
    if finished.reason == gateway_pb2.FINISH_REASON_MAX_TOKENS:
        told.append(f"The answer was cut after {finished.usage.completion_tokens:,} tokens (--max-tokens).")
    elif finished.reason == gateway_pb2.FINISH_REASON_CONTEXT_FULL:
        told.append("The answer was cut: the model's context was full.")
    return [Text(), *(Text(sentence, style="yellow") for sentence in told)] if told else []


def timings(finished: gateway_pb2.Finished) -> list[Text]:
    """One dim line: search, queue, prompt, first token, tokens a second, total, model."""
    times = finished.timings
    told = []
    if times.HasField("search"):
        told.append(f"search {_seconds(times.search)}")
    if finished.outcome != gateway_pb2.OUTCOME_NO_RESULTS:
        told += [
            f"queue {_seconds(times.queue)}",
            f"prompt {_seconds(times.prompt)} ({_token_count(finished.usage)})",
            f"first token {_seconds(times.time_to_first_token)}",
        ]
        rate = tokens_per_second(finished)
        if rate is not None:
            told.append(f"{rate:.1f} tokens/s{_drafts(finished.usage)}")
    told.append(f"total {_seconds(times.total)}")
    if finished.model:
        told.append(printable_line(finished.model))
    return [Text(), Text(" · ".join(told), style="dim")]


def _token_count(usage: gateway_pb2.Usage) -> str:
    cached = f", {usage.cached_tokens:,} of them cached" if usage.cached_tokens else ""
    return f"{usage.prompt_tokens:,} tokens{cached}"


def _drafts(usage: gateway_pb2.Usage) -> str:
    if not usage.accepted_tokens:
        return ""
    return f" ({usage.accepted_tokens:,} of {usage.drafted_tokens:,} drafted tokens right)"


def tokens_per_second(finished: gateway_pb2.Finished) -> float | None:
    """Generated tokens a second. Generation runs from the first token to the last, so one fewer is in it."""
    seconds = finished.timings.generation.ToNanoseconds() / 1e9
    tokens = finished.usage.completion_tokens - 1
    return tokens / seconds if seconds > 0 and tokens > 0 else None


def _seconds(duration: Duration) -> str:
    seconds = duration.ToNanoseconds() / 1e9
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
