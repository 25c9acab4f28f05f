"""Driving llama-server: its command line, the request's body, and its events."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.engine.llama_server import EventReader, LlamaServer, RefusedByServer, completion
from benchmarks.engine.peers import Peers
from benchmarks.engine.requests import Request, Tokens, Usage
from benchmarks.engine.systems import Terms

PEERS = Peers(Path("/bin/llama-server"), Path("/bin/llama-batched-bench"), "0", {})
TERMS = Terms(Path("/models/m.gguf"), slots=4, context=2048, threads=2, prompt_cache_mib=512)

TIMINGS = {"cache_n": 7, "prompt_n": 5, "draft_n": 16, "draft_n_accepted": 9}


def event(generated: int, tokens: list[int], **more: object) -> bytes:
    content = {"content": " x", "tokens": tokens, "stop": False, "tokens_predicted": generated, "tokens_evaluated": 12}
    return b"data: " + json.dumps(content | more).encode() + b"\n\n"


def last(generated: int, **timings: int) -> bytes:
    return event(generated, [], stop=True, timings={"cache_n": 0} | timings)


def test_events_are_put_together_from_any_pieces():
    sent = event(1, [11]) + event(2, [12]) + b": ping\n\n" + last(2, **TIMINGS)
    expected = [Tokens(1, (11,)), Tokens(1, (12,)), Usage(12, 7, 16, 9)]
    for size in (1, 7, len(sent)):
        reader = EventReader()
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        assert [item for piece in pieces for item in reader.feed(piece)] == expected


def test_tokens_without_an_event_of_their_own_are_counted():
    # The second and the fourth made no whole character by themselves.
    reader = EventReader()
    items = list(reader.feed(event(1, [11]) + event(3, [13]) + last(4)))
    assert items == [Tokens(1, (11,)), Tokens(2, (13,)), Tokens(1, ()), Usage(12, 0, 0, 0)]


@pytest.mark.parametrize("sent", [b'data: {"error":{"code":400,"message":"too long"}}\n\n', b"error: too long\n\n"])
def test_an_error_among_the_events_is_raised(sent):
    with pytest.raises(RefusedByServer, match="too long"):
        list(EventReader().feed(sent))


def test_an_event_of_another_form_is_told():
    with pytest.raises(RefusedByServer, match="not as documented"):
        list(EventReader().feed(event(1, [1]).replace(b'"tokens_predicted": 1', b'"tokens_predicted": "one"')))


def test_the_samplers_are_those_of_the_inference_service():
    sampled = completion(Request((1, 2), 64, temperature=1.0, seed=9), reuse=False)
    assert sampled["samplers"] == ["top_k", "top_p", "temperature"]
    assert (sampled["top_k"], sampled["top_p"], sampled["min_p"], sampled["temperature"]) == (40, 0.95, 0.0, 1.0)
    assert (sampled["prompt"], sampled["n_predict"], sampled["seed"]) == ([1, 2], 64, 9)
    assert (sampled["ignore_eos"], sampled["stream"], sampled["cache_prompt"]) == (True, True, False)
    greedy = completion(Request((1,), 1), reuse=True)
    assert (greedy["samplers"], greedy["top_k"], greedy["cache_prompt"]) == (["top_k"], 1, True)


def test_it_gets_the_terms_of_the_contest():
    flags = LlamaServer(PEERS, TERMS, unified=False).flags(8080)
    given = dict(pairwise(flags))
    assert given["--model"] == "/models/m.gguf"
    assert (given["--ctx-size"], given["--parallel"], given["--cache-ram"]) == ("2048", "4", "512")
    assert (given["--threads"], given["--threads-batch"]) == ("2", "2")
    assert (given["--batch-size"], given["--ubatch-size"]) == ("512", "512")
    assert "--no-kv-unified" in flags
    assert "--kv-unified" in LlamaServer(PEERS, TERMS, unified=True).flags(8080)


@pytest.mark.parametrize(
    ("server", "name"),
    [
        (LlamaServer(PEERS, TERMS, unified=True), "llama-server (unified KV)"),
        (LlamaServer(PEERS, TERMS, unified=False, batch_tokens=64), "llama-server (split KV, -b 64)"),
        (
            LlamaServer(PEERS, TERMS, unified=False, drafts=("--spec-type", "ngram-mod")),
            "llama-server --spec-type ngram-mod (split KV)",
        ),
    ],
)
def test_its_name_tells_how_it_was_set(server, name):
    assert server.name == name
