"""Requests that the contract refuses, by what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from groundwire.inference.v1 import inference_pb2 as pb

Spoil = Callable[[pb.GenerateRequest, int, int], object]
"""Makes a valid request of plain token ids invalid, for a context's length in tokens and a vocabulary's size."""


def _no_input(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.ClearField("token_ids")


def _max_tokens_zero(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.max_tokens = 0


def _max_tokens_above_context(request: pb.GenerateRequest, context: int, _vocabulary: int) -> None:
    request.max_tokens = context + 1


def _one_token_too_many(request: pb.GenerateRequest, context: int, _vocabulary: int) -> None:
    request.token_ids.ids[:] = [5] * (context - 7)
    request.max_tokens = 8


def _text_too_long(request: pb.GenerateRequest, context: int, _vocabulary: int) -> None:
    request.text = "one two " * context


def _unknown_token(request: pb.GenerateRequest, _context: int, vocabulary: int) -> None:
    request.token_ids.ids.append(vocabulary)


def _unknown_biased_token(request: pb.GenerateRequest, _context: int, vocabulary: int) -> None:
    request.sampling.logit_bias.add(token_id=vocabulary, bias=1.0)


def _temperature(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.sampling.temperature = 2.5


def _top_p_not_a_number(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.sampling.top_p = float("nan")


def _nine_stops(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.stop[:] = list("abcdefghi")


def _long_stop(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.stop[:] = ["é" * 33]


def _logprobs(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.logprobs = 21


def _long_salt(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.cache_salt = "s" * 257


def _assistant_last(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.chat.messages.add(role=pb.ROLE_USER, content="Where?")
    request.chat.messages.add(role=pb.ROLE_ASSISTANT, content="There.")


def _chat_too_long(request: pb.GenerateRequest, context: int, _vocabulary: int) -> None:
    request.chat.messages.add(role=pb.ROLE_USER, content="one two " * context)
    request.context_policy = pb.CONTEXT_POLICY_ERROR


def _broken_gbnf(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.response_format.gbnf = 'root ::= "yes" | missing'


def _broken_schema(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.response_format.json_schema = '{"type": "nothing"}'


def _form_without_end(request: pb.GenerateRequest, _context: int, _vocabulary: int) -> None:
    request.response_format.gbnf = 'root ::= "yes"'
    request.ignore_eos = True


INVALID: Mapping[str, Spoil] = {
    "no input": _no_input,
    "max_tokens 0": _max_tokens_zero,
    "max_tokens above the context": _max_tokens_above_context,
    "one token too many": _one_token_too_many,
    "text too long": _text_too_long,
    "unknown token": _unknown_token,
    "unknown biased token": _unknown_biased_token,
    "temperature 2.5": _temperature,
    "top_p not a number": _top_p_not_a_number,
    "nine stops": _nine_stops,
    "long stop": _long_stop,
    "logprobs 21": _logprobs,
    "long salt": _long_salt,
    "assistant last": _assistant_last,
    "chat too long": _chat_too_long,
    "broken GBNF": _broken_gbnf,
    "broken schema": _broken_schema,
    "form without end": _form_without_end,
}
