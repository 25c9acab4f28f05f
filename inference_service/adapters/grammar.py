"""Decides which grammars and JSON schemas may come near the model, and runs those that may."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from inference_service.adapters.grammar_process import GrammarProcess, GrammarSession
from inference_service.core.errors import InvalidRequest
from inference_service.core.gbnf import write_gbnf
from inference_service.core.grammar import BadGrammar, Grammar
from inference_service.core.grammar_limits import checked_gbnf
from inference_service.core.json_schema import read_schema, schema_grammar
from inference_service.core.types import GrammarKind, ResponseFormat

MAX_CHECKS: Final = 2
"""Grammars that are checked at once; further ones wait."""
MAX_REASON_CHARACTERS: Final = 400


class GrammarGate:
    """Checks response formats in three steps: limits, a plain rewriting, a dry run in a process apart."""

    def __init__(self, model_path: Path, *, timeout_seconds: float = 5.0, cache_entries: int = 256) -> None:
        """`timeout_seconds` bounds a dry run, and each wait for a running grammar's next tokens."""
        self._process = GrammarProcess(model_path, timeout_seconds=timeout_seconds)
        self._accepted: OrderedDict[ResponseFormat, str] = OrderedDict()
        self._cache_entries = cache_entries
        # Threads of its own: a check whose caller has left still runs to its end, and must hold up nothing but checks.
        self._threads = ThreadPoolExecutor(MAX_CHECKS, thread_name_prefix="grammar-check")

    async def check(self, response_format: ResponseFormat) -> str:
        """The GBNF text that is safe to run. Raises InvalidRequest, or EngineUnavailable where nothing can be run."""
        loop = asyncio.get_running_loop()
        known = self._accepted.get(response_format)
        if known is not None:
            self._accepted.move_to_end(response_format)
            if not self._process.is_running():
                await loop.run_in_executor(self._threads, self._process.start)
            return known
        try:
            gbnf = await loop.run_in_executor(self._threads, self._checked, response_format)
        except BadGrammar as error:
            reason = str(error)
            short = reason if len(reason) <= MAX_REASON_CHARACTERS else reason[:MAX_REASON_CHARACTERS] + "…"
            raise InvalidRequest([(f"response_format.{response_format.kind.value}", short)]) from None
        self._accepted[response_format] = gbnf
        while len(self._accepted) > self._cache_entries:
            self._accepted.popitem(last=False)
        return gbnf

    def open(self, gbnf: str) -> GrammarSession:
        """Run GBNF that `check` returned, for one sequence. May be called from any thread. Raises EngineUnavailable."""
        return self._process.open(gbnf)

    async def close(self) -> None:
        """End the process that runs grammars."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._process.close)

    def _checked(self, response_format: ResponseFormat) -> str:
        try:
            gbnf = write_gbnf(read_grammar(response_format))
        except RecursionError:
            raise BadGrammar("it is nested too deeply") from None
        problem = self._process.check(gbnf)
        if problem is not None:
            raise BadGrammar(problem)
        return gbnf


def read_grammar(response_format: ResponseFormat) -> Grammar:
    """The grammar that a response format means. Raises BadGrammar, and RecursionError where it is nested too deeply."""
    if response_format.kind is GrammarKind.GBNF:
        return checked_gbnf(response_format.source)
    schema = read_schema(response_format.source)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise BadGrammar(f"it is no JSON schema: {error.json_path}: {error.message}") from None
    except OverflowError:  # of Python's own regular expressions, which a pattern is tried with
        raise BadGrammar("a pattern in it repeats something too often") from None
    return schema_grammar(schema)
