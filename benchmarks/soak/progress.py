"""A line every ten seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.soak.tally import Tally
from benchmarks.soak.watch import Sample

EVERY_SECONDS = 10.0


def by_status(counts: Mapping[str, int]) -> str:
    """The counts in a few words, the most first."""
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{name} {count:,}" for name, count in ordered if count)


class Progress:
    """Takes every sample and tells of some."""

    def __init__(self, tally: Tally, report: Callable[[str], None]) -> None:
        self._tally = tally
        self._report = report
        self._last: Sample | None = None

    def __call__(self, sample: Sample) -> None:
        """Report, where it is time to."""
        if self._last is None:
            self._last = sample
        if sample.status is None or sample.at_seconds - self._last.at_seconds < EVERY_SECONDS - 0.5:
            return
        before, status = self._last.status, sample.status
        tokens = status.completion_tokens_total - (before.completion_tokens_total if before else 0)
        prompt = status.prompt_tokens_total - (before.prompt_tokens_total if before else 0)
        seconds = sample.at_seconds - self._last.at_seconds
        tally = self._tally
        self._report(
            f"{sample.at_seconds:5.0f} s  {tally.sent:,} calls ({by_status(tally.by_status)}; "
            f"{tally.sent - tally.ended} open)  {tokens / seconds:,.0f} tokens/s + {prompt / seconds:,.0f} read  "
            f"RSS {sample.footprint.rss_mib:,.0f} MiB  running {status.slots_used}  queue {status.queue_length}"
            + (f"  {tally.unsound} UNSOUND" if tally.unsound else "")
        )
        self._last = sample
