from __future__ import annotations

from benchmarks.soak.conversations import LONGEST, Conversations
from benchmarks.soak.plan import PlannedCall
from groundwire.inference.v1 import inference_pb2 as pb


def turn(question: str, conversation: int | None = 1) -> PlannedCall:
    message = pb.Message(role=pb.ROLE_USER, content=question)
    return PlannedCall(0, 0.0, pb.GenerateRequest(chat=pb.Chat(messages=[message])), conversation=conversation)


def contents(request: pb.GenerateRequest) -> list[str]:
    return [message.content for message in request.chat.messages]


def test_a_turn_is_asked_behind_those_before_it() -> None:
    conversations = Conversations()
    conversations.learn(turn("one?"), "one.")
    second = turn("two?")

    request = conversations.request(second)

    assert contents(request) == ["one?", "one.", "two?"]
    assert [message.role for message in request.chat.messages] == [pb.ROLE_USER, pb.ROLE_ASSISTANT, pb.ROLE_USER]
    assert contents(second.request) == ["two?"], "the plan stays as it is"


def test_conversations_know_nothing_of_each_other() -> None:
    conversations = Conversations()
    conversations.learn(turn("one?", conversation=1), "one.")
    conversations.learn(turn("alone?", conversation=None), "alone.")

    assert contents(conversations.request(turn("two?", conversation=2))) == ["two?"]
    assert contents(conversations.request(turn("three?", conversation=None))) == ["three?"]


def test_an_empty_answer_is_forgotten_with_its_question() -> None:
    conversations = Conversations()
    conversations.learn(turn("one?"), "")

    assert contents(conversations.request(turn("two?"))) == ["two?"]


def test_a_long_conversation_starts_anew() -> None:
    conversations = Conversations()
    for _ in range(LONGEST // 2):
        conversations.learn(turn("more?"), "more.")

    assert contents(conversations.request(turn("two?"))) == ["two?"]
