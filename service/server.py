"""One worker: wires the rooms together, serves, reloads on SIGHUP and drains on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
from gateway.v1 import (
    chat_service_pb2,
    chat_service_pb2_grpc,
    health_service_pb2,
    health_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    openai_service_pb2,
    openai_service_pb2_grpc,
    provider_service_pb2,
    provider_service_pb2_grpc,
)
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service import catalogue, edge, telemetry
from service.accepting import accepting_server
from service.addresses import on_loopback
from service.chat import ChatCompletions, Deps
from service.config import Config
from service.faces.chat import ChatFace
from service.faces.interceptor import NATIVE_PREFIX, CallInterceptor
from service.faces.large import LargeRequests
from service.faces.models import HealthFace, ModelFace, ProviderFace
from service.faces.openai import OpenAiFace
from service.keys import Keyring
from service.limits import Limiter
from service.loop import EventLoop
from service.pinning import Pinner
from service.providers import DIALECTS, simulator
from service.routing import HealthBoard
from service.runtime import Runtime, Snapshot
from service.sent import SentRecord
from service.threads import polite_threads
from service.tools import REGISTRY
from service.upstream import Upstream

log = logging.getLogger("gateway")

# What Envoy lets through, and a little above it: so the faces answer for bodies over their limit, and not gRPC.
_EDGE_BYTES = 32 * 1024 * 1024
_MESSAGE_SLACK = 1024 * 1024
_SENT_PLACES = 16
"""For each request that there may be at once: so many more are remembered after their end, some seconds' worth."""
_LEAST_SENT_PLACES = 65_536
"""The limit of requests at once may be raised while the worker runs."""
_GARBAGE = 10_000
"""So many more objects than before, and the collector looks at the youngest. With Python's 700 it does so every few
requests, nearly always in vain: little here is made in circles."""
_JSON_METHOD = "/gateway.v1.OpenAiService/CreateChatCompletion"
_FILES = (chat_service_pb2, health_service_pb2, model_service_pb2, openai_service_pb2, provider_service_pb2)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Where a worker listens, its place among the workers, and its environment."""

    address: str
    index: int
    environ: Mapping[str, str]


def run(settings: WorkerSettings) -> None:
    """Serve until SIGTERM."""
    telemetry.configure(settings.environ)
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(serve(settings))


async def serve(settings: WorkerSettings) -> None:
    """Serve until SIGTERM or SIGINT, then let what is in flight finish."""
    loop = asyncio.get_running_loop()
    # Before the configuration is read: what asks for a reload from here on waits until there is something to reload.
    reload = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    config = catalogue.load(settings.environ.get("GATEWAY_CONFIG"), settings.environ)
    limiter = Limiter(config, settings.index, settings.environ.get("GATEWAY_LIMITS_FILE"))
    board = HealthBoard(config)
    worker = _Worker(settings, board, limiter)
    runtime = Runtime(worker.snapshot(config), board, limiter)
    folder = settings.environ.get("GATEWAY_SENT_DIR")
    sent = SentRecord(folder, max(_SENT_PLACES * config.server.max_concurrency, _LEAST_SENT_PLACES)) if folder else None
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with polite_threads():
        server, checks = make_server(CallInterceptor(runtime, sent), runtime, config)
        server.add_insecure_port(settings.address)
        if sockets := settings.environ.get("GATEWAY_SOCKET_DIR"):
            # gRPC takes an address for a URL.
            server.add_insecure_port(f"unix:{quote(str(edge.worker_socket(sockets, settings.index)))}")
        await server.start()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, *gc.get_threshold()[1:])
    pinner = Pinner()
    if config.server.pin:
        pinner.start()
    log.info("ready", extra={"facts": {"worker": settings.index, "address": settings.address}})
    reloading = asyncio.create_task(worker.reload_when_asked(reload, runtime))
    await stop.wait()
    pinner.stop()
    reloading.cancel()
    await checks.enter_graceful_shutdown()
    await runtime.drain(runtime.snapshot.config.server.drain)
    await server.stop(grace=1.0)
    await runtime.snapshot.upstream.close()
    await limiter.close()
    runtime.access_log.flush()


class _Worker:
    """Makes snapshots: at start, and anew on reload."""

    def __init__(self, settings: WorkerSettings, board: HealthBoard, limiter: Limiter) -> None:
        self._settings = settings
        self._board = board
        self._limiter = limiter
        self._closing: set[asyncio.Task[None]] = set()

    def snapshot(self, config: Config) -> Snapshot:
        """Return a configuration with everything made from it."""
        upstream = Upstream(config.providers, {"simulator": simulator.play})
        masker = telemetry.Masker(config)
        deps = Deps(
            config=config,
            dialects=DIALECTS,
            upstream=upstream,
            health=self._board,
            limiter=self._limiter,
            tools=REGISTRY,
            masker=masker,
            rng=random.Random(),
        )
        # Envoy in front of a worker on loopback may itself listen on every address.
        doors = (self._settings.address, self._settings.environ.get("HTTP_HOST") or "127.0.0.1")
        keyring = Keyring(config.keys, loopback=on_loopback(*doors))
        return Snapshot(config, keyring, ChatCompletions(deps), masker, upstream)

    async def reload_when_asked(self, asked: asyncio.Event, runtime: Runtime) -> None:
        """Reload each time that it is asked for."""
        while True:
            await asked.wait()
            asked.clear()
            self._reload(runtime)

    def _reload(self, runtime: Runtime) -> None:
        """Take a new configuration; a bad one leaves the old one serving. Calls in flight end on the old one."""
        old = runtime.snapshot
        try:
            environ = self._settings.environ
            config = catalogue.load(environ.get("GATEWAY_CONFIG"), environ)
            fresh = self.snapshot(config)
            # Last, and in this order: what can fail comes before what changes anything.
            self._limiter.reload(config)
            self._board.reload(config)
        except catalogue.ConfigError as error:
            log.error("reload refused", extra={"facts": {"mistakes": error.mistakes}})
            return
        except Exception:
            log.exception("reload failed")
            return
        runtime.snapshot = fresh
        closing = asyncio.ensure_future(_close_after(runtime.running, old))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        log.info("reloaded", extra={"facts": {"models": len(config.models), "keys": len(config.keys)}})


async def _close_after(calls: Collection[asyncio.Task[Any]], old: Snapshot) -> None:
    """Close a replaced snapshot's connections once the calls have ended that may use them."""
    try:
        if calls:
            await asyncio.wait(calls)
    finally:
        await old.upstream.close()


