"""The peers: installed when they are first needed, from pinned versions, and started with their documented settings.

What cannot be installed or does not start is reported, not guessed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from bench import wire
from bench.fake_provider import FakeProvider
from bench.processes import START_S, NotRun, Process, family, free_port, last_line, start, wait_for_port
from bench.target import Route, Target

_HERE = Path(__file__).resolve().parent / "peers"
_MODELS = (wire.UNARY_MODEL, wire.STREAM_MODEL, wire.FIRST_MODEL)
_KEY = "sk-bench-key"
_AUTHORIZED = {"Authorization": f"Bearer {_KEY}"}
_PATH = "/v1/chat/completions"
_INSTALL_S = 600.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer: its name, the package whose version is told, and how it is started in its own folder."""

    name: str
    package: str
    start: Callable[[FakeProvider, Path], Target]


def start_peer(peer: Peer, fake: FakeProvider, home: Path) -> Target:
    """Install a peer if need be, start it, and see it answer. Raises NotRun."""
    folder = home / peer.package.rpartition("/")[2]
    _install(peer, folder)
    target = peer.start(fake, folder)
    try:
        _see_it_answer(target)
    except NotRun:
        target.stop()
        raise
    return target


def _install(peer: Peer, folder: Path) -> None:
    done = folder / "installed"
    lock = _HERE / (f"{peer.package}.lock" if not peer.package.startswith("@") else "portkey.json")
    if done.exists() and done.read_text() == lock.read_text():
        return
    print(f"Installing {peer.name} ...", file=sys.stderr, flush=True)
    if lock.suffix == ".json":
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(lock.read_text())
        _run(("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"), folder)
    else:
        _run((sys.executable, "-m", "venv", str(folder)), lock.parent)
        pip = (str(folder / "bin" / "pip"), "install", "--disable-pip-version-check", "-q", "--no-deps")
        _run((*pip, "-r", str(lock)), lock.parent)
    done.write_text(lock.read_text())


def _run(command: tuple[str, ...], folder: Path) -> None:
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_INSTALL_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotRun(f"it could not be installed: {type(error).__name__}") from error
    if result.returncode:
        raise NotRun(f"it could not be installed: {command[0].rpartition('/')[2]} ended with {result.returncode}")


def _see_it_answer(target: Target) -> None:
    """Ask until whole answers and streams come: some peers listen before they can serve."""
    until = time.monotonic() + START_S / 2
    said = ""
    while time.monotonic() < until:
        try:
            said = _ask(target.unary, wire.UNARY_MODEL, stream=False) or _ask(
                target.stream, wire.FIRST_MODEL, stream=True
            )
        except httpx.HTTPError as error:
            said = type(error).__name__
        if not said:
            return
        time.sleep(0.5)
    raise NotRun(f"it did not answer: {said}")


def _ask(route: Route, model: str, *, stream: bool) -> str:
    """Return what was wrong with an answer; nothing when it was right."""
    headers = {"content-type": "application/json", **route.headers}
    body = wire.request(route.model + model, stream=stream)
    answer = httpx.post(route.url, headers=headers, content=body, timeout=10)
    right = answer.status_code == 200 and ("data: {" if stream else '"Hello there') in answer.text
    return "" if right else f"{answer.status_code} {answer.text[:120]}"


def _version(folder: Path, package: str) -> str:
    if package.startswith("@"):
        text = (folder / "node_modules" / package / "package.json").read_text()
        return str(json.loads(text)["version"])
    lock = (_HERE / f"{package}.lock").read_text().splitlines()
    return next(line.partition("==")[2] for line in lock if line.startswith(f"{package}=="))


def _target(name: str, folder: Path, package: str, routes: tuple[Route, Route], *processes: Process) -> Target:
    pids = [pid for process in processes for pid in family(process.popen.pid)]
    return Target(name, routes[0], routes[1], {"service": pids}, processes, _version(folder, package))


