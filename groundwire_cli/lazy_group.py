"""Command groups that are imported only when they are used."""

from __future__ import annotations

import importlib
from collections.abc import MutableMapping
from typing import Any

import typer
import typer.main
from typer.core import TyperGroup

from groundwire_cli.errors import CommandError


def lazy_group(module: str, extra: str) -> type[TyperGroup]:
    """A group with the commands of `module`'s typer `app`. `extra` names what to install where it is not importable."""

    class LazyGroup(TyperGroup):
        @property
        def commands(self) -> MutableMapping[str, Any]:
            """The commands by name. Any: typer's command type is not public."""
            try:
                app: typer.Typer = importlib.import_module(module).app
            except ModuleNotFoundError as error:
                raise CommandError(
                    f"This needs the package {error.name}, which is not installed here. "
                    f"Install it with: pip install 'groundwire[{extra}]'"
                ) from None
            return typer.main.get_group(app).commands

        @commands.setter
        def commands(self, commands: MutableMapping[str, Any]) -> None:
            """The group that stands in has none of its own."""

    return LazyGroup
