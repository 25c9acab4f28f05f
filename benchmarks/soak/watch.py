"""Watches the service from outside while it works: memory, files, threads, and what it says of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import grpc
import psutil

from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc

SAMPLE_SECONDS = 1.0
STATUS_TIMEOUT_SECONDS = 5.0

GROWTH_SHARE = 0.05
GROWTH_MIB = 32.0
"""Memory behind the warm-up may grow by this share and this much, in MiB."""

_WARM_UP_SHARE = 1 / 3
_WINDOW_SHARE = 0.1
"""Of the run: what memory is averaged over, behind the warm-up and at the end."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the process takes of the system."""

    rss_mib: float
    threads: int
    open_files: int
    children: int
    """Processes that it has started, and theirs."""


def footprint(pid: int) -> Footprint:
    """What the process takes now. Raises psutil.Error where it has ended."""
    process = psutil.Process(pid)
    with process.oneshot():
        return Footprint(
            rss_mib=process.memory_info().rss / 2**20,
            threads=process.num_threads(),
            open_files=process.num_fds(),
            children=len(process.children(recursive=True)),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the service."""

    at_seconds: float
    """From the start of the load."""
    footprint: Footprint
    status: pb.GetStatusResponse | None
    """None: it did not answer."""
    status_seconds: float
    """How long the status took."""


@dataclass(frozen=True, slots=True)
class Minute:
    """Memory within one minute of the run."""

    number: int
    """From 1."""
    least_rss_mib: float
    most_rss_mib: float


def minutes(samples: Iterable[Sample]) -> list[Minute]:
    """The least and the most memory of each minute that has samples."""
    by_minute: dict[int, list[float]] = {}
    for sample in samples:
        by_minute.setdefault(int(sample.at_seconds // 60) + 1, []).append(sample.footprint.rss_mib)
    return [Minute(number, min(values), max(values)) for number, values in sorted(by_minute.items())]


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory behind the warm-up third of the run, and at its end, in MiB."""

    warm_mib: float
    end_mib: float

    @property
    def bound_mib(self) -> float:
        """What it may be at the end."""
        return self.warm_mib * (1 + GROWTH_SHARE) + GROWTH_MIB


def growth(samples: Sequence[Sample], *, run_seconds: float) -> Growth | None:
    """How the memory grew over a run of this length. None: too few samples."""
    window = max(run_seconds * _WINDOW_SHARE, 2 * SAMPLE_SECONDS)
    warm_from = run_seconds * _WARM_UP_SHARE
    warm = [s.footprint.rss_mib for s in samples if warm_from <= s.at_seconds < warm_from + window]
    end = [s.footprint.rss_mib for s in samples if s.at_seconds >= run_seconds - window]
    return Growth(fmean(warm), fmean(end)) if warm and end else None


def status_problems(status: pb.GetStatusResponse) -> list[str]:
    """What a status says that cannot be."""
    rules = {
        "more running than slots": status.slots_used > status.slots,
        "more calls than places": status.slots_used + status.queue_length > status.slots + status.queue_capacity,
        "more cells than there are": status.kv_cells_reserved + status.kv_cells_cached > status.kv_cells,
        "more kept than the limit": status.prefix_cache_mib > status.prefix_cache_limit_mib,
        "more accepted than drafted": status.accepted_tokens_total > status.drafted_tokens_total,
    }
    return [name for name, broken in rules.items() if broken]


class Watch:
    """Takes a sample every second until it is cancelled."""

    def __init__(self, pid: int, channel: grpc.aio.Channel, *, each: Callable[[Sample], None]) -> None:
        """`each` is called with every sample."""
        self._pid = pid
        self._stub = inference_pb2_grpc.InferenceServiceStub(channel)
        self._each = each
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        """What was impossible in a status, or that there was none."""

    async def run(self) -> None:
        """Sample until the process ends."""
        started = time.monotonic()
        while True:
            sample = await self._sample(started)
            if sample is None:
                return
            self.samples.append(sample)
            self._each(sample)
            await asyncio.sleep(max(0.0, started + len(self.samples) * SAMPLE_SECONDS - time.monotonic()))

    async def _sample(self, started: float) -> Sample | None:
        now = time.monotonic()
        status = None
        try:
            taken = footprint(self._pid)
            status = await self._stub.GetStatus(pb.GetStatusRequest(), timeout=STATUS_TIMEOUT_SECONDS)
        except psutil.Error:
            return None
        except grpc.aio.AioRpcError as error:
            self.problems.append(f"GetStatus at {now - started:.0f} s: {error.code().name} {error.details()}")
        if status is not None:
            self.problems += [f"GetStatus at {now - started:.0f} s: {name}" for name in status_problems(status)]
        return Sample(now - started, taken, status, time.monotonic() - now)
