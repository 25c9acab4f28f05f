"""The drills, each with the processes that it needs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import cancels, kills, overload, slow_reader
from benchmarks.faults.calls import own_channel
from benchmarks.faults.rows import Row
from benchmarks.soak.service import running_service


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each."""

    overload_seconds: float = 60.0
    overload_factor: float = 10.0
    peak_seconds: float = 20.0
    """At capacity, before the overload."""
    cancels: int = 2_000
    kills: int = 50
    """Of each service."""
    readers: int = 32
    reader_seconds: float = 60.0
    threads: int = 1
    """Of the model."""
    seed: int = 1


def settings(sizes: Sizes, *, slots: int, queue: int, cells_a_slot: int = 1024) -> Mapping[str, str]:
    """An inference service's environment."""
    return {
        "GROUNDWIRE_MODEL": "builtin",
        "GROUNDWIRE_INFERENCE_LISTEN": "127.0.0.1:0",
        "GROUNDWIRE_INFERENCE_SLOTS": str(slots),
        "GROUNDWIRE_INFERENCE_QUEUE": str(queue),
        "GROUNDWIRE_INFERENCE_CALLER_QUEUE": str(max(1, queue)),
        "GROUNDWIRE_INFERENCE_CONTEXT": str(slots * cells_a_slot),
        "GROUNDWIRE_INFERENCE_THREADS": str(sizes.threads),
        "GROUNDWIRE_INFERENCE_PREFIX_CACHE_MIB": "0",
    }


async def run_overload(sizes: Sizes, folder: Path) -> Sequence[Row]:
    """Many times as many calls as can be served."""
    slots = 8
    async with running_service(folder, settings(sizes, slots=slots, queue=2 * slots)) as service:
        peak = await overload.goodput_at_capacity(service.address, slots=slots, seconds=sizes.peak_seconds)
        result = await overload.overload(
            service.address,
            service.pid,
            calls_a_second=sizes.overload_factor * peak / overload.ANSWER_TOKENS,
            seconds=sizes.overload_seconds,
            seed=sizes.seed,
        )
        await service.stop()
    return list(overload.rows(result, factor=sizes.overload_factor, peak=peak))


async def run_cancels(sizes: Sizes, folder: Path) -> Sequence[Row]:
    """Streams cancelled at random moments."""
    async with running_service(folder, settings(sizes, slots=8, queue=32)) as service:
        async with own_channel(service.address) as stub:
            result = await cancels.cancel_streams(stub, count=sizes.cancels, at_once=24, seed=sizes.seed)
        started = time.monotonic()
        exit_status = await service.stop()
        stop_seconds = time.monotonic() - started
    return list(cancels.rows(result, stop_seconds=stop_seconds, exit_status=exit_status))


async def run_slow_reader(sizes: Sizes, folder: Path) -> Sequence[Row]:
    """One client of many that reads slowly."""
    slots = sizes.readers
    async with running_service(folder, settings(sizes, slots=slots, queue=slots, cells_a_slot=128)) as service:
        result = await slow_reader.read_slowly(
            service.address, service.pid, readers=sizes.readers, seconds=sizes.reader_seconds, seed=sizes.seed
        )
        await service.stop()
    return list(slow_reader.rows(result))


async def run_kills(sizes: Sizes, folder: Path) -> Sequence[Row]:
    """Each service killed in the middle of its callers' answers."""
    fleet_settings = {
        **settings(sizes, slots=4, queue=16),
        "GROUNDWIRE_INDEX_PATH": str(folder / "index.sqlite3"),
    }
    del fleet_settings["GROUNDWIRE_INFERENCE_LISTEN"]  # the fleet's own choice
    async with kills.running_fleet(fleet_settings) as running:
        result = [
            await kills.kill_under_callers(running, service, times=sizes.kills, callers=8, seed=sizes.seed)
            for service in kills.SERVICES
        ]
    return list(kills.rows(result))


DRILLS = {
    "overload": run_overload,
    "cancels": run_cancels,
    "slow-reader": run_slow_reader,
    "kills": run_kills,
}


async def run(name: str, sizes: Sizes) -> Sequence[Row]:
    """Run one drill in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix=f"groundwire-{name}-", ignore_cleanup_errors=True) as folder:
        return await DRILLS[name](sizes, Path(folder))
