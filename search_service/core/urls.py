"""Web addresses: which ones may come through, and when two are the same."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from search_service.core.public_hosts import is_public

MAX_URL_CHARACTERS: Final = 8_192
"""What servers and browsers agree on as the longest practical address."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Unreserved, reserved and percent characters of RFC 3986: what may stand in a URL as it is.
_ALLOWED: Final = "%/:?#[]@!$&'()*+,;=-._~"
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ud800-\udfff]")
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
# Parameters that tell a site where a visitor came from and change nothing about the page.
_TRACKING: Final = re.compile(
    r"(?:utm_[^=]*|gclid|gclsrc|gbraid|wbraid|dclid|fbclid|msclkid|yclid|twclid|ttclid|igshid|igsh|mc_cid|mc_eid|_hsenc|_hsmi"
    r"|mkt_tok|srsltid)(?:=.*)?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An http or https address of a public host, safe to show."""

    url: str
    host: str
    """In lower case, punycode for other scripts, without "www."."""
    key: str
    """Equal for addresses of one page: without scheme, default port, fragment, trailing slash and tracking."""

    @property
    def secure(self) -> bool:
        """Whether it is https."""
        return self.url.startswith("https:")


def web_address(raw: str) -> WebAddress | None:
    """The address, or None where it is none that may come through.

    Such are other schemes, user information, and hosts that are missing or internal (public_hosts).
    """
    text = raw.strip()
    if not text or len(text) > MAX_URL_CHARACTERS or _FORBIDDEN.search(text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    host = _host(parts.hostname or "")
    bracketed = "[" in parts.netloc
    if scheme not in _DEFAULT_PORTS or host is None or "@" in parts.netloc or bracketed != (host[:1] == "["):
        return None
    if not is_public(host):
        return None
    place = host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    path, query, fragment = (quote(part, safe=_ALLOWED) for part in (parts.path, parts.query, parts.fragment))
    kept = "&".join(part for part in query.split("&") if part and not _TRACKING.fullmatch(part))
    # Single-page sites name their pages by fragments: #!page, #/page.
    page = f"#{fragment}" if fragment.startswith(("!", "/")) else ""
    return WebAddress(
        url=urlunsplit((scheme, place, path, query, fragment)),
        host=host.removeprefix("www."),
        key=f"{place}{path.rstrip('/')}?{kept}{page}",
    )


def _host(host: str) -> str | None:
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host)}]"
        except ValueError:
            return None
    try:
        ascii_host = host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        return None
    return ascii_host if _HOST.fullmatch(ascii_host) else None
