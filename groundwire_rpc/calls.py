"""What every servicer method does around its domain call: ids, one table from errors to statuses, one log line."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog

from groundwire_rpc.metadata import REQUEST_ID_KEY, CallMetadata, call_metadata
from groundwire_rpc.status import INTERNAL, RichStatus, abort, invalid_fields
from groundwire_rpc.validation import InvalidFields

log = structlog.get_logger(__name__)

ErrorTable = Callable[[Exception], RichStatus | None]
"""A service's table from its domain errors to statuses. None: not one of its errors."""


@asynccontextmanager
async def serving_call(
    rpc: str, context: grpc.aio.ServicerContext[Any, Any], table: ErrorTable
) -> AsyncIterator[CallMetadata]:
    """Run the body of one RPC: its errors become statuses by `table`, what nobody expected becomes INTERNAL.

    Yields the call's metadata, and sends the request id back in the initial metadata. Logs one line when it ends.
    """
    started = time.monotonic()
    metadata = call_metadata(context)
    code = "CANCELLED"  # what it is if only a cancellation or a closed generator ends the body
    try:
        # Part of the first message's headers: costs no extra round trip.
        await context.send_initial_metadata(((REQUEST_ID_KEY, metadata.request_id),))
        yield metadata
        code = "OK"
    except grpc.aio.AbortError:
        code = context.code().name if isinstance(context.code(), grpc.StatusCode) else "ABORTED"
        raise
    except Exception as error:
        status = invalid_fields(error.violations) if isinstance(error, InvalidFields) else table(error)
        if status is None:
            log.exception("unexpected error", rpc=rpc, request_id=metadata.request_id, trace_id=metadata.trace_id)
            status = INTERNAL
        code = status.code.name
        await abort(context, status)
    finally:
        log.info(
            "call",
            rpc=rpc,
            code=code,
            seconds=round(time.monotonic() - started, 4),
            request_id=metadata.request_id,
            trace_id=metadata.trace_id,
        )
