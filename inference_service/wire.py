"""protobuf ⇄ core types. Pure functions; every limit of the contract is checked here, all violations at once."""

from __future__ import annotations

import math
from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration

from groundwire.inference.v1 import inference_pb2 as pb
from groundwire_rpc.validation import FieldChecks
from inference_service.core.types import (
    Chat,
    ContextPolicy,
    Delta,
    Document,
    EngineStatus,
    Event,
    Finished,
    FinishReason,
    GenerateRequest,
    GrammarKind,
    Message,
    ModelInfo,
    PositionLogprobs,
    Progress,
    ResponseFormat,
    Role,
    Sampling,
    Started,
    TokenLogprob,
)

MAX_MESSAGES = 128
MAX_DOCUMENTS = 32
MAX_CONTENT_BYTES = 262_144
MAX_TITLE_BYTES = 1_024
MAX_URL_BYTES = 8_192
MAX_HOST_BYTES = 255
MAX_DOCUMENT_BYTES = 65_536
MAX_CHAT_BYTES = 8_388_608
MAX_TEXT_BYTES = 1_048_576
MAX_TOKEN_IDS = 1_048_576
MAX_STOPS = 8
MAX_STOP_BYTES = 64
MAX_LOGPROBS = 20
MAX_LOGIT_BIASES = 256
MAX_GRAMMAR_BYTES = 16_384
MAX_SALT_BYTES = 256

_ROLES = {pb.ROLE_SYSTEM: Role.SYSTEM, pb.ROLE_USER: Role.USER, pb.ROLE_ASSISTANT: Role.ASSISTANT}
_POLICIES = {
    pb.CONTEXT_POLICY_UNSPECIFIED: ContextPolicy.FIT,
    pb.CONTEXT_POLICY_FIT: ContextPolicy.FIT,
    pb.CONTEXT_POLICY_ERROR: ContextPolicy.ERROR,
}
_REASONS = {
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.STOP_SEQUENCE: pb.FINISH_REASON_STOP_SEQUENCE,
    FinishReason.MAX_TOKENS: pb.FINISH_REASON_MAX_TOKENS,
    FinishReason.CONTEXT_FULL: pb.FINISH_REASON_CONTEXT_FULL,
}

_MIB = 2**20


def generate_request(message: pb.GenerateRequest, prefix: str = "") -> GenerateRequest:
    """Decode and check a request. `prefix` stands before every field's name. Raises InvalidFields."""
    check = FieldChecks(prefix)
    which = message.WhichOneof("input")
    read_input: Chat | str | tuple[int, ...] = ""
    if which == "chat":
        read_input = _chat(check, message.chat)
    elif which == "text":
        check.utf8_bytes("text", message.text, low=1, high=MAX_TEXT_BYTES)
        read_input = message.text
    elif which == "token_ids":
        check.count("token_ids.ids", len(message.token_ids.ids), low=1, high=MAX_TOKEN_IDS)
        read_input = tuple(message.token_ids.ids)
    else:
        check.add("input", "is required: one of chat, text, token_ids")
    if message.HasField("max_tokens") and message.max_tokens < 1:
        check.add("max_tokens", "is 0; it must be at least 1")
    if message.HasField("logprobs"):
        check.number("logprobs", message.logprobs, low=0, high=MAX_LOGPROBS)
    if message.ignore_eos and message.HasField("response_format"):
        check.add("ignore_eos", "cannot go with response_format: a whole answer of that form must be able to end")
    check.count("stop", len(message.stop), high=MAX_STOPS)
    for index, stop in enumerate(message.stop):
        check.utf8_bytes(f"stop[{index}]", stop, low=1, high=MAX_STOP_BYTES)
    check.known_enum("context_policy", message.context_policy, list(_POLICIES))
    check.utf8_bytes("cache_salt", message.cache_salt, high=MAX_SALT_BYTES)
    request = GenerateRequest(
        input=read_input,
        sampling=_sampling(check, message.sampling),
        max_tokens=message.max_tokens if message.HasField("max_tokens") else None,
        stop=tuple(message.stop),
        ignore_eos=message.ignore_eos,
        logprobs=message.logprobs if message.HasField("logprobs") else None,
        response_format=_response_format(check, message),
        context_policy=_POLICIES.get(message.context_policy, ContextPolicy.FIT),
        cache_salt=message.cache_salt,
        speculation=message.speculation if message.HasField("speculation") else True,
    )
    check.done()
    return request


