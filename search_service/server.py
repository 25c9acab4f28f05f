"""The composition root: builds providers, core and servicer from the settings, and runs the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from groundwire.search.v1 import search_pb2, search_pb2_grpc
from groundwire_rpc.logs import configure_logs
from groundwire_rpc.running_telemetry import running_telemetry
from groundwire_rpc.security import backend_security
from groundwire_rpc.server import RpcServer, serve_until_stopped
from groundwire_rpc.telemetry import OFF, Telemetry
from search_service.adapters.brave import BraveProvider
from search_service.adapters.brave_errors import TOKEN_SETTING
from search_service.adapters.local_index import LocalIndexProvider
from search_service.adapters.observation import ObservedProvider, ObservedSearcher
from search_service.adapters.system_clock import SystemClock
from search_service.config import SearchConfig
from search_service.core.cache import AnswerCache
from search_service.core.ports import Clock, SearchProvider
from search_service.core.search import MissingProvider, Searcher
from search_service.core.types import Provider
from search_service.servicer import SearchServicer

if TYPE_CHECKING:
    from search_service.adapters.metrics import SearchMetrics

SERVICE_NAME: Final = search_pb2.DESCRIPTOR.services_by_name["SearchService"].full_name

_PACKAGE: Final = Path(__file__).resolve().parent


async def serve(config: SearchConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises AddressInUse, and SettingsError where its files are no good."""
    configure_logs(config.log_level)
    async with running_telemetry("search", config, metrics_listen=config.search_metrics_listen) as telemetry:
        searcher = build_searcher(config, telemetry)
        try:
            server = build_server(config, searcher, telemetry)
            await serve_until_stopped(
                "search",
                server,
                grace_seconds=config.shutdown_grace_seconds,
                settle_seconds=config.shutdown_settle_seconds,
            )
        finally:
            await searcher.close()


def build_server(config: SearchConfig, searcher: Searcher, telemetry: Telemetry = OFF) -> RpcServer:
    """The server for a searcher, not yet started. Raises SettingsError."""
    security = backend_security(
        config,
        "search",
        config.search_listen,
        token=config.backend_token,
        reflection=config.reflection,
        allow_insecure=config.allow_insecure_listen,
    )
    server = RpcServer(config.search_listen, [SERVICE_NAME], security, telemetry)
    servicer = SearchServicer(searcher, default_timeout_seconds=config.search_timeout_seconds)
    search_pb2_grpc.add_SearchServiceServicer_to_server(servicer, server.grpc_server)
    return server


def build_searcher(config: SearchConfig, telemetry: Telemetry = OFF) -> Searcher:
    """The core with its providers, as the settings say. The caller closes it."""
    clock = SystemClock()
    cache = AnswerCache(
        max_entries=config.search_cache_entries, max_age_seconds=config.search_cache_seconds, clock=clock
    )
    metrics = _metrics(telemetry)
    providers = [_brave(config, clock, metrics), LocalIndexProvider(config.index_path, sample_folder())]
    searcher = ObservedSearcher(
        [ObservedProvider(provider, metrics) for provider in providers],
        counts=metrics,
        default=Provider(config.default_provider),
        cache=cache,
        clock=clock,
        max_in_flight=config.search_max_in_flight,
        caller_share=config.search_caller_share,
    )
    if telemetry.registry is not None:
        from search_service.adapters.metrics import StatusCollector

        telemetry.registry.register(StatusCollector(searcher.status))
    return searcher


def _metrics(telemetry: Telemetry) -> SearchMetrics | None:
    if telemetry.registry is None:
        return None
    from search_service.adapters.metrics import SearchMetrics

    return SearchMetrics(telemetry.registry)


def sample_folder() -> Path | None:
    """This project's own docs/: beside the package in a checkout, inside it in an installed wheel."""
    checkout = _PACKAGE.parent
    folder = checkout / "docs" if (checkout / "pyproject.toml").is_file() else _PACKAGE / "sample_docs"
    return folder if folder.is_dir() else None


def _brave(config: SearchConfig, clock: Clock, metrics: SearchMetrics | None) -> SearchProvider:
    if config.brave_api_key is None:
        return MissingProvider(
            Provider.BRAVE,
            reason=f"Brave Search has no token: set {TOKEN_SETTING} to a key from "
            "https://api-dashboard.search.brave.com and restart the search service.",
            setting=TOKEN_SETTING,
        )
    return BraveProvider(
        config.brave_api_key,
        base_url=config.brave_base_url,
        clock=clock,
        on_reply=metrics.replied if metrics is not None else None,
    )
