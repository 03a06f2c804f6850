"""The gateway as `make up` starts it, and the limits beside it: Envoy alone, and behind Envoy an empty service and one
that passes requests on."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench import wire
from bench.fake_provider import FakeProvider
from bench.processes import (
    START_S,
    NotRun,
    Process,
    command_line,
    family,
    free_port,
    last_line,
    listens,
    start,
    wait_for_port,
)
from bench.target import Route, Target
from service import edge

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-bench-key"
_AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
_PATH = "/v1/chat/completions"
_STREAM_MODELS = (wire.STREAM_MODEL, wire.SLOW_MODEL, wire.FIRST_MODEL, wire.BURST_MODEL)
TLS = "tls"
_VENDORS: Mapping[str, tuple[str, str]] = {
    "openai": ("openai", "/v1"),
    "anthropic": ("anthropic", ""),
    "google": ("google", "/v1beta"),
    TLS: ("openai", "/v1"),
}
"""Each model's prefix: its dialect, and where that one's base URL ends."""


def configuration(fake: FakeProvider) -> Mapping[str, Any]:
    """Return a catalogue with each dialect's models: `openai/bench-unary`, `anthropic/bench-4ms200` and so on.

    Those that begin with `tls` are the same as `openai`'s, from a provider that is called with TLS.
    """
    providers: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for vendor, (dialect, path) in _VENDORS.items():
        tls = vendor == TLS
        whole, streamed = (fake.tls_unary_url, fake.tls_stream_url) if tls else (fake.unary_url, fake.stream_url)
        for kind, url, names in (("whole", whole, (wire.UNARY_MODEL,)), ("streamed", streamed, _STREAM_MODELS)):
            provider = f"{vendor}-{kind}"
            providers[provider] = {"dialect": dialect, "base_url": url + path, "api_key": "sk-upstream-key"}
            if tls:
                providers[provider]["ca_file"] = str(fake.authority)
            for name in names:
                endpoint = {"provider": provider, "model": name}
                models[f"{vendor}/{name}"] = {
                    "modalities": {"input": ["text", "image"], "output": ["text"]},
                    "endpoints": [endpoint],
                }
    key = {"name": "bench", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}
    return {"providers": providers, "models": models, "keys": [key]}


def start_gateway(fake: FakeProvider, folder: Path, workers: int) -> Target:
    """Start the gateway behind its Envoy. Raises NotRun."""
    name = f"gateway-{workers}"
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(configuration(fake)))
    port = free_port()
    run_dir = folder / name
    environ = {
        "GATEWAY_CONFIG": str(config),
        "GATEWAY_WORKERS": str(workers),
        "GATEWAY_RUN_DIR": str(run_dir),
        "GRPC_PORT": "0",
        "HTTP_PORT": str(port),
    }
    process = start(name, (sys.executable, "-m", "service", "--edge"), folder, environ, ROOT)
    _wait_for_health(process, port)
    # The worker that waits to take a dead one's place starts after the others.
    time.sleep(2.0)
    children = [pid for pid in family(process.popen.pid) if pid != process.popen.pid]
    envoy = [pid for pid in children if "--disable-hot-restart" in command_line(pid)]
    all_workers = [pid for pid in children if " worker" in command_line(pid)]
    serving = [pid for pid in all_workers if listens(pid)]
    spare = [pid for pid in all_workers if pid not in serving]
    route = Route(f"http://127.0.0.1:{port}{_PATH}", _AUTHORIZED, "openai/")
    label = f"Chat Gateway, {workers} worker{'s' if workers > 1 else ''}"
    return Target(label, route, route, {"service": serving, "envoy": envoy, "spare worker": spare}, (process,))


def start_floor(folder: Path) -> Target:
    """Start an empty grpc.aio service behind the gateway's own Envoy. Raises NotRun."""
    return _start_behind_envoy("empty grpc.aio service", "floor", folder)


