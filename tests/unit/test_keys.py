"""A key is looked up by its token's hash, and held to its rules at every call."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from service.config import Key
from service.errors import GatewayError
from service.keys import Keyring

BEFORE, AFTER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def keyring(**rules: Any) -> Keyring:
    return Keyring([Key(name="a", sha256=hashlib.sha256(b"sk-a").hexdigest(), **rules)], loopback=False)


@pytest.mark.parametrize("header", ["Bearer sk-a", "bearer sk-a", "BEARER   sk-a "])
def test_a_token_is_accepted_again_and_again(header: str) -> None:
    keys = keyring()
    assert [keys.authenticate(header, lambda: BEFORE).name for _ in range(3)] == ["a"] * 3


@pytest.mark.parametrize(
    "header", [None, "", "sk-a", "Basic sk-a", "Bearer", "Bearer ", "Bearer sk-b", "Bearer sk-a sk-a"]
)
def test_anything_else_is_refused_also_after_one_was_accepted(header: str | None) -> None:
    keys = keyring()
    keys.authenticate("Bearer sk-a", lambda: BEFORE)
    for _ in range(2):
        with pytest.raises(GatewayError) as refused:
            keys.authenticate(header, lambda: BEFORE)
        assert refused.value.code == "invalid_api_key"


def test_a_key_that_was_accepted_expires() -> None:
    keys = keyring(expires_at=datetime(2026, 6, 1, tzinfo=UTC))
    keys.authenticate("Bearer sk-a", lambda: BEFORE)
    with pytest.raises(GatewayError, match="expired"):
        keys.authenticate("Bearer sk-a", lambda: AFTER)


def test_a_disabled_key_is_refused_each_time() -> None:
    keys = keyring(disabled=True)
    for _ in range(2):
        with pytest.raises(GatewayError, match="disabled"):
            keys.authenticate("Bearer sk-a", lambda: BEFORE)
