"""One question from the request to the exit code, the same for `ask` and `demo`."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final, Protocol

from groundwire.gateway.v1 import gateway_pb2
from groundwire_cli.errors import CommandError
from groundwire_cli.exit_codes import ExitCode, code_for_outcome
from groundwire_cli.gateway_client import Question, ask_request, stream_answer
from groundwire_rpc.channels import PLAINTEXT, ChannelSecurity

NOT_WHOLE: Final = "The answer is not whole: do not rely on what was printed of it."
"""Said where a stream failed after its first words."""


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
    security: ChannelSecurity = PLAINTEXT,
) -> ExitCode:
    """Ask, hand every event to the sink, and say what to exit with. Raises CommandError; cancels the call when left."""
    request = ask_request(question)
    finished: gateway_pb2.Finished | None = None
    text_began = False
    try:
        async with aclosing(
            stream_answer(target, request, metadata=metadata, timeout_seconds=timeout_seconds, security=security)
        ) as events:
            async for event in events:
                text_began = text_began or event.HasField("delta")
                sink.event(event)
                if event.HasField("finished"):
                    finished = event.finished
    except CommandError as error:
        if not text_began or not error.message:
            raise
        raise CommandError(f"{error.message}\n{NOT_WHOLE}", error.exit_code) from None
    finally:
        sink.close()
    if finished is None:
        raise CommandError(f"The gateway ended the answer without saying how.\n{NOT_WHOLE}")
    return code_for_outcome(_outcome_name(finished.outcome))


def _outcome_name(outcome: int) -> str:
    value = gateway_pb2.Outcome.DESCRIPTOR.values_by_number.get(outcome)
    return value.name if value else str(outcome)
