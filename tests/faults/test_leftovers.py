"""What streams that were cancelled leave in the event loop of the service, which runs in this process for once."""

from __future__ import annotations

import asyncio

from benchmarks.faults.cancels import cancel_streams, places
from tests.inference_service.conftest import serving
from tests.inference_service.service_calls import QUEUE, SLOTS


async def test_cancelled_streams_leave_no_task_behind() -> None:
    async with serving(inference_caller_queue=QUEUE) as stub:
        await cancel_streams(stub, count=8, at_once=1, longest_seconds=0.1)
        before = len(asyncio.all_tasks())
        result = await cancel_streams(stub, count=80, at_once=SLOTS, longest_seconds=0.3)
        assert result.ends["CANCELLED"] > 20
        assert places(result.settled.status) == (0, 0, 0)
        async with asyncio.timeout(10):
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0.02)
