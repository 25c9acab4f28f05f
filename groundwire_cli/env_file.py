"""Changes settings in a `.env` file and leaves everything else in it as it is."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from groundwire_cli.errors import CommandError

_QUOTED: Final = re.compile(r"""[ \t]*(?:'[^']*'|"[^"]*")""")
_COMMENT: Final = re.compile(r"(?:^|[ \t]+)#.*$")
"""Text with a # in it is a value; a # behind a space begins a comment."""


class EnvFile:
    """One file. A missing one counts as empty."""

    def __init__(self, path: Path) -> None:
        """Make sure that it can be changed, before anything is worked out to put into it. Raises CommandError."""
        self._shown = path
        self._path = path.expanduser().resolve()  # a link is kept, and what it leads to is changed
        self._read()
        if not os.access(self._path.parent, os.W_OK):
            raise CommandError(f"{self._shown} cannot be written: {self._path.parent} is no folder to write in.")

    def set(self, settings: Mapping[str, str]) -> None:
        """Change these variables where they stand, append those that are not there. All of it happens, or nothing.

        Raises CommandError.
        """
        text = with_settings(self._read(), settings)
        try:
            self._replace(text)
        except OSError as error:
            raise CommandError(f"{self._shown} cannot be written: {error.strerror or error}.") from None

    def _read(self) -> str:
        try:
            return self._path.read_bytes().decode()  # line ends stay as they are
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise CommandError(f"{self._shown} is not valid UTF-8 text.") from None
        except OSError as error:
            raise CommandError(f"{self._shown} cannot be read: {error.strerror or error}.") from None

    def _replace(self, text: str) -> None:
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f"{self._path.name}.")
        new = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            if self._path.exists():
                there = self._path.stat()
                new.chmod(there.st_mode & 0o7777)
                with contextlib.suppress(PermissionError):  # another user's file becomes ours, as with any editor
                    os.chown(new, there.st_uid, there.st_gid)
            new.replace(self._path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise


def with_settings(text: str, settings: Mapping[str, str]) -> str:
    """The text of a `.env` file with these settings. A comment behind a value stays, and so does `export` before it."""
    missing = []
    for name, value in settings.items():
        line = re.compile(rf"^([ \t]*(?:export[ \t]+)?{re.escape(name)}[ \t]*=)([^\r\n]*)", re.MULTILINE)
        # Of several lines the last one counts, so all of them are made to say the same.
        text, found = line.subn(lambda match, value=value: match[1] + value + _comment(match[2]), text)  # type: ignore[misc]
        if not found:
            missing.append(f"{name}={value}")
    if not missing:
        return text
    line_end = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += line_end
    return text + "".join(setting + line_end for setting in missing)


def _comment(old: str) -> str:
    """What stands behind the value, with the spaces before it."""
    quoted = _QUOTED.match(old)
    comment = _COMMENT.search(old, quoted.end() if quoted else 0)
    if comment is None:
        return ""
    return comment[0] if comment[0][0].isspace() and old[: comment.start()].strip() else f"  {comment[0].lstrip()}"
