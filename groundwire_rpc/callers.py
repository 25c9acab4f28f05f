"""Who a call is from, and the opaque name under which the services tell callers apart.

The gateway knows a caller by their API key, else by their certificate, else by the address that they call from. It
sends a name made of that to the services behind it as `x-groundwire-caller`, so that they can be fair to each caller.
The name tells nothing of the key, the certificate or the address.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import unquote

import grpc

CALLER_KEY: Final = "x-groundwire-caller"
"""The metadata that carries a caller's name to the services behind the gateway."""

CALLER_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a name may be. Any other is not taken."""

_NAME_CHARACTERS: Final = 32
_IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that tell callers apart: one customer has all the addresses of such a network."""

_PROCESS_SECRET: Final = secrets.token_bytes(32)

Context = grpc.aio.ServicerContext[Any, Any]


class IdentityKind(Enum):
    """By what a caller is known."""

    KEY = "key"
    CERTIFICATE = "certificate"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a caller is, as this server knows it by itself."""

    kind: IdentityKind
    value: str = field(repr=False)
    """The hash of a key, a certificate's names, or an address. Not to be told to anyone."""

    def pseudonym(self, purpose: str, secret: bytes = _PROCESS_SECRET) -> str:
        """32 hexadecimal digits: the same for the same caller, purpose and secret, and no way back.

        A key's pseudonyms need no other secret than itself, so that they are the same in every gateway.
        """
        secret = self.value.encode() if self.kind is IdentityKind.KEY else secret
        told = f"{purpose}\0{self.kind.value}\0{self.value}".encode()
        return hmac.digest(secret, told, hashlib.sha256).hex()[:_NAME_CHARACTERS]


@dataclass(frozen=True, slots=True)
class _LetIn:
    label: str
    secret: str = field(repr=False)


# Set by the guard and read when a method begins, both in the task that serves the call. What a method needs later, when
# a closed generator may run in another context, it keeps as a value.
_let_in: ContextVar[_LetIn | None] = ContextVar("_let_in", default=None)


def let_in(label: str = "", secret: str = "") -> None:
    """Note that the call being served has passed the server's gate.

    `label` is what logs call the caller; `secret` tells this caller from others. Both are empty where all share one
    token.
    """
    _let_in.set(_LetIn(label, secret))


def caller_label() -> str:
    """What logs call the caller of the call being served: the name of their API key. Empty where there is none."""
    passed = _let_in.get()
    return passed.label if passed else ""


def identity_of(context: Context) -> Identity:
    """Who calls: by their API key, else by their certificate, else by their address."""
    passed = _let_in.get()
    if passed and passed.secret:
        return Identity(IdentityKind.KEY, passed.secret)
    if names := context.peer_identities():
        return Identity(IdentityKind.CERTIFICATE, "\0".join(name.decode("utf-8", "replace") for name in names))
    return Identity(IdentityKind.ADDRESS, _host(context.peer()))


def caller_of(context: Context) -> str:
    """The opaque name of the caller that a call is for: 1 to 64 letters, digits, dots, hyphens or underscores.

    What `x-groundwire-caller` says counts only from a peer that proved itself by the server's token or by a
    certificate, or that is on this host. Elsewhere the name is made of the peer's own identity.
    """
    told = [value for key, value in context.invocation_metadata() or () if key == CALLER_KEY]
    if len(told) == 1 and isinstance(told[0], str) and CALLER_NAME.fullmatch(told[0]) and _may_name(context):
        return told[0]
    return identity_of(context).pseudonym("caller")


def _may_name(context: Context) -> bool:
    if _let_in.get() is not None or context.peer_identities():
        return True
    # Without a token and without certificates only this host can call, unless an operator allowed otherwise, and then
    # who is not of this host is not believed. Whoever can call from here could call in anyone's place anyway.
    host = _host(context.peer())
    return host.startswith("unix") or _is_loopback(host)


def _host(peer: str) -> str:
    """The host in ipv4:127.0.0.1:4242 or ipv6:%5B::1%5D:4242; the whole of what is neither."""
    family, _, address = unquote(peer).partition(":")
    if family not in ("ipv4", "ipv6"):
        return peer
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        if not found.is_loopback:
            return str(ipaddress.ip_network((found, _IPV6_PREFIX), strict=False))
    return str(found)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
