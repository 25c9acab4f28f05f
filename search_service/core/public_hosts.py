"""Which hosts a link may lead to: those of the public internet, not the reader's own network."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_INTERNAL_ZONES: Final = frozenset(
    {"localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "localdomain", "home.arpa"}
)
"""Names that end no public site's: RFC 6761, 6762 and 8375, the .internal of ICANN, and what networks use at home."""

_NUMBER: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
"""What browsers take the last label of a host for a part of an IPv4 address by."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(host: str) -> bool:
    """Whether a host is none of a private, local or reserved kind.

    `host` is in lower case and ASCII; an IPv6 address is in brackets. Nothing is looked up: what a public name leads to
    is not known.
    """
    if host.startswith("["):
        return _is_public_ipv6(ipaddress.IPv6Address(host[1:-1]))
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return _is_public_ipv4(ipaddress.IPv4Address(host))
        except ValueError:  # octal, hexadecimal or short: 0x7f.1 is 127.0.0.1 to a browser
            return False
    return len(labels) > 1 and not ({labels[-1], ".".join(labels[-2:])} & _INTERNAL_ZONES)


def _is_public_ipv4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not address.is_multicast


def _is_public_ipv6(address: ipaddress.IPv6Address) -> bool:
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is None and address in _NAT64:
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if embedded is not None:
        return _is_public_ipv4(embedded)
    return address.is_global and not address.is_multicast
