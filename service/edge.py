"""The Envoy of local runs: its configuration with local addresses, its command, its counters."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from service.addresses import on_loopback

_TLS_CONTEXT = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
_ADMIN_S = 1.0
"""An Envoy that hangs does not answer within this."""
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Edge:
    """What differs from one machine to the next.

    `workers` are (host, port). Where `sockets` are given, Envoy speaks to the workers over these Unix sockets instead:
    that is less work for both than TCP. `known_keys`: there are keys that are no secret, for local use.
    `max_heap_bytes`: what Envoy may fill, where it is not what the template says.
    """

    host: str
    port: int
    workers: Sequence[tuple[str, int]]
    admin_socket: Path
    descriptor: Path
    tls_cert: str | None = None
    tls_key: str | None = None
    cors_origins: Sequence[str] = ()
    sockets: Sequence[Path] = ()
    known_keys: bool = False
    max_heap_bytes: int | None = None


def render(template: str, edge: Edge) -> str:
    """Return envoy/envoy.yaml's text with `edge` in place."""
    config = yaml.safe_load(template)
    config["admin"]["address"]["pipe"]["path"] = str(edge.admin_socket)
    listener = config["static_resources"]["listeners"][0]
    cluster = config["static_resources"]["clusters"][0]
    chain = listener["filter_chains"][0]
    connections = chain["filters"][0]["typed_config"]
    listener["address"] = _tcp(edge.host, edge.port)
    del cluster["cluster_type"]
    cluster["type"] = "STATIC"
    addresses = [_pipe(path) for path in edge.sockets] or [_tcp(host, port) for host, port in edge.workers]
    endpoints = [{"endpoint": {"address": address}} for address in addresses]
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
    transcoder = next(f for f in connections["http_filters"] if f["name"] == "envoy.filters.http.grpc_json_transcoder")
    transcoder["typed_config"]["proto_descriptor"] = str(edge.descriptor)
    hosts = connections["route_config"]["virtual_hosts"]
    cors = hosts[0]["typed_per_filter_config"]["envoy.filters.http.cors"]
    cors["allow_origin_string_match"] += [{"exact": origin} for origin in edge.cors_origins]
    if edge.known_keys and on_loopback(edge.host):
        # A page may let its own name lead here (DNS rebinding), and then call with a key that everybody knows.
        hosts[0]["domains"] = sorted({*_LOCAL_NAMES, edge.host})
        hosts.append(_elsewhere())
    if edge.max_heap_bytes is not None:
        monitors = config["overload_manager"]["resource_monitors"]
        heap = next(m for m in monitors if m["name"] == "envoy.resource_monitors.fixed_heap")
        heap["typed_config"]["max_heap_size_bytes_runtime"]["default_value"] = edge.max_heap_bytes
    if edge.tls_cert and edge.tls_key:
        chain["transport_socket"] = _tls(edge.tls_cert, edge.tls_key)
    text: str = yaml.safe_dump(config, sort_keys=False)
    return text


def command(config: Path, threads: int) -> Sequence[str] | None:
    """Return how to run Envoy with a configuration; None when it is not installed."""
    beside_python = Path(sys.executable).with_name("envoy")
    binary = str(beside_python) if beside_python.exists() else shutil.which("envoy")
    if binary is None:
        return None
    options = ("--disable-hot-restart", "--log-level", "warning", "--file-flush-interval-msec", "1000")
    return (binary, "-c", str(config), "--concurrency", str(threads), *options)


async def counter(admin_socket: Path, name: str) -> int | None:
    """Return one of Envoy's counters; None while Envoy does not answer or does not have it yet."""
    try:
        async with asyncio.timeout(_ADMIN_S):
            answer = await _asked(admin_socket, f"/stats?filter=^{name}$")
    except OSError:  # a timeout is one, too
        return None
    _, found, rest = answer.partition(f"{name}: ")
    return int(rest.split()[0]) if found else None


async def _asked(admin_socket: Path, path: str) -> str:
    reader, writer = await asyncio.open_unix_connection(str(admin_socket))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
        return (await reader.read()).decode()
    finally:
        writer.close()


def worker_socket(folder: str | Path, place: int) -> Path:
    """Return where a worker listens for the Envoy of its machine."""
    return Path(folder) / f"worker{place}.sock"


def _tcp(host: str, port: int) -> Mapping[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _pipe(path: Path) -> Mapping[str, Any]:
    return {"pipe": {"path": str(path)}}


def _elsewhere() -> Mapping[str, Any]:
    """Return the virtual host of all other names: they are not served."""
    names = ("envoy.filters.http.grpc_json_transcoder", "envoy.filters.http.lua")
    filters = {name: {"@type": _FILTER_CONFIG, "disabled": True} for name in names}
    text = f"Only {', '.join(_LOCAL_NAMES)} are served on loopback; the Host header has another name."
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 421, "body": {"inline_string": text}}}
    return {"name": "elsewhere", "domains": ["*"], "routes": [route], "typed_per_filter_config": filters}


def _tls(cert: str, key: str) -> Mapping[str, Any]:
    context = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [{"certificate_chain": {"filename": cert}, "private_key": {"filename": key}}],
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": _TLS_CONTEXT, "common_tls_context": context},
    }
