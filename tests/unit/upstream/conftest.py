"""Every asynchronous test here runs on both event loops: the service's own (uvloop) and asyncio's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.fakes.authority import Authority
from tests.unit.upstream.streams import Tls


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops, by the name that stands in a test's id."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["plain", "TLS"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> Tls:
    """Each test without TLS and with it."""
    if request.param == "plain":
        return Tls()
    authority = Authority(tmp_path)
    return Tls(authority.server, str(authority.file))
