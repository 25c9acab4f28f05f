"""What can go wrong with an answer.

AnswerError
├── DeadlinePassed          the time for the answer is over
├── ReaderTooSlow           the caller did not take the answer; nothing of it goes on
├── GatewayBusy             the gateway has no room for it; says which limit, and when to try again
└── BackendFailed           a service behind the gateway failed; names it
    ├── RequestRefused      it does not take the request; names the fields, as the caller knows them
    ├── BackendNotSetUp     an operator must mend a setting of it
    ├── BackendExhausted    it is too busy or out of quota; may say when to try again
    ├── BackendUnavailable  it cannot be reached, or failed
    ├── BackendTooSlow      it did not answer in time
    ├── CircuitOpen         it is not asked, because it failed again and again
    └── BackendBroken       anything else that it should not have answered
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

_CIRCUIT_REASONS: Final = {"search": "SEARCH_CIRCUIT_OPEN", "inference": "INFERENCE_CIRCUIT_OPEN"}


class AnswerError(Exception):
    """A question could not be answered. The message is for a person and holds no secret."""


class DeadlinePassed(AnswerError):
    """The time for the answer is over: the caller's deadline, or the default where it set none."""

    def __init__(self) -> None:
        super().__init__("The deadline passed before the answer was whole.")


class ReaderTooSlow(AnswerError):
    """The caller did not take the answer that was sent to them. Nothing of it goes on."""

    def __init__(self, limit_seconds: float) -> None:
        """`limit_seconds` is how long an answer waits for its reader, in all."""
        self.limit_seconds = limit_seconds
        super().__init__(f"The answer was not read: it waited for its reader for {limit_seconds:g} s in all.")


BUSY_RETRY_SECONDS: Final = 1.0
"""When to try again where the gateway has no room: an answer takes about as long at least."""


class GatewayBusy(AnswerError):
    """The gateway has no room for another answer, or this caller has had its part of the room. Nothing was started."""

    def __init__(self, limit_name: str, limit: int, *, of_caller: bool = False) -> None:
        """`limit_name` is concurrent_asks or held_bytes; `of_caller`: the limit is what one caller may have."""
        self.limit_name = limit_name
        self.limit = limit
        self.of_caller = of_caller
        self.retry_after_seconds = BUSY_RETRY_SECONDS
        whose = "for one caller" if of_caller else "in all"
        what = (
            f"{limit:,} answers at once" if limit_name == "concurrent_asks" else f"{limit:,} bytes of answers at once"
        )
        super().__init__(f"This gateway takes {what} {whose}, and that much is running. Try again in a moment.")


class BackendFailed(AnswerError):
    """A service behind the gateway failed."""

    def __init__(
        self,
        service: str,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
        violations: Sequence[tuple[str, str]] = (),
        exhausted_quotas: Sequence[tuple[str, str]] = (),
        code_name: str = "",
    ) -> None:
        """`service` is search or inference.

        `reason` and `metadata` are what programs can switch on, as that service gave them; `violations` are (field of
        the question, what is wrong with it); `exhausted_quotas` are (what it belongs to, what was exceeded);
        `code_name` is the canonical name of its status where the kind of error does not tell it.
        """
        self.service = service
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.retry_after_seconds = retry_after_seconds
        self.violations = tuple(violations)
        self.exhausted_quotas = tuple(exhausted_quotas)
        self.code_name = code_name
        super().__init__(message)


class RequestRefused(BackendFailed):
    """The service does not take the request."""


class BackendNotSetUp(BackendFailed):
    """An operator must mend a setting of the service; the caller did nothing wrong."""


class BackendExhausted(BackendFailed):
    """The service is too busy or out of quota. Nothing was started."""


class BackendUnavailable(BackendFailed):
    """The service cannot be reached, or failed."""


class BackendTooSlow(BackendFailed):
    """The service did not answer in time."""


class CircuitOpen(BackendFailed):
    """The service failed so often in a row that it is not asked for a while. Nothing was sent to it."""

    def __init__(self, service: str, failures: int, *, retry_after_seconds: float) -> None:
        """`failures` in a row, at least 1; it is worth another try after `retry_after_seconds`."""
        often = "once" if failures == 1 else f"{failures:,} times in a row"
        super().__init__(
            service,
            f"The {service} service failed {often} and is not asked for now. "
            "It is tried again by itself; GetStatus tells how it is.",
            reason=_CIRCUIT_REASONS[service],
            retry_after_seconds=retry_after_seconds,
        )


class BackendBroken(BackendFailed):
    """The service answered what it never should."""
