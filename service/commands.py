"""The command line: `python -m service [--edge]`, and the commands `worker`, `check` and `health`."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
from contextlib import suppress
from typing import Any

from service import telemetry
from service.settings import StartError, load, settings_from
from service.supervisor import Supervisor, report

_MOST_FILES = 1 << 20


def main() -> int:
    """Run a command and return its exit code."""
    arguments = _parser().parse_args()
    try:
        match arguments.command:
            case "worker":
                return _worker(arguments.grpc, arguments.index)
            case "health":
                return _health(arguments.address)
            case "check":
                return _check()
            case _:
                return _serve(arguments.edge)
    except StartError as error:
        report(str(error))
        return 1
    except KeyboardInterrupt:  # once too often, when everything has ended
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="Chat Gateway.")
    parser.add_argument("--edge", action="store_true", help="run Envoy in front of the workers")
    commands = parser.add_subparsers(dest="command")
    worker = commands.add_parser("worker", help="one worker")
    worker.add_argument("--grpc", metavar="HOST:PORT", help="where it listens; without it, stdin says: HOST:PORT INDEX")
    worker.add_argument("--index", type=int, default=0)
    commands.add_parser("check", help="check the configuration and list every mistake")
    health = commands.add_parser("health", help="exit with 0 if a worker is serving")
    health.add_argument("address", nargs="?", default=f"127.0.0.1:{os.environ.get('GRPC_PORT') or 50051}")
    return parser


def _serve(with_edge: bool) -> int:
    telemetry.configure(os.environ)
    _open_more_files()
    return asyncio.run(Supervisor(settings_from(os.environ), with_edge).run())


def _open_more_files() -> None:
    """Let this process, and what it starts, have as many files and connections open as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # a system may have a limit that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _check() -> int:
    config, _ = load(settings_from(os.environ))
    counts = f"{len(config.providers)} providers, {len(config.models)} models, {len(config.keys)} keys"
    print(f"The configuration is good: {counts}.")
    return 0


# The commands below import what the supervisor does without.


def _worker(address: str | None, index: int) -> int:
    from service import server

    if address is None:
        address, _, place = sys.stdin.readline().strip().partition(" ")
        if not place:  # the supervisor has no use for this worker
            return 0
        index = int(place)
    _open_more_files()
    server.run(server.settings_from(address, index))
    return 0


def _health(address: str) -> int:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its methods are made at run time
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=3)
        except grpc.RpcError as error:
            report(f"{address}: {error.code().name}")
            return 1
    return int(answer.status != health_pb2.HealthCheckResponse.SERVING)
