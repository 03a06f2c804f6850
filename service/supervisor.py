"""Runs the workers, with Envoy in front of them when asked: starts them, starts them again, reloads and drains them."""

from __future__ import annotations

import asyncio
import atexit
import functools
import hashlib
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path

from service import edge
from service.addresses import claim, in_url, listens, on_loopback, reachable
from service.child import Child, Program, Spares, start
from service.config import Config
from service.run_dir import RunDir
from service.settings import Settings, StartError, load, worker_count
from service.telemetry import Writer

_ROOT = Path(__file__).resolve().parent.parent
_ENVOY = "Envoy"
_POLL_S = 0.05
# So many short lives before everything was ready once: it will not get better.
_HOPELESS = 3
# Workers end by themselves within `server.drain`; this much later they are killed.
_DRAIN_MARGIN_S = 5.0
# Envoy may need so long to hand the last bytes to slow clients.
_FLUSH_S = 5.0
_STDOUT, _STDERR = 1, 2

CURL = """\
curl {url}/v1/chat/completions -H {authorization} -H 'Content-Type: application/json' -d '{{
  "model": "{model}", "stream": false,
  "messages": [{{"role": "user", "content": "What is the current datetime in Europe/London?"}}],
  "tools": [{{"type": "gateway:datetime", "parameters": {{"timezone": "Europe/London"}}}}], "tool_choice": "auto"}}'"""