def _start_litellm(fake: FakeProvider, folder: Path) -> Target:
    # docs.litellm.ai/docs/proxy/prod: this configuration, LITELLM_MODE and LITELLM_LOG, one worker a core given to it.
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": (fake.unary_url if name == wire.UNARY_MODEL else fake.stream_url) + "/v1",
                "api_key": _KEY,
            },
        }
        for name in _MODELS
    ]
    settings = {"request_timeout": 600, "set_verbose": False, "json_logs": True}
    config = {"model_list": models, "litellm_settings": settings, "general_settings": {"master_key": _KEY}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    environ = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    command = (str(folder / "bin" / "litellm"), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1")
    options = ("--port", str(port), "--num_workers", "1", "--run_granian", "--telemetry", "False")
    process = start("litellm", (*command, *options), folder, environ, folder)
    wait_for_port(process, port)
    route = Route(f"http://127.0.0.1:{port}{_PATH}", _AUTHORIZED)
    return _target("LiteLLM proxy", folder, "litellm", (route, route), process)


def _start_portkey(fake: FakeProvider, folder: Path) -> Target:
    port = free_port()
    script = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    command = ("node", str(script), f"--port={port}", "--headless")
    # The fake provider is on loopback, which the gateway does not call unless told that it may.
    environ = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    process = start("portkey", command, folder, environ, folder)
    wait_for_port(process, port)
    routes = [
        Route(
            f"http://127.0.0.1:{port}{_PATH}",
            {**_AUTHORIZED, "x-portkey-provider": "openai", "x-portkey-custom-host": f"{url}/v1"},
        )
        for url in (fake.unary_url, fake.stream_url)
    ]
    return _target("Portkey gateway", folder, "@portkey-ai/gateway", (routes[0], routes[1]), process)


def _start_smg(fake: FakeProvider, folder: Path) -> Target:
    options = ("--backend", "openai", "--log-level", "error")
    return _start_router("smg", folder, ("launch",), options, fake)


def _start_vllm_router(fake: FakeProvider, folder: Path) -> Target:
    options = ("--policy", "round_robin", "--log-level", "error")
    return _start_router("vllm-router", folder, (), options, fake)


def _start_router(
    package: str, folder: Path, command: tuple[str, ...], options: tuple[str, ...], fake: FakeProvider
) -> Target:
    """Start a router twice, in front of whole answers and in front of streams: it has one kind of worker."""
    processes, routes = [], []
    for kind, url in (("whole", fake.unary_url), ("streamed", fake.stream_url)):
        port, metrics = free_port(), free_port()
        where = ("--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(metrics), "--worker-urls", url)
        process = start(
            f"{package}-{kind}", (str(folder / "bin" / package), *command, *where, *options), folder, cwd=folder
        )
        wait_for_port(process, port)
        processes.append(process)
        routes.append(Route(f"http://127.0.0.1:{port}{_PATH}", _AUTHORIZED))
    return _target(package, folder, package, (routes[0], routes[1]), *processes)


_TENSORZERO = """\
import sys, threading, tensorzero
gateway = tensorzero.tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
print(gateway.base_url, flush=True)
threading.Event().wait()
"""


def _start_tensorzero(fake: FakeProvider, folder: Path) -> Target:
    models = "".join(_TENSORZERO_MODEL.format(name=name, url=_base(fake, name)) for name in _MODELS)
    (folder / "tensorzero.toml").write_text("[gateway]\nobservability.enabled = false\n" + models)
    (folder / "run.py").write_text(_TENSORZERO)
    command = (str(folder / "bin" / "python"), "run.py", "tensorzero.toml")
    process = start("tensorzero", command, folder, cwd=folder)
    until = time.monotonic() + START_S
    while not (said := [line for line in process.log.read_text().splitlines() if line.startswith("http")]):
        if process.popen.poll() is not None or time.monotonic() > until:
            process.stop()
            raise NotRun(f"it did not start: {last_line(process.log)}")
        time.sleep(0.1)
    url = said[0].rstrip("/").removesuffix("/openai/v1")
    route = Route(f"{url}/openai{_PATH}", {}, "tensorzero::model_name::")
    return _target("TensorZero", folder, "tensorzero", (route, route), process)


_TENSORZERO_MODEL = """
[models."{name}"]
routing = ["fake"]
[models."{name}".providers.fake]
type = "openai"
model_name = "{name}"
api_base = "{url}/v1/"
api_key_location = "none"
"""


def _base(fake: FakeProvider, model: str) -> str:
    return fake.unary_url if model == wire.UNARY_MODEL else fake.stream_url


PEERS: Mapping[str, Peer] = {
    "litellm": Peer("LiteLLM proxy", "litellm", _start_litellm),
    "portkey": Peer("Portkey gateway", "@portkey-ai/gateway", _start_portkey),
    "smg": Peer("smg", "smg", _start_smg),
    "vllm-router": Peer("vllm-router", "vllm-router", _start_vllm_router),
    "tensorzero": Peer("TensorZero", "tensorzero", _start_tensorzero),
}
