"""Settings from the environment and a `.env` file, through pydantic-settings.

A service's config.py declares a subclass of `Settings` and reads it once with `load_settings`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX: Final = "GROUNDWIRE_"


class Settings(BaseSettings):
    """Frozen settings; a field `slots` is read from GROUNDWIRE_SLOTS. Secrets are SecretStr and mask themselves."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True
    )

    def file(self, name: str) -> FileSetting:
        """The file that a field holds the path of, together with the variable to name where it is no good."""
        return FileSetting(_variable(type(self), (name,)), getattr(self, name))


class SettingsError(Exception):
    """A setting has a bad value. The message names each variable and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class FileSetting:
    """A file that a setting names, or does not."""

    variable: str
    """The environment variable."""
    path: Path | None
    """None where it is not set."""

    def read(self) -> bytes:
        """What is in it. Raises SettingsError where it is not set or cannot be read."""
        if self.path is None:
            raise SettingsError(f"{self.variable} is not set.")
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise self.bad(f"cannot be read: {error.strerror or error}.") from None

    def bad(self, problem: str) -> SettingsError:
        """What to raise where the file is no good; `problem` goes on after the file's name."""
        return SettingsError(f"{self.variable} names {self.path}, which {problem}")


S = TypeVar("S", bound=Settings)


def load_settings(settings_type: type[S], *, env_file: Path | None = Path(".env")) -> S:
    """Read settings from the environment, then from env_file (absent: ignored). Raises SettingsError."""
    try:
        return settings_type(_env_file=env_file)
    except ValidationError as error:
        # pydantic puts "Value error, " before the words of this project's own checks.
        problems = [
            f"  {_variable(settings_type, e['loc'])}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_input=False)
        ]
        raise SettingsError("Some settings are not valid:\n" + "\n".join(problems)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {env_file} cannot be read: {error}") from None


def _variable(settings_type: type[Settings], location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "?"
    field = settings_type.model_fields.get(name)
    if field is None:  # the location of a field with an alias is the alias itself
        return name
    alias = field.validation_alias
    return alias if isinstance(alias, str) else ENV_PREFIX + name.upper()


_HOST_PORT: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s\[\]:/]+):(?P<port>\d{1,5})")


def _host_and_port(value: str) -> str:
    match = _HOST_PORT.fullmatch(value)
    if not match or int(match["port"]) > 65535:
        raise ValueError(f"{value!r} is not HOST:PORT, such as 127.0.0.1:50051 (port 0 takes any free one)")
    return value


ListenAddress = Annotated[str, AfterValidator(_host_and_port)]
"""An address to listen on, as HOST:PORT or [IPV6]:PORT."""

LogLevel = Literal["debug", "info", "warning", "error"]
"""The least severe log lines to write."""


def _home_expanded(value: Path) -> Path:
    return value.expanduser()


SettingsPath = Annotated[Path, AfterValidator(_home_expanded)]
"""A path; ~ is the home folder."""

MIN_TOKEN_CHARACTERS: Final = 16


def _sendable(value: SecretStr) -> SecretStr:
    token = value.get_secret_value()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("holds characters that no token has: copy it again, without spaces or line breaks")
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise ValueError(f"is shorter than {MIN_TOKEN_CHARACTERS} characters, so it could be guessed")
    return value


BearerToken = Annotated[SecretStr, AfterValidator(_sendable)]
"""What is sent as `authorization: Bearer …`: at least 16 printable ASCII characters, no spaces."""
