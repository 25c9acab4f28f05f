"""One question from the request to the exit code, the same for `ask` and `demo`."""

from __future__ import annotations

from contextlib import aclosing
from typing import Protocol

from groundwire.gateway.v1 import gateway_pb2
from groundwire_cli.errors import CommandError
from groundwire_cli.exit_codes import ExitCode, code_for_outcome
from groundwire_cli.gateway_client import Question, ask_request, stream_answer


class AnswerSink(Protocol):
    """Where the events of an answer go."""

    def event(self, event: gateway_pb2.AskResponse) -> None:
        """Take the next event. Raises OutputClosed."""
        ...

    def close(self) -> None:
        """No more events come, whether the answer is whole or not."""
        ...


async def ask_and_print(
    target: str,
    question: Question,
    sink: AnswerSink,
    *,
    metadata: tuple[tuple[str, str], ...],
    timeout_seconds: float,
) -> ExitCode:
    """Ask, hand every event to the sink, and say what to exit with. Raises CommandError; cancels the call when left."""
    request = ask_request(question)
    finished: gateway_pb2.Finished | None = None
    try:
        async with aclosing(
            stream_answer(target, request, metadata=metadata, timeout_seconds=timeout_seconds)
        ) as events:
            async for event in events:
                sink.event(event)
                if event.HasField("finished"):
                    finished = event.finished
    finally:
        sink.close()
    if finished is None:
        raise CommandError("The gateway ended the answer without saying how it ended. What was printed is not whole.")
    return code_for_outcome(_outcome_name(finished.outcome))


def _outcome_name(outcome: int) -> str:
    value = gateway_pb2.Outcome.DESCRIPTOR.values_by_number.get(outcome)
    return value.name if value else str(outcome)
