"""What is measured against what: every work with its sizes, its models, and the settings of both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.engine.batched_bench import BatchedBench
from benchmarks.engine.llama_server import LlamaServer
from benchmarks.engine.ours import Ours
from benchmarks.engine.peers import Peers
from benchmarks.engine.prompts import GroundedPrompts
from benchmarks.engine.results import OURS
from benchmarks.engine.sides import BenchSide, ServerSide, Side
from benchmarks.engine.systems import MAX_BATCH_TOKENS, Terms
from benchmarks.engine.works.conversations import LONGEST_TOKENS, Conversations
from benchmarks.engine.works.drafts import Drafts
from benchmarks.engine.works.grounded import Grounded
from benchmarks.engine.works.kept import FillCache
from benchmarks.engine.works.mixed import LONG_PROMPT_TOKENS, Mixed
from benchmarks.engine.works.plain import ANSWER_TOKENS, PROMPT_TOKENS, Plain

SERVER = "llama-server"
DRAFTING_SERVER = "llama-server, drafting"
BENCH = "llama-batched-bench"
EMPTY_CACHE = "Groundwire with an empty prompt cache"
NO_CACHE = "Groundwire without a prompt cache"

PROMPT_CACHE_MIB = 512
"""Host memory for kept prompts, of both sides alike, in the works that reuse any."""
SMALL_BATCHES = "mixed_small_batches"

_GROUNDED_TOKENS = 2048
"""Of a slot: about twice what a grounded request takes, so that what was answered last may stay beside the next."""

DRAFT_FLAGS: tuple[tuple[str, ...], ...] = (
    ("--spec-type", "ngram-simple"),
    ("--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", "3", "--spec-ngram-simple-size-m", "16"),
    ("--spec-type", "ngram-map-k"),
    ("--spec-type", "ngram-map-k", "--spec-ngram-map-k-size-n", "3", "--spec-ngram-map-k-size-m", "16"),
    ("--spec-type", "ngram-map-k4v"),
    ("--spec-type", "ngram-mod"),
    ("--spec-type", "ngram-cache"),
)
"""Every way of llama-server to draft without a second model, by its defaults; and those that can be set to begin after
a short match and to stop at 16 tokens, which suits a CPU, where a pass over more costs more a token, so set."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Sides that are measured in turn on one model, so that what the machine does meanwhile meets all of them."""

    work: str
    model: str
    sides: tuple[Side, ...]

    @property
    def name(self) -> str:
        """`work/model`."""
        return f"{self.work}/{self.model}"

    def restricted(self, wanted: Callable[[str, str, int], bool]) -> Contest | None:
        """Only the works that are wanted by their names, models and streams; None without any of our side."""

        def here(work: str, streams: int) -> bool:
            return wanted(work, self.model, streams)

        sides = tuple(side for side in (side.restricted(here) for side in self.sides) if side is not None)
        return replace(self, sides=sides) if any(side.role == OURS for side in sides) else None


@dataclass(frozen=True, slots=True)
class Bench:
    """What all contests are made of."""

    peers: Peers
    model_file: Callable[[str], Path]
    """The file of a model by its name; making it may take minutes."""
    prompts: Callable[[], GroundedPrompts]
    threads: int

    def terms(self, model: str, slots: int, tokens: int, *, prompt_cache_mib: int = 0) -> Terms:
        """With room for `tokens` in each slot."""
        return Terms(self.model_file(model), slots, slots * padded(tokens), self.threads, prompt_cache_mib)

    def servers(self, terms: Terms) -> tuple[LlamaServer, ...]:
        """llama-server with either kind of KV cache. With one slot they are the same."""
        kinds = (False, True) if terms.slots > 1 else (False,)
        return tuple(LlamaServer(self.peers, terms, unified) for unified in kinds)


