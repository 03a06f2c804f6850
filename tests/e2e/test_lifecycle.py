"""The processes of a gateway: they start, die, reload, drain and end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import StartGateway
from tests.e2e.running import ROOT, START_S, Gateway, clean_environ, free_port, start_gateway, wait_until
from tests.fakes.openai import completion
from tests.fakes.wire import Connection, Request, event, head, serve, whole

KEY = "sk-test"
HEADERS = {"authorization": f"Bearer {KEY}"}
CHAT = "/v1/chat/completions"
THREE_MISTAKES = """
providers: {p: {dialect: pigeon}}
models: {m: {endpoints: []}}
nonsense: 1
"""


def config(provider_url: str, *models: str, drain: str = "10s") -> str:
    """Return a configuration of two workers and one provider. JSON is YAML."""
    endpoints = [{"provider": "p", "model": "upstream"}]
    return json.dumps(
        {
            "server": {"workers": 2, "drain": drain},
            "providers": {"p": {"dialect": "openai", "base_url": f"{provider_url}/v1"}},
            "models": {model: {"endpoints": endpoints} for model in models},
            "keys": [{"name": "test", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}],
        }
    )


def ask(model: str = "m", stream: bool = False) -> Mapping[str, object]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}


async def answer(connection: Connection, request: Request) -> None:
    """Answer after 20 ms; a stream has ten words, 100 ms apart."""
    await asyncio.sleep(0.02)
    if not request.json().get("stream"):
        await connection.send(whole(200, completion()))
        return
    await connection.send(head(200, "text/event-stream", "Connection: close"))
    for word in range(10):
        await connection.send(event(_chunk({"content": f"{word} "}, None)))
        await asyncio.sleep(0.1)
    await connection.send(event(_chunk({}, "stop")) + event("[DONE]"))
    connection.close()


async def never_end(connection: Connection, request: Request) -> None:
    if request.json().get("stream"):
        await connection.send(head(200, "text/event-stream") + event(_chunk({"content": "Well"}, None)))
    await connection.hung_up()


def _chunk(delta: Mapping[str, str], finish: str | None) -> Mapping[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "upstream", "choices": [choice]}


async def test_a_killed_worker_is_back_within_two_seconds_and_others_go_on(gateway_of: StartGateway) -> None:
    async with serve(answer) as provider:
        gateway = await asyncio.to_thread(gateway_of, config(provider.url, "m"))
        port, victim = next(iter(gateway.workers.items()))
        statuses: list[int] = []
        until = time.monotonic() + 4

        async with _client(gateway) as client:

            async def keep_asking() -> None:
                while time.monotonic() < until:
                    statuses.append((await client.post(CHAT, json=ask())).status_code)

            asking = [asyncio.ensure_future(keep_asking()) for _ in range(4)]
            await asyncio.sleep(1)
            os.kill(victim, signal.SIGKILL)
            back_after = await asyncio.to_thread(wait_until, lambda: _serves(gateway, port, victim), START_S)
            await asyncio.gather(*asking)
    assert back_after < 2
    # What the worker had sent to the provider is not sent twice: at most the four requests under way are lost.
    assert statuses.count(200) >= len(statuses) - 4
    assert set(statuses) <= {200, 503}


def _client(gateway: Gateway) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.url, headers=HEADERS, timeout=10)


def _serves(gateway: Gateway, port: int, old_pid: int) -> bool:
    return gateway.workers.get(port, old_pid) != old_pid


async def test_sigterm_lets_a_stream_finish_and_sends_newcomers_away(gateway_of: StartGateway) -> None:
    async with serve(answer) as provider:
        gateway = await asyncio.to_thread(gateway_of, config(provider.url, "m"))
        async with _client(gateway) as client, client.stream("POST", CHAT, json=ask(stream=True)) as response:
            pieces = response.aiter_text()
            text = await anext(pieces)
            gateway.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            newcomer = await client.post(CHAT, json=ask())
            text += "".join([piece async for piece in pieces])
        assert await asyncio.to_thread(gateway.process.wait, START_S) == 0
    assert text.rstrip().endswith("data: [DONE]")
    assert '"stop"' in text
    assert newcomer.status_code == 503
    assert int(newcomer.headers["retry-after"]) >= 1
    assert newcomer.json()["error"]["code"] == "overloaded"


async def test_what_outlasts_the_drain_is_told_so(gateway_of: StartGateway) -> None:
    async with serve(never_end) as provider:
        gateway = await asyncio.to_thread(gateway_of, config(provider.url, "m", drain="500ms"))
        async with _client(gateway) as client, client.stream("POST", CHAT, json=ask(stream=True)) as response:
            whole = asyncio.ensure_future(client.post(CHAT, json=ask()))
            pieces = response.aiter_text()
            text = await anext(pieces)
            await asyncio.to_thread(wait_until, lambda: len(provider.requests) == 2, 5)
            gateway.process.send_signal(signal.SIGTERM)
            text += "".join([piece async for piece in pieces])
            refused = await whole
        assert await asyncio.to_thread(gateway.process.wait, START_S) == 0
    last = json.loads(text.rstrip().rpartition("data: ")[2])
    assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "overloaded")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_reload_also_changes_how_long_a_drain_may_take(gateway_of: StartGateway) -> None:
    async def take_long(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", "Connection: close"))
        await connection.send(event(_chunk({"content": "Well"}, None)))
        await asyncio.sleep(6)  # workers are killed 5 s after their drain
        await connection.send(event(_chunk({}, "stop")) + event("[DONE]"))
        connection.close()

    async with serve(take_long) as provider:
        gateway = await asyncio.to_thread(gateway_of, config(provider.url, "m", drain="100ms"))
        (gateway.run_dir / "gateway.yaml").write_text(config(provider.url, "m", drain="20s"))
        gateway.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(wait_until, lambda: gateway.log.count('"reloaded"') == 2, 5)
        async with _client(gateway) as client, client.stream("POST", CHAT, json=ask(stream=True)) as response:
            pieces = response.aiter_text()
            text = await anext(pieces)
            gateway.process.send_signal(signal.SIGTERM)
            text += "".join([piece async for piece in pieces])
        assert await asyncio.to_thread(gateway.process.wait, START_S) == 0
    assert text.rstrip().endswith("data: [DONE]")


async def test_a_second_signal_ends_everything_at_once(gateway_of: StartGateway) -> None:
    async with serve(never_end) as provider:
        gateway = await asyncio.to_thread(gateway_of, config(provider.url, "m", drain="5m"))
        pids = [*gateway.workers.values(), gateway.envoy]
        async with _client(gateway) as client, client.stream("POST", CHAT, json=ask(stream=True)) as response:
            pieces = response.aiter_text()
            await anext(pieces)
            gateway.process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.2)
            gateway.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(gateway.process.wait, START_S) == 1
    assert not any(map(_lives, pids))


def test_nothing_outlives_a_killed_supervisor(short_dir: Callable[[], Path]) -> None:
    gateway = start_gateway(short_dir())
    pids = [*gateway.workers.values(), gateway.envoy]
    gateway.process.kill()
    gateway.process.wait()
    wait_until(lambda: not any(map(_lives, pids)), 2)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_a_killed_envoy_is_started_again(gateway_of: StartGateway) -> None:
    gateway = await asyncio.to_thread(gateway_of)
    os.kill(gateway.envoy, signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: _answers(gateway.url), 5)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


async def test_sighup_takes_a_good_configuration_and_refuses_a_bad_one(gateway_of: StartGateway) -> None:
    async with serve(answer) as provider:
        gateway = await asyncio.to_thread(gateway_of, config(provider.url, "old"))
        file = gateway.run_dir / "gateway.yaml"

        def models() -> set[str]:
            listed = [httpx.get(f"{gateway.url}/v1/models", headers=HEADERS).json()["data"] for _ in range(6)]
            return {" ".join(model["id"] for model in models) for models in listed}

        assert await asyncio.to_thread(models) == {"old"}
        file.write_text(config(provider.url, "old", "new"))
        gateway.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(wait_until, lambda: models() == {"old new"}, 5)

        file.write_text(
            '{"providers": {"p": {"dialect": "carrier-pigeon"}}, "models": {"m": {"endpoints": []}}, "nonsense": 1}'
        )
        gateway.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(wait_until, lambda: "nonsense" in gateway.log, 5)
        assert all(path in gateway.log for path in ("providers.p.dialect", "models.m.endpoints", "nonsense"))
        assert await asyncio.to_thread(models) == {"old new"}

        # A worker that starts now does not read the bad file either.
        port, pid = next(iter(gateway.workers.items()))
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: _serves(gateway, port, pid), 10)
        assert (await asyncio.to_thread(models)) == {"old new"}


async def test_a_replaced_configuration_keeps_its_connections_for_its_last_calls_alone(
    gateway_of: StartGateway,
) -> None:
    goes_on = asyncio.Event()

    async def told(connection: Connection, request: Request) -> None:
        if not request.json().get("stream"):
            await connection.send(whole(200, completion()))
            return
        await connection.send(head(200, "text/event-stream", "Connection: close"))
        await connection.send(event(_chunk({"content": "Well"}, None)))
        await goes_on.wait()
        await connection.send(event(_chunk({"content": ", yes"}, None)) + event(_chunk({}, "stop")) + event("[DONE]"))
        connection.close()

    async with serve(told) as provider, httpx.AsyncClient(headers=HEADERS, timeout=START_S) as client:
        gateway = await asyncio.to_thread(gateway_of, config(provider.url, "m"), {"GATEWAY_WORKERS": "1"})
        async with client.stream("POST", gateway.url + CHAT, json=ask(stream=True)) as stream:
            lines = stream.aiter_lines()
            assert "Well" in await anext(lines)
            assert (await client.post(gateway.url + CHAT, json=ask())).status_code == 200
            (gateway.run_dir / "gateway.yaml").write_text(config(provider.url, "m", "n"))
            gateway.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(wait_until, lambda: '"reloaded"' in gateway.log, 5)
            assert (await client.post(gateway.url + CHAT, json=ask("n"))).status_code == 200
            _, kept, fresh = provider.connections
            assert kept.hung_up_at is None
            goes_on.set()
            rest = "".join([line async for line in lines])
        assert ", yes" in rest
        assert "[DONE]" in rest
        await asyncio.to_thread(wait_until, lambda: kept.hung_up_at is not None, 5)
        assert fresh.hung_up_at is None


def run(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**clean_environ(), **environ},
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("variable", ["HTTP_PORT", "GRPC_PORT"])
def test_a_taken_port_is_said_in_one_sentence(taken_port: int, variable: str, short_dir: Callable[[], Path]) -> None:
    free = {"HTTP_PORT": "0", "GRPC_PORT": "0", "GATEWAY_RUN_DIR": str(short_dir())}
    ended = run({**free, variable: str(taken_port)}, "--edge")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert f"127.0.0.1:{taken_port}" in ended.stderr
    assert variable in ended.stderr


def test_a_run_directory_too_long_for_sockets_is_said_in_one_sentence(short_dir: Callable[[], Path]) -> None:
    environ = {"HTTP_PORT": "0", "GRPC_PORT": "0", "GATEWAY_RUN_DIR": str(short_dir() / ("x" * 100))}
    ended = run(environ, "--edge")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "GATEWAY_RUN_DIR" in ended.stderr


def test_a_run_directory_may_have_any_name(gateway_of: StartGateway, short_dir: Callable[[], Path]) -> None:
    gateway = gateway_of(None, {"GATEWAY_RUN_DIR": str(short_dir() / "a%20b c")})
    assert httpx.get(f"{gateway.url}/readyz").status_code == 200


def test_what_a_run_directory_holds_is_its_owners_alone(
    gateway_of: StartGateway, short_dir: Callable[[], Path]
) -> None:
    run_dir = short_dir() / "made"
    gateway = gateway_of(config("http://127.0.0.1:1", "m"), {"GATEWAY_RUN_DIR": str(run_dir)})

    def modes() -> list[int]:
        return [stat.S_IMODE(path.stat().st_mode) for path in (run_dir, run_dir / "config.yaml")]

    assert modes() == [0o700, 0o600]
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: gateway.log.count('"reloaded"') == 2, 5)
    assert modes() == [0o700, 0o600]
    assert httpx.get(f"{gateway.url}/v1/models", headers=HEADERS).status_code == 200


def test_certificates_that_cannot_be_loaded_are_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    provider = {"dialect": "openai", "base_url": "https://p.example", "ca_file": str(tmp_path / "ca.pem")}
    (tmp_path / "gateway.yaml").write_text(json.dumps({"providers": {"p": provider}, "models": {}}))
    for arguments in (("check",), ("--edge",), ()):
        ended = run({"GATEWAY_CONFIG": str(tmp_path / "gateway.yaml")}, *arguments)
        assert ended.returncode == 1
        assert ended.stderr == f"providers.p.ca_file: {tmp_path}/ca.pem: not a PEM file of certificates\n"


def test_every_mistake_of_a_configuration_is_listed(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(THREE_MISTAKES)
    for arguments in (("check",), ("--edge",), ()):
        ended = run({"GATEWAY_CONFIG": str(file)}, *arguments)
        assert ended.returncode == 1
        assert len(ended.stderr.splitlines()) == 3
        assert all(path in ended.stderr for path in ("providers.p.dialect", "models.m.endpoints", "nonsense"))


def test_wrong_settings_are_listed() -> None:
    ended = run({"HTTP_PORT": "http", "GATEWAY_WORKERS": "0", "TLS_CERT": "cert.pem"}, "--edge")
    assert ended.returncode == 1
    assert [line.split(":")[0] for line in ended.stderr.splitlines()] == [
        "HTTP_PORT",
        "GATEWAY_WORKERS",
        "TLS_CERT and TLS_KEY",
    ]


def test_health_says_whether_a_worker_serves(gateway: Gateway) -> None:
    assert run({}, "health", gateway.grpc[0]).returncode == 0
    assert run({}, "health", "127.0.0.1:1").returncode == 1


@pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies are Linux's")
def test_only_grpcs_threads_wake_up_politely(gateway: Gateway) -> None:
    for pid in gateway.workers.values():
        policies = {
            int(thread.name): os.sched_getscheduler(int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir()
        }
        names = {number: Path(f"/proc/{pid}/task/{number}/comm").read_text().strip() for number in policies}
        grpcs = [number for number, name in names.items() if name == "event_engine"]
        assert grpcs
        assert {policies[number] for number in grpcs} == {os.SCHED_BATCH}
        assert policies[pid] == os.SCHED_OTHER


def test_two_gateways_do_not_share_a_folder(gateway_of: StartGateway, short_dir: Callable[[], Path]) -> None:
    """Workers that are started again would read the other's configuration, keys and all."""
    run_dir = short_dir()
    environ = {"GATEWAY_RUN_DIR": str(run_dir)}
    first = gateway_of(config("http://127.0.0.1:1", "m"), environ)
    ended = run({"HTTP_PORT": "0", "GRPC_PORT": "0", **environ}, "--edge")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "another gateway runs in" in ended.stderr
    assert first.stop() == 0
    assert not (run_dir / "config.yaml").exists()
    gateway_of(None, environ)


