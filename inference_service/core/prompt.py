"""From a request to the token ids that the model reads, within the context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from inference_service.core.chat_formats import ChatFormat
from inference_service.core.errors import InvalidRequest, PromptTooLong
from inference_service.core.fitting import CountedDocument, plan_documents
from inference_service.core.rendering import GROUNDING_INSTRUCTIONS, SOURCE_SEPARATOR, Sources, sources_heading
from inference_service.core.types import (
    DEFAULT_MAX_TOKENS,
    Chat,
    ContextPolicy,
    DocumentUse,
    FittedPrompt,
    GenerateRequest,
    Message,
    Role,
)

_CONTEXT_SHARE_KEPT_FREE = 8
"""Where a request names no limit, a chat is cut to leave DEFAULT_MAX_TOKENS or this fraction of the context."""

MOST_IDS_NAMED = 8
"""Wrong token ids that are named one by one. A request may have a million, and a status is a few kilobytes."""


class TextEncoder(Protocol):
    """Turns text into token ids."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`: control tokens are plain text, and no beginning-of-sequence token is added."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """The number of token ids."""
        ...

    @property
    def longest_token_bytes(self) -> int:
        """The most UTF-8 bytes of text that one token stands for: n bytes take at least n / this many tokens."""
        ...


@dataclass(frozen=True, slots=True)
class _FittedChat:
    """The longest prompt of a chat that fits, or the shortest one if none does."""

    token_ids: tuple[int, ...]
    documents_used: tuple[DocumentUse, ...]
    documents_dropped: tuple[int, ...] = ()
    messages_dropped: int = 0


