"""What can go wrong with a generation.

InferenceError
├── InvalidRequest        names the fields; nothing was started
│   └── PromptTooLong     the prompt does not fit the context; gives the counts
├── Overloaded            nothing was started; names the limit, and says when to try again
│   ├── QueueFull         all slots run and the queue is full
│   ├── CallerQueueFull   the caller has all the places of the queue that one caller may have
│   └── QueueTooSlow      the deadline would pass in the queue
├── ReaderTooSlow         the caller did not take its answer; the slot is free
├── DeadlinePassed        the caller's time is over; the slot is free
│   └── DeadlineTooShort  the answer could not have begun in time; ended before the time was spent
├── EngineUnavailable     the engine is loading, failed or stopping
│   ├── EngineFailed      it failed for good: the process has to be started again
│   └── EngineStuck       a step does not end: the process has to be started again
├── RequestFailed         a fault of this service met one request; the others go on
└── ModelError            the model cannot be loaded; says what to do
    └── UnknownChatFamily its chat template is of no known family
"""

from __future__ import annotations

from collections.abc import Sequence


class InferenceError(Exception):
    """A generation failed. The message is for a person."""


class InvalidRequest(InferenceError):
    """The request cannot be run as it is."""

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        """`violations` are (field of GenerateRequest, what is wrong with the limit)."""
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{field}: {description}" for field, description in violations))


class PromptTooLong(InvalidRequest):
    """The prompt, with the tokens to generate, does not fit the context."""

    def __init__(self, field: str, *, prompt_tokens: int, max_tokens: int, context_length: int) -> None:
        """`prompt_tokens` is the smallest prompt that could be made of the request."""
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.context_length = context_length
        described = (
            f"takes {prompt_tokens:,} tokens; with {max_tokens:,} to generate that is more than the context of "
            f"{context_length:,}"
        )
        super().__init__([(field, described)])


class Overloaded(InferenceError):
    """There is no room, or no time, for the request. Nothing was started."""

    limit_name: str
    """Which limit it met."""

    def __init__(self, message: str, *, limit: float, retry_after_seconds: float) -> None:
        """`limit` is the limit's value."""
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class QueueFull(Overloaded):
    """All slots run and the queue is full."""

    limit_name = "queue"


class CallerQueueFull(Overloaded):
    """The caller has all the places of the queue that one caller may have."""

    limit_name = "caller_queue"


class QueueTooSlow(Overloaded):
    """The request's deadline would probably pass before it is answered."""

    limit_name = "deadline"

    def __init__(self, message: str, *, timeout_seconds: float, retry_after_seconds: float) -> None:
        """`timeout_seconds` is what is left until the deadline."""
        super().__init__(message, limit=timeout_seconds, retry_after_seconds=retry_after_seconds)


class ReaderTooSlow(InferenceError):
    """The caller did not take its answer in time, or too much of it waits to be taken."""

    def __init__(self, message: str, *, limit_name: str, limit: float) -> None:
        """`limit_name` is which limit was met, and `limit` its value."""
        self.limit_name = limit_name
        self.limit = limit
        super().__init__(message)


class DeadlinePassed(InferenceError):
    """The caller's time is over."""


class DeadlineTooShort(DeadlinePassed):
    """The prompt cannot be read before the deadline: waiting for it would only take time from others."""


class EngineUnavailable(InferenceError):
    """The engine is loading, failed or stopping."""


class EngineFailed(EngineUnavailable):
    """The engine failed for good: it can only be started again with its process."""


class EngineStuck(EngineUnavailable):
    """A step does not end. Its thread cannot be stopped: it can only be started again with its process."""


class RequestFailed(InferenceError):
    """A fault of this service met one request. The fault is chained, for the log; the others go on."""

    @classmethod
    def by(cls, fault: Exception) -> RequestFailed:
        """What becomes of `fault`."""
        failed = cls("The request failed by a fault of the service.")
        failed.__cause__ = fault
        return failed


class ModelError(InferenceError):
    """The model cannot be loaded. The message is one paragraph that says what to do."""


class UnknownChatFamily(ModelError):
    """The model's chat template is of no known family."""