@pytest.mark.parametrize("place", ["/proc/x", "/etc/hostname"])
def test_a_run_directory_that_cannot_be_used_is_said_in_one_sentence(place: str) -> None:
    ended = run({"HTTP_PORT": "0", "GRPC_PORT": "0", "GATEWAY_RUN_DIR": place}, "--edge")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert f"GATEWAY_RUN_DIR: {place} cannot be used" in ended.stderr


def test_an_early_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    os.mkfifo(config)
    command = [sys.executable, "-m", "service", "check"]
    environ = {**clean_environ(), "GATEWAY_CONFIG": str(config)}
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
    # It waits there for somebody who writes.
    with config.open("w"):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=START_S)
    assert (process.returncode, said) == (130, "")


@pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="there is nothing to choose from"
)
@pytest.mark.parametrize("pin", [True, False])
def test_a_worker_with_work_keeps_its_threads_on_one_cpu(gateway_of: StartGateway, pin: bool) -> None:
    """On a crowded machine it may let go of it for a while, but takes one again and again."""
    key = {"name": "test", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}
    simulated = {
        "server": {"workers": 1, "pin": pin},
        "providers": {"s": {"dialect": "simulator"}},
        "models": {"m": {"endpoints": [{"provider": "s", "model": "simulator"}]}},
        "keys": [key],
    }
    gateway = gateway_of(json.dumps(simulated))
    (pid,) = gateway.workers.values()

    def cpus() -> set[int]:
        tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
        return set[int]().union(*map(os.sched_getaffinity, tasks))

    ends = time.monotonic() + (60.0 if pin else 3.0)
    with httpx.Client(base_url=gateway.url, headers=HEADERS) as client:
        while len(seen := cpus()) > 1 and time.monotonic() < ends:
            for _ in range(20):
                assert client.post(CHAT, json=ask()).status_code == 200
    assert (len(seen) == 1) is pin


