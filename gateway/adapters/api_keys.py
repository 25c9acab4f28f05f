"""The gateway's API keys: a file of names and SHA-256 hashes, looked at again whenever it changes.

A line of the file is a name, a space and 64 hexadecimal digits; empty lines and those that begin with # say nothing.
A plain hash is enough where the keys are long and random: nobody guesses 256 bits, however fast the hash is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import grpc

from gateway.core.ports import Clock
from gateway.core.token_bucket import TokenBucket
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


def without_key(content: bytes, name: str) -> bytes:
    """A file's content without the line of this key; whatever else is in it stays as it is."""
    kept = []
    for line in content.splitlines(keepends=True):
        found = _LINE.fullmatch(line.decode("utf-8", "replace").strip())
        if not found or found[1] != name:
            kept.append(line)
    return b"".join(kept)


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


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may do."""

    concurrent_calls: int
    """Calls that may run at once."""
    requests_per_minute: int = 0
    """Calls that may begin in a minute; so many at once, where none has for a minute. 0: any number."""


class _KeyHolder:
    """A Caller: who has one key, how many calls of theirs run, and how many may begin."""

    def __init__(self, name: str, secret: str, limits: KeyLimits, clock: Clock) -> None:
        self._name = name
        self._secret = secret
        self._limits = limits
        self._rate = TokenBucket(limits.requests_per_minute, clock) if limits.requests_per_minute else None
        self.running = 0

    @property
    def label(self) -> str:
        return self._name

    @property
    def secret(self) -> str:
        return self._secret

    def enter(self) -> None:
        limits = self._limits
        if self.running >= limits.concurrent_calls:
            raise self._exhausted(
                "KEY_BUSY",
                f"has {limits.concurrent_calls:,} calls running already, which is its limit",
                limits.concurrent_calls,
                BUSY_RETRY_SECONDS,
            )
        wait = self._rate.take() if self._rate else 0.0
        if wait:
            raise self._exhausted(
                "KEY_RATE_LIMITED",
                f"may make {limits.requests_per_minute:,} calls a minute, and has made them",
                limits.requests_per_minute,
                wait,
            )
        self.running += 1

    def leave(self) -> None:
        self.running -= 1

    def _exhausted(self, reason: str, what: str, limit: int, wait: float) -> CallRefused:
        return CallRefused(
            RichStatus(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The key {self._name} {what}.",
                reason=reason,
                metadata={"key": self._name, "limit": str(limit)},
                retry_after_seconds=wait,
            )
        )


class ApiKeys:
    """A Gate that knows callers by the keys of a file. A key that is taken out is refused from the next call on."""

    def __init__(self, file: FileSetting, limits: KeyLimits, clock: Clock = time.monotonic) -> None:
        """Each key has the limits for itself. Raises SettingsError where the file is no good."""
        if file.path is None:
            raise SettingsError(f"{file.variable} is not set.")
        self._keys = Reloading([file.path], lambda: parse_keys(file.read(), file))
        if not self._keys.value:
            raise file.bad("holds no key, so nobody could call. Make one with: groundwire keys new NAME")
        self._limits = limits
        self._clock = clock
        self._holders: dict[str, _KeyHolder] = {}

    def identify(self, token: str | None) -> _KeyHolder:
        """Who has this key. Raises CallRefused."""
        if self._keys.refresh():
            known = self._keys.value
            self._holders = {key: one for key, one in self._holders.items() if key in known or one.running}
        if token is None:
            raise _refused(
                "KEY_MISSING",
                "This gateway wants an API key: send the header `authorization: Bearer KEY`. "
                "The groundwire command sends GROUNDWIRE_API_KEY.",
            )
        hashed = _hash(token)
        found = secret = None
        for (
            known_hash,
            name,
        ) in self._keys.value.items():  # all of them, so that the time tells nothing of which is near
            if hmac.compare_digest(known_hash, hashed):
                found, secret = name, known_hash
        if found is None or secret is None:
            raise _refused("KEY_REFUSED", "This gateway does not know the API key that was sent.")
        holder = self._holders.get(secret)
        if holder is None or holder.label != found:  # the line of a running key may have got another name
            holder = self._holders[secret] = _KeyHolder(found, secret, self._limits, self._clock)
        return holder


def _refused(reason: str, message: str) -> CallRefused:
    return CallRefused(RichStatus(grpc.StatusCode.UNAUTHENTICATED, message, reason=reason))
