"""The inference service's settings. Nothing else in the service reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from groundwire_rpc.settings import ListenAddress, LogLevel, Settings, load_settings


class InferenceConfig(Settings):
    """Each field is an environment variable with the prefix GROUNDWIRE_."""

    inference_listen: ListenAddress = "127.0.0.1:50053"
    """HOST:PORT to listen on. Port 0 takes any free one."""
    model: str = "builtin"
    """A path of a GGUF file, or a name in models/manifest.toml."""
    models_dir: Path | None = None
    """Where pulled models are kept. Default: models/downloads in a checkout, else ~/.cache/groundwire/models."""
    inference_slots: Annotated[int, Field(ge=1, le=256)] = 8
    """Sequences that may run at once: 1 to 256, llama.cpp's own limit."""
    inference_context: Annotated[int, Field(ge=256, le=2**26)] | None = None
    """KV cells in all, that is tokens of all running sequences together: 256 to 67,108,864. Default: sized from
    memory."""
    inference_queue: Annotated[int, Field(ge=0, le=10_000)] = 64
    """Requests that may wait for a slot; further ones are refused at once."""
    inference_threads: Annotated[int, Field(ge=1, le=512)] | None = None
    """Threads for the model. Default: the physical cores that this process may use."""
    inference_gpu_layers: Annotated[int, Field(ge=-1)] = -1
    """Layers to put on the GPU: -1 for all, 0 for none. Without effect where llama.cpp was built without one."""
    inference_step_seconds: Annotated[float, Field(gt=0, le=10)] = 0.25
    """The most that one forward pass should take. Shorter: smoother streams beside long prompts, slower prompts."""
    inference_timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    """Deadline of a call whose caller set none: up to a day."""
    shutdown_grace_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """How long running calls may go on after SIGTERM: up to an hour."""
    log_level: LogLevel = "info"
    """debug, info, warning or error."""


def load_config() -> InferenceConfig:
    """Read the settings. Raises SettingsError."""
    return load_settings(InferenceConfig)
