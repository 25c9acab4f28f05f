import asyncio
import sys

from gateway.config import GatewayConfig
from gateway.server import serve
from groundwire_rpc.logs import configure_logs
from groundwire_rpc.server import AddressInUse
from groundwire_rpc.settings import SettingsError, load_settings


def main() -> int:
    """Serve with the settings of the environment. Returns the exit code: 1 where it cannot serve."""
    try:
        config = load_settings(GatewayConfig)
        configure_logs(config.log_level)
        asyncio.run(serve(config))
    except (SettingsError, AddressInUse) as error:
        print(f"gateway: {error}", file=sys.stderr)  # noqa: T201 - for whoever started it, without a traceback
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