def count_input(message: pb.CountTokensRequest) -> Chat | str:
    """Decode and check what to count. Raises InvalidFields."""
    check = FieldChecks()
    which = message.WhichOneof("input")
    if which == "chat":
        chat = _chat(check, message.chat)
        check.done()
        return chat
    if which == "text":
        check.utf8_bytes("text", message.text, low=1, high=MAX_TEXT_BYTES)
    else:
        check.add("input", "is required: one of chat, text")
    check.done()
    return message.text


def _chat(check: FieldChecks, chat: pb.Chat) -> Chat:
    if check.count("chat.messages", len(chat.messages), low=1, high=MAX_MESSAGES):
        _check_turns(check, chat)
    for index, message in enumerate(chat.messages):
        check.utf8_bytes(f"chat.messages[{index}].content", message.content, low=1, high=MAX_CONTENT_BYTES)
    check.count("chat.documents", len(chat.documents), high=MAX_DOCUMENTS)
    for index, document in enumerate(chat.documents[: MAX_DOCUMENTS + 1]):
        field = f"chat.documents[{index}]"
        check.utf8_bytes(f"{field}.title", document.title, low=1, high=MAX_TITLE_BYTES)
        check.utf8_bytes(f"{field}.url", document.url, high=MAX_URL_BYTES)
        check.utf8_bytes(f"{field}.host", document.host, high=MAX_HOST_BYTES)
        check.utf8_bytes(f"{field}.text", document.text, low=1, high=MAX_DOCUMENT_BYTES)
    size = chat.ByteSize()
    if size > MAX_CHAT_BYTES:
        check.add("chat", f"takes {size:,} bytes; at most {MAX_CHAT_BYTES:,} are allowed for messages and documents")
    return Chat(
        tuple(Message(_ROLES.get(m.role, Role.USER), m.content) for m in chat.messages),
        tuple(Document(title=d.title, text=d.text, host=d.host) for d in chat.documents),
    )


def _check_turns(check: FieldChecks, chat: pb.Chat) -> None:
    """An optional system message, then user and assistant in turn, the user's last."""
    turns = list(enumerate(chat.messages))
    if turns[0][1].role == pb.ROLE_SYSTEM:
        turns = turns[1:]
    expected = pb.ROLE_USER
    for index, message in turns:
        if message.role != expected:
            check.add(
                f"chat.messages[{index}].role",
                f"must be {pb.Role.Name(expected)} here: after an optional first system message, user and assistant "
                "take turns, beginning and ending with the user",
            )
            return
        expected = pb.ROLE_ASSISTANT if expected == pb.ROLE_USER else pb.ROLE_USER
    if expected == pb.ROLE_USER:
        check.add("chat.messages", "must end with the user's message")


def _sampling(check: FieldChecks, message: pb.Sampling) -> Sampling:
    defaults = Sampling()

    def number(name: str, value: float, default: float, *, low: float, high: float, low_open: bool = False) -> float:
        if not message.HasField(name):  # type: ignore[arg-type]  # the stubs know only the literal names
            return default
        check.number(f"sampling.{name}", value, low=low, high=high, low_open=low_open)
        return value

    check.count("sampling.logit_bias", len(message.logit_bias), high=MAX_LOGIT_BIASES)
    seen: set[int] = set()
    for index, entry in enumerate(message.logit_bias):
        check.number(f"sampling.logit_bias[{index}].bias", entry.bias, low=-100, high=100)
        if entry.token_id in seen:
            check.add(f"sampling.logit_bias[{index}].token_id", f"{entry.token_id} is given twice")
        seen.add(entry.token_id)
    return Sampling(
        temperature=number("temperature", message.temperature, defaults.temperature, low=0, high=2),
        top_p=number("top_p", message.top_p, defaults.top_p, low=0, high=1, low_open=True),
        top_k=int(number("top_k", message.top_k, defaults.top_k, low=0, high=1000)),
        min_p=number("min_p", message.min_p, defaults.min_p, low=0, high=1),
        repeat_penalty=number("repeat_penalty", message.repeat_penalty, defaults.repeat_penalty, low=0.5, high=2),
        presence_penalty=number("presence_penalty", message.presence_penalty, 0, low=-2, high=2),
        frequency_penalty=number("frequency_penalty", message.frequency_penalty, 0, low=-2, high=2),
        logit_bias=tuple((entry.token_id, entry.bias) for entry in message.logit_bias),
        seed=message.seed if message.HasField("seed") else None,
    )


def _response_format(check: FieldChecks, message: pb.GenerateRequest) -> ResponseFormat | None:
    if not message.HasField("response_format"):
        return None
    response_format = message.response_format
    which = response_format.WhichOneof("format")
    if which is None:
        check.add("response_format.format", "is required: one of json_schema, gbnf")
        return None
    source = response_format.json_schema if which == "json_schema" else response_format.gbnf
    check.utf8_bytes(f"response_format.{which}", source, low=1, high=MAX_GRAMMAR_BYTES)
    return ResponseFormat(GrammarKind(which), source)


