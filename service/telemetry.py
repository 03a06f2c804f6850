"""JSON lines on stderr, and the masking of secrets in whatever leaves the service."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping

import orjson

from service.config import Config

_MASK = "***"
_PATTERNS = (
    r"\b(?:sk|pk|rk|gsk|xai|key)-[A-Za-z0-9_\-]{8,}",
    r"\bAIza[A-Za-z0-9_\-]{20,}",
    r"(?i:(?<=bearer )[A-Za-z0-9._~+/=\-]{6,})",
    r"(?i:(?<=[?&]key=)[^&\s\"']+)",
)
_SECRET_HEADER = re.compile(r"(?i)authorization|key|token|secret|cookie")
_SHORTEST_SECRET = 6


class Masker:
    """Replaces secrets by `***`: the configuration's own, and whatever looks like a key."""

    def __init__(self, config: Config) -> None:
        secrets: set[str] = set()
        for provider in config.providers.values():
            if provider.api_key is not None:
                secrets.add(provider.api_key.get_secret_value())
            named = {**provider.headers, **provider.query}
            secrets.update(value for name, value in named.items() if _SECRET_HEADER.search(name))
        if config.server.redis is not None:
            secrets.add(config.server.redis.get_secret_value())
        long_enough = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._pattern = re.compile("|".join([*map(re.escape, long_enough), *_PATTERNS]))

    def mask(self, text: str) -> str:
        """Return a text without secrets."""
        return self._pattern.sub(_MASK, text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and the record's `facts`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        facts = getattr(record, "facts", None)
        if facts:
            line.update(facts)
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = _traceback(record)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(environ: Mapping[str, str]) -> None:
    """Log to stderr from GATEWAY_LOG's level on (`info` by default).

    Raises:
        ValueError: there is no such level.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(environ.get("GATEWAY_LOG", "info").upper())
    # What the library would compute for each line and nobody reads.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _traceback(record: logging.LogRecord) -> str:
    """Return where an error was raised and its type, without messages: they may hold what a caller wrote."""
    assert record.exc_info is not None
    kind, _, where = record.exc_info
    frames = "".join(traceback.format_tb(where))
    return f"{frames}{kind.__name__ if kind else ''}"
