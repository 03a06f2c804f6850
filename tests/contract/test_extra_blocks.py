"""`meta`, `debug` and `echo_upstream_request`: what they say, where they stand, and only when asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.contract.client import HI, Client, request, typed
from tests.contract.provider import HELLO, Provider, Turn, Whole

SENT = {"model": "up", "messages": HI, "temperature": 1}
STREAMED = {**SENT, "stream": True, "stream_options": {"include_usage": True}}


def blocks(client: Client, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a whole answer and a stream's last chunk say beside the answer itself."""
    whole = client.ask(request(**fields))
    streamed = client.stream(request(**fields))
    names = {"meta", "debug"}
    assert not any(event.keys() & names for event in streamed.events[:-1])
    assert streamed.done
    last = streamed.events[-1]
    if last.keys() & names:
        assert last["choices"] == []
    return (
        {name: value for name, value in whole.items() if name in names},
        {name: value for name, value in last.items() if name in {*names, "usage"}},
    )


@pytest.mark.parametrize(
    "fields", [{}, {"meta": False, "debug": {}}, {"debug": {"enabled": False, "trace": True}}, {"debug": {"x": 1}}]
)
def test_nothing_is_said_that_was_not_asked_for(fields: Mapping[str, Any], client: Client) -> None:
    assert blocks(client, **fields) == ({}, {})


def test_meta(client: Client, provider: Provider) -> None:
    for said in blocks(client, meta=True, top_k=5):
        meta = said.pop("meta")
        assert said == {}
        assert meta.keys() == {
            "provider",
            "upstream_model",
            "time_to_first_token_ms",
            "total_ms",
            "tokens_per_second",
            "dropped_parameters",
            "attempts",
            "candidates",
        }
        assert (meta["provider"], meta["upstream_model"]) == ("openai", "up")
        assert 0 < meta["time_to_first_token_ms"] <= meta["total_ms"] < 20_000
        assert meta["tokens_per_second"] > 0
        assert meta["dropped_parameters"] == ["top_k"]
        (attempt,) = meta["attempts"]
        assert attempt.pop("ms") > 0
        assert attempt == {"provider": "openai", "upstream_model": "up", "outcome": "ok"}
        assert meta["candidates"] == [{"provider": "openai", "decision": "taken", "reason": "the only one"}]


def test_meta_tells_of_adjusted_values(client: Client) -> None:
    for said in blocks(client, meta=True, reasoning={"max_tokens": 1}):
        assert said["meta"]["adjusted_parameters"] == [{"name": "reasoning.max_tokens", "from": 1, "to": "low"}]


def test_meta_tells_of_failed_attempts_and_of_candidates(client: Client, provider: Provider) -> None:
    order = {"order": ["openai", "other"]}
    broken = Whole(500, {"error": {"message": "oops"}})
    provider.says(broken, HELLO, broken, HELLO)
    for said in blocks(client, model="two", meta=True, provider=order):
        first, second = said["meta"]["attempts"]
        assert (first["provider"], first["outcome"], first["status"]) == ("openai", "server_error", 500)
        assert (second["provider"], second["outcome"], "status" in second) == ("other", "ok", False)
        decisions = [(c["provider"], c["decision"]) for c in said["meta"]["candidates"]]
        assert decisions == [("openai", "kept"), ("other", "taken")]
    for said in blocks(client, model="mixed-status", meta=True):
        assert {(c["provider"], c["decision"]): c["reason"] for c in said["meta"]["candidates"]} == {
            ("openai", "taken"): "the only one left",
            ("other", "left"): "in alpha: needs provider.include_alpha",
            ("silent", "left"): "disabled",
        }


def test_a_parameter_that_the_provider_refuses_is_dropped_and_told(client: Client, provider: Provider) -> None:
    error = {"message": "Unsupported parameter: 'temperature'", "type": "invalid_request_error"}
    refused = Whole(400, {"error": {**error, "param": "temperature", "code": "unsupported_parameter"}})
    provider.says(refused, HELLO, refused, HELLO)
    for said in blocks(client, meta=True, temperature=1, top_p=1):
        assert said["meta"]["dropped_parameters"] == ["temperature"]
        assert [a["outcome"] for a in said["meta"]["attempts"]] == ["unsupported_parameter", "ok"]
    assert ["temperature" in body for body in provider.bodies] == [True, False, True, False]
    assert all(body["top_p"] == 1 for body in provider.bodies)


@pytest.mark.parametrize(
    "fields",
    [
        {"echo_upstream_request": True},
        {"debug": {"return_upstream_request": True}},
        {"debug": {"enabled": True, "return_upstream_request": True, "trace": False}},
        {"debug": {"enabled": False}, "echo_upstream_request": True},
    ],
)
def test_the_upstream_request_is_echoed(fields: Mapping[str, Any], client: Client) -> None:
    whole, streamed = blocks(client, temperature=1, **fields)
    assert whole == {"debug": {"upstream_request": SENT}}
    assert streamed == {"debug": {"upstream_request": STREAMED}}


def test_the_upstream_response_is_returned(client: Client) -> None:
    whole, streamed = blocks(client, debug={"return_upstream_response": True})
    assert whole == {"debug": {"upstream_response": HELLO.whole()}}
    assert streamed == {"debug": {"upstream_response": [*HELLO.events(), "[DONE]"]}}


def steps(debug: Mapping[str, Any]) -> Sequence[str]:
    assert debug.keys() == {"trace"}
    times = [step["at_ms"] for step in debug["trace"]]
    assert times == sorted(times)
    return [step["step"] for step in debug["trace"]]


@pytest.mark.parametrize(
    "debug",
    [
        {"enabled": True},
        {"trace": True},
        {"trace": True, "trace_level": "summary"},
        {"trace": True, "trace_level": "full"},
    ],
)
def test_traces(debug: Mapping[str, Any], client: Client, provider: Provider) -> None:
    clock = Turn(calls=[("call_1", "gateway_datetime", '{"timezone":"Asia/Tokyo"}')])
    provider.says(clock, HELLO, clock, HELLO)
    for said in blocks(client, debug=debug, tools=[{"type": "gateway:datetime"}]):
        assert steps(said["debug"]) == ["route", "ask", "tool", "ask"]
        tool = said["debug"]["trace"][2]["detail"]
        assert ("result" in tool) == (debug.get("trace_level") == "full")
        assert said["debug"]["trace"][1]["detail"] == {"provider": "openai", "upstream_model": "up"}


def test_everything_stands_in_the_usage_chunk(client: Client) -> None:
    _, last = blocks(client, meta=True, usage=True, echo_upstream_request=True)
    assert last.keys() == {"meta", "debug", "usage"}


def test_typed_callers_read_the_same(client: Client) -> None:
    message = typed(request(meta=True, echo_upstream_request=True, debug={"trace": True}))
    assert message is not None
    *chunks, last = client.call_stream(message)
    for answer in (client.call(message), last):
        assert answer.meta.provider == "openai"
        assert answer.debug.upstream_request.startswith('{"model":"up"')
        assert [step.step for step in answer.debug.trace] == ["route", "ask"]
        assert answer.usage.total_tokens == 15
    assert not any(chunk.HasField(name) for chunk in chunks for name in ("meta", "debug", "usage"))
