"""`python -m inference_service`: settings from the environment, then serve until a signal."""

from __future__ import annotations

import asyncio
import os
import sys

from groundwire_rpc.logs import configure_logs
from groundwire_rpc.server import AddressInUse
from groundwire_rpc.settings import SettingsError
from inference_service.adapters.llama import LlamaRunner
from inference_service.config import load_config
from inference_service.core.errors import EngineFailed, EngineStuck, ModelError
from inference_service.exit_codes import CANNOT_SERVE, ENGINE_FAILED, ENGINE_STUCK
from inference_service.server import serve


def main(runner_type: type[LlamaRunner] = LlamaRunner) -> int:
    """Serve, with the model run by `runner_type`. Returns 0 after a signal; else a status of `exit_codes`, with one
    paragraph on standard error. Does not return where the engine is stuck: it ends the process.
    """
    try:
        config = load_config()
        configure_logs(config.log_level)
        asyncio.run(serve(config, runner_type))
    except (SettingsError, ModelError, AddressInUse) as error:
        return _tell(error, CANNOT_SERVE)
    except EngineFailed as error:
        return _tell(error, ENGINE_FAILED)
    except EngineStuck as error:
        _tell(error, ENGINE_STUCK)
        # The stuck thread uses the model: nothing may be freed, and no exit handler may run.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ENGINE_STUCK)
    return 0


def _tell(error: Exception, status: int) -> int:
    print(f"inference: {error}", file=sys.stderr)  # noqa: T201 - the reason it ends
    return status


if __name__ == "__main__":
    sys.exit(main())