@pytest.mark.parametrize("reader", ["gone", "stuck"])
def test_workers_are_started_again_though_nobody_reads_what_is_said(short_dir: Callable[[], Path], reader: str) -> None:
    run_dir = short_dir()
    read_end, write_end = os.pipe()
    if reader == "stuck":
        os.set_blocking(write_end, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write_end, b"x" * 65536)
        os.set_blocking(write_end, True)
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env={**clean_environ(), "GRPC_PORT": "0", "GATEWAY_WORKERS": "1", "GATEWAY_RUN_DIR": str(run_dir)},
        stdout=subprocess.PIPE,
        stderr=write_end,
        text=True,
    )
    os.close(write_end)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        if reader == "gone":
            os.close(read_end)
        gateway = Gateway("", process, run_dir)
        for _ in range(2):
            old = gateway.workers[port]
            os.kill(old, signal.SIGKILL)
            wait_until(lambda old=old: gateway.workers.get(port, old) != old, START_S)  # type: ignore[misc]
        assert gateway.stop() == 0
    finally:
        process.kill()
        process.wait()
        if reader == "stuck":
            os.close(read_end)


def test_an_envoy_that_hangs_does_not_hold_up_the_end(gateway_of: StartGateway) -> None:
    gateway = gateway_of(config("http://127.0.0.1:1", "m", drain="1s"))
    envoy = gateway.envoy
    os.kill(envoy, signal.SIGSTOP)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(START_S) == 0
    assert not Path(f"/proc/{envoy}").exists()


