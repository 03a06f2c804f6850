"""Logs as JSON lines on stderr, and the masking of secrets in whatever leaves the service.

A record's own fields stand in `extra={"facts": {...}}`. Prompts and answers never stand in one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import select
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import quote, urlsplit

import orjson

from service.config import Config

MASK = "***"

LEVELS: Mapping[str, int] = MappingProxyType(
    {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
)
"""Values of GATEWAY_LOG."""

_OWN_LOGGER = "gateway"
_GRPC_LOGGER = "grpc._cython.cygrpc"
_STDERR = 2
_WHOLE_WRITE = 4096
"""A pipe takes so much at once, so that the lines of several processes do not mix (PIPE_BUF)."""
_GATHER_S = 0.05
"""Each time that lines are handed on, the thread that writes them takes the interpreter from the event loop."""
_MOST_GATHERED = 64 * 1024
_TOGETHER = 32
"""So many calls are written down together: one by one each costs three times as much, its code forgotten meanwhile."""
_MOST_WAITING = 1024 * 1024
"""Bytes of lines that wait for a reader of stderr: some thousands of calls."""
_LAST_WRITES_S = 1.0
"""What waits when the process ends has so long to be written."""
_MIN_SECRET = 6
"""Shorter keys are not masked: their letters stand in half of all texts."""
_MIN_UNMISTAKABLE = 16
"""Shorter ones may be words of an answer: a local provider's key is often just its name."""
_SECRET_NAME = re.compile(r"auth|key|token|secret|password|cookie|credential|signature", re.IGNORECASE)

# What a pattern matches never holds a quote or a backslash, so that masked JSON text is still JSON.
_PATTERNS = (
    ("sk-", re.compile(r"\bsk-[\w*-]{8,}"), MASK),
    ("earer", re.compile(r"\b([Bb]earer\s+)(?=\S*[0-9*])[\w.~+/=*-]{8,}"), rf"\1{MASK}"),
    ("AIza", re.compile(r"\bAIza[\w*-]{16,}"), MASK),
    ("=", re.compile(r"([?&](?:\w+[-_])?(?:key|token|signature|sig)=)[^&\s\"'\\<>]+", re.IGNORECASE), rf"\1{MASK}"),
)
"""Each with letters that any text has that it matches: most texts are only searched for those."""


class Masker:
    """Replaces secrets: the configuration's own, by value, and whatever has the form of a key."""

    def __init__(self, config: Config) -> None:
        """Take the secrets of a configuration; longer ones first, as one may begin with another."""
        forms = {form for secret in _secrets(config) if len(secret) >= _MIN_SECRET for form in _forms(secret)}
        self._secrets = sorted(forms, key=len, reverse=True)
        self._unmistakable = [secret.encode() for secret in self._secrets if len(secret) >= _MIN_UNMISTAKABLE]

    def mask(self, text: str) -> str:
        """Return the text with `***` in place of secrets. JSON text stays JSON text."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return mask_patterns(text)

    def hide(self, bodies: Sequence[bytes]) -> Sequence[bytes]:
        """Return what a provider sent with `***` in place of the configuration's longer secrets, should it echo one.

        What only has the form of a key may be what the answer is about, and stays. JSON text stays JSON text. What has
        no secret in it is returned itself.
        """
        everything = b"\n".join(bodies)
        for secret in self._unmistakable:
            if secret in everything:
                bodies = [body.replace(secret, MASK.encode()) for body in bodies]
        return bodies


def mask_patterns(text: str) -> str:
    """Return the text with `***` in place of what has the form of a key."""
    for letters, pattern, replacement in _PATTERNS:
        if letters in text:
            text = pattern.sub(replacement, text)
    return text


def _secrets(config: Config) -> Iterator[str]:
    for provider in config.providers.values():
        if provider.api_key is not None:
            yield provider.api_key.get_secret_value()
        for name, value in (*provider.headers.items(), *provider.query.items()):
            if _SECRET_NAME.search(name):
                yield value.removeprefix("Bearer ")
    if config.server.redis is not None:
        url = config.server.redis.get_secret_value()
        yield url
        yield urlsplit(url).password or ""


def _forms(secret: str) -> Iterable[str]:
    """Return a secret as it stands in plain text, in JSON text and in a URL."""
    return secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe="")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: `time`, `level`, `message`, its facts, and of an exception where it came from."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, masked."""
        own = record.name == _OWN_LOGGER
        message = record.getMessage()
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            # a library's message may go on with the repr of what it holds
            "message": message if own else message.partition("\n")[0],
        }
        if not own:
            line["logger"] = record.name
        line.update(getattr(record, "facts", {}))
        if record.exc_info and record.exc_info[1]:
            line["exception"] = _origin(record.exc_info[1])
        return _as_text(line)


