"""Reloads that fail leave everything as it was, and none is lost."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TextIO

import grpc
import httpx
import pytest
import trustme
from gateway.v1.model_service_pb2 import ListModelsRequest
from gateway.v1.model_service_pb2_grpc import ModelServiceStub

from service.child import Program, start
from tests.e2e.calling import KEY, configuration
from tests.e2e.conftest import StartGateway
from tests.e2e.running import START_S, Gateway, clean_environ, free_port, wait_until

AUTHORIZATION = f"Bearer {KEY}"


def config(*models: str, ca_file: str | None = None) -> str:
    settings = {"dialect": "simulator", **({} if ca_file is None else {"ca_file": ca_file})}
    return configuration({"p": settings}, {model: ["p"] for model in models}, {"workers": 2})


def served(gateway: Gateway) -> set[str]:
    """Return what several requests read as the models, so that every worker is asked."""
    headers = {"authorization": AUTHORIZATION}
    answers = [httpx.get(f"{gateway.url}/v1/models", headers=headers).json()["data"] for _ in range(6)]
    return {" ".join(model["id"] for model in models) for models in answers}


def test_certificates_that_cannot_be_loaded_are_refused(gateway_of: StartGateway) -> None:
    gateway = gateway_of(config("old"))
    missing = gateway.run_dir / "missing.pem"
    (gateway.run_dir / "gateway.yaml").write_text(config("old", "new", ca_file=str(missing)))
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "not reloaded" in gateway.log, 5)
    assert f"providers.p.ca_file: {missing}: No such file or directory" in gateway.log
    assert served(gateway) == {"old"}

    port, pid = next(iter(gateway.workers.items()))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gateway.workers.get(port, pid) != pid, START_S)
    assert served(gateway) == {"old"}


def test_certificates_that_went_bad_are_not_read_again_by_workers_that_start_later(gateway_of: StartGateway) -> None:
    with trustme_pem() as file:
        gateway = gateway_of(config("m", ca_file=str(file)))
        file.write_text("in the middle of being replaced")
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "not reloaded" in gateway.log, 5)
        for port, pid in gateway.workers.items():
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda port=port, pid=pid: gateway.workers.get(port, pid) != pid, START_S)  # type: ignore[misc]
        assert served(gateway) == {"m"}
        copies = list((gateway.run_dir / "certificates").iterdir())
        assert len(copies) == 1
        gateway.stop()
        assert not (gateway.run_dir / "certificates").exists()


def test_keys_that_everybody_knows_come_only_with_a_start(gateway_of: StartGateway) -> None:
    """Envoy serves local names alone then, and is told so once."""
    gateway = gateway_of(config("m"))
    local = {"name": "local", "sha256": hashlib.sha256(b"sk-local").hexdigest(), "local_only": True}
    (gateway.run_dir / "gateway.yaml").write_text(json.dumps({**json.loads(config("m")), "keys": [local]}))
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "not reloaded" in gateway.log, 5)
    assert "local_only" in gateway.log
    headers = {"authorization": "Bearer sk-local", "host": "evil.example"}
    assert httpx.get(f"{gateway.url}/v1/models", headers=headers).status_code == 401


@contextmanager
def trustme_pem() -> Iterator[Path]:
    """Give a file with a certificate of an authority."""
    with trustme.CA().cert_pem.tempfile() as name:
        yield Path(name)


def test_what_was_checked_is_what_is_served(gateway_of: StartGateway) -> None:
    gateway = gateway_of(config("old"))
    fifo = gateway.run_dir / "fifo"
    os.mkfifo(fifo)
    fifo.replace(gateway.run_dir / "gateway.yaml")
    gateway.process.send_signal(signal.SIGHUP)
    # It can be read only once.
    with reader_of(gateway.run_dir / "gateway.yaml") as pipe:
        pipe.write(config("old", "new"))
    wait_until(lambda: gateway.log.count('"reloaded"') == 2, 10)
    assert served(gateway) == {"old new"}
    assert (gateway.run_dir / "config.yaml").read_text() == config("old", "new")


@contextmanager
def reader_of(fifo: Path) -> Iterator[TextIO]:
    """Give the end of a pipe to write to, once somebody has opened the other one."""
    found: list[int] = []

    def is_read() -> bool:
        try:
            found.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        return bool(found)

    wait_until(is_read, START_S)
    with os.fdopen(found[0], "w") as pipe:
        yield pipe


@asynccontextmanager
async def worker(folder: Path, address: str, stdin: int = asyncio.subprocess.DEVNULL) -> AsyncIterator[Process]:
    """Start a worker as the supervisor does; its configuration and its log are in the folder."""
    command = (sys.executable, "-m", "service", "worker", "--grpc", address)
    environ = {**clean_environ(), "GATEWAY_CONFIG": str(folder / "gateway.yaml")}
    process = await start(Program(command, environ, stderr=folder / "log"), stdin)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def logged(tmp_path: Path) -> Callable[..., bool]:
    """Say whether the worker has logged a line with these facts."""

    def find(message: str, **facts: object) -> bool:
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        return any(line["message"] == message and facts.items() <= line.items() for line in lines)

    return find


async def test_a_reload_that_fails_in_the_end_leaves_the_old_one_serving(
    tmp_path: Path, logged: Callable[..., bool]
) -> None:
    file, address = tmp_path / "gateway.yaml", f"127.0.0.1:{free_port()}"
    file.write_text(config("old"))
    async with worker(tmp_path, address, PIPE) as process:
        await asyncio.to_thread(wait_until, lambda: logged("ready"), START_S)
        # Certificates that can be read once: they are good when they are checked, and gone when they are needed.
        assert process.stdin is not None
        process.stdin.write(trustme.CA().cert_pem.bytes())
        process.stdin.close()
        file.write_text(config("old", "new", ca_file="/dev/stdin"))
        process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(wait_until, lambda: logged("reload failed", level="error"), 10)
        assert await models(address) == ["old"]

        file.write_text(config("old", "new"))
        process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(wait_until, lambda: logged("reloaded", models=2), 10)
        assert await models(address) == ["old", "new"]


async def models(address: str) -> list[str]:
    async with grpc.aio.insecure_channel(address) as channel:
        metadata = (("authorization", AUTHORIZATION),)
        listed = await ModelServiceStub(channel).ListModels(ListModelsRequest(), metadata=metadata, timeout=10)
    return [model.id for model in listed.data]


async def test_a_reload_that_is_asked_for_while_a_worker_starts_is_not_lost(
    tmp_path: Path, logged: Callable[..., bool]
) -> None:
    fifo = tmp_path / "gateway.yaml"
    os.mkfifo(fifo)

    def tell(process: Process | None, text: str) -> None:
        with reader_of(fifo) as pipe:
            if process is not None:
                process.send_signal(signal.SIGHUP)
            pipe.write(text)

    async with worker(tmp_path, f"127.0.0.1:{free_port()}") as process:
        await asyncio.to_thread(tell, process, config("old"))
        await asyncio.to_thread(wait_until, lambda: logged("ready"), START_S)
        await asyncio.to_thread(tell, None, config("old", "new"))
        await asyncio.to_thread(wait_until, lambda: logged("reloaded", models=2), 10)
