"""The process that runs grammars: python -m inference_service.adapters.grammar_probe MODEL CONTROL_FD.

llama.cpp's grammar code throws C++ exceptions, and a grammar's stacks can double with every character; either would
end the process that serves. So grammars run here. This process loads the model's vocabulary once (no weights) and forks
a child for each grammar, which costs milliseconds; a child that throws, grows or spins ends alone.

The control socket brings one socket for each child. On that, in frames (frames.py): first CHECK or RUN with the GBNF;
then, for RUN, token ids. Each frame is answered by OK, with the tokens allowed next as a bit field, or by REFUSED.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from inference_service.adapters.frames import CHECK, OK, READY, REFUSED, read_frame, send_frame

MEMORY_BYTES: Final = 256 * 2**20
"""What a child may add to the memory that it is born with. A usual grammar takes some hundred KB."""
STEP_CPU_SECONDS: Final = 1.0
"""Processor time for one step. A usual one takes about 10 ms on a vocabulary of 32,000."""
WALKS: Final = 4
WALK_STEPS: Final = 12
WALK_SECONDS: Final = 0.5
"""A check stops walking after this long."""
_BUSY_PIECES: Final = 64
"""Of so many allowed tokens, a greedy walk takes the one with the longest text: it moves the grammar most."""


class _Refused(Exception):
    """The grammar cannot be used, for the reason given."""


class _Vocabulary:
    """The model's tokens, and a field of candidates to lay before a grammar."""

    def __init__(self, model_path: str) -> None:
        # Neither a GPU nor threads are of use here, and neither would survive a fork.
        os.environ.update(CUDA_VISIBLE_DEVICES="", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
        import llama_cpp
        import numpy as np

        self._llama: Any = llama_cpp
        self._np: Any = np
        self._no_log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._no_log, None)
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        model = llama_cpp.llama_model_load_from_file(os.fsencode(model_path), params)
        if not model:
            raise _Refused(f"the vocabulary of {model_path} cannot be loaded")
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self._size = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self.pieces = [self._piece(token) for token in range(self._size)]
        self._candidates = np.zeros(self._size, dtype=[("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        self._candidates["id"] = np.arange(self._size)
        self._candidates["logit"] = [0.0 if self._may_appear(token) else -np.inf for token in range(self._size)]

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(1024)
        length = self._llama.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        return buffer.raw[: max(length, 0)]

    def _may_appear(self, token: int) -> bool:
        """Control tokens have text for a grammar but show none; a NUL or broken UTF-8 is read in two ways."""
        llama = self._llama
        if self.is_end(token):
            return True
        hidden = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN | llama.LLAMA_TOKEN_ATTR_UNUSED
        if llama.llama_vocab_get_attr(self._vocab, token) & hidden:
            return False
        return is_part_of_text(self.pieces[token])

    def is_end(self, token: int) -> bool:
        return bool(self._llama.llama_vocab_is_eog(self._vocab, token))

    def compile(self, gbnf: bytes) -> object:
        sampler = self._llama.llama_sampler_init_grammar(self._vocab, gbnf, b"root")
        if not sampler:
            raise _Refused("llama.cpp cannot compile it")
        return sampler

    def free(self, sampler: object) -> None:
        self._llama.llama_sampler_free(sampler)

    def allowed(self, sampler: object) -> Any:
        """Which tokens the grammar allows next, as booleans."""
        candidates = self._candidates.copy()
        data = ctypes.cast(candidates.ctypes.data, ctypes.POINTER(self._llama.llama_token_data))
        array = self._llama.llama_token_data_array(data=data, size=self._size, selected=-1, sorted=False)
        self._llama.llama_sampler_apply(sampler, ctypes.byref(array))
        return candidates["logit"] > -self._np.inf

    def accept(self, sampler: object, token: int) -> None:
        self._llama.llama_sampler_accept(sampler, token)

    def packed(self, allowed: Any) -> bytes:
        return bytes(self._np.packbits(allowed).tobytes())

    def numbers(self, allowed: Any) -> list[int]:
        return [int(token) for token in self._np.flatnonzero(allowed)]


def is_part_of_text(piece: bytes) -> bool:
    """Whether bytes can stand somewhere within valid UTF-8 without a NUL, cut at any byte."""
    if not piece or b"\0" in piece:
        return False
    start = 0
    while start < min(len(piece), 3) and 0x80 <= piece[start] < 0xC0:
        start += 1
    for cut in range(min(3, len(piece) - start) + 1):
        whole, rest = piece[start : len(piece) - cut], piece[len(piece) - cut :]
        try:
            whole.decode()
        except UnicodeDecodeError:
            continue
        if not rest or _may_begin_a_character(rest):
            return True
    return False


def _may_begin_a_character(rest: bytes) -> bool:
    lengths = {0xC2 <= rest[0] <= 0xDF: 2, 0xE0 <= rest[0] <= 0xEF: 3, 0xF0 <= rest[0] <= 0xF4: 4}
    return len(rest) < lengths.get(True, 0) and all(0x80 <= byte < 0xC0 for byte in rest[1:])


def _arm(seconds: float) -> None:
    # The kernel delivers it whatever C++ code is busy with; its default is to end this process.
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _walk(vocabulary: _Vocabulary, gbnf: bytes, number: int, until: float) -> None:
    """Generate at random as the engine would, past the end of the grammar too."""
    chance = random.Random(number)  # noqa: S311 - repeatable on purpose
    _arm(STEP_CPU_SECONDS)
    sampler = vocabulary.compile(gbnf)
    for step in range(WALK_STEPS):
        _arm(STEP_CPU_SECONDS)
        tokens = vocabulary.numbers(vocabulary.allowed(sampler))
        if not tokens and step == 0:
            raise _Refused("no token of this model can begin it")
        if not tokens or time.monotonic() > until:
            break
        token = chance.choice(tokens)
        if number % 2 == 0:
            few = chance.sample(tokens, min(len(tokens), _BUSY_PIECES))
            token = max(few, key=lambda t: len(vocabulary.pieces[t]))
        _arm(STEP_CPU_SECONDS)
        vocabulary.accept(sampler, token)
    _arm(0)
    vocabulary.free(sampler)


def _check(vocabulary: _Vocabulary, gbnf: bytes) -> None:
    until = time.monotonic() + WALK_SECONDS
    for number in range(WALKS):
        _walk(vocabulary, gbnf, number, until)


def _run(vocabulary: _Vocabulary, gbnf: bytes, link: socket.socket) -> None:
    _arm(STEP_CPU_SECONDS)
    sampler = vocabulary.compile(gbnf)
    while True:
        _arm(STEP_CPU_SECONDS)
        allowed = vocabulary.allowed(sampler)
        _arm(0)
        send_frame(link, OK + vocabulary.packed(allowed))
        frame = read_frame(link)
        if not frame:
            return
        token = int.from_bytes(frame, "big")
        if not (token < len(allowed) and allowed[token]):
            raise _Refused("a token was accepted that the grammar does not allow")
        _arm(STEP_CPU_SECONDS)
        vocabulary.accept(sampler, token)


def _limit_this_process() -> None:
    # Whatever C++ prints about a grammar (its text) has no place in the service's log.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    limit = data_pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _serve_child(vocabulary: _Vocabulary, link: socket.socket) -> None:
    _limit_this_process()
    frame = read_frame(link)
    kind, gbnf = frame[:1], frame[1:]
    try:
        if kind == CHECK:
            _check(vocabulary, gbnf)
            send_frame(link, OK)
        elif frame:
            _run(vocabulary, gbnf, link)
    except _Refused as refusal:
        send_frame(link, REFUSED + str(refusal).encode())


def main(model_path: str, control_fd: int) -> int:
    """Serve until the other end of the control socket is closed."""
    control = socket.socket(fileno=control_fd)
    try:
        vocabulary = _Vocabulary(model_path)
    except _Refused as refusal:
        control.sendall(REFUSED + str(refusal).encode())
        return 1
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are not waited for
    control.sendall(READY)
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return 0
        with socket.socket(fileno=descriptors[0]) as link:
            if os.fork() == 0:
                control.close()
                status = 1
                try:
                    _serve_child(vocabulary, link)
                    status = 0
                finally:
                    os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
