"""Callers' keys: which key a bearer token is, and what it may use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from service.config import Key
from service.errors import GatewayError


class Keyring:
    """The keys that are accepted, known by their tokens' SHA-256. Tokens that were accepted are kept in memory."""

    def __init__(self, keys: Iterable[Key], *, loopback: bool) -> None:
        """`loopback`: whether the service is bound to loopback, so that keys for local use are accepted."""
        self._keys = {bytes.fromhex(key.sha256): key for key in keys if loopback or not key.local_only}
        self._accepted: dict[str, Key] = {}
        """By the header in its usual form. Hashing costs more than all else here: its code is seldom in the cache."""

    def authenticate(self, authorization: str | None, clock: Callable[[], datetime]) -> Key:
        """Return the key of an `Authorization` header.

        Raises:
            GatewayError: invalid_api_key, for a missing, malformed, unknown, expired or disabled key.
        """
        if not authorization:
            raise GatewayError("invalid_api_key", "No API key was given: send the header Authorization: Bearer <key>.")
        key = self._accepted.get(authorization)
        if key is None:
            key = self._look_up(authorization)
        if key.disabled:
            raise GatewayError("invalid_api_key", "The API key is disabled.")
        if key.expires_at is not None and key.expires_at <= clock():
            raise GatewayError("invalid_api_key", "The API key has expired.")
        return key

    def _look_up(self, authorization: str) -> Key:
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise GatewayError("invalid_api_key", "The Authorization header is malformed: it is to be Bearer <key>.")
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        key = self._keys.get(digest)
        if key is None:
            raise GatewayError("invalid_api_key", "The API key is not known here.")
        if authorization == f"Bearer {token}":
            self._accepted[authorization] = key
        return key


def allows(patterns: Sequence[str], name: str) -> bool:
    """Say whether a name matches one of a key's patterns; `*` at a pattern's end stands for anything."""
    return "*" in patterns or any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)
