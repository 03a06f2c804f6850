"""The folder of a gateway's run: what its processes share with each other, and with no other gateway."""

from __future__ import annotations

import fcntl
import os
import shutil
import ssl
from collections.abc import Iterable
from pathlib import Path

from service import catalogue, edge
from service.settings import StartError

_LONGEST_SOCKET = 107
"""Of a Unix socket's path, in bytes (sun_path in unix(7), less the zero at its end)."""


class RunDir:
    """One folder and the places in it. It is the gateway's until `close`."""

    def __init__(self, said: str | Path, workers: int = 0) -> None:
        """Make the folder that was said and take it, with sockets for so many workers in it. Raises StartError."""
        whole = os.path.abspath(said)
        # The path of a Unix socket has to be short.
        self.path = Path(min(whole, os.path.relpath(whole), key=lambda path: len(os.fsencode(path))))
        self.sockets = [edge.worker_socket(self.path, place) for place in range(workers)]
        self.admin_socket = self.path / "admin.sock"
        self.envoy_config = self.path / "envoy.yaml"
        self.envoy_log = self.path / "envoy.log"
        self.access_log = self.path / "access.log"
        self.config = self.path / "config.yaml"
        self.certificates = self.path / "certificates"
        self.limits = self.path / "limits"
        self.sent = self.path / "sent"
        if self.sockets and len(os.fsencode(self.sockets[-1])) > _LONGEST_SOCKET:
            text = f"its sockets' paths would be longer than {_LONGEST_SOCKET} bytes: {whole}"
            raise StartError(f"GATEWAY_RUN_DIR: a shorter path is required, {text}")
        try:
            # It holds a copy of the configuration, and with it secrets.
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("w")
        except OSError as error:
            raise StartError(f"GATEWAY_RUN_DIR: {whole} cannot be used ({error.strerror})") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise StartError(f"another gateway runs in {whole}; GATEWAY_RUN_DIR sets another folder") from error

    def keep_config(self, content: bytes, certificates: Iterable[str] = ()) -> None:
        """Keep the configuration that was checked, and the files of certificates that it names.

        Raises OSError, and then the configuration before stays; StartError where a file is not what was checked.
        """
        self.certificates.mkdir(mode=0o700, exist_ok=True)
        read = [(file, _certificates(file)) for file in certificates]
        for file, found in read:
            _replace(catalogue.copy_of(self.certificates, file), found)
        _replace(self.config, content)

    def unusable(self, error: OSError) -> StartError:
        """Return what an error within the folder means for the person who starts the gateway."""
        return StartError(f"GATEWAY_RUN_DIR: {os.path.abspath(self.path)} cannot be used ({error.strerror})")

    def forget(self) -> None:
        """Delete what only workers that run at the same time have to tell each other."""
        self.limits.unlink(missing_ok=True)
        shutil.rmtree(self.sent, ignore_errors=True)

    def close(self) -> None:
        """Let others have the folder, without the configuration's copy."""
        self.forget()
        self.config.unlink(missing_ok=True)
        shutil.rmtree(self.certificates, ignore_errors=True)
        self._lock.close()


def _certificates(file: str) -> bytes:
    """Return what a file holds, checked once more: it may have been replaced since. Raises StartError."""
    try:
        found = Path(file).read_bytes()
        ssl.create_default_context(cadata=found.decode("ascii", "ignore"))
    except OSError as error:  # ssl.SSLError is one
        raise StartError(f"{file}: the certificates cannot be loaded any more ({error.strerror})") from error
    return found


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600, exist_ok=False)
    fresh.write_bytes(content)
    fresh.replace(path)