def start_passing(fake: FakeProvider, folder: Path) -> Target:
    """Start what passes requests on with the gateway's server and client, behind its own Envoy. Raises NotRun."""
    # An abstract socket: it leaves no file behind.
    socket = f"bench-passing-{free_port()}"
    return _start_behind_envoy("passing on", "passing", folder, socket, fake.unary_url, sockets=[Path(f"@{socket}")])


def _start_behind_envoy(label: str, module: str, folder: Path, *arguments: str, sockets: Sequence[Path] = ()) -> Target:
    """Start a service of this package behind the gateway's own Envoy. Raises NotRun."""
    port, grpc_port = free_port(), free_port()
    command = (sys.executable, "-m", f"bench.{module}", str(grpc_port), *arguments)
    service = start(module, command, folder, cwd=ROOT)
    wait_for_port(service, grpc_port)
    place = edge.Edge(
        host="127.0.0.1",
        port=port,
        workers=[("127.0.0.1", grpc_port)],
        admin_socket=folder / f"{module}-admin.sock",
        descriptor=ROOT / "gen" / "gateway.binpb",
        sockets=sockets,
    )
    config = folder / f"{module}-envoy.yaml"
    rendered = yaml.safe_load(edge.render((ROOT / "envoy" / "envoy.yaml").read_text(), place))
    del rendered["admin"]  # nobody asks, and its socket would be left behind
    config.write_text(yaml.safe_dump(rendered))
    envoy = _start_envoy(f"{module}-envoy", config, folder)
    wait_for_port(envoy, port)
    time.sleep(1.0)
    route = Route(f"http://127.0.0.1:{port}{_PATH}")
    parts = {"service": [service.popen.pid], "envoy": [envoy.popen.pid]}
    return Target(label, route, route, parts, (service, envoy))


def start_envoy_alone(fake: FakeProvider, folder: Path) -> Target:
    """Start an Envoy that does nothing but pass requests on. Raises NotRun."""
    port = free_port()
    config = folder / "envoy-alone.yaml"
    config.write_text(yaml.safe_dump(_pass_on(port, fake)))
    envoy = _start_envoy("envoy-alone", config, folder)
    wait_for_port(envoy, port)
    url = f"http://127.0.0.1:{port}"
    return Target(
        "Envoy alone",
        Route(f"{url}{_PATH}"),
        Route(f"{url}/stream{_PATH}"),
        {"envoy": [envoy.popen.pid]},
        (envoy,),
    )


def direct(fake: FakeProvider) -> Target:
    """Return the fake provider itself."""
    source = Route(fake.stream_url + _PATH)
    return Target("direct call", Route(fake.unary_url + _PATH), source, {}, ())


def _start_envoy(name: str, config: Path, folder: Path) -> Process:
    command = edge.command(config, 1)
    if command is None:
        raise NotRun("Envoy is not installed")
    return start(name, command, folder)


def _wait_for_health(process: Process, port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.popen.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.02)
    raise NotRun(f"the gateway did not start: {last_line(process.log)}")


def _pass_on(port: int, fake: FakeProvider) -> Mapping[str, Any]:
    extensions = "type.googleapis.com/envoy.extensions.filters"
    routes = [
        {"match": {"prefix": "/stream/"}, "route": {"cluster": "stream", "prefix_rewrite": "/", "timeout": "0s"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "unary", "timeout": "0s"}},
    ]
    router = {"@type": f"{extensions}.http.router.v3.Router"}
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "alone",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    clusters = [_cluster("unary", fake.unary_url), _cluster("stream", fake.stream_url)]
    listener = {"name": "alone", "address": _address("127.0.0.1", port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _cluster(name: str, url: str) -> Mapping[str, Any]:
    host, _, port = url.removeprefix("http://").partition(":")
    endpoint = {"endpoint": {"address": _address(host, int(port))}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    limits = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": assignment,
        "circuit_breakers": {"thresholds": [limits]},
    }


def _address(host: str, port: int) -> Mapping[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
