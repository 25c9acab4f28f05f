"""Who a caller is towards the services behind the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from pydantic import SecretStr

from groundwire_rpc.callers import IdentityKind, identity_of


@dataclass(frozen=True, slots=True)
class NamedCaller:
    """A caller under names that tell nothing of who it is."""

    name: str
    """What the services behind tell callers apart by."""
    cache_salt: str
    """What keeps this caller's kept prompts apart from those of others. Empty where they are shared."""


class Callers:
    """Names the callers of the gateway."""

    def __init__(self, secret: SecretStr | None, *, share_prompts: bool) -> None:
        """Gateways with the same `secret` give the same names; without one each process has its own.

        `share_prompts`: whether all callers share what the inference service keeps of prompts.
        """
        self._secret = secret.get_secret_value().encode() if secret else None
        self._share_prompts = share_prompts

    def named(self, context: grpc.aio.ServicerContext[Any, Any]) -> NamedCaller:
        """Who makes the call: by API key, else by certificate, else by address. What the caller says counts nothing.

        Who is known by an address only shares kept prompts with others of that kind: behind a proxy or a router there
        are many people at one address, and one person is at many.
        """
        identity = identity_of(context)
        secret = () if self._secret is None else (self._secret,)
        is_known = identity.kind is not IdentityKind.ADDRESS
        salt = identity.pseudonym("kept prompts", *secret) if is_known and not self._share_prompts else ""
        return NamedCaller(identity.pseudonym("caller", *secret), salt)