def test_processes_may_have_as_many_files_open_as_the_system_allows(gateway_of: StartGateway) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        gateway = gateway_of()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = str(max(min(soft, hard - 1), min(hard, 1 << 20)))
    for pid in (gateway.process.pid, *gateway.workers.values()):
        (line,) = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in line]
        assert line.split()[3] == most


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"HTTP_HOST": "198.51.100.7"}, "HTTP_HOST sets another"),
        ({"GRPC_PORT": "65535", "GATEWAY_WORKERS": "2"}, "GRPC_PORT: each worker has a port, and 65536 is beyond"),
        (
            {"TLS_CERT": "/nowhere/cert.pem", "TLS_KEY": "/nowhere/key.pem"},
            "TLS_CERT: /nowhere/cert.pem cannot be read",
        ),
    ],
)
def test_addresses_and_files_that_cannot_be_used_are_said_in_a_sentence(
    short_dir: Callable[[], Path], environ: Mapping[str, str], said: str
) -> None:
    free = {"HTTP_PORT": "0", "GRPC_PORT": "0", "GATEWAY_RUN_DIR": str(short_dir())}
    ended = run({**free, **environ}, "--edge")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_one_port_is_not_two(short_dir: Callable[[], Path]) -> None:
    port = str(free_port())
    ports = {"HTTP_PORT": port, "GRPC_PORT": port, "GATEWAY_WORKERS": "1"}
    ended = run({**ports, "GATEWAY_RUN_DIR": str(short_dir())}, "--edge")
    assert (ended.returncode, ended.stderr) == (1, f"HTTP_PORT and GRPC_PORT: {port} cannot be both\n")


def test_localhost_is_a_host(gateway_of: StartGateway) -> None:
    gateway = gateway_of(None, {"HTTP_HOST": "localhost", "GRPC_HOST": "localhost"})
    assert httpx.get(f"{gateway.url}/livez").status_code == 200


def test_an_early_reload_does_not_end_it(short_dir: Callable[[], Path]) -> None:
    environ = {**clean_environ(), "HTTP_PORT": "0", "GRPC_PORT": "0", "GATEWAY_RUN_DIR": str(short_dir())}
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "--edge"],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = threading.Thread(target=process.stdout.readline)
        ready.start()
        while ready.is_alive():
            if _ignores(process.pid, signal.SIGHUP):
                process.send_signal(signal.SIGHUP)
            ready.join(0.02)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_S) == 0
    finally:
        process.kill()
        process.wait()


def _ignores(pid: int, number: signal.Signals) -> bool:
    """Say whether a process ignores a signal, or has a handler for it."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigIgn", "SigCgt"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
