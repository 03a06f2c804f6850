"""What of a provider's answer reaches the client: everything it said, in the gateway's frame, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from service import codec
from tests.contract.client import Client, request, typed
from tests.contract.provider import NATIVE_ID, Provider, Stream, Turn, Whole, chunk, completion

PNG = "data:image/png;base64,iVBORw0KGgo="
IMAGE = {"type": "image_url", "image_url": {"url": PNG}}
AUDIO = {
    "type": "audio_url",
    "audio_url": {"url": "https://a.example/a.wav"},
    "format": "wav",
    "mime_type": "audio/wav",
}
TOKEN = {
    "token": "Hé",
    "logprob": -0.25,
    "bytes": [72, 195, 169],
    "top_logprobs": [{"token": "Ha", "logprob": -9999.0, "bytes": None}],
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
CITATION = {
    "type": "url_citation",
    "url_citation": {"start_index": 0, "end_index": 1, "url": "https://u", "title": "t"},
}

# Messages of a model beside `{"role": "assistant", "refusal": null}`: what the client gets, and where it is other, what
# the provider said.
MESSAGES: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]] = (
    ({"content": "Hello"}, None),
    ({"content": ""}, None),
    ({"content": None, "refusal": "No."}, None),
    ({"content": "Hello", "reasoning_content": "Hm."}, None),
    ({"content": "Hello", "reasoning_content": "Hm."}, {"content": "Hello", "reasoning": "Hm."}),
    ({"content": None, "tool_calls": [CALL]}, None),
    ({"content": None, "tool_calls": [CALL, {**CALL, "id": "call_2"}]}, None),
    ({"content": None, "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "c", "input": "i"}}]}, None),
    ({"content": None, "tool_calls": [{**CALL, "x_signature": "abc"}]}, None),
    ({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, None),
    ({"content": "Look", "images": [IMAGE, {**IMAGE, "mime_type": "image/png"}]}, None),
    ({"content": "Listen", "audios": [AUDIO]}, None),
    ({"content": None, "audio": {"id": "a", "expires_at": 1, "data": "AA==", "transcript": "Hi"}}, None),
    ({"content": "Hello", "annotations": [CITATION]}, None),
    ({"content": "Hello", "annotations": [CITATION, {"type": "file", "x": [1.0, {"z": 1, "a": 2}]}]}, None),
    ({"content": "Hello", "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": None}]}, None),
    ({"content": "Hello", "x_new": {"z": 1.0, "a": [None]}}, None),
)


@pytest.mark.parametrize(("told", "said"), MESSAGES, ids=lambda value: str(value)[:60])
def test_messages(told: Mapping[str, Any], said: Mapping[str, Any] | None, client: Client, provider: Provider) -> None:
    body = completion(said or told, "tool_calls" if told.get("tool_calls") else "stop")
    provider.says(Whole(200, body), Whole(200, body))
    expected = {"role": "assistant", "refusal": None, **told}
    (choice,) = client.ask(request())["choices"]
    assert choice["message"] == expected
    message = typed(request())
    assert message is not None
    answer = json.loads(codec.encode(client.call(message)))
    assert answer["choices"][0] == choice


DELTAS: Sequence[Sequence[Mapping[str, Any]]] = (
    [{"content": "Hel"}, {"content": "lo"}],
    [{"refusal": "N"}, {"refusal": "o."}],
    [{"reasoning_content": "H"}, {"reasoning_content": "m."}, {"content": "Hello"}],
    [
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
    ],
    [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}],
    [{"images": [{**IMAGE, "index": 0}]}, {"images": [{**IMAGE, "index": 1}]}],
    [{"audios": [{**AUDIO, "index": 0}]}],
    [{"audio": {"id": "a", "transcript": "Hi"}}, {"audio": {"data": "AA=="}}],
    [{"content": "Hello"}, {"annotations": [CITATION]}],
    [{"content": "Hello", "x_new": {"z": 1.0}}],
    [{"x_new": [1]}, {"content": "Hello"}],
)


@pytest.mark.parametrize("deltas", DELTAS, ids=lambda value: str(value[0])[:60])
def test_deltas(deltas: Sequence[Mapping[str, Any]], client: Client, provider: Provider) -> None:
    events = [chunk({"role": "assistant", **deltas[0]}), *map(chunk, deltas[1:]), chunk({}, "stop")]
    provider.says(Stream(events), Stream(events))
    answer = client.stream(request())
    assert [choice["delta"] for choice in answer.choices] == [{"role": "assistant", **deltas[0]}, *deltas[1:], {}]
    assert answer.finish_reasons == ["stop"]
    assert answer.done
    message = typed(request())
    assert message is not None
    chunks = [json.loads(codec.encode(each)) for each in client.call_stream(message)]
    assert [c["choices"][0]["delta"] for c in chunks if c["choices"]] == [choice["delta"] for choice in answer.choices]


FIELDS: Mapping[str, Any] = {
    "system_fingerprint": "fp_1",
    "service_tier": "flex",
    "moderation": {"input": {"flagged": False}},
    "x_groq": {"id": "req_1", "z": 1.0},
    "citations": ["https://u"],
}


def test_fields_of_a_whole_answer(client: Client, provider: Provider) -> None:
    body = completion({"content": "Hi"}, **FIELDS)
    body["choices"][0] |= {"logprobs": {"content": [TOKEN], "refusal": None}, "content_filter_results": {"hate": {}}}
    provider.says(Whole(200, body))
    answer = client.ask(request())
    assert {name: answer[name] for name in FIELDS} == FIELDS
    assert answer["nativeResponseId"] == NATIVE_ID
    assert answer["provider"] == "openai"
    assert answer["model"] == "plain"
    (choice,) = answer["choices"]
    assert choice["logprobs"] == {"content": [TOKEN], "refusal": None}
    assert choice["content_filter_results"] == {"hate": {}}
    assert "usage" not in answer


def test_fields_of_a_stream(client: Client, provider: Provider) -> None:
    first = chunk({"role": "assistant", "content": "Hi"}, **FIELDS)
    first["choices"][0]["logprobs"] = {"content": [TOKEN], "refusal": None}
    provider.says(Stream([first, chunk({}, "stop")]))
    answer = client.stream(request())
    assert {name: answer.events[0][name] for name in FIELDS} == FIELDS
    assert answer.choices[0]["logprobs"] == {"content": [TOKEN], "refusal": None}
    assert {event["nativeResponseId"] for event in answer.events} == {NATIVE_ID}
    assert {event["provider"] for event in answer.events} == {"openai"}
    assert len({(event["id"], event["created"]) for event in answer.events}) == 1


USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0, "cache_write_tokens": 2, "x_tokens": 1},
    "completion_tokens_details": {
        "reasoning_tokens": 3,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 1,
        "rejected_prediction_tokens": 0,
    },
    "queue_time": 0.125,
}


def test_usage_with_its_details(client: Client, provider: Provider) -> None:
    provider.says(*[Turn(text="Hi", usage=USAGE)] * 3)
    assert client.ask(request())["usage"] == USAGE
    assert "usage" not in client.stream(request()).events[-1]
    last = client.stream(request(stream_options={"include_usage": True})).events[-1]
    assert (last["choices"], last["usage"]) == ([], USAGE)


@pytest.mark.parametrize("place", ["beside the end", "in a chunk of its own", "in each chunk"])
def test_usage_is_taken_from_wherever_it_stands(place: str, client: Client, provider: Provider) -> None:
    events = [chunk({"role": "assistant", "content": "Hi"}), chunk({}, "stop")]
    if place == "in a chunk of its own":
        events.append({**chunk({}), "choices": [], "usage": USAGE})
    elif place == "beside the end":
        events[-1]["usage"] = USAGE
    else:
        events = [{**event, "usage": {**USAGE, "completion_tokens": n}} for n, event in enumerate(events)]
        events[-1]["usage"] = USAGE
    provider.says(Stream(events))
    answer = client.stream(request(stream_options={"include_usage": True}))
    assert [event.get("usage") for event in answer.events] == [None, None, USAGE]


def test_several_choices(client: Client, provider: Provider) -> None:
    body = completion({"content": "a"})
    body["choices"].append({"index": 1, "message": {"role": "assistant", "content": "b"}, "finish_reason": "length"})
    other = chunk({"role": "assistant", "content": "b"})
    other["choices"][0]["index"] = 1
    end = chunk({}, "length")
    end["choices"][0]["index"] = 1
    provider.says(Whole(200, body), Stream([chunk({"content": "a"}), other, chunk({}, "stop"), end]))
    whole = client.ask(request(n=2))
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in whole["choices"]] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]
    streamed = client.stream(request(n=2))
    told = [(c["index"], c["delta"].get("content"), c["finish_reason"]) for e in streamed.events for c in e["choices"]]
    assert told == [(0, "a", None), (1, "b", None), (0, None, "stop"), (1, None, "length")]


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "function_call", "a_new_reason"])
def test_finish_reasons(reason: str, client: Client, provider: Provider) -> None:
    provider.says(Turn(text="Hi", finish_reason=reason), Turn(text="Hi", finish_reason=reason))
    assert client.ask(request())["choices"][0]["finish_reason"] == reason
    assert client.stream(request()).finish_reasons == [reason]


def test_what_is_the_gateways_to_say_is_not_the_providers(client: Client, provider: Provider) -> None:
    forged = {"provider": "me", "meta": {"provider": "me"}, "debug": {"x": 1}, "nativeResponseId": "forged"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": 0.5}
    body = {**completion({"content": "Hi"}, usage=usage), **forged}
    provider.says(Whole(200, body), Stream([{**chunk({"content": "Hi"}), **forged}, chunk({}, "stop")]))
    answer = client.ask(request())
    streamed = client.stream(request())
    assert [answer["provider"], streamed.events[0]["provider"]] == ["openai", "openai"]
    assert [answer["nativeResponseId"], streamed.events[0]["nativeResponseId"]] == [NATIVE_ID, NATIVE_ID]
    assert not {"meta", "debug"} & (answer.keys() | streamed.events[0].keys())
    assert "cost" not in answer["usage"]


def test_headers_of_an_answer(client: Client) -> None:
    for response in (client.post(request()), client.post(request(stream=True))):
        headers = response.headers
        assert headers["x-generation-id"].startswith("chatcmpl-")
        assert headers["x-gateway-provider"] == "openai"
        assert headers["x-gateway-attempts"] == "1"
        assert headers["server-timing"].startswith("gateway;dur=")
        assert headers["x-generation-id"] in response.text
    message = typed(request())
    assert message is not None
    answer, call = client.chat.CreateChatCompletion.with_call(message, metadata=client.metadata)
    metadata = {name: str(value) for name, value in call.initial_metadata()}
    assert metadata["x-generation-id"] == answer.id
    assert metadata["x-gateway-provider"] == "openai"
    assert metadata["x-gateway-attempts"] == "1"
    assert metadata["server-timing"].startswith("gateway;dur=")