class Supervisor:
    """The processes of one gateway."""

    def __init__(self, settings: Settings, with_edge: bool) -> None:
        """Load the configuration and claim the ports. Raises StartError."""
        self._settings = settings
        config, content = load(settings)
        self._config = config
        self._known_keys = _knows_keys(config)
        self._host = in_url(settings.grpc_host or config.server.host)
        first = config.server.port if settings.grpc_port is None else settings.grpc_port
        count = worker_count(settings, config, _cpus())
        self._http_port = claim(settings.http_host, settings.http_port, "HTTP") if with_edge else None
        offsets = range(count) if first else [0] * count
        self._ports = [claim(self._host, first + offset, "GRPC") for offset in offsets]
        if self._http_port in self._ports:
            raise StartError(f"HTTP_PORT and GRPC_PORT: {self._http_port} cannot be both")
        run_dir = settings.run_dir or _ROOT / ".run" / str(self._http_port or self._ports[0])
        self._run_dir = RunDir(run_dir, count if with_edge else 0)
        self._spares = self._make_spares()
        self._workers = [self._worker(place, port) for place, port in enumerate(self._ports)]
        self._envoy = self._make_envoy(self._http_port) if self._http_port else None
        self._children = [*self._workers, self._envoy] if self._envoy else self._workers
        try:
            self._keep(content, config)
        except OSError as error:
            raise self._run_dir.unusable(error) from error
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, drain, and return the exit code. Raises StartError when nothing comes up."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._run_dir.forget()
        running = [asyncio.ensure_future(child.keep_running()) for child in self._children]
        for task in running:
            task.add_done_callback(self._on_end)
        try:
            if not await _sooner(self._until_ready(), self._stop.wait()):
                _writer(_STDOUT).put(f"{self._greeting()}\n".encode())
                await self._spares.prepare()
                await self._stop.wait()
            return await _sooner(self._drain(running), self._force.wait())
        finally:
            for child in self._children:
                child.stop(signal.SIGKILL)
            await self._spares.close()
            await asyncio.gather(*running)
            self._run_dir.close()

    async def _until_ready(self) -> None:
        while not await self._is_ready():
            hopeless = [child.name for child in self._children if child.early_deaths >= _HOPELESS]
            if hopeless:
                log = f"; {self._run_dir.envoy_log} says why" if hopeless[0] == _ENVOY else ""
                raise StartError(f"{hopeless[0]} does not stay up{log}")
            await asyncio.sleep(_POLL_S)

    async def _is_ready(self) -> bool:
        if self._envoy:
            healthy = await edge.counter(self._run_dir.admin_socket, "cluster.service.membership_healthy")
            return healthy == len(self._ports)
        return all([await listens(reachable(self._host), port) for port in self._ports])

    async def _drain(self, running: Sequence[asyncio.Future[None]]) -> None:
        """Let the workers finish what they have; until then Envoy tells newcomers to come back."""
        for worker in self._workers:
            worker.stop()
        await asyncio.wait(running[: len(self._workers)], timeout=self._config.server.drain + _DRAIN_MARGIN_S)
        if self._envoy:
            for _ in range(int(_FLUSH_S / _POLL_S)):
                if not await edge.counter(self._run_dir.admin_socket, "http.edge.downstream_rq_active"):
                    break
                await asyncio.sleep(_POLL_S)
            self._envoy.stop()
            await asyncio.wait(running[-1:], timeout=_FLUSH_S)

    def _on_stop(self) -> None:
        """Drain at the first signal; end at once at the second."""
        (self._force if self._stop.is_set() else self._stop).set()

    def _on_end(self, running: asyncio.Future[None]) -> None:
        """Drain, and end with the error, where a process is not kept running any more because of one."""
        if not running.cancelled() and running.exception() is not None:
            self._stop.set()

    def _reload(self) -> None:
        """Hand a good new configuration to the workers; a bad one changes nothing."""
        try:
            config, content = load(self._settings)
            local = self._envoy is not None and on_loopback(self._settings.http_host)
            if local and _knows_keys(config) and not self._known_keys:
                raise StartError("keys: local_only is for a gateway that started with such a key; start it again")
            self._keep(content, config)
        except (StartError, OSError) as error:
            report("the configuration is not reloaded; the old one goes on serving", str(error))
            return
        self._config = config
        for worker in self._workers:
            worker.send(signal.SIGHUP)

    def _keep(self, content: bytes, config: Config) -> None:
        """Keep what was checked: a worker that is started again never reads a bad newer file."""
        if self._settings.config is not None:
            files = [provider.ca_file for provider in config.providers.values() if provider.ca_file]
            self._run_dir.keep_config(content, files)

    def _make_spares(self) -> Spares:
        # glibc keeps an arena for each thread, and large bodies would leave holes in all of them; of each size it keeps
        # seven freed pieces at hand, and the texts of a large request are hundreds.
        environ = {
            "MALLOC_ARENA_MAX": "1",
            "GLIBC_TUNABLES": "glibc.malloc.tcache_count=300",
            # What callers send wrong is no news, and its lines would be no JSON.
            "GRPC_VERBOSITY": "NONE",
            **self._settings.environ,
            "GATEWAY_LIMITS_FILE": str(self._run_dir.limits),
        }
        if self._http_port is not None:
            # Other Envoys may have workers elsewhere, whose record would have to be the same.
            environ["GATEWAY_SENT_DIR"] = str(self._run_dir.sent)
            environ["GATEWAY_SOCKET_DIR"] = str(self._run_dir.path)
        environ.pop("GATEWAY_CONFIG", None)
        if self._settings.config is not None:
            environ["GATEWAY_CONFIG"] = str(self._run_dir.config)
            environ["GATEWAY_CA_DIR"] = str(self._run_dir.certificates)
        return Spares(Program((sys.executable, "-m", "service", "worker"), environ), report)

    def _worker(self, place: int, port: int) -> Child:
        order = f"{self._host}:{port} {place}"
        return Child(f"worker {place}", functools.partial(self._spares.take, order), report)

    def _make_envoy(self, port: int) -> Child:
        settings, run_dir = self._settings, self._run_dir
        command = edge.command(run_dir.envoy_config, max(1, _cpus() // 2))
        if command is None:
            raise StartError("Envoy is not installed; `make up` installs it")
        place = edge.Edge(
            host=settings.http_host,
            port=port,
            workers=[(reachable(self._host), worker) for worker in self._ports],
            sockets=run_dir.sockets,
            admin_socket=run_dir.admin_socket,
            descriptor=_ROOT / "gen" / "gateway.binpb",
            tls_cert=settings.tls_cert,
            tls_key=settings.tls_key,
            cors_origins=settings.cors_origins,
            known_keys=self._known_keys,
            max_heap_bytes=settings.max_heap_bytes,
        )
        try:
            run_dir.envoy_config.write_text(edge.render((_ROOT / "envoy" / "envoy.yaml").read_text(), place))
        except OSError as error:
            raise run_dir.unusable(error) from error
        logs = {"stdout": run_dir.access_log, "stderr": run_dir.envoy_log}
        return Child(_ENVOY, functools.partial(start, Program(command, settings.environ, **logs)), report)

    def _greeting(self) -> str:
        workers = f"{len(self._ports)} worker{'s' if len(self._ports) > 1 else ''}"
        if self._http_port is None:
            return f"Chat Gateway is ready: {workers}, gRPC at {self._host}:{','.join(map(str, self._ports))}"
        scheme = "https" if self._settings.tls_cert else "http"
        url = f"{scheme}://{in_url(reachable(self._settings.http_host))}:{self._http_port}"
        models, local_key = self._config.models, hashlib.sha256(b"sk-local").hexdigest()
        model = "local/simulator" if "local/simulator" in models else next(iter(models), "")
        closed = on_loopback(self._settings.http_host, self._host)
        is_local = any(key.sha256 == local_key and (closed or not key.local_only) for key in self._config.keys)
        authorization = "'Authorization: Bearer sk-local'" if is_local else '"Authorization: Bearer $GATEWAY_KEY"'
        ready = f"Chat Gateway is ready at {url} ({workers}). Ctrl-C stops it."
        return f"{ready}\n\n{CURL.format(url=url, authorization=authorization, model=model)}\n"


def report(*sentences: str) -> None:
    """Tell the person who started the gateway. Nobody waits for that: the pipe may be full, or its reader gone."""
    _writer(_STDERR).put("".join(f"{sentence}\n" for sentence in sentences).encode(errors="backslashreplace"))


@functools.cache
def _writer(file: int) -> Writer:
    writer = Writer(file)
    atexit.register(writer.flush)
    return writer


def _knows_keys(config: Config) -> bool:
    """Say whether there are keys that are no secret."""
    return any(key.local_only for key in config.keys)


async def _sooner(first: Coroutine[None, None, object], second: Coroutine[None, None, object]) -> bool:
    """Run both until one is done, and return whether that was only the second. Raises what the first raises."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if not task.done():
            task.cancel()
    if tasks[0].done():
        tasks[0].result()
        return False
    return True


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
