"""Where requests go."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit


class Origin(NamedTuple):
    """Where a connection goes."""

    scheme: str
    host: str
    port: int


class Address(NamedTuple):
    """A URL in its parts: `target` and `authority` as they stand in a request's head."""

    origin: Origin
    authority: str
    target: str


@lru_cache(maxsize=1024)
def address(url: str) -> Address:
    """Split an http(s) URL."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode()
    usual = 443 if parts.scheme == "https" else 80
    port = parts.port or usual
    name = f"[{host}]" if ":" in host else host
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=-._~?")
    return Address(Origin(parts.scheme, host, port), name if port == usual else f"{name}:{port}", target)
