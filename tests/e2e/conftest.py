"""Gateways and Envoys for end-to-end tests. Each test process has its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.running import Envoy, Gateway, start_envoy, start_gateway
from tests.e2e.stub_worker import StubWorker

StartGateway = Callable[..., Gateway]


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Callable[[], Path]]:
    """Make folders with short names, as Unix sockets need them."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="gw-", dir="/tmp")))
        return made[-1]

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def gateway(short_dir: Callable[[], Path]) -> Iterator[Gateway]:
    """Run the gateway as `make up` does without any configuration: key `sk-local`, model `local/simulator`."""
    running = start_gateway(short_dir())
    yield running
    assert running.stop() == 0


@pytest.fixture
def gateway_of(short_dir: Callable[[], Path]) -> Iterator[StartGateway]:
    """Start gateways with a configuration (YAML text) and environment of the test's own."""
    running: list[Gateway] = []

    def start(config: str | None = None, environ: Mapping[str, str] | None = None) -> Gateway:
        running.append(start_gateway(short_dir(), config, environ))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.wait()


@pytest.fixture(scope="session")
def workers() -> Iterator[tuple[StubWorker, StubWorker]]:
    """Serve two stub workers."""
    both = StubWorker(), StubWorker()
    yield both
    for one in both:
        one.close()


@pytest.fixture(scope="session")
def envoy(short_dir: Callable[[], Path], workers: tuple[StubWorker, StubWorker]) -> Iterator[Envoy]:
    """Run Envoy in front of the stub workers."""
    running = start_envoy(short_dir(), [worker.port for worker in workers])
    yield running
    running.process.kill()
    running.process.wait()
