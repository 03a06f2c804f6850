"""Where the gateway listens, and how it is reached there."""

from __future__ import annotations

import asyncio
import errno
import socket

from service.settings import StartError

_LAST_PORT = 65535
_LOOPBACK = ("127.", "localhost", "::1", "[::1]", "unix:")


def in_url(host: str) -> str:
    """Return a host as it stands in URLs, and in the addresses that gRPC takes: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def claim(host: str, port: int, door: str) -> int:
    """Return the port if it is free, or any free one for 0. Raises StartError naming `{door}_PORT`, which sets it."""
    if port > _LAST_PORT:
        raise StartError(f"{door}_PORT: each worker has a port, and {port} is beyond the last, {_LAST_PORT}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            what = "HOST" if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL else "PORT"
            text = f"cannot listen on {host}:{port} ({error.strerror}); {door}_{what} sets another"
            raise StartError(text) from error
        chosen: int = probe.getsockname()[1]
    return chosen


def reachable(host: str) -> str:
    """Return where to reach something that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "::1"}.get(host, host)


def on_loopback(*addresses: str) -> bool:
    """Say whether nobody but this machine reaches what listens on these addresses."""
    return all(address.startswith(_LOOPBACK) for address in addresses)


async def listens(host: str, port: int) -> bool:
    """Say whether something takes connections there."""
    try:
        _, writer = await asyncio.open_connection(host.strip("[]"), port)
    except OSError:
        return False
    writer.close()
    return True
