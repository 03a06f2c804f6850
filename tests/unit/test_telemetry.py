"""What logs look like, and that secrets stand in none."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from subprocess import PIPE
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import Config
from service.telemetry import JsonFormatter, Masker, Writer

CONFIG = Config.model_validate(
    {
        "server": {"redis": "redis://:redis-pass-1@cache:6379/0"},
        "providers": {
            "openai": {
                "dialect": "openai",
                "base_url": "https://api.example.com/v1",
                "api_key": "PLANTED-provider-key",
                "headers": {"X-Team": "search-team", "X-Auth-Token": "Bearer header-secret"},
                "query": {"api-version": "2026-10-21", "code-key": "query-secret"},
            },
            "longer": {"dialect": "anthropic", "base_url": "https://a.example", "api_key": "PLANTED-provider-key-2"},
            "odd": {"dialect": "openai", "base_url": "https://o.example", "api_key": 'quo"te\\slash/ü'},
            "short": {"dialect": "openai", "base_url": "https://s.example", "api_key": "test"},
        },
        "models": {},
    }
)
MASKER = Masker(CONFIG)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Incorrect API key provided: PLANTED-provider-key.", "Incorrect API key provided: ***."),
        ("PLANTED-provider-key-2 and PLANTED-provider-key", "*** and ***"),
        ("redis://:redis-pass-1@cache:6379/0 redis-pass-1", "*** ***"),
        ("header-secret query-secret", "*** ***"),
        (json.dumps({"k": 'quo"te\\slash/ü'}), '{"k": "***"}'),
        (json.dumps({"k": 'quo"te\\slash/ü'}, ensure_ascii=False), '{"k": "***"}'),
        ("https://o.example?k=quo%22te%5Cslash%2F%C3%BC", "https://o.example?k=***"),
        ("bad key sk-proj-abcDEF_123456 given", "bad key *** given"),
        ("Incorrect API key provided: sk-abcde***********wxyz. See", "Incorrect API key provided: ***. See"),
        ("Authorization: Bearer abc.DEF-123/45==", "Authorization: Bearer ***"),
        ("AIzaSyA1234567890abcdefghijklmno is invalid", "*** is invalid"),
        ("GET /v1?key=abcdef&alt=sse failed", "GET /v1?key=***&alt=sse failed"),
        ("https://x.example/b?sv=1&sig=a%2Fb%3D&api-key=q", "https://x.example/b?sv=1&sig=***&api-key=***"),
        ('{"url": "https://x.example/?key=abc\\"", "b": 1}', '{"url": "https://x.example/?key=***\\"", "b": 1}'),
    ],
)
def test_secrets_are_masked(text: str, masked: str) -> None:
    assert MASKER.mask(text) == masked


def test_only_unmistakable_secrets_are_hidden_in_answers() -> None:
    body = b'{"content": "test header-secret sk-proj-abcDEF_123456", "echo": "PLANTED-provider-key-2"}'
    plain = [b"{}", body.replace(b"PLANTED-provider-key-2", b"")]
    assert MASKER.hide([plain[0], body]) == [
        plain[0],
        b'{"content": "test header-secret sk-proj-abcDEF_123456", "echo": "***"}',
    ]
    assert MASKER.hide(plain) is plain


@pytest.mark.parametrize(
    "text",
    [
        "this is a test of the search-team, api-version 2026-10-21",
        "risk-averse task-oriented desk-bound",
        "sk-local",
        "a bearer certificate, bearer authentication",
        "max_tokens=4096 is above the limit, key=messages",
        '{"model": "gpt-5", "token_limit": 5, "key": "value"}',
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert MASKER.mask(text) == text


PIECES = st.sampled_from(["sk-", "Bearer ", "?key=", "AIza", "PLANTED-provider-key", '"', "\\", "&", "é", "1", "x" * 9])


@given(st.lists(PIECES).map("".join))
def test_masked_json_text_is_json_text(value: str) -> None:
    assert isinstance(json.loads(MASKER.mask(json.dumps(value))), str)


def line(**record: object) -> dict[str, object]:
    made = logging.makeLogRecord({"name": "gateway", "levelname": "INFO", "created": 1_795_339_800.25, **record})
    text = JsonFormatter().format(made)
    assert "\n" not in text
    value = json.loads(text)
    assert isinstance(value, dict)
    return value


def test_a_record_is_one_line_with_its_facts() -> None:
    found = line(msg="call", facts={"key": "dev", "ms": 1.5, "metadata": {"team": "ü\n"}, 5: datetime(2026, 1, 1)})
    assert found == {
        "time": "2026-11-22T09:30:00.250+00:00",
        "level": "info",
        "message": "call",
        "key": "dev",
        "ms": 1.5,
        "metadata": {"team": "ü\n"},
        "5": "2026-01-01T00:00:00",
    }


def test_facts_are_masked() -> None:
    assert line(msg="call", facts={"user": "sk-proj-abcDEF_123456"})["user"] == "***"


def test_a_library_s_message_is_cut_at_its_first_line_as_the_rest_may_hold_a_prompt() -> None:
    found = line(name="asyncio", levelname="ERROR", msg="Task exception was never retrieved\nKeyError('my prompt')")
    assert found["message"] == "Task exception was never retrieved"
    assert found["logger"] == "asyncio"


def test_an_exception_is_told_by_type_and_place_not_by_message() -> None:
    def fail() -> None:
        try:
            raise KeyError("my prompt")
        except KeyError as error:
            raise ValueError("of my prompt") from error

    try:
        fail()
    except ValueError as error:
        found = line(msg="internal error", exc_info=(type(error), error, error.__traceback__))
    origin = found["exception"]
    assert isinstance(origin, list)
    assert "builtins.ValueError" in origin
    assert "builtins.KeyError" in origin
    assert any(place.endswith(" fail") and "test_telemetry.py:" in place for place in origin)
    assert "prompt" not in json.dumps(found)


SCRIPT = """
import logging, warnings
from service.telemetry import configure
configure({"GATEWAY_LOG": "%s"})
log = logging.getLogger("gateway")
log.debug("one", extra={"facts": {"n": 1}})
log.info("two")
log.error("three", extra={"facts": {"big": 2**70}})
log.error("four")
logging.getLogger("asyncio").info("library")
"""


@pytest.mark.parametrize(
    ("level", "messages"),
    [("", ["two", "four"]), ("debug", ["one", "two", "four"]), ("ERROR", ["four"]), ("nonsense", ["two", "four"])],
)
def test_lines_go_to_stderr_from_the_chosen_level_and_a_bad_one_harms_nobody(level: str, messages: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT % level], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    lines = [json.loads(text) for text in done.stderr.splitlines() if text.startswith("{")]
    assert [found["message"] for found in lines] == messages


CALLS = 20_000
TALK = f"""
import asyncio, logging
from service.telemetry import AccessLog, configure
configure({{}})