def event(event: Event, model: str) -> pb.GenerateResponse:
    """Encode one event of a stream. `model` is the loaded model's name."""
    if isinstance(event, Started):
        return pb.GenerateResponse(started=_started(event, model))
    if isinstance(event, Progress):
        progress = pb.Progress(prompt_tokens_processed=event.processed, prompt_tokens_total=event.total)
        return pb.GenerateResponse(progress=progress)
    if isinstance(event, Delta):
        return pb.GenerateResponse(
            delta=pb.Delta(text=event.text, token_ids=event.token_ids, logprobs=map(_position, event.logprobs))
        )
    return pb.GenerateResponse(finished=_finished(event))


def gather(response: pb.CompleteResponse, message: pb.GenerateResponse) -> None:
    """Add one event of a stream to the gathered answer."""
    which = message.WhichOneof("event")
    if which == "started":
        response.started.CopyFrom(message.started)
    elif which == "delta":
        response.text += message.delta.text
        response.token_ids.extend(message.delta.token_ids)
        response.logprobs.extend(message.delta.logprobs)
    elif which == "finished":
        response.finished.CopyFrom(message.finished)


def _started(event: Started, model: str) -> pb.Started:
    prompt = event.prompt
    return pb.Started(
        model=model,
        prompt_tokens=len(prompt.token_ids),
        cached_tokens=event.cached_tokens,
        documents_used=[
            pb.DocumentUse(index=use.index, cut=use.cut, text_bytes=use.text_bytes) for use in prompt.documents_used
        ],
        documents_dropped=prompt.documents_dropped,
        messages_dropped=prompt.messages_dropped,
        queue_time=_duration(event.queue_seconds),
    )


def _finished(event: Finished) -> pb.Finished:
    usage, timings = event.usage, event.timings
    return pb.Finished(
        reason=_REASONS[event.reason],
        matched_stop=event.matched_stop,
        usage=pb.Usage(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            drafted_tokens=usage.drafted_tokens,
            accepted_tokens=usage.accepted_tokens,
        ),
        timings=pb.Timings(
            queue=_duration(timings.queue_seconds),
            prompt=_duration(timings.prompt_seconds),
            time_to_first_token=_duration(timings.time_to_first_token_seconds),
            generation=_duration(timings.generation_seconds),
        ),
        seed=event.seed,
    )


def _position(position: PositionLogprobs) -> pb.PositionLogprobs:
    encode: Callable[[TokenLogprob], pb.TokenLogprob] = lambda entry: pb.TokenLogprob(  # noqa: E731 - used twice, here
        token_id=entry.token_id, token=entry.token, logprob=entry.logprob
    )
    return pb.PositionLogprobs(chosen=encode(position.chosen), top=map(encode, position.top))


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(math.floor(max(0.0, seconds) * 1e9))
    return duration


def model_response(info: ModelInfo) -> pb.GetModelResponse:
    """Encode what is known of the model."""
    return pb.GetModelResponse(
        name=info.name,
        architecture=info.architecture,
        chat_family=info.chat_family,
        parameter_count=info.parameter_count,
        file_bytes=info.file_bytes,
        context_length=info.context_length,
        training_context_length=info.training_context_length,
        vocabulary_size=info.vocabulary_size,
        quantization=info.quantization,
    )


def status_response(status: EngineStatus, *, model: str, version: str) -> pb.GetStatusResponse:
    """Encode how busy the engine is."""
    totals = status.totals
    return pb.GetStatusResponse(
        version=version,
        model=model,
        slots=status.slots,
        slots_used=status.slots_used,
        queue_capacity=status.queue_capacity,
        queue_length=status.queue_length,
        kv_cells=status.kv_cells,
        kv_cells_reserved=status.kv_cells_reserved,
        kv_cells_cached=status.kv_cells_cached,
        prefix_cache_mib=-(-status.prefix_cache_bytes // _MIB),
        prefix_cache_limit_mib=status.prefix_cache_limit_bytes // _MIB,
        prompt_tokens_total=totals.prompt_tokens,
        cached_tokens_total=totals.cached_tokens,
        completion_tokens_total=totals.completion_tokens,
        drafted_tokens_total=totals.drafted_tokens,
        accepted_tokens_total=totals.accepted_tokens,
        step_seconds_total=totals.step_seconds,
        forward_seconds_total=totals.forward_seconds,
    )
