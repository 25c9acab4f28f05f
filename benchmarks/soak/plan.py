"""The plan: which calls are sent when, and how each caller behaves. Seeded and pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from benchmarks.soak.arrivals import arrival_seconds
from benchmarks.soak.forms import Form, random_form
from benchmarks.soak.invalid import INVALID
from benchmarks.soak.probes import PROBES
from benchmarks.soak.texts import Prompts
from groundwire.inference.v1 import inference_pb2 as pb

CONVERSATIONS = 6
SALTS = ("", "tenant-a", "tenant-b", "tenant-c")
_SALT_WEIGHTS = (5, 3, 1, 1)

_STOPS = (".", "the", " of", "\n", "é", "[1]", "never to be said")
_PROBE_SHARE = 0.15
_PROBES_READ_SHARE = 0.7
"""Of the probes, how many are read to the end whatever else: only a whole answer can be compared."""
_INVALID_SHARE = 0.06
_CONVERSATION_SHARE = 0.1
_FORM_SHARE = 0.04


class Ending(StrEnum):
    """How a caller ends its call."""

    READ = "read to the end"
    SLOW = "read slowly"
    CANCEL_EARLY = "cancel before the first message"
    CANCEL_TIMED = "cancel after a time"
    CANCEL_MESSAGES = "cancel mid-stream"
    STALL = "stop reading, then cancel"
    DEADLINE = "short deadline"
    CLOSE = "close the channel"


@dataclass(frozen=True, slots=True)
class End:
    """An ending and its numbers."""

    ending: Ending = Ending.READ
    seconds: float = 0.0
    """From sending to the cancellation, the closing or the deadline; for SLOW the pause behind each message, for STALL
    that before the cancellation."""
    messages: int = 0
    """Messages that are read before the cancellation: CANCEL_MESSAGES and STALL."""


_END_WEIGHTS = {
    Ending.READ: 45,
    Ending.SLOW: 8,
    Ending.CANCEL_EARLY: 8,
    Ending.CANCEL_TIMED: 10,
    Ending.CANCEL_MESSAGES: 9,
    Ending.STALL: 4,
    Ending.DEADLINE: 11,
    Ending.CLOSE: 5,
}
_STREAM_ONLY = frozenset({Ending.SLOW, Ending.CANCEL_MESSAGES, Ending.STALL})


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call. Its request must not be changed."""

    index: int
    """Counted from 0."""
    at_seconds: float
    """From the start of the run."""
    request: pb.GenerateRequest
    end: End = End()
    gathered: bool = False
    """Complete instead of Generate."""
    invalid: str | None = None
    """What is wrong with the request, by its name in INVALID."""
    probe: int | None = None
    """Which of PROBES it is."""
    conversation: int | None = None
    """Which conversation it goes on with: the turns so far go before its own messages."""
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What the plan has to know of the service."""

    context_tokens: int
    """The most that one sequence may have."""
    vocabulary_size: int
    places: int
    """Calls that it takes at once, running and waiting."""


def plan(seed: int, shape: Shape) -> Iterator[PlannedCall]:
    """Calls without end, in order of arrival. The same seed and shape give the same calls."""
    maker = _Maker(Random(seed), shape)
    arrivals = arrival_seconds(Random(f"{seed} arrivals"), places=shape.places)
    for index, at_seconds in enumerate(arrivals):
        yield maker.call(index, at_seconds)


class _Maker:
    """Draws calls."""

    def __init__(self, random: Random, shape: Shape) -> None:
        self._random = random
        self._shape = shape
        self._prompts = Prompts(random, context_tokens=shape.context_tokens, vocabulary_size=shape.vocabulary_size)

    def call(self, index: int, at_seconds: float) -> PlannedCall:
        random = self._random
        kind = random.random()
        gathered = random.random() < 0.25
        if kind < _INVALID_SHARE:
            name = random.choice(list(INVALID))
            request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=self._prompts.token_ids(8)), max_tokens=8)
            INVALID[name](request, self._shape.context_tokens, self._shape.vocabulary_size)
            return PlannedCall(index, at_seconds, request, gathered=gathered, invalid=name)
        kind -= _INVALID_SHARE
        end = self._end(gathered=gathered)
        if kind < _PROBE_SHARE:
            end = End() if random.random() < _PROBES_READ_SHARE else end
            probe = random.randrange(len(PROBES))
            request = pb.GenerateRequest(cache_salt=self._salt(), speculation=random.random() < 0.5)
            request.MergeFrom(PROBES[probe])
            return PlannedCall(index, at_seconds, request, end, gathered, probe=probe)
        kind -= _PROBE_SHARE
        if kind < _CONVERSATION_SHARE:
            return self._turn(index, at_seconds, end, gathered=gathered)
        form = random_form(random) if random.random() < _FORM_SHARE else None
        request = self._request(form)
        if end.ending is Ending.STALL and form is None and random.random() < 0.5:
            self._make_talkative(request)
        return PlannedCall(index, at_seconds, request, end, gathered, form=form)

    def _turn(self, index: int, at_seconds: float, end: End, *, gathered: bool) -> PlannedCall:
        conversation = self._random.randrange(CONVERSATIONS)
        message = pb.Message(role=pb.ROLE_USER, content=f"{self._prompts.question()} {self._prompts.text(4)}")
        request = pb.GenerateRequest(
            chat=pb.Chat(messages=[message]),
            max_tokens=self._random.randint(8, 48),
            cache_salt=SALTS[conversation % len(SALTS)],
        )
        return PlannedCall(index, at_seconds, request, end, gathered, conversation=conversation)

    def _request(self, form: Form | None) -> pb.GenerateRequest:
        random = self._random
        request = pb.GenerateRequest(cache_salt=self._salt())
        max_tokens = self._max_tokens()
        kind = random.random()
        if kind < 0.6:
            length = self._prompts.length()
            request.token_ids.ids[:] = self._prompts.token_ids(length)
            max_tokens = min(max_tokens or self._shape.context_tokens, self._shape.context_tokens - length)
        elif kind < 0.75:
            request.text = self._prompts.text(random.randint(1, max(1, self._shape.context_tokens // 32)))
        else:
            request.chat.CopyFrom(self._prompts.chat())
        if max_tokens and random.random() < 0.95:
            request.max_tokens = max_tokens
        if random.random() < 0.5:
            self._sample(request.sampling)
        if random.random() < 0.25:
            request.stop[:] = random.sample(_STOPS, k=random.randint(1, 3))
        if random.random() < 0.1:
            request.logprobs = random.choice([0, 1, 5, 20])
        if random.random() < 0.5:
            request.speculation = random.random() < 0.5
        if form is not None:
            request.response_format.CopyFrom(form.response_format())
        else:
            request.ignore_eos = random.random() < 0.2
        return request

    def _salt(self) -> str:
        return self._random.choices(SALTS, _SALT_WEIGHTS)[0]

    def _make_talkative(self, request: pb.GenerateRequest) -> None:
        """So much to send that it fills the connection's window where nobody reads, and the service has to wait."""
        request.token_ids.ids[:] = self._prompts.token_ids(self._random.randint(1, 40))
        request.max_tokens = self._most_tokens
        request.ignore_eos = True
        request.logprobs = 20

    @property
    def _most_tokens(self) -> int:
        return max(8, self._shape.context_tokens // 8)

    def _max_tokens(self) -> int:
        return self._random.choice([1, 2, 8, 16, 24, 32, 48, 64, self._most_tokens])

    def _sample(self, sampling: pb.Sampling) -> None:
        random = self._random
        sampling.temperature = random.uniform(0.0, 1.5)
        if random.random() < 0.5:
            sampling.seed = random.randrange(2**32)
        if random.random() < 0.3:
            sampling.top_p, sampling.top_k, sampling.min_p = random.uniform(0.5, 1.0), random.randint(0, 100), 0.05
        if random.random() < 0.2:
            sampling.repeat_penalty, sampling.presence_penalty = random.uniform(0.9, 1.4), random.uniform(-1.0, 1.0)
            sampling.frequency_penalty = random.uniform(-0.5, 0.5)
        if random.random() < 0.1:
            for token in random.sample(range(3, self._shape.vocabulary_size), k=3):
                sampling.logit_bias.add(token_id=token, bias=random.choice([-100.0, -2.0, 2.0]))

    def _end(self, *, gathered: bool) -> End:
        endings = [ending for ending in Ending if not (gathered and ending in _STREAM_ONLY)]
        ending = self._random.choices(endings, [_END_WEIGHTS[ending] for ending in endings])[0]
        match ending:
            case Ending.SLOW:
                return End(ending, self._seconds(0.01, 0.3))
            case Ending.CANCEL_EARLY:
                return End(ending, self._random.choice([0.0, self._seconds(0.001, 0.02)]))
            case Ending.CANCEL_TIMED | Ending.CLOSE:
                return End(ending, self._seconds(0.003, 3.0))
            case Ending.CANCEL_MESSAGES:
                return End(ending, messages=self._random.randint(1, 20))
            case Ending.STALL:
                return End(ending, self._seconds(0.1, 8.0), self._random.randint(1, 5))
            case Ending.DEADLINE:
                return End(ending, self._seconds(0.01, 3.0))
        return End()

    def _seconds(self, low: float, high: float) -> float:
        return math.exp(self._random.uniform(math.log(low), math.log(high)))
