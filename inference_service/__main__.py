"""`python -m inference_service`: settings from the environment, then serve until a signal."""

from __future__ import annotations

import asyncio
import sys

from groundwire_rpc.logs import configure_logs
from groundwire_rpc.server import AddressInUse
from groundwire_rpc.settings import SettingsError
from inference_service.config import load_config
from inference_service.core.errors import EngineUnavailable, ModelError
from inference_service.server import serve


def main() -> int:
    """Serve. Returns 0 after a signal, 1 where the service cannot run, with one paragraph on standard error."""
    try:
        config = load_config()
        configure_logs(config.log_level)
        asyncio.run(serve(config))
    except (SettingsError, ModelError, AddressInUse, EngineUnavailable) as error:
        print(f"inference: {error}", file=sys.stderr)  # noqa: T201 - the reason it ends
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
