"""What the environment and the configuration file say, for the one who starts the gateway."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from service import catalogue
from service.config import MOST_WORKERS, Config
from service.telemetry import LEVELS

_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/\s*]+", re.IGNORECASE)
"""What browsers and the web views of apps send: `https://a.example`, `capacitor://localhost`, `null`."""


class StartError(Exception):
    """Why the gateway cannot start: sentences for the person who started it."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. None: the configuration file decides. Port 0: any free one."""

    environ: Mapping[str, str]
    config: str | None
    grpc_host: str | None
    grpc_port: int | None
    workers: int | None
    http_host: str
    http_port: int
    run_dir: str | None
    tls_cert: str | None
    tls_key: str | None
    cors_origins: Sequence[str]
    max_heap_bytes: int | None


def settings_from(environ: Mapping[str, str]) -> Settings:
    """Read the environment. Raises StartError naming each variable that is wrong."""
    mistakes: list[str] = []

    def number(name: str, low: int, high: int) -> int | None:
        text = environ.get(name, "").strip()
        if not text or (name == "GATEWAY_WORKERS" and text == "auto"):
            return None
        if text.isascii() and text.isdigit() and low <= int(text) <= high:
            return int(text)
        mistakes.append(f"{name}: a whole number from {low} to {high} is required, not {text!r}")
        return None

    http_port = number("HTTP_PORT", 0, 65535)
    settings = Settings(
        environ=environ,
        config=environ.get("GATEWAY_CONFIG") or None,
        grpc_host=environ.get("GRPC_HOST") or None,
        grpc_port=number("GRPC_PORT", 0, 65535),
        workers=number("GATEWAY_WORKERS", 1, MOST_WORKERS),
        http_host=_envoys(environ.get("HTTP_HOST") or "127.0.0.1"),
        http_port=8080 if http_port is None else http_port,
        run_dir=environ.get("GATEWAY_RUN_DIR") or None,
        tls_cert=environ.get("TLS_CERT") or None,
        tls_key=environ.get("TLS_KEY") or None,
        cors_origins=environ.get("CORS_ORIGINS", "").replace(",", " ").split(),
        max_heap_bytes=number("ENVOY_MAX_HEAP_BYTES", 1, 2**63 - 1),
    )
    log = environ.get("GATEWAY_LOG", "").strip()
    if log and log.lower() not in LEVELS:
        mistakes.append(f"GATEWAY_LOG: one of {', '.join(LEVELS)} is required, not {log!r}")
    try:
        ip_address(settings.http_host)
    except ValueError:
        mistakes.append(f"HTTP_HOST: an IP address or localhost is required, not {settings.http_host!r}")
    for origin in settings.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            mistakes.append(f"CORS_ORIGINS: an origin such as https://chat.example.com is required, not {origin!r}")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        mistakes.append("TLS_CERT and TLS_KEY: both are required, or none")
    elif settings.tls_cert and settings.tls_key:
        for name, file in (("TLS_CERT", settings.tls_cert), ("TLS_KEY", settings.tls_key)):
            if not os.access(file, os.R_OK):
                mistakes.append(f"{name}: {file} cannot be read")
    if mistakes:
        raise StartError(*mistakes)
    return settings


def _envoys(host: str) -> str:
    """Return a host as Envoy takes it, which looks up no names."""
    return "127.0.0.1" if host.lower() == "localhost" else host.strip("[]")


def load(settings: Settings) -> tuple[Config, bytes]:
    """Return the configuration and what it was read from. Raises StartError with every mistake in it."""
    try:
        content = catalogue.read(settings.config)
        return catalogue.check(content, settings.config, settings.environ), content
    except catalogue.ConfigError as error:
        raise StartError(*error.mistakes) from error


def worker_count(settings: Settings, config: Config, cpus: int) -> int:
    """Return how many workers there are: as many as was said, or one for each CPU."""
    said = settings.workers or config.server.workers
    return min(cpus, MOST_WORKERS) if said == "auto" else said