def padded(tokens: int) -> int:
    """Cells of a slot that holds so many tokens: llama.cpp takes multiples of 256."""
    return -(-tokens // 256) * 256


def plain(
    bench: Bench, model: str, waves: dict[int, int], *, draft_pairs: int = 0, with_bench: bool = False
) -> Contest:
    """`waves` by streams. Prompt caches are off on both sides: nothing comes back, and keeping has its own work."""
    slots = max(waves)
    terms = bench.terms(model, slots, PROMPT_TOKENS + ANSWER_TOKENS)
    works = tuple(Plain(streams, count) for streams, count in waves.items())
    drafts = (Drafts(draft_pairs),) if draft_pairs else ()
    # Of the most streams, as many tokens as one round has, but no minute of the large model's time.
    trial = Plain(slots, waves[slots], prompt_tokens=PROMPT_TOKENS // 2, answer_tokens=ANSWER_TOKENS // 2)
    sides: list[Side] = [
        ServerSide(OURS, model, "plain", slots, (Ours(terms),), (*works, *drafts), trial),
        ServerSide(SERVER, model, "plain", slots, bench.servers(terms), works, trial),
    ]
    if with_bench:
        candidates = [
            BatchedBench(bench.peers, terms, slots, PROMPT_TOKENS, ANSWER_TOKENS, unified) for unified in (False, True)
        ]
        sides.append(BenchSide(BENCH, model, candidates, "plain"))
    return Contest("plain", model, tuple(sides))


def grounded(
    bench: Bench,
    model: str,
    waves: dict[int, int],
    *,
    copies: bool = False,
    draft_flags: Sequence[tuple[str, ...]] = DRAFT_FLAGS,
) -> Contest:
    """With prompt caches of the same size on both sides. The peer comes twice: by its defaults, and drafting."""
    slots = max(waves)
    prompts = bench.prompts()
    terms = bench.terms(model, slots, _GROUNDED_TOKENS, prompt_cache_mib=PROMPT_CACHE_MIB)
    theirs = tuple(Grounded(prompts, streams, count, copies=copies) for streams, count in waves.items())
    ours = tuple(replace(work, drafts=copies) for work in theirs)
    trial = Grounded(prompts, slots, 1, copies=copies, sources=2, asked_again=False)
    server = ServerSide(SERVER, model, "grounded", slots, bench.servers(terms), theirs, trial)
    drafting = tuple(LlamaServer(bench.peers, terms, unified=False, drafts=flags) for flags in draft_flags)
    return Contest(
        "grounded",
        model,
        (
            ServerSide(OURS, model, "grounded", slots, (Ours(terms),), ours, trial),
            server,
            replace(server, role=DRAFTING_SERVER, candidates=drafting, trial_metric="generation_rate"),
        ),
    )


def conversations(bench: Bench, model: str, *, slots: int, count: int) -> Contest:
    """The KV cache holds as many conversations as there are slots; the prompt caches are of the same size."""
    terms = bench.terms(model, slots, LONGEST_TOKENS, prompt_cache_mib=PROMPT_CACHE_MIB)
    work = Conversations(slots, count)
    return Contest(
        "conversations",
        model,
        (
            ServerSide(OURS, model, work.name, slots, (Ours(terms),), (work,), work),
            ServerSide(SERVER, model, work.name, slots, bench.servers(terms), (work,), work),
        ),
    )


def mixed(
    bench: Bench,
    model: str,
    *,
    repeats: int,
    answer_tokens: int = 256,
    long_tokens: int = LONG_PROMPT_TOKENS,
    peer_batch_tokens: int = MAX_BATCH_TOKENS,
) -> Contest:
    """The peer's KV cache is unified: in equal parts, as much memory would not hold the long prompt.

    With small batches, by which its users can keep gaps short, it is another work.
    """
    name = "mixed" if peer_batch_tokens == MAX_BATCH_TOKENS else SMALL_BATCHES
    work = Mixed(answer_tokens, repeats, long_prompt_tokens=long_tokens, name=name)
    slots = work.streams + 1
    context = padded(work.streams * (PROMPT_TOKENS + answer_tokens) + long_tokens + ANSWER_TOKENS)
    terms = Terms(bench.model_file(model), slots, context, bench.threads, prompt_cache_mib=0)
    server = LlamaServer(bench.peers, terms, unified=True, batch_tokens=peer_batch_tokens)
    return Contest(
        work.name,
        model,
        (
            ServerSide(OURS, model, work.name, slots, (Ours(terms),), (work,), work),
            ServerSide(SERVER, model, work.name, slots, (server,), (work,), work),
        ),
    )


def kept(bench: Bench, model: str, *, waves: int, fill_waves: int, cache_mib: int) -> Contest:
    """Ours alone: with its prompt cache full, empty at first, and off."""
    streams, answer_tokens = 8, 192
    terms = bench.terms(model, streams, 576, prompt_cache_mib=cache_mib)
    work = Plain(streams, waves, name="kept", answer_tokens=answer_tokens)
    full = ServerSide(
        OURS, model, work.name, streams, (Ours(terms),), (work,), work, preparation=FillCache(streams, fill_waves)
    )
    off = replace(terms, prompt_cache_mib=0)
    return Contest(
        "kept",
        model,
        (
            full,
            replace(full, role=EMPTY_CACHE, candidates=(Ours(terms, EMPTY_CACHE),), preparation=None),
            replace(full, role=NO_CACHE, candidates=(Ours(off, NO_CACHE),), preparation=None),
        ),
    )
