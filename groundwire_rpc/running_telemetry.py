"""Starts what a service's settings ask for of telemetry, and stops it with the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from groundwire_rpc.security import is_loopback
from groundwire_rpc.settings import ENV_PREFIX, SettingsError
from groundwire_rpc.telemetry import Telemetry
from groundwire_rpc.telemetry_settings import OtlpProtocol, TelemetrySettings

if TYPE_CHECKING:
    from groundwire_rpc.otlp import OpenTelemetryTracer


@asynccontextmanager
async def running_telemetry(
    service: str, settings: TelemetrySettings, *, metrics_listen: str | None
) -> AsyncIterator[Telemetry]:
    """The telemetry of `service` for the length of the block.

    `metrics_listen` is the HOST:PORT to serve metrics on; None: there are none. Raises AddressInUse, and SettingsError
    where a package is missing or other hosts could reach the metrics though no setting says that they may.
    """
    async with AsyncExitStack() as resources:
        tracer = calls = registry = None
        if settings.otel_exporter_otlp_endpoint is not None:
            tracer = _tracer(service, settings.otel_exporter_otlp_endpoint, settings.otel_exporter_otlp_protocol)
            resources.push_async_callback(tracer.close)
        if metrics_listen is not None:
            _refuse_open_metrics(service, metrics_listen, allowed=settings.metrics_remote)
            try:
                from groundwire_rpc.metrics import RpcMetrics, new_registry
                from groundwire_rpc.metrics_http import metrics_endpoint
            except ModuleNotFoundError as error:
                raise _missing(f"{ENV_PREFIX}{service.upper()}_METRICS_LISTEN", error) from None
            registry = new_registry(service)
            calls = RpcMetrics(registry)
            await resources.enter_async_context(metrics_endpoint(metrics_listen, registry))
        yield Telemetry(tracer, calls, registry)


def _refuse_open_metrics(service: str, listen: str, *, allowed: bool) -> None:
    if not allowed and not is_loopback(listen):
        raise SettingsError(
            f"{ENV_PREFIX}{service.upper()}_METRICS_LISTEN is {listen}, which other hosts can reach, and whoever asks "
            "there is answered. If that is meant, or something else protects it, say so with "
            f"{ENV_PREFIX}METRICS_REMOTE=true."
        )


def _tracer(service: str, endpoint: str, protocol: OtlpProtocol) -> OpenTelemetryTracer:
    try:
        from groundwire_rpc.otlp import OpenTelemetryTracer
    except ModuleNotFoundError as error:
        raise _missing("OTEL_EXPORTER_OTLP_ENDPOINT", error) from None
    return OpenTelemetryTracer(service, endpoint, protocol)


def _missing(variable: str, error: ModuleNotFoundError) -> SettingsError:
    return SettingsError(
        f"{variable} is set, but the package {(error.name or '').partition('.')[0]} is not installed here. "
        "Install it with: pip install 'groundwire[telemetry]'"
    )
