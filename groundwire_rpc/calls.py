"""What every servicer method does around its domain call: ids, one table from errors to statuses, one log line."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog

from groundwire_rpc.callers import caller_label
from groundwire_rpc.metadata import REQUEST_ID_KEY, call_metadata
from groundwire_rpc.status import INTERNAL, RichStatus, abort, invalid_fields
from groundwire_rpc.validation import InvalidFields

log = structlog.get_logger(__name__)

ErrorTable = Callable[[Exception], RichStatus | None]
"""A service's table from its domain errors to statuses. None: not one of its errors."""


class ServedCall:
    """A call while its body runs."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.metadata = call_metadata(context)
        self._context = context
        self._headers_sent = False

    @property
    def request_id_entry(self) -> tuple[tuple[str, str], ...]:
        """The request id, as metadata to send back."""
        return ((REQUEST_ID_KEY, self.metadata.request_id),)

    async def send_headers(self) -> None:
        """Send the initial metadata, once. A stream calls it before each message.

        Not any earlier: once headers have arrived, gRPC's own clients retry no more, so a refusal must come without
        any (a Trailers-Only response), or its pushback would be ignored (gRFC A6).
        """
        if not self._headers_sent:
            self._headers_sent = True
            await self._context.send_initial_metadata(self.request_id_entry)


@asynccontextmanager
async def serving_call(
    rpc: str, context: grpc.aio.ServicerContext[Any, Any], table: ErrorTable
) -> AsyncIterator[ServedCall]:
    """Run the body of one RPC: its errors become statuses by `table`, what nobody expected becomes INTERNAL.

    The request id goes back in the initial metadata, and in an error's trailing metadata. Logs one line when it ends.
    """
    started = time.monotonic()
    call = ServedCall(context)
    metadata = call.metadata
    ids = {"request_id": metadata.request_id, "trace_id": metadata.trace_id}
    if key := caller_label():
        ids["key"] = key
    code = "CANCELLED"  # what it is if only a cancellation or a closed generator ends the body
    try:
        yield call
        await call.send_headers()
        code = "OK"
    except grpc.aio.AbortError:
        code = context.code().name if isinstance(context.code(), grpc.StatusCode) else "ABORTED"
        raise
    except Exception as error:
        status = invalid_fields(error.violations) if isinstance(error, InvalidFields) else table(error)
        if status is None:
            log.exception("unexpected error", rpc=rpc, **ids)
            status = INTERNAL
        code = status.code.name
        await abort(context, status, call.request_id_entry)
    finally:
        log.info(
            "call",
            rpc=rpc,
            code=code,
            seconds=round(time.monotonic() - started, 4),
            **ids,
        )
