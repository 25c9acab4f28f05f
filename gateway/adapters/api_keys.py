"""The gateway's API keys: a file of names and SHA-256 hashes, looked at again whenever it changes.

A line of the file is a name, a space and 64 hexadecimal digits; empty lines and those that begin with # say nothing.
A plain hash is enough where the keys are long and random: nobody guesses 256 bits, however fast the hash is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final

import grpc

from groundwire_rpc.guard import CallRefused
from groundwire_rpc.reloading import Reloading
from groundwire_rpc.settings import FileSetting, SettingsError
from groundwire_rpc.status import RichStatus

KEY_PREFIX: Final = "gwk_"
"""What a key begins with, so that people and secret scanners know one when they see it."""

KEY_BYTES: Final = 32
"""Random bytes in a key."""

BUSY_RETRY_SECONDS: Final = 1.0
"""When to come back where too many calls of a key run."""

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a key may be called."""

_LINE: Final = re.compile(rf"({NAME.pattern})[ \t]+([0-9a-f]{{64}})")


def new_key() -> str:
    """A key that nobody has: gwk_ and 43 characters that are safe in a header and in a URL."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def key_line(name: str, key: str) -> str:
    """The line of the file for a key. The key cannot be found from it."""
    return f"{name} {_hash(key)}"


def parse_keys(content: bytes, file: FileSetting) -> Mapping[str, str]:
    """Names by hash. Raises SettingsError that names the first line that is no key, never showing it."""
    names: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = _LINE.fullmatch(text)
        if not found:
            raise file.bad(
                f"is no list of keys: line {number} is not a name and a SHA-256 hash. "
                "`groundwire keys new NAME` makes such lines."
            )
        if found[1] in names.values():
            raise file.bad(f"names {found[1]} twice: line {number}.")
        names[found[2]] = found[1]
    return names


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


class _KeyHolder:
    """A Caller: who has one key, and how many calls of theirs run."""

    def __init__(self, name: str, secret: str, limit: int) -> None:
        self._name = name
        self._secret = secret
        self._limit = limit
        self._running = 0

    @property
    def label(self) -> str:
        return self._name

    @property
    def secret(self) -> str:
        return self._secret

    def enter(self) -> None:
        if self._running >= self._limit:
            raise CallRefused(
                RichStatus(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"The key {self._name} has {self._limit:,} calls running already, which is its limit.",
                    reason="KEY_BUSY",
                    metadata={"key": self._name, "limit": str(self._limit)},
                    retry_after_seconds=BUSY_RETRY_SECONDS,
                )
            )
        self._running += 1

    def leave(self) -> None:
        self._running -= 1


class ApiKeys:
    """A Gate that knows callers by the keys of a file. A key that is taken out is refused from the next call on."""

    def __init__(self, file: FileSetting, *, max_concurrent_calls: int) -> None:
        """`max_concurrent_calls` of one key may run at once. Raises SettingsError where the file is no good."""
        if file.path is None:
            raise SettingsError(f"{file.variable} is not set.")
        self._keys = Reloading([file.path], lambda: parse_keys(file.read(), file))
        if not self._keys.value:
            raise file.bad("holds no key, so nobody could call. Make one with: groundwire keys new NAME")
        self._limit = max_concurrent_calls
        self._holders: dict[str, _KeyHolder] = {}

    def identify(self, token: str | None) -> _KeyHolder:
        """Who has this key. Raises CallRefused."""
        self._keys.refresh()
        if token is None:
            raise _refused(
                "KEY_MISSING",
                "This gateway wants an API key: send the header `authorization: Bearer KEY`. "
                "The groundwire command sends GROUNDWIRE_API_KEY.",
            )
        hashed = _hash(token)
        found = secret = None
        for known, name in self._keys.value.items():  # all of them, so that the time tells nothing of which is near
            if hmac.compare_digest(known, hashed):
                found, secret = name, known
        if found is None or secret is None:
            raise _refused("KEY_REFUSED", "This gateway does not know the API key that was sent.")
        return self._holders.setdefault(secret, _KeyHolder(found, secret, self._limit))


def _refused(reason: str, message: str) -> CallRefused:
    return CallRefused(RichStatus(grpc.StatusCode.UNAUTHENTICATED, message, reason=reason))
