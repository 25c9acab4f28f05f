"""One run over all targets."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.faults.rows import Row, at_least, exactly
from benchmarks.fuzz.json_values import mutated_json
from benchmarks.fuzz.mutate import mutated
from benchmarks.fuzz.readers import Reader, readers
from benchmarks.fuzz.rpcs import fleet, fuzz_rpcs
from benchmarks.fuzz.tally import Tally

RPC_SHARE: Final = 0.1
"""Of the inputs; a request takes far longer than bytes that are only parsed."""
RPC_TIME_SHARE: Final = 0.5
_SLICE_SECONDS: Final = 1.0
"""Readers take turns of this length: each gets the same time, and the fast ones try more."""
_JSON_SHARE: Final = 0.7
_BUILT_UPON: Final = 64
"""Mutated inputs that are mutated further, beside those to begin from."""
_LARGEST_BUILT_UPON: Final = 16_384


def fuzz(folder: Path, model: Path, *, inputs: int, seconds: float, seed: int) -> Tally:
    """Try so many inputs, or for so long. Crashing ones are kept in `folder`."""
    tally = Tally(folder)
    chance = random.Random(seed)
    # What did not fit into the time of the RPCs is left out, not caught up on.
    asyncio.run(_rpcs(tally, model, round(inputs * RPC_SHARE), seconds * RPC_TIME_SHARE, chance))
    ends = tally.began + seconds
    pools = [(reader, list(reader.seeds)) for reader in readers()]
    length = min(_SLICE_SECONDS, seconds / 50)
    while tally.total < inputs and time.monotonic() < ends:
        for reader, pool in pools:
            most = min(inputs - tally.total, max(1, inputs // (4 * len(pools))))
            _try_reader(reader, pool, tally, most, time.monotonic() + length, chance)
    return tally


async def _rpcs(tally: Tally, model: Path, inputs: int, seconds: float, chance: random.Random) -> None:
    with tempfile.TemporaryDirectory(prefix="groundwire-fuzz-") as scratch:
        async with fleet(Path(scratch), model) as services:
            await fuzz_rpcs(services, tally, inputs, seconds, chance)


def _try_reader(
    reader: Reader, pool: list[bytes], tally: Tally, inputs: int, ends: float, chance: random.Random
) -> None:
    for _ in range(inputs):
        if time.monotonic() > ends:
            return
        data = _input(reader, pool, chance)
        if chance.random() < 0.02 and len(data) < _LARGEST_BUILT_UPON:
            _build_upon(pool, data, len(reader.seeds), chance)
        began = time.process_time()
        outcome = "crashed"
        try:
            outcome = reader.attempt(data, chance)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            tally.crashed(reader.name, data, error)
        tally.tried(reader.name, outcome, time.process_time() - began, data)


def _input(reader: Reader, pool: list[bytes], chance: random.Random) -> bytes:
    data = chance.choice(pool)
    if reader.reads_json and chance.random() < _JSON_SHARE:
        return mutated_json(data, chance)
    return mutated(data, reader.seeds, chance)


def _build_upon(pool: list[bytes], data: bytes, seeds: int, chance: random.Random) -> None:
    if len(pool) < seeds + _BUILT_UPON:
        pool.append(data)
    else:
        pool[chance.randrange(seeds, len(pool))] = data


def rows(tally: Tally, wanted: int) -> list[Row]:
    """What held and what did not, for the file of all faults."""
    return [
        at_least("fuzz", "inputs", tally.total, wanted),
        exactly("fuzz", "crashes", tally.crashes, 0),
        exactly("fuzz", "INTERNAL or UNKNOWN without a logged cause", tally.unlogged, 0),
        exactly("fuzz", "inputs that took too long", tally.slow, 0),
        *(Row("fuzz", f"inputs, {target}", count) for target, count in sorted(tally.inputs.items())),
    ]
