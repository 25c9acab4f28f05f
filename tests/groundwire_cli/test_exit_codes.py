from __future__ import annotations

import re

import grpc
import pytest

from groundwire.gateway.v1 import gateway_pb2
from groundwire_cli.exit_codes import ASK_EPILOG, SEARCH_EPILOG, ExitCode, code_for_outcome, code_for_status


def test_the_promised_numbers() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "NOT_IN_SOURCES": 3,
        "NOTHING_FOUND": 4,
        "UNCITED": 5,
        "UNAVAILABLE": 6,
        "EXHAUSTED": 7,
        "TOO_LATE": 8,
        "INTERRUPTED": 130,
        "OUTPUT_CLOSED": 141,
    }


def test_help_lists_every_code() -> None:
    assert [int(number) for number in re.findall(r"\b\d+\b", ASK_EPILOG)] == [code.value for code in ExitCode]
    listed = {int(number) for number in re.findall(r"\b\d+\b", SEARCH_EPILOG)}
    assert listed == {code.value for code in ExitCode} - {ExitCode.NOT_IN_SOURCES, ExitCode.UNCITED}


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (gateway_pb2.OUTCOME_ANSWERED, ExitCode.OK),
        (gateway_pb2.OUTCOME_NOT_IN_SOURCES, ExitCode.NOT_IN_SOURCES),
        (gateway_pb2.OUTCOME_UNCITED, ExitCode.UNCITED),
        (gateway_pb2.OUTCOME_NO_RESULTS, ExitCode.NOTHING_FOUND),
        (gateway_pb2.OUTCOME_UNSPECIFIED, ExitCode.FAILED),
    ],
)
def test_every_outcome_of_the_contract_has_a_code(outcome: gateway_pb2.Outcome.ValueType, code: ExitCode) -> None:
    assert code_for_outcome(gateway_pb2.Outcome.Name(outcome)) is code


def test_no_outcome_was_forgotten() -> None:
    known = [name for name in gateway_pb2.Outcome.keys() if code_for_outcome(name) is not ExitCode.FAILED]  # noqa: SIM118 - it is no dict
    assert len(known) == len(gateway_pb2.Outcome.keys()) - 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, ExitCode.USAGE),
        (grpc.StatusCode.UNAVAILABLE, ExitCode.UNAVAILABLE),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ExitCode.EXHAUSTED),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ExitCode.TOO_LATE),
        (grpc.StatusCode.FAILED_PRECONDITION, ExitCode.FAILED),
        (grpc.StatusCode.INTERNAL, ExitCode.FAILED),
    ],
)
def test_status_codes(status: grpc.StatusCode, code: ExitCode) -> None:
    assert code_for_status(status.name) is code
