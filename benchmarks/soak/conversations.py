"""Conversations that come back: each turn is asked behind all turns before it, the model's own answers among them."""

from __future__ import annotations

from benchmarks.soak.plan import PlannedCall
from groundwire.inference.v1 import inference_pb2 as pb

LONGEST = 16
"""Messages that a conversation has before it starts anew."""


class Conversations:
    """What has been said so far."""

    def __init__(self) -> None:
        self._turns: dict[int, list[pb.Message]] = {}

    def request(self, planned: PlannedCall) -> pb.GenerateRequest:
        """The planned request, behind the turns of its conversation where it belongs to one."""
        if planned.conversation is None:
            return planned.request
        request = pb.GenerateRequest()
        request.CopyFrom(planned.request)
        del request.chat.messages[:]
        request.chat.messages.extend(self._turns.get(planned.conversation, []))
        request.chat.messages.extend(planned.request.chat.messages)
        return request

    def learn(self, planned: PlannedCall, answer: str) -> None:
        """Take a finished answer into its conversation. An empty one is forgotten with its question."""
        if planned.conversation is None or not answer:
            return
        turns = self._turns.setdefault(planned.conversation, [])
        turns.extend(planned.request.chat.messages)
        turns.append(pb.Message(role=pb.ROLE_ASSISTANT, content=answer))
        if len(turns) >= LONGEST:
            turns.clear()
