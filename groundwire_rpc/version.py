"""The version of the installed distribution."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed version, such as 0.1.0, or `unknown` where the code runs without being installed."""
    try:
        return metadata.version("groundwire")
    except metadata.PackageNotFoundError:
        return "unknown"
