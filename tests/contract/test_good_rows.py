"""Every row of the contract table's good side: what the provider receives and what the client gets, on both faces."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from service import codec
from tests.contract.client import HI, Client, typed
from tests.contract.good_conversations import CONVERSATIONS
from tests.contract.good_settings import SETTINGS
from tests.contract.provider import NATIVE_ID, Provider
from tests.contract.rows import Good

ROWS = (*SETTINGS, *CONVERSATIONS)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ID = re.compile(r"chatcmpl-[0-9A-HJKMNP-TV-Z]{26}")


def expected_body(row: Good) -> dict[str, Any]:
    sent = row.given if row.sent is None else row.sent
    return {"model": "up", "messages": HI, **sent}


def check_answer(answer: dict[str, Any], row: Good, provider_name: str) -> None:
    """What the client gets is the provider's answer and nothing that was not asked for."""
    assert ID.fullmatch(answer.pop("id"))
    assert isinstance(answer.pop("created"), int)
    meta = answer.pop("meta")
    assert sorted(meta["dropped_parameters"]) == sorted(row.dropped)
    if "debug" in row.given or "echo_upstream_request" in row.given:
        answer.pop("debug", None)
    assert answer == {
        "nativeResponseId": NATIVE_ID,
        "object": "chat.completion",
        "model": row.model,
        "provider": provider_name,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there!", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }


def name_of_provider(provider: Provider) -> str:
    (asked,) = provider.requests
    return asked.target.split("/")[1]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_whole_over_http(row: Good, client: Client, provider: Provider) -> None:
    answer = client.ask({"model": row.model, "messages": HI, **row.given, "meta": True})
    assert provider.bodies == [expected_body(row)]
    check_answer(answer, row, name_of_provider(provider))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_streamed_over_http(row: Good, client: Client, provider: Provider) -> None:
    answer = client.stream({"model": row.model, "messages": HI, **row.given, "meta": True})
    (body,) = provider.bodies
    assert body.pop("stream") is True
    options = body.pop("stream_options")
    assert options == {"include_usage": True}
    assert body == expected_body(row)
    assert (answer.text, answer.finish_reasons, answer.done) == ("Hello there!", ["stop"], True)
    *chunks, last = answer.events
    assert sorted(last["meta"]["dropped_parameters"]) == sorted(row.dropped)
    assert last["choices"] == []
    assert ("usage" in last) == bool(row.given.get("usage"))
    for chunk in chunks:
        assert not chunk.keys() & {"meta", "usage", "debug"}
        assert chunk["id"] == last["id"]
        assert ID.fullmatch(chunk["id"])
        expected = ("chat.completion.chunk", NATIVE_ID, row.model)
        assert (chunk["object"], chunk["nativeResponseId"], chunk["model"]) == expected


TYPED_ROWS = [row for row in ROWS if typed({"model": row.model, "messages": HI, **row.given}) is not None]


def test_most_rows_run_on_the_typed_face_too() -> None:
    assert len(TYPED_ROWS) > len(ROWS) * 0.8


@pytest.mark.parametrize("row", TYPED_ROWS, ids=str)
def test_whole_over_grpc(row: Good, client: Client, provider: Provider) -> None:
    message = typed({"model": row.model, "messages": HI, **row.given})
    assert message is not None
    message.meta = True
    answer = json.loads(codec.encode(client.call(message)))
    assert provider.bodies == [expected_body(row)]
    check_answer(answer, row, name_of_provider(provider))


@pytest.mark.parametrize("row", TYPED_ROWS[::4], ids=str)
def test_streamed_over_grpc(row: Good, client: Client, provider: Provider) -> None:
    message = typed({"model": row.model, "messages": HI, **row.given})
    assert message is not None
    chunks = client.call_stream(message)
    (body,) = provider.bodies
    assert body == {**expected_body(row), "stream": True, "stream_options": {"include_usage": True}}
    assert "".join(choice.delta.content for chunk in chunks for choice in chunk.choices) == "Hello there!"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert [chunk.HasField("usage") for chunk in chunks].index(True) == len(chunks) - 1
    assert chunks[-1].usage.total_tokens == 15