def make_server(
    interceptor: CallInterceptor, runtime: Runtime, config: Config
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    """Return a server with all methods, and what answers its health checks."""
    options = (
        ("grpc.max_receive_message_length", max(config.server.max_body_bytes, _EDGE_BYTES) + _MESSAGE_SLACK),
        ("grpc.max_send_message_length", -1),
        # Envoy admits 32 KiB of headers.
        ("grpc.max_metadata_size", 64 * 1024),
        ("grpc.absolute_max_metadata_size", 128 * 1024),
        # Identity alone: a message of a few kilobytes may be one of many megabytes.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
        ("grpc.keepalive_permit_without_calls", 1),
    )
    large = LargeRequests()
    openai_face = OpenAiFace(runtime, large, _asset("openapi.json"), _asset("docs.html"))
    chat_face = ChatFace(runtime, large)
    answers = {
        _JSON_METHOD: openai_face.CreateChatCompletion,
        NATIVE_PREFIX + "CreateChatCompletion": chat_face.CreateChatCompletion,
        NATIVE_PREFIX + "StreamChatCompletion": chat_face.StreamChatCompletion,
    }
    direct = {method: interceptor.around(method, answer) for method, answer in answers.items()}
    server = accepting_server((interceptor,), options, direct=direct)
    checks = health.aio.HealthServicer()
    chat_service_pb2_grpc.add_ChatCompletionServiceServicer_to_server(chat_face, server)
    openai_service_pb2_grpc.add_OpenAiServiceServicer_to_server(openai_face, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelFace(runtime), server)
    provider_service_pb2_grpc.add_ProviderServiceServicer_to_server(ProviderFace(runtime), server)
    health_service_pb2_grpc.add_HealthServiceServicer_to_server(HealthFace(runtime), server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    files: list[FileDescriptor] = [module.DESCRIPTOR for module in _FILES]
    names = [service.full_name for file in files for service in file.services_by_name.values()]
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return server, checks


def _asset(name: str) -> bytes:
    """Return a file of gen/, which is installed beside the generated package."""
    folder = Path(str(resources.files("gateway")))
    return (folder / name).read_bytes()


def settings_from(address: str, index: int) -> WorkerSettings:
    """Return a worker's settings with this process's environment."""
    return WorkerSettings(address, index, dict(os.environ))
