import asyncio
import sys

from groundwire_rpc.server import AddressInUse
from groundwire_rpc.settings import SettingsError, load_settings
from search_service.config import SearchConfig
from search_service.server import serve


def main() -> int:
    """Serve with the settings of the environment; the exit code."""
    try:
        asyncio.run(serve(load_settings(SearchConfig)))
    except (SettingsError, AddressInUse) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever started it, without a traceback
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
