"""The inference service's settings. Nothing else in the service reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from groundwire_rpc.connections import ConnectionSettings
from groundwire_rpc.settings import BearerToken, ListenAddress, LogLevel, SettingsPath, load_settings
from groundwire_rpc.telemetry_settings import TelemetrySettings
from inference_service.core.options import MAX_SLOTS, FlashAttention, KvType


class InferenceConfig(ConnectionSettings, TelemetrySettings):
    """Each field is an environment variable with the prefix GROUNDWIRE_."""

    inference_listen: ListenAddress = "127.0.0.1:50053"
    """HOST:PORT to listen on. Port 0 takes any free one."""
    model: str = "builtin"
    """A path of a GGUF file, or a name in models/manifest.toml."""
    models_dir: Path | None = None
    """Where pulled models are kept. Default: models/downloads in a checkout, else ~/.cache/groundwire/models."""
    inference_slots: Annotated[int, Field(ge=1, le=MAX_SLOTS)] = 8
    """Sequences that may run at once: 1 to 255, llama.cpp's own limit less one that is needed to move KV cells."""
    inference_context: Annotated[int, Field(ge=256, le=2**26)] | None = None
    """KV cells in all, that is tokens of all running sequences together: 256 to 67,108,864. Default: sized from
    memory."""
    inference_queue: Annotated[int, Field(ge=0, le=10_000)] = 64
    """Requests that may wait for a slot; further ones are refused at once."""
    inference_caller_queue: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Requests of one caller that may wait for a slot: 1 to 10,000. Default: three quarters of the queue."""
    inference_threads: Annotated[int, Field(ge=1, le=512)] | None = None
    """Threads for the model. Default: the physical cores that this process may use."""
    inference_gpu_layers: Annotated[int, Field(ge=-1)] | None = None
    """Layers to put on the GPU: -1 for all, 0 for none. Default: as many as its memory holds. Without effect where
    llama.cpp was built without one."""
    inference_flash_attention: FlashAttention = FlashAttention.AUTO
    """auto, on or off."""
    inference_kv_type: KvType = KvType.F16
    """f16, or q8_0 for about half of the memory; q8_0 needs flash attention."""
    inference_batch_tokens: Annotated[int, Field(ge=16, le=8192)] = 512
    """Tokens in one forward pass at most: 16 to 8,192."""
    inference_memory_map: bool = True
    """Map the model's file instead of reading it."""
    inference_memory_lock: bool = False
    """Keep the model in memory: never swapped out. Needs the system's leave (ulimit -l)."""
    inference_draft_tokens: Annotated[int, Field(ge=0, le=63)] = 15
    """Tokens of a draft that are verified in one pass at most: 0 to 63. 0: no drafts."""
    inference_prefix_cache_mib: Annotated[int, Field(ge=0, le=2**20)] | None = None
    """Host memory in MiB for prompts of finished requests: 0 to 1,048,576. 0: none are kept. Default: a quarter of what
    is free, at most 8,192."""
    inference_step_seconds: Annotated[float, Field(gt=0, le=10)] = 0.25
    """The most that one forward pass should take. Shorter: smoother streams beside long prompts, slower prompts."""
    inference_stuck_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """A step that takes longer has hung: all calls are answered and the process ends, to be started again. The first
    one may take ten times as long. Up to an hour."""
    inference_stream_buffer_bytes: Annotated[int, Field(ge=4096, le=2**26)] = 262_144
    """Of a stream's answer, what may wait for its client in this process: 4,096 to 67,108,864. Beyond it the stream
    ends."""
    inference_stream_stall_seconds: Annotated[float, Field(gt=0, le=3600)] = 20.0
    """How long a stream's client may take nothing at all before the stream ends: up to an hour."""
    inference_timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    """Deadline of a call whose caller set none: up to a day."""
    inference_metrics_listen: ListenAddress | None = None
    """HOST:PORT to serve metrics for Prometheus on, at /metrics. Default: none are served."""
    inference_tls_certificate: SettingsPath | None = None
    """The certificate to serve TLS with, and what chains it to its CA, in PEM. Default: plaintext."""
    inference_tls_key: SettingsPath | None = None
    """Its private key, in PEM."""
    inference_tls_client_ca: SettingsPath | None = None
    """Only callers with a certificate of this CA are taken. Default: whoever connects."""
    backend_token: BearerToken | None = None
    """The token that callers must send. Default: none."""
    reflection: bool = True
    """Whether the service describes itself to whoever asks, as grpcurl does."""
    allow_insecure_listen: bool = False
    """Whether it may listen beyond the loopback address without TLS, or without asking callers who they are."""
    shutdown_grace_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """How long running calls may go on after SIGTERM: up to an hour."""
    log_level: LogLevel = "info"
    """debug, info, warning or error."""


def load_config() -> InferenceConfig:
    """Read the settings. Raises SettingsError."""
    return load_settings(InferenceConfig)