def _origin(error: BaseException) -> list[str]:
    """Return an exception's types and the places it came through, its causes last.

    Its message is left out: it may hold a piece of a prompt.
    """
    lines: list[str] = []
    chain: BaseException | None = error
    while chain is not None:
        kind = type(chain)
        lines.append(f"{kind.__module__}.{kind.__qualname__}")
        frames = traceback.extract_tb(chain.__traceback__, limit=-20)
        lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    return lines


class Writer:
    """Writes lines in a thread of its own: whoever reads them, or does not, holds nobody up.

    Lines that there is no room for are dropped; a line says how many, once there is room again.
    """

    def __init__(self, file: int) -> None:
        """Begin the thread, which ends with the process."""
        self._file = file
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._size = 0
        self._dropped = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, *pieces: bytes) -> None:
        """Hand over whole lines. One system call writes a piece, so that those of several processes do not mix."""
        with self._changed:
            for lines in pieces:
                if self._size + len(lines) > _MOST_WAITING:
                    self._dropped += lines.count(b"\n")
                else:
                    self._waiting.append(lines)
                    self._size += len(lines)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is written, for a limited time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, _LAST_WRITES_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                pieces, self._waiting = self._waiting, []
            for lines in pieces:
                self._write(lines)
            with self._changed:
                dropped, self._dropped = self._dropped, 0
            if dropped:
                self._write(_line(time.time(), "warning", "log lines were dropped", {"dropped": dropped}))
            with self._changed:
                self._size -= sum(map(len, pieces))
                self._changed.notify_all()

    def _write(self, lines: bytes) -> None:
        """Write; lines that cannot be written are lost."""
        with contextlib.suppress(OSError):
            while lines:
                try:
                    lines = lines[os.write(self._file, lines) :]
                except BlockingIOError:  # whoever shares the file has made it so
                    select.select((), (self._file,), ())


class StderrHandler(logging.Handler):
    """Hands each record on to be written, and says so of one that makes no line."""

    def __init__(self) -> None:
        super().__init__()
        self.writer = Writer(_STDERR)

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record; one that makes no line is lost."""
        try:
            self.writer.put(self.format(record).encode() + b"\n")
        except (TypeError, ValueError):
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Log where it failed."""
        self.writer.put(traceback.format_exc().encode())

    def flush(self) -> None:
        """Wait a moment for what is not written; logging does so when the process ends."""
        self.writer.flush()


class AccessLog:
    """One line for each call, in the form of the other lines. Calls wait a moment for others, to be written as one."""

    def __init__(self) -> None:
        """The level of the `gateway` logger holds here too, and its lines are written with those of the loggers."""
        handlers = [each for each in logging.getLogger().handlers if isinstance(each, StderrHandler)]
        enabled = handlers and logging.getLogger(_OWN_LOGGER).isEnabledFor(logging.INFO)
        self._writer = handlers[0].writer if enabled else None
        self._calls: list[tuple[float, Mapping[str, object]]] = []
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, facts: Mapping[str, object]) -> None:
        """Log a call that has just ended. The facts are read later, and are not to change."""
        if self._writer is None:
            return
        self._calls.append((time.time(), facts))
        if len(self._calls) >= _TOGETHER:
            self._make_lines()
            if self._size > _MOST_GATHERED:
                self._hand_on()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_S, self.flush)

    def flush(self) -> None:
        """Hand on what waits."""
        self._timer = None
        self._make_lines()
        self._hand_on()

    def _make_lines(self) -> None:
        calls, self._calls = self._calls, []
        lines = [_line(at, "info", "call", facts) for at, facts in calls]
        self._lines += lines
        self._size += sum(map(len, lines))

    def _hand_on(self) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        if lines and self._writer is not None:
            self._writer.put(*_pieces(lines))


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Return lines joined to pieces that are written whole."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > _WHOLE_WRITE:
            yield piece
            piece = b""
        piece += line
    yield piece


def _line(at: float, level: str, message: str, facts: Mapping[str, object]) -> bytes:
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return _as_text({"time": when, "level": level, "message": message, **facts}).encode() + b"\n"


def _as_text(record: Mapping[str, object]) -> str:
    return mask_patterns(orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS).decode())


def _tells_no_header(record: logging.LogRecord) -> bool:
    """Say whether a record of grpcio's may be told. It would tell a header that is not in UTF-8, be it the key."""
    return not str(record.msg).startswith("Invalid encoding")


def configure(environ: Mapping[str, str]) -> None:
    """Send this process's logs to stderr, from the level that GATEWAY_LOG names (default `info`)."""
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter())
    level = LEVELS.get(environ.get("GATEWAY_LOG", "").strip().lower(), logging.INFO)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(_GRPC_LOGGER).addFilter(_tells_no_header)
    logging.getLogger(_OWN_LOGGER).setLevel(level)
    logging.captureWarnings(True)
