"""The three services as the command line knows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Service:
    """One service."""

    name: str
    """What it is called on the command line and in its first line on standard output."""
    package: str
    """The Python package that runs it with `python -m`."""
    rpc_service: str
    """The full name of its gRPC service."""

    @property
    def listen_variable(self) -> str:
        """The environment variable for where it listens."""
        return f"GROUNDWIRE_{self.name.upper()}_LISTEN"

    @property
    def target_variable(self) -> str:
        """The environment variable for where its clients look for it."""
        return f"GROUNDWIRE_{self.name.upper()}_TARGET"


SEARCH: Final = Service("search", "search_service", "groundwire.search.v1.SearchService")
INFERENCE: Final = Service("inference", "inference_service", "groundwire.inference.v1.InferenceService")
GATEWAY: Final = Service("gateway", "gateway", "groundwire.gateway.v1.AnswerService")

SERVICES: Final = {service.name: service for service in (SEARCH, INFERENCE, GATEWAY)}
"""All of them by name, back ends first."""
