"""The gate against a corpus of hostile grammars and schemas, with llama.cpp and the built-in model for real."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import llama_cpp.llama_grammar as samples
import numpy as np
import psutil
import pytest
from jsonschema import Draft202012Validator

from inference_service.adapters.grammar import GrammarGate
from inference_service.adapters.grammar_probe import is_part_of_text
from inference_service.adapters.grammar_process import GrammarProcess, GrammarSession
from inference_service.core.errors import EngineUnavailable, InvalidRequest
from inference_service.core.types import GrammarKind, ResponseFormat

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "models" / "builtin" / "groundwire-builtin.gguf"
CORPUS = Path(__file__).parents[1] / "hostile_grammars"
REFUSED = sorted((CORPUS / "refused").iterdir())
ACCEPTED = sorted((CORPUS / "accepted").iterdir())
VOCABULARY_SIZE = 32_064
END_OF_TURN = 32_007


def response_format(path: Path) -> ResponseFormat:
    kind = GrammarKind.JSON_SCHEMA if path.suffix == ".json" else GrammarKind.GBNF
    return ResponseFormat(kind, path.read_bytes().decode())


def gbnf(source: str) -> ResponseFormat:
    return ResponseFormat(GrammarKind.GBNF, source)


@pytest.fixture(scope="module")
def gate() -> Iterator[GrammarGate]:
    gate = GrammarGate(MODEL)
    yield gate
    asyncio.run(gate.close())


def name(path: Path) -> str:
    return path.name


def test_the_corpus_is_large_enough() -> None:
    assert len(REFUSED) + len(ACCEPTED) >= 100


@pytest.mark.parametrize("path", REFUSED, ids=name)
async def test_hostile_grammar_is_refused_with_its_field(gate: GrammarGate, path: Path) -> None:
    wanted = response_format(path)
    started = time.monotonic()
    with pytest.raises(InvalidRequest) as refusal:
        await gate.check(wanted)
    assert time.monotonic() - started < 30
    ((field, why),) = refusal.value.violations
    assert field == f"response_format.{wanted.kind.value}"
    assert 10 < len(why) < 500


@pytest.mark.parametrize("path", ACCEPTED, ids=name)
async def test_odd_but_sound_grammar_is_accepted(gate: GrammarGate, path: Path) -> None:
    started = time.monotonic()
    assert await gate.check(response_format(path))
    assert time.monotonic() - started < 30


BEGINNINGS = {
    "ends_at_once.gbnf": "",
    "one_character.gbnf": "x",
    "text_of_a_control_token.gbnf": "<|user|><s><|end|></s><unk>",
    "never_ends.gbnf": "a" * 1000,
    "long_text.gbnf": "lorem ipsum " * 100,
}
"""The only text that these allow, or its beginning."""


@pytest.mark.parametrize("part", range(6))
async def test_accepted_grammars_generate_without_ending_the_process(gate: GrammarGate, part: int) -> None:
    paths = {path.name: path for path in ACCEPTED[part::6]}
    grammars = {file: await gate.check(response_format(path)) for file, path in paths.items()}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.support.grammar_generation", str(MODEL)],
        input=json.dumps(grammars).encode(),
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    results = json.loads(done.stdout)
    assert results.keys() == grammars.keys()
    for file, result in results.items():
        assert result["end"] in ("whole", "length") or "too ambiguous" in result["end"], (file, result)
        text = bytes.fromhex(result["text"]).decode(errors="replace")
        assert BEGINNINGS.get(file, text).startswith(text)
        assert text or result["end"] == "whole"
        if result["end"] == "whole" and file.endswith(".json"):
            Draft202012Validator(json.loads(paths[file].read_text(encoding="utf-8"))).validate(json.loads(text))


@pytest.mark.parametrize("sample", ["JSON_GBNF", "JSON_ARR_GBNF", "ARITHMETIC_GBNF", "LIST_GBNF", "CHESS_GBNF"])
async def test_usual_grammars_are_accepted(gate: GrammarGate, sample: str) -> None:
    assert await gate.check(gbnf(getattr(samples, sample)))


def drive(session: GrammarSession, character: str, steps: int) -> None:
    """Take the longest allowed run of a character, again and again."""
    for _ in range(steps):
        allowed = session.allowed(VOCABULARY_SIZE)
        session.accept([token for token in RUNS[character] if allowed[token]][-1])


def _runs(character: str) -> list[int]:
    """Token ids of runs of a character, shortest first."""
    from llama_cpp import Llama

    model = Llama(str(MODEL), vocab_only=True, verbose=False)
    found = []
    for length in range(1, 17):
        tokens = model.tokenize((character * length).encode(), add_bos=False, special=False)
        found += [token for token in tokens if token not in found]
    pieces = {token: model.detokenize([token]) for token in found}
    model.close()
    return sorted((t for t in found if set(pieces[t].decode()) == {character}), key=lambda t: len(pieces[t]))


RUNS = {"-": _runs("-"), "7": _runs("7")}


async def test_a_grammar_that_passes_its_check_and_explodes_later_ends_alone(gate: GrammarGate) -> None:
    text = await gate.check(response_format(CORPUS / "accepted" / "doubling_far_behind.gbnf"))
    other = gate.open(await gate.check(gbnf('root ::= "7"+ "end"')))
    session = gate.open(text)
    drive(session, "7", 60)
    with pytest.raises(InvalidRequest, match="too ambiguous"):
        await asyncio.to_thread(drive, session, "-", 40)
    drive(other, "7", 5)
    assert other.allowed(VOCABULARY_SIZE).any()
    session.close()
    other.close()


async def test_the_end_of_a_grammar_allows_only_end_tokens(gate: GrammarGate) -> None:
    session = gate.open(await gate.check(gbnf('root ::= "7"')))
    drive(session, "7", 1)
    at_end = np.flatnonzero(session.allowed(VOCABULARY_SIZE))
    assert END_OF_TURN in at_end
    session.accept(END_OF_TURN)
    assert np.flatnonzero(session.allowed(VOCABULARY_SIZE)).tolist() == at_end.tolist()
    session.close()


async def test_control_tokens_are_never_allowed(gate: GrammarGate) -> None:
    session = gate.open(await gate.check(gbnf("root ::= .+")))
    allowed = session.allowed(VOCABULARY_SIZE)
    assert not allowed[[0, 1, 2, 32_001, 32_006, 32_007, 32_010]].any()
    assert allowed.sum() > 30_000
    session.close()


async def test_a_token_that_was_not_allowed_ends_the_session_alone(gate: GrammarGate) -> None:
    text = await gate.check(gbnf('root ::= "7"'))
    session = gate.open(text)
    session.allowed(VOCABULARY_SIZE)
    session.accept(RUNS["-"][0])
    with pytest.raises(InvalidRequest, match="does not allow"):
        session.allowed(VOCABULARY_SIZE)
    session.close()
    again = gate.open(text)
    assert again.allowed(VOCABULARY_SIZE).any()
    again.close()


async def test_the_same_grammar_is_checked_once(gate: GrammarGate) -> None:
    first = await gate.check(gbnf('root ::= "once"'))
    assert await gate.check(gbnf('root ::= "once"')) is first


async def test_checks_run_beside_one_another(gate: GrammarGate) -> None:
    answers = await asyncio.gather(*(gate.check(gbnf(f'root ::= "{i}"')) for i in range(6)))
    assert answers == [f'root ::= "{i}"\n' for i in range(6)]


async def test_a_killed_probe_is_started_again() -> None:
    gate = GrammarGate(MODEL)
    try:
        await gate.check(gbnf('root ::= "a"'))
        (probe,) = [p for p in psutil.Process().children() if str(MODEL) in p.cmdline() and p.ppid() == os.getpid()][
            -1:
        ]
        probe.send_signal(signal.SIGKILL)
        probe.wait(5)
        assert await gate.check(gbnf('root ::= "b"'))
    finally:
        await gate.close()


async def test_a_grammar_that_was_checked_long_ago_finds_a_process_to_run_in() -> None:
    process = GrammarProcess(MODEL, timeout_seconds=5)
    with pytest.raises(EngineUnavailable, match="is gone"):
        process.open('root ::= "a"')  # it is not the engine's thread that waits for a start
    gate = GrammarGate(MODEL)
    try:
        checked = await gate.check(gbnf('root ::= "a"'))
        probe = [p for p in psutil.Process().children() if str(MODEL) in p.cmdline()][-1]
        probe.send_signal(signal.SIGKILL)
        probe.wait(5)
        with pytest.raises(EngineUnavailable, match="is gone"):
            gate.open(checked)
        session = gate.open(await gate.check(gbnf('root ::= "a"')))
        assert session.allowed(VOCABULARY_SIZE).any()
        session.close()
    finally:
        await gate.close()


async def test_closing_leaves_no_process_behind() -> None:
    gate = GrammarGate(MODEL)
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    session = gate.open(await gate.check(gbnf('root ::= "a"')))
    session.allowed(VOCABULARY_SIZE)
    started = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
    assert len(started) == 2
    session.close()
    await gate.close()
    _, alive = psutil.wait_procs(started, timeout=5)
    assert not alive


async def test_a_model_without_vocabulary_makes_the_gate_unavailable(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\xff" * 64)
    gate = GrammarGate(tmp_path / "broken.gguf")
    try:
        with pytest.raises(EngineUnavailable, match="vocabulary"):
            await gate.check(gbnf('root ::= "a"'))
    finally:
        await gate.close()


async def test_a_limit_is_refused_without_a_model(tmp_path: Path) -> None:
    gate = GrammarGate(tmp_path / "missing.gguf")
    with pytest.raises(InvalidRequest, match="no rule named 'root'"):
        await gate.check(gbnf('start ::= "a"'))
    await gate.close()


@pytest.mark.parametrize(
    ("piece", "fits"),
    [
        (b"abc", True),
        ("é日😀".encode(), True),
        (b"\x80", True),
        (b"\xa9 and on", True),
        ("é".encode()[:1], True),
        (b"a" + "😀".encode()[:3], True),
        (b"\x98\x80" + "日".encode()[:2], True),
        (b"", False),
        (b"\0", False),
        (b"a\0b", False),
        (b"\xc0", False),
        (b"\xff", False),
        (b"\xc3a", False),
        (b"a\x80b", False),
        (b"\xed\xa0\x80", False),
        (b"\x80\x80\x80\x80", False),
    ],
)
def test_pieces_that_can_stand_in_text(piece: bytes, fits: bool) -> None:
    assert is_part_of_text(piece) == fits
