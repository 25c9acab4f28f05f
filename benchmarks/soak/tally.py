"""Counts what came of all calls, and keeps what was wrong with them."""

from __future__ import annotations

from collections import Counter

from grpc import StatusCode

from benchmarks.soak.calls import request_id
from benchmarks.soak.checks import problems
from benchmarks.soak.outcome import Outcome
from benchmarks.soak.plan import Ending, PlannedCall
from benchmarks.soak.probes import ProbeBook
from benchmarks.soak.service import LogSummary

_KEPT_PROBLEMS = 100

_SENT_BY_SERVICE = frozenset({StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED, StatusCode.INVALID_ARGUMENT})
"""Statuses that only the service makes here; the others may come from the caller's own side."""


def describe(planned: PlannedCall) -> str:
    """A call in a line, for a person who looks for what went wrong."""
    request = planned.request
    which = request.WhichOneof("input") or "nothing"
    size = {
        "token_ids": f"{len(request.token_ids.ids)} ids",
        "text": f"{len(request.text)} characters",
        "chat": f"{len(request.chat.messages)} messages, {len(request.chat.documents)} documents",
    }.get(which, "")
    parts = [
        f"call {planned.index} at {planned.at_seconds:.2f} s",
        "Complete" if planned.gathered else "Generate",
        f"{which} {size}".strip(),
        f"max_tokens {request.max_tokens}" if request.HasField("max_tokens") else "no max_tokens",
        f"{planned.end.ending} ({planned.end.seconds:.3f} s, {planned.end.messages} messages)",
    ]
    if planned.invalid:
        parts.append(f"invalid: {planned.invalid}")
    if planned.probe is not None:
        parts.append(f"probe {planned.probe}")
    if planned.form is not None:
        parts.append("of a form")
    return ", ".join(parts)


class Tally:
    """What came of the calls so far."""

    def __init__(self, book: ProbeBook, *, seed: int) -> None:
        self._book = book
        self._seed = seed
        self.sent = 0
        self.by_status: Counter[str] = Counter()
        self.by_ending: Counter[tuple[Ending, str]] = Counter()
        self.unsound = 0
        """Calls with something wrong."""
        self.problems: list[str] = []
        """What was wrong with the first of them."""
        self.retry_ms: list[int] = []
        """What refused calls were told to wait."""
        self._sent_by_service: dict[str, str] = {}

    @property
    def ended(self) -> int:
        """Calls that have their one terminal status."""
        return sum(self.by_status.values()) - self.by_status["NONE"]

    def add(self, planned: PlannedCall, outcome: Outcome) -> None:
        """Take the end of a call."""
        self.by_status[outcome.code_name] += 1
        self.by_ending[planned.end.ending, outcome.code_name] += 1
        if outcome.code in _SENT_BY_SERVICE:
            self._sent_by_service[request_id(self._seed, planned.index)] = outcome.code_name
        if outcome.status.pushback_ms is not None:
            self.retry_ms.append(outcome.status.pushback_ms)
        found = problems(planned, outcome)
        if found:
            self.unsound += 1
            if len(self.problems) < _KEPT_PROBLEMS:
                self.problems.append(f"{describe(planned)}, {outcome.seconds:.2f} s: {'; '.join(found)}")
        elif outcome.code is StatusCode.OK and planned.probe is not None:
            received = outcome.received
            self._book.compare(planned.probe, received.text, received.token_ids, where=describe(planned))

    def log_problems(self, log: LogSummary) -> list[str]:
        """Calls that the service's log does not report once, with the status that the caller got."""
        found = []
        for call, codes in log.calls.items():
            if len(codes) > 1 and call.startswith(f"soak-{self._seed}-"):
                found.append(f"{call} ended {len(codes)} times in the log: {', '.join(codes)}")
        for call, code in self._sent_by_service.items():
            codes = log.calls.get(call, ())
            if codes[:1] != (code,):
                found.append(f"{call} ended {code} for its caller, in the log: {', '.join(codes) or 'not at all'}")
        return found
