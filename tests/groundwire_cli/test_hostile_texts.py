"""Every text of every answer may be hostile: whatever a command prints of it, no terminal acts on it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.inference.v1 import inference_pb2, inference_pb2_grpc
from groundwire.search.v1 import search_pb2, search_pb2_grpc
from groundwire_cli.errors import CommandError
from groundwire_cli.terminal import report_error
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import FieldViolation, QuotaViolation, RichStatus, abort
from tests.support.command_line import groundwire

EVIL = "evil\x1b]0;owned\x07v\x1b[2J\x9b1;31mi\r\n\x08l\u202e\u2066\x85\x90x\x9c"
ACTED_ON = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def poison(message: Message) -> None:
    """Put the text into every string at any depth, and something into everything else."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            if field.is_repeated:
                poison(getattr(message, field.name).add())
            elif field.containing_oneof is None or field.containing_oneof.name.startswith("_"):
                inner = getattr(message, field.name)
                inner.SetInParent()
                poison(inner)
        elif field.type == field.TYPE_STRING:
            _put(message, field, "https://example.org/" + EVIL if field.name == "url" else EVIL)
        elif field.type not in (field.TYPE_BOOL, field.TYPE_BYTES):
            _put(message, field, 1)


def _put(message: Message, field: Any, value: object) -> None:
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def poisoned(kind: type[Any]) -> Any:
    message = kind()
    poison(message)
    return message


def poisoned_event(name: str) -> gateway_pb2.AskResponse:
    event = gateway_pb2.AskResponse()
    inner = getattr(event, name)
    inner.SetInParent()
    poison(inner)
    return event


class HostileGateway(gateway_pb2_grpc.AnswerServiceServicer):
    async def Ask(self, request: object, context: object) -> AsyncIterator[gateway_pb2.AskResponse]:  # noqa: N802
        for name in ("progress", "sources", "context", "delta", "citation", "finished"):
            yield poisoned_event(name)

    async def GetStatus(self, request: object, context: object) -> gateway_pb2.GetStatusResponse:  # noqa: N802
        return poisoned(gateway_pb2.GetStatusResponse)


class HostileSearch(search_pb2_grpc.SearchServiceServicer):
    async def Search(self, request: object, context: object) -> search_pb2.SearchResponse:  # noqa: N802
        return poisoned(search_pb2.SearchResponse)

    async def GetStatus(self, request: object, context: object) -> search_pb2.GetStatusResponse:  # noqa: N802
        return poisoned(search_pb2.GetStatusResponse)


class HostileInference(inference_pb2_grpc.InferenceServiceServicer):
    async def GetStatus(self, request: object, context: object) -> inference_pb2.GetStatusResponse:  # noqa: N802
        return poisoned(inference_pb2.GetStatusResponse)

    async def GetModel(self, request: object, context: object) -> inference_pb2.GetModelResponse:  # noqa: N802
        return poisoned(inference_pb2.GetModelResponse)


REFUSAL = RichStatus(
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    EVIL,
    reason="SOME_REASON",
    metadata={"service": EVIL, "target": EVIL},
    field_violations=(FieldViolation(EVIL, EVIL),),
    quota_violations=(QuotaViolation(EVIL, EVIL),),
)


class RefusingGateway(gateway_pb2_grpc.AnswerServiceServicer):
    async def Ask(self, request: object, context: Any) -> None:  # noqa: N802
        await abort(context, REFUSAL)


class RefusingSearch(search_pb2_grpc.SearchServiceServicer):
    async def Search(self, request: object, context: Any) -> None:  # noqa: N802
        await abort(context, REFUSAL)


@asynccontextmanager
async def serving(gateway: object, search: object) -> AsyncIterator[dict[str, str]]:
    """The environment of a command that is to ask these."""
    added = {
        "gateway": (
            "groundwire.gateway.v1.AnswerService",
            gateway_pb2_grpc.add_AnswerServiceServicer_to_server,
            gateway,
        ),
        "search": ("groundwire.search.v1.SearchService", search_pb2_grpc.add_SearchServiceServicer_to_server, search),
        "inference": (
            "groundwire.inference.v1.InferenceService",
            inference_pb2_grpc.add_InferenceServiceServicer_to_server,
            HostileInference(),
        ),
    }
    async with AsyncExitStack() as resources:
        environment = {}
        for name, (full_name, add, servicer) in added.items():
            server = RpcServer("127.0.0.1:0", [full_name])
            add(servicer, server.grpc_server)
            environment[f"GROUNDWIRE_{name.upper()}_TARGET"] = await server.start()
            resources.push_async_callback(server.stop, 0)
            await server.set_serving(True)
        yield environment


COMMANDS = [
    ["ask", "What?"],
    ["ask", "What?", "--json"],
    ["search", "what"],
    ["search", "what", "--json"],
    ["status"],
    ["status", "--json"],
    ["top", "--once"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_no_answer_reaches_the_terminal_as_it_is(tmp_path: Path, command: list[str]) -> None:
    async with serving(HostileGateway(), HostileSearch()) as environment:
        ran = await groundwire(*command, folder=tmp_path, **environment)
    assert "evil" in ran.stdout
    assert "Traceback" not in ran.stderr
    assert ACTED_ON.findall(ran.stdout + ran.stderr) == []


@pytest.mark.parametrize("command", [["ask", "What?"], ["search", "what"]], ids=" ".join)
async def test_no_refusal_does(tmp_path: Path, command: list[str]) -> None:
    async with serving(RefusingGateway(), RefusingSearch()) as environment:
        ran = await groundwire(*command, folder=tmp_path, **environment)
    assert ran.code != 0
    assert "evil" in ran.stderr
    assert ACTED_ON.findall(ran.stdout + ran.stderr) == []


@pytest.mark.parametrize(
    "command",
    [
        ["ask", "What?", "--target", f"127.0.0.1:1{EVIL}"],
        ["index", "add", EVIL],
        ["index", "remove", EVIL],
        ["index", "list", "--index", EVIL],
        ["model", "pull", EVIL],
    ],
    ids=lambda command: command[0],
)
async def test_no_argument_does(tmp_path: Path, command: list[str]) -> None:
    ran = await groundwire(*[argument.replace("\x00", "") for argument in command], folder=tmp_path)
    assert ran.code != 0
    assert "Traceback" not in ran.stderr
    assert ACTED_ON.findall(ran.stdout + ran.stderr) == []


def test_no_error_does_whoever_wrote_it(capsys: pytest.CaptureFixture[str]) -> None:
    report_error(CommandError(f"one {EVIL}\ntwo"))
    told = capsys.readouterr().err
    assert ACTED_ON.findall(told) == []
    assert told.endswith("\ntwo\n")
