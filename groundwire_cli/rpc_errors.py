"""Failed calls as sentences for a person: which service, what is wrong, what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import grpc

from groundwire_cli.errors import CommandError
from groundwire_cli.exit_codes import code_for_status
from groundwire_cli.services import Service
from groundwire_cli.terminal_text import printable, printable_line
from groundwire_rpc.status import RichStatus, from_rpc_error
from groundwire_rpc.tls import closed_at_once, tls_problem

_OPTIONS: Final[Mapping[str, str]] = {
    "question": "QUESTION",
    "query": "QUERY",
    "max_sources": "--max-sources",
    "page_size": "--max-results",
    "page": "--page",
    "provider": "--provider",
    "country": "--country",
    "search_language": "--language",
    "verticals": "--news",
    "max_tokens": "--max-tokens",
    "temperature": "--temperature",
    "seed": "--seed",
}
"""Which option of the command line a field of a request comes from."""

_SAYINGS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: "refused the request",
    grpc.StatusCode.UNAUTHENTICATED: "does not know this caller",
    grpc.StatusCode.FAILED_PRECONDITION: "is not set up for this",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "has no room or no quota left",
    grpc.StatusCode.UNAVAILABLE: "is unavailable",
    grpc.StatusCode.DEADLINE_EXCEEDED: "was too slow",
    grpc.StatusCode.UNIMPLEMENTED: "does not know this call",
    grpc.StatusCode.CANCELLED: "cancelled the call",
}


def call_failed(
    error: grpc.aio.AioRpcError, *, called: Service, target: str, answered: bool = False, timeout_seconds: float | None
) -> CommandError:
    """The error as what ends the command. `answered`: something had already arrived when it failed."""
    status = from_rpc_error(error)
    return CommandError(
        "\n".join(_lines(status, called=called, target=target, answered=answered, timeout_seconds=timeout_seconds)),
        code_for_status(status.code.name),
    )


def _lines(
    status: RichStatus, *, called: Service, target: str, answered: bool, timeout_seconds: float | None
) -> list[str]:
    # A status without ErrorInfo was made by the transport on this side, not by a Groundwire service.
    if not status.reason and status.code is grpc.StatusCode.UNAVAILABLE:
        return _unreachable(called, target, answered, status.message)
    if not status.reason and status.code is grpc.StatusCode.DEADLINE_EXCEEDED and timeout_seconds is not None:
        return [f"No whole answer within {timeout_seconds:g} s. Give it more time with --timeout."]
    if not status.reason and status.code is grpc.StatusCode.UNIMPLEMENTED:
        where = f"Say where it is with --target or {called.target_variable}."
        return [f"What answers at {target} is not the {called.name} service. {where}"]
    name = printable_line(status.metadata.get("service", "")) or called.name
    saying = _SAYINGS.get(status.code, f"failed ({status.code.name})")
    lines = [f"The {name} service {saying}."]
    if status.field_violations:
        lines += [
            f"  {_option(violation.field)}: {printable_line(violation.description)}"
            for violation in status.field_violations
        ]
    elif status.message:
        lines += [f"  {line}" for line in printable(status.message).splitlines() if line.strip()]
    lines += [
        f"  {printable_line(quota.subject)}: {printable_line(quota.description)}" for quota in status.quota_violations
    ]
    if status.retry_after_seconds is not None:
        lines.append(f"Try again in {duration_in_words(status.retry_after_seconds)}.")
    elif status.code is grpc.StatusCode.UNAVAILABLE:
        lines.append("`groundwire status` tells how each service is.")
    return lines


def _unreachable(called: Service, target: str, answered: bool, details: str) -> list[str]:
    if answered:
        return [f"The connection to the {called.name} at {target} was lost. `groundwire status` tells how it is."]
    if distrust := distrust_lines(called, f"at {target}", details):
        return distrust
    advice = (
        f"Nothing answers at {target}. Start everything with `groundwire up` "
        f"(or this one with `groundwire serve {called.name}`), or say where it is with --target "
        f"or {called.target_variable}."
    )
    return [advice] if "refused" in details.lower() else [advice, f"  {printable_line(details)}"]


def distrust_lines(called: Service, where: str, details: str) -> list[str]:
    """What to do where both sides do not agree on TLS, by the details of a failed call. Empty where they do."""
    ca_variable = f"GROUNDWIRE_{called.name.upper()}_TLS_CA"
    if problem := tls_problem(details):
        return [f"What answers {where} {printable_line(problem)}. {ca_variable} says which certificates to accept."]
    if closed_at_once(details):
        return [
            f"What answers {where} closed the connection at once.",
            f"If the {called.name} service speaks TLS, set {ca_variable}.",
            "If it asks for a certificate that it trusts, set GROUNDWIRE_CLIENT_TLS_CERTIFICATE and its _KEY.",
        ]
    return []


def _option(field: str) -> str:
    field = printable_line(field)
    top = field.split(".")[0].split("[")[0]
    if top == "freshness":
        return "--freshness"
    return _OPTIONS.get(top, field)


def duration_in_words(seconds: float) -> str:
    """A wait such as 2 s, 5 minutes, 3 hours or 12 days, rounded up."""
    if seconds < 10:
        return f"{math.ceil(seconds * 10) / 10:g} s"
    for unit, size in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 2 * size:
            return f"{math.ceil(seconds / size)} {unit}s"
    return f"{math.ceil(seconds)} s"
