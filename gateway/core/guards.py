"""The services behind the gateway, each behind its circuit."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from gateway.core.circuit import Circuit
from gateway.core.events import GenerationEvent, GenerationFinished
from gateway.core.ports import AnswerGenerator, BackendProbe, Metadata, SourceFinder
from gateway.core.types import BackendStatus, Findings, Prompt, SourceQuery


class GuardedFinder:
    """A SourceFinder that is not asked while its circuit is open."""

    def __init__(self, finder: SourceFinder, circuit: Circuit) -> None:
        self._finder = finder
        self._circuit = circuit

    async def find(self, query: SourceQuery, *, timeout_seconds: float, metadata: Metadata) -> Findings:
        """Search once. Raises BackendFailed, at once a CircuitOpen."""
        with self._circuit.passage() as passage:
            findings = await self._finder.find(query, timeout_seconds=timeout_seconds, metadata=metadata)
            passage.answered(whole=True)
            return findings


class GuardedGenerator:
    """An AnswerGenerator that is not asked while its circuit is open."""

    def __init__(self, generator: AnswerGenerator, circuit: Circuit) -> None:
        self._generator = generator
        self._circuit = circuit

    async def generate(
        self, prompt: Prompt, *, timeout_seconds: float, metadata: Metadata
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Answer once. Raises BackendFailed, at once a CircuitOpen. Closing the generator stops the model."""
        with self._circuit.passage() as passage:
            answer = self._generator.generate(prompt, timeout_seconds=timeout_seconds, metadata=metadata)
            async with aclosing(answer) as events:
                async for event in events:
                    # The first event will do for the circuit to close: a whole answer may take minutes.
                    passage.answered(whole=isinstance(event, GenerationFinished))
                    yield event


class GuardedProbe:
    """A BackendProbe that tells of the circuit too. It asks whatever the circuit says, and changes nothing of it."""

    def __init__(self, probe: BackendProbe, circuit: Circuit) -> None:
        self._probe = probe
        self._circuit = circuit

    async def probe(self, *, timeout_seconds: float) -> BackendStatus:
        """How the service is, and its circuit."""
        status = await self._probe.probe(timeout_seconds=timeout_seconds)
        return replace(status, circuit=self._circuit.status())
