"""Where the gateway listens, and how it is reached there."""

from __future__ import annotations

import asyncio
import socket

from service.settings import StartError

_LOOPBACK = ("127.", "localhost", "::1", "[::1]", "unix:")


def claim(host: str, port: int, variable: str) -> int:
    """Return the port if it is free, or any free one for 0. Raises StartError naming the variable that sets it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            raise StartError(f"cannot listen on {host}:{port} ({error.strerror}); {variable} sets another") from error
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
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