async def serve():
    calls = AccessLog()
    for number in range({CALLS}):
        calls.add({{"number": number}})
    calls.flush()
    logging.getLogger("gateway").warning("busy")

asyncio.run(serve())
print("served", flush=True)
input()
logging.getLogger("gateway").warning("ending")
"""


@pytest.fixture
def talking() -> Iterator[subprocess.Popen[str]]:
    """Run a process that logs far more than a pipe takes, says when it is done with it, and ends at the next line."""
    command = [sys.executable, "-c", TALK]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        yield process
        process.kill()


def test_lines_that_nobody_reads_hold_nobody_up_and_dropped_ones_are_counted(talking: subprocess.Popen[str]) -> None:
    assert talking.stdout is not None
    assert talking.stderr is not None
    assert talking.stdout.readline() == "served\n"
    lines: list[dict[str, Any]] = []
    told = 0
    while told < CALLS + 1:
        lines.append(json.loads(talking.stderr.readline()))
        told += lines[-1].get("dropped", 1)
    numbers = [line["number"] for line in lines if line["message"] == "call"]
    assert len(numbers) < CALLS
    assert numbers == sorted(numbers)
    assert json.loads(talking.communicate("\n")[1])["message"] == "ending"


def test_a_process_ends_though_nobody_reads_its_lines(talking: subprocess.Popen[str]) -> None:
    assert talking.stdin is not None
    talking.stdin.write("\n")
    talking.stdin.flush()
    assert talking.wait() == 0


def test_lines_wait_for_a_reader_of_a_file_that_does_not() -> None:
    """Whoever shares stderr may have made it non-blocking."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        writer = Writer(write_end)
        writer.put(*(b"x" * 4000 + b"\n" for _ in range(200)))
        content = b""
        while len(content) < 200 * 4001:
            content += os.read(read_end, 10_000)
    finally:
        os.close(read_end)
        os.close(write_end)
    assert content == (b"x" * 4000 + b"\n") * 200
