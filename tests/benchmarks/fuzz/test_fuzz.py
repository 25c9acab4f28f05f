"""A few thousand inputs of `make fuzz`, and that it would notice what it looks for."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.fuzz.fuzz import fuzz, rows
from benchmarks.fuzz.json_values import mutated_json
from benchmarks.fuzz.messages import mutate
from benchmarks.fuzz.mutate import mutated
from benchmarks.fuzz.readers import readers
from benchmarks.fuzz.rpcs import Fleet, LoggedCauses, Method, attempt, methods
from benchmarks.fuzz.tally import Tally
from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.inference.v1 import inference_pb2
from groundwire.search.v1 import search_pb2
from groundwire_rpc.channels import open_channel
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import INTERNAL, abort
from tests.support.builtin_model import BUILTIN_MODEL


@pytest.mark.model
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of Python's regular expressions, which patterns are tried with
def test_some_thousand_inputs_do_no_harm(tmp_path: Path) -> None:
    tally = fuzz(tmp_path / "harm", BUILTIN_MODEL, inputs=2_000, seconds=45.0, seed=20)
    assert [row for row in rows(tally, 0) if not row.held] == [], tally.told
    # On a busy machine some of the rarer RPCs may not have had their turn.
    assert set(tally.inputs) >= {reader.name for reader in readers()}
    assert set(tally.inputs) & {method.name for method in methods()}


def test_every_rpc_is_fuzzed() -> None:
    contracts = (search_pb2, inference_pb2, gateway_pb2)
    declared = {
        f"/{service.full_name}/{method.name}": method
        for contract in contracts
        for service in contract.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert {method.path for method in methods()} == set(declared)
    for method in methods():
        assert method.streams == declared[method.path].server_streaming
        assert {seed.DESCRIPTOR for seed in method.seeds} == {declared[method.path].input_type}


def test_mutated_messages_differ_and_parse() -> None:
    chance = random.Random(1)
    seed = methods()[7].seeds[1]
    made = set()
    for _ in range(300):
        message = type(seed)()
        message.CopyFrom(seed)
        mutate(message, chance)
        data = message.SerializeToString(deterministic=True)
        type(seed).FromString(data)
        made.add(data)
    assert len(made) > 200


def test_mutations_follow_from_the_seed() -> None:
    one, other = (
        [
            (mutated(b"some bytes", [b"others"], chance), mutated_json(b'{"a": [1, {"b": "c"}]}', chance))
            for _ in range(50)
        ]
        for chance in (random.Random(7), random.Random(7))
    )
    assert one == other


class Broken(gateway_pb2_grpc.AnswerServiceServicer):
    """Ends one call as an unexpected error would, without a word in its log, and others by falling over."""

    async def GetStatus(self, request: gateway_pb2.GetStatusRequest, context: object) -> None:  # noqa: N802
        await abort(context, INTERNAL)  # type: ignore[arg-type]

    async def Answer(self, request: gateway_pb2.AnswerRequest, context: object) -> None:  # noqa: N802
        raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rpc", ["GetStatus", "Answer"])
async def test_an_internal_error_without_a_cause_is_noticed(tmp_path: Path, rpc: str) -> None:
    service = "groundwire.gateway.v1.AnswerService"
    server = RpcServer("127.0.0.1:0", [service])
    gateway_pb2_grpc.add_AnswerServiceServicer_to_server(Broken(), server.grpc_server)
    tally = Tally(tmp_path)
    async with open_channel(await server.start()) as channel:
        fleet = Fleet({"gateway": channel}, LoggedCauses())
        await attempt(fleet, tally, Method("gateway", f"/{service}/{rpc}", False, [], 5.0), b"", "one")
    await server.stop(0)
    assert tally.unlogged == 1
    assert not all(row.held for row in rows(tally, 0))


def test_a_crash_is_kept_for_another_try(tmp_path: Path) -> None:
    tally = Tally(tmp_path)
    tally.crashed("html", b"<bad>", ValueError("x"))
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == b"<bad>"
    assert not all(row.held for row in rows(tally, 0))