class PromptBuilder:
    """Builds prompts for one model. Holds no state between calls: safe to use from many threads.

    A chat is fitted (ContextPolicy.FIT) so that the tokens to generate have their room first. The system message and
    the question always stay. History goes first, its oldest exchanges before newer ones; then documents are cut at
    the ends of sentences to a fair share; then documents are dropped from the last on, but the first.
    Text and token ids are never cut. Whatever is returned fits: prompt and max_tokens are within the context.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        chat_format: ChatFormat,
        *,
        context_length: int,
        system_text: str = GROUNDING_INSTRUCTIONS,
    ) -> None:
        """`context_length` is in tokens, prompt and answer together; `system_text` serves chats with documents."""
        self._encoder = encoder
        self._format = chat_format
        self._context_length = context_length
        self._system_text = system_text

    def build(self, request: GenerateRequest) -> FittedPrompt:
        """Return the prompt of `request`.

        Without max_tokens a request may generate DEFAULT_MAX_TOKENS or what room is left; a chat that has to be cut is
        then cut to leave at least DEFAULT_MAX_TOKENS or an eighth of the context, whichever is less.

        Raises InvalidRequest naming every field that is wrong, and PromptTooLong where the prompt with max_tokens (or
        with one token) does not fit.
        """
        violations = list(self._violations(request))
        if violations:
            raise InvalidRequest(violations)
        match request.input:
            case Chat() as chat:
                fitted = self._fit(chat, request)
                return self._finish(
                    "chat",
                    fitted.token_ids,
                    request.max_tokens,
                    documents_used=fitted.documents_used,
                    documents_dropped=fitted.documents_dropped,
                    messages_dropped=fitted.messages_dropped,
                )
            case str() as text:
                return self._finish("text", (*self._format.bos, *self._encoder.encode(text)), request.max_tokens)
            case token_ids:
                return self._finish("token_ids", token_ids, request.max_tokens)

    def count(self, input: Chat | str) -> int:  # noqa: A002 - the request's own field
        """Return the tokens of an uncut chat, or of a text without the beginning-of-sequence token.

        Raises InvalidRequest where the chat's messages are in no valid order.
        """
        if isinstance(input, str):
            return len(self._encoder.encode(input))
        violations = list(_chat_violations(input))
        if violations:
            raise InvalidRequest(violations)
        return len(self._whole(input, Sources.of(input.documents)))

    def _finish(
        self,
        field: str,
        token_ids: tuple[int, ...],
        max_tokens: int | None,
        *,
        documents_used: tuple[DocumentUse, ...] = (),
        documents_dropped: tuple[int, ...] = (),
        messages_dropped: int = 0,
    ) -> FittedPrompt:
        room = self._context_length - len(token_ids)
        if room < (max_tokens or 1):
            raise PromptTooLong(
                field,
                prompt_tokens=len(token_ids),
                max_tokens=max_tokens or 1,
                context_length=self._context_length,
            )
        return FittedPrompt(
            token_ids=token_ids,
            max_tokens=max_tokens or min(DEFAULT_MAX_TOKENS, room),
            max_tokens_limited_by_context=max_tokens is None and room < DEFAULT_MAX_TOKENS,
            documents_used=documents_used,
            documents_dropped=documents_dropped,
            messages_dropped=messages_dropped,
        )

    def _fit(self, chat: Chat, request: GenerateRequest) -> _FittedChat:
        sources = Sources.of(chat.documents)
        if request.context_policy is ContextPolicy.ERROR:
            return _FittedChat(self._whole(chat, sources), sources.uses())
        *history, question = _conversation(chat)
        head, tail = self._head(chat), self._format.generation_prompt
        room = self._context_length - self._reserved(request.max_tokens) - len(head) - len(tail)
        last = self._last_turn(sources, question.content, room)
        if last is not None:
            kept = self._newest_within(history, room - len(last))
            token_ids = (*head, *chain.from_iterable(kept), *last, *tail)
            return _FittedChat(token_ids, sources.uses(), messages_dropped=len(history) - len(kept))
        ends, last = self._cut_documents(sources, question.content, room)
        return _FittedChat(
            (*head, *last, *tail),
            sources.uses(ends),
            documents_dropped=tuple(range(len(ends) + 1, len(chat.documents) + 1)),
            messages_dropped=len(history),
        )

    def _last_turn(self, sources: Sources, question: str, room: int) -> tuple[int, ...] | None:
        """Return the last turn uncut; None where its documents have to be cut to fit `room`."""
        content = sources.user_content(question)
        if not sources.texts:
            return self._turn(Role.USER, content)
        # Megabytes of documents are not encoded only to learn that they do not fit.
        if self._least_tokens(content) > room:
            return None
        turn = self._turn(Role.USER, content)
        return turn if len(turn) <= room else None

    def _cut_documents(self, sources: Sources, question: str, room: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return where the documents are cut and the ids of the last turn: within `room`, or as few as there can be."""
        documents = [
            CountedDocument(heading + SOURCE_SEPARATOR, text, self._count_text)
            for heading, text in zip(sources.headings, sources.texts, strict=True)
        ]
        plan = plan_documents(documents, room - len(self._turn(Role.USER, sources_heading(question))))
        while True:
            turn = self._turn(Role.USER, sources.user_content(question, plan.ends))
            excess = len(turn) - room
            if excess <= 0:
                return plan.ends, turn
            smaller = plan_documents(documents, plan.tokens - excess)
            if smaller == plan:
                return plan.ends, turn
            plan = smaller

    def _newest_within(self, history: Sequence[Message], room: int) -> list[tuple[int, ...]]:
        """Return the turns of the newest exchanges that fit `room`, in order. No more is encoded than that."""
        newest_first: list[tuple[int, ...]] = []
        for exchange in _exchanges_newest_first(history):
            if sum(self._least_tokens(message.content) for message in exchange) > room:
                break
            turns = [self._turn(message.role, message.content) for message in reversed(exchange)]
            room -= sum(map(len, turns))
            if room < 0:
                break
            newest_first.extend(turns)
        return newest_first[::-1]

    def _whole(self, chat: Chat, sources: Sources) -> tuple[int, ...]:
        *history, question = _conversation(chat)
        turns = [self._turn(message.role, message.content) for message in history]
        last = self._turn(Role.USER, sources.user_content(question.content))
        return (*self._head(chat), *chain.from_iterable(turns), *last, *self._format.generation_prompt)

    def _head(self, chat: Chat) -> tuple[int, ...]:
        """Return what begins the prompt: the beginning-of-sequence token, and the system message if there is one."""
        if chat.messages[0].role is Role.SYSTEM:
            return (*self._format.bos, *self._turn(Role.SYSTEM, chat.messages[0].content))
        if chat.documents:
            return (*self._format.bos, *self._turn(Role.SYSTEM, self._system_text))
        return self._format.bos

    def _turn(self, role: Role, text: str) -> tuple[int, ...]:
        content = self._encoder.encode(self._format.content(text))
        return (*self._format.opening(role), *content, *self._format.closing(role))

    def _least_tokens(self, text: str) -> int:
        """Return a number of tokens that `text` takes at least, without encoding it."""
        return len(self._format.content(text).encode()) // self._encoder.longest_token_bytes

    def _count_text(self, text: str) -> int:
        return len(self._encoder.encode(text))

    def _reserved(self, max_tokens: int | None) -> int:
        """Return the room that a chat is cut to leave."""
        if max_tokens is not None:
            return max_tokens
        return min(DEFAULT_MAX_TOKENS, max(1, self._context_length // _CONTEXT_SHARE_KEPT_FREE))

    def _violations(self, request: GenerateRequest) -> Iterator[tuple[str, str]]:
        if request.max_tokens is not None and not 1 <= request.max_tokens <= self._context_length:
            yield "max_tokens", f"must be 1 to {self._context_length:,}, the context's length"
        below = f"must be a token id below {self._encoder.vocabulary_size:,}, the vocabulary's size"
        for index, (token_id, _) in enumerate(request.sampling.logit_bias):
            if not 0 <= token_id < self._encoder.vocabulary_size:
                yield f"sampling.logit_bias[{index}].token_id", below
        match request.input:
            case Chat() as chat:
                yield from _chat_violations(chat)
            case str() as text:
                if not text:
                    yield "text", "must not be empty"
            case token_ids:
                if not token_ids:
                    yield "token_ids.ids", "must not be empty"
                size = self._encoder.vocabulary_size
                wrong = [index for index, token_id in enumerate(token_ids) if not 0 <= token_id < size]
                for index in wrong[:MOST_IDS_NAMED]:
                    yield f"token_ids.ids[{index}]", below
                if len(wrong) > MOST_IDS_NAMED:
                    yield "token_ids.ids", f"has {len(wrong):,} entries that are not below {size:,}"


def _conversation(chat: Chat) -> tuple[Message, ...]:
    """Return the messages without the system message: the history and the question."""
    return chat.messages[1:] if chat.messages[0].role is Role.SYSTEM else chat.messages


def _exchanges_newest_first(history: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Yield the history in pairs of a user's and the assistant's turn; the oldest may be an assistant's turn alone."""
    for end in range(len(history), 0, -2):
        yield history[max(0, end - 2) : end]


def _chat_violations(chat: Chat) -> Iterator[tuple[str, str]]:
    if not chat.messages:
        yield "chat.messages", "must hold at least the user's question"
        return
    if chat.messages[-1].role is not Role.USER:
        yield f"chat.messages[{len(chat.messages) - 1}].role", "must be the user's: the last message is the question"
    for index, message in enumerate(chat.messages):
        if message.role is Role.SYSTEM and index > 0:
            yield f"chat.messages[{index}].role", "must not be the system's: only the first message may be"
        elif index > 0 and message.role is chat.messages[index - 1].role:
            yield f"chat.messages[{index}].role", "must differ from the turn before: user and assistant alternate"
