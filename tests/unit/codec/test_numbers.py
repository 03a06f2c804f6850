"""Numbers in verbatim JSON reach the other side digit by digit."""

from __future__ import annotations

import math

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletionChunk

from service.codec import AnswerError, decode, decode_request, dumps, encode, parse

NUMBERS = [
    "1",
    "1.0",
    "-0.0",
    "0.1",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775809",
    "1180591620717411303424",
    "3.14159265358979323846264338327950288",
    "0.1000000000000000055511151231257827",
    "9007199254740993.0",
    "1e400",
    "-1E+400",
    "1e-400",
    "1" + "0" * 5000,
]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: str(number[:24]))
def test_a_number_in_a_schema_is_kept(number: str) -> None:
    schema = f'{{"zeta":{number},"alpha":[{number},{{"b":1,"a":{number}}}]}}'
    tool = f'{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}'
    body = f'{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"tools":[{tool}],"later":{schema}}}'
    assert encode(decode_request(CreateChatCompletionRequest, body.encode(), max_depth=128)) == body.encode()


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: str(number[:24]))
def test_a_number_in_an_answer_is_kept(number: str) -> None:
    chunk = decode(ChatCompletionChunk, f'{{"choices":[],"later":{number}}}'.encode())
    assert chunk.extra["later"] == number


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: str(number[:24]))
def test_a_parsed_number_is_written_as_it_was(number: str) -> None:
    assert dumps(parse(number.encode())) == number.encode()
    assert dumps({"a": parse(f'[ {number},"é"]'.encode())}) == f'{{"a":[{number},"é"]}}'.encode()


def test_an_exact_number_is_a_number() -> None:
    assert parse(b"1e400") == math.inf
    assert parse(b"1180591620717411303424") == 2.0**70


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b'"\\ud800"', b"\xff", b"1 2", b"[" * 100_000])
def test_what_is_not_json_is_not_parsed(text: bytes) -> None:
    with pytest.raises(AnswerError):
        parse(text)
