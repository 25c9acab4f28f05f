from __future__ import annotations

import grpc
import pytest

from groundwire_cli.errors import CommandError
from groundwire_cli.exit_codes import ExitCode
from groundwire_cli.rpc_errors import call_failed, duration_in_words
from groundwire_cli.services import GATEWAY
from groundwire_rpc.status import FieldViolation, QuotaViolation, RichStatus, to_grpc


def failed(status: RichStatus) -> CommandError:
    """The error that a client of a server that aborts with this status would report."""
    packed = to_grpc(status)
    error = grpc.aio.AioRpcError(
        status.code,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(*(packed.trailing_metadata or ())),
        details=status.message,
    )
    return call_failed(error, called=GATEWAY, target="127.0.0.1:50051", timeout_seconds=5)


def test_every_field_violation_by_its_option() -> None:
    error = failed(
        RichStatus(
            grpc.StatusCode.INVALID_ARGUMENT,
            "The request is not valid.",
            reason="INVALID_FIELDS",
            field_violations=(
                FieldViolation("max_tokens", "is 9999; it must be 1 to 4096"),
                FieldViolation("freshness.range.start", "is not a date"),
                FieldViolation("sources[2].title", "is required"),
            ),
        )
    )
    assert error.exit_code is ExitCode.USAGE
    assert error.message.splitlines() == [
        "The gateway service refused the request.",
        "  --max-tokens: is 9999; it must be 1 to 4096",
        "  --freshness: is not a date",
        "  sources[2].title: is required",
    ]


def test_the_service_behind_the_gateway_is_named() -> None:
    error = failed(
        RichStatus(
            grpc.StatusCode.FAILED_PRECONDITION,
            "Set BRAVE_API_KEY and restart the search service.",
            reason="NO_TOKEN",
            metadata={"service": "search"},
        )
    )
    assert error.exit_code is ExitCode.FAILED
    assert error.message == (
        "The search service is not set up for this.\n  Set BRAVE_API_KEY and restart the search service."
    )


def test_when_to_try_again() -> None:
    error = failed(
        RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "The queue is full.", reason="FULL", retry_after_seconds=1.5)
    )
    assert error.exit_code is ExitCode.EXHAUSTED
    assert error.message.endswith("Try again in 1.5 s.")


def test_quotas_are_told() -> None:
    error = failed(
        RichStatus(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Spent.",
            reason="QUOTA",
            quota_violations=(QuotaViolation("brave:month", "15,000 calls are spent"),),
        )
    )
    assert "  brave:month: 15,000 calls are spent" in error.message.splitlines()


def test_a_deadline_of_this_side() -> None:
    error = failed(RichStatus(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
    assert error.exit_code is ExitCode.TOO_LATE
    assert error.message == "No whole answer within 5 s. Give it more time with --timeout."


def test_a_wrong_server_at_the_target() -> None:
    error = failed(RichStatus(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"))
    assert error.exit_code is ExitCode.FAILED
    assert error.message.startswith("What answers at 127.0.0.1:50051 is not the gateway service. Say where it is with")


def test_messages_cannot_act_on_the_terminal() -> None:
    error = failed(RichStatus(grpc.StatusCode.INTERNAL, "bad\x1b[2J thing", reason="INTERNAL"))
    assert error.message == "The gateway service failed (INTERNAL).\n  bad thing"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.01, "0.1 s"),
        (1.5, "1.5 s"),
        (59, "59 s"),
        (100, "100 s"),
        (130, "3 minutes"),
        (7300, "3 hours"),
        (1_419_704, "17 days"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words
