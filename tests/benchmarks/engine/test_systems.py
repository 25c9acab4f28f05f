"""The real systems as processes, on the built-in model: one small round of plain work each."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from benchmarks.engine.llama_server import LlamaServer
from benchmarks.engine.models import BUILTIN_MODEL
from benchmarks.engine.ours import OurClient, Ours
from benchmarks.engine.peers import build_peers
from benchmarks.engine.processes import SystemFailed
from benchmarks.engine.results import OURS, Sample
from benchmarks.engine.sides import ServerSide
from benchmarks.engine.systems import System, Terms
from benchmarks.engine.works.conversations import Conversations
from benchmarks.engine.works.kept import FillCache
from benchmarks.engine.works.mixed import Mixed
from benchmarks.engine.works.plain import Plain

PEERS = Path(__file__).parents[3] / "benchmarks" / ".cache" / "peers"
BUILT = PEERS / f"llama-cpp-python-{importlib.metadata.version('llama-cpp-python')}" / "bin" / "llama-server"

pytestmark = [pytest.mark.e2e, pytest.mark.model]
needs_llama_server = pytest.mark.skipif(
    not BUILT.is_file(), reason="llama-server is not built: `python -m benchmarks.engine --quick` builds it"
)


def terms(*, prompt_cache_mib: int = 0) -> Terms:
    # One thread: those of llama.cpp spin, which a busy test machine does not forgive.
    return Terms(BUILTIN_MODEL, slots=2, context=2048, threads=1, prompt_cache_mib=prompt_cache_mib)


def llama_server(*, prompt_cache_mib: int = 0, unified: bool = False) -> LlamaServer:
    return LlamaServer(build_peers(PEERS, report=print), terms(prompt_cache_mib=prompt_cache_mib), unified)


async def measured(system: System) -> list[Sample]:
    work = Plain(streams=2, waves=1, prompt_tokens=32, answer_tokens=8)
    return await ServerSide(OURS, "builtin", "plain", 2, (system,), (work,), work).measure("test")


def check(samples: list[Sample]) -> set[str]:
    values = {sample.metric: sample.value for sample in samples}
    assert values["throughput"] > 0
    assert 0 < values["ttft_p50"] <= values["ttft_p95"]
    assert values["peak_memory"] > BUILTIN_MODEL.stat().st_size / 2**20
    return set(values)


async def test_a_round_of_ours():
    metrics = check(await measured(Ours(terms())))
    assert "outside_decode" in metrics


async def test_ours_keeps_conversations_and_fills_its_cache():
    async with Ours(terms(prompt_cache_mib=6)).start() as running:
        figures = await Conversations(streams=2, conversations=2).run(running.client, "test")
        assert {figure.metric: figure.value for figure in figures}["cached_share"] > 0.5
        assert await FillCache(streams=2, most_waves=20).run(running.client, "test") == []
        assert isinstance(running.client, OurClient)
        status = await running.client.status()
        assert status.prefix_cache_mib >= 0.9 * status.prefix_cache_limit_mib


@needs_llama_server
async def test_a_round_of_llama_server():
    metrics = check(await measured(llama_server()))
    assert "outside_decode" not in metrics


@needs_llama_server
async def test_llama_server_keeps_conversations_and_lets_go_of_cancelled_streams():
    async with llama_server(prompt_cache_mib=64, unified=True).start() as running:
        figures = await Conversations(streams=1, conversations=2).run(running.client, "test")
        assert {figure.metric: figure.value for figure in figures}["cached_share"] > 0.5
        mixed = Mixed(answer_tokens=700, repeats=1, streams=1, long_prompt_tokens=1000)
        assert {figure.metric for figure in await mixed.run(running.client, "test")} == {
            "worst_gap",
            "long_ttft",
            "total_throughput",
        }


@needs_llama_server
async def test_a_server_that_cannot_start_is_told_in_its_own_words(tmp_path):
    broken = Terms(tmp_path / "no.gguf", slots=1, context=256, threads=1, prompt_cache_mib=0)
    with pytest.raises(SystemFailed, match=r"(?s)llama-server.*ended by itself.*no\.gguf"):
        async with LlamaServer(build_peers(PEERS, report=print), broken, unified=False).start():
            pass
