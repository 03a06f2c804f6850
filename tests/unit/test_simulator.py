"""The built-in simulator: an OpenAI-compatible server whose every byte is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import jsonschema
import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.content_pb2 import ROLE_USER, ChatMessage
from openai.lib._parsing._completions import type_to_response_format_param
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, Field

from service.config import Endpoint, Provider
from service.errors import FailureKind
from service.providers import DIALECTS
from service.providers.dialect import UpstreamRequest
from service.providers.simulator import Behaviour, play, read_name
from service.tools import REGISTRY
from service.upstream.script import Script
from service.upstream.sse import EventDecoder

NOTE = "(This is the gateway's built-in simulator, not a language model.)"
DIALECT = DIALECTS["simulator"]


def ask(text: str | list[Any] = "hello there", **fields: Any) -> dict[str, Any]:
    return {"model": "simulator", "messages": [{"role": "user", "content": text}], **fields}


def played(body: Mapping[str, Any]) -> Script:
    return play(UpstreamRequest("", {}, json.dumps(body).encode()))


def whole(body: Mapping[str, Any]) -> dict[str, Any]:
    script = played(body)
    assert (script.status, script.headers["content-type"]) == (200, "application/json")
    answer: dict[str, Any] = json.loads(b"".join(step.data for step in script.steps))
    ChatCompletion.model_validate(answer, strict=True)
    assert DIALECT.decode(json.dumps(answer).encode()).choices
    return answer


def message(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = whole(body)["choices"][0]["message"]
    return found


def chunks(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    script = played({**body, "stream": True})
    assert (script.status, script.headers["content-type"]) == (200, "text/event-stream")
    sse, decoder = EventDecoder(1_000_000), DIALECT.stream_decoder()
    events = [event for step in script.steps for event in sse.feed(step.data)]
    for event in events:
        decoder.decode(event)
    assert decoder.finished
    assert events[-1].data == b"[DONE]"
    found = [json.loads(event.data) for event in events[:-1]]
    for chunk in found:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    return found


def joined(body: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return what a stream's deltas spell, by choice, in the form of a whole answer's choices."""
    spelt: dict[int, dict[str, Any]] = {}
    for chunk in chunks(body):
        for choice in chunk["choices"]:
            text = spelt.setdefault(choice["index"], {"content": "", "reasoning": "", "calls": {}, "finish": None})
            delta = choice["delta"]
            text["content"] += delta.get("content") or ""
            text["reasoning"] += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls", ()):
                known = text["calls"].setdefault(call["index"], {"id": call.get("id"), "name": "", "arguments": ""})
                known["name"] += call["function"].get("name", "")
                known["arguments"] += call["function"]["arguments"]
            text["finish"] = choice["finish_reason"] or text["finish"]
    return spelt


def calls(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in found.get("tool_calls") or ()
    ]


def function(name: str, description: str = "", **properties: Any) -> dict[str, Any]:
    required = [each for each, schema in properties.items() if schema.pop("required", False)]
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def clock() -> dict[str, Any]:
    defined = REGISTRY["gateway_datetime"].definition().function
    return {
        "type": "function",
        "function": {
            "name": defined.name,
            "description": defined.description,
            "parameters": json.loads(defined.parameters),
        },
    }


def weather() -> dict[str, Any]:
    return function(
        "get_weather",
        "Get the current weather for a location",
        location={"type": "string", "required": True},
        unit={"type": "string", "enum": ["celsius", "fahrenheit"]},
    )


def at(zone: str) -> tuple[str, Any]:
    return "gateway_datetime", {"timezone": zone}


def weather_in(place: str, **more: str) -> tuple[str, Any]:
    return "get_weather", {"location": place, **more}


def test_it_repeats_what_was_said_and_says_what_it_is() -> None:
    answer = whole(ask("hello there"))
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": f"You said: hello there {NOTE}", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert answer["model"] == "simulator"
    assert answer["system_fingerprint"] == "fp_simulator"
    assert answer["usage"]["prompt_tokens"] == 2
    assert answer["usage"]["completion_tokens"] == len(f"You said: hello there {NOTE}".split())
    assert answer["usage"]["total_tokens"] == 2 + answer["usage"]["completion_tokens"]


def test_the_same_request_gets_the_same_bytes() -> None:
    body = ask("What time is it?", tools=[clock()], seed=1)
    assert list(played(body).steps) == list(played(body).steps)
    assert whole(ask("a"))["id"] != whole(ask("b"))["id"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "You said nothing."),
        ([{"type": "text", "text": "look"}, {"type": "text", "text": "here"}], "You said: look here"),
        (
            [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}],
            "You said: look You sent 1 image.",
        ),
        (
            [{"type": "file", "file": {}}, {"type": "file", "file": {}}, {"type": "input_audio", "input_audio": {}}],
            "You said nothing. You sent 2 files and 1 audio clip.",
        ),
        (" ".join(["word"] * 100), "You said: " + " ".join(["word"] * 40) + " ..."),
    ],
)
def test_texts(content: str | list[Any], text: str) -> None:
    assert message(ask(content))["content"] == f"{text} {NOTE}"


def test_a_stream_comes_word_by_word_and_says_the_same() -> None:
    found = chunks(ask("hello there", stream_options={"include_usage": True}))
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["delta"] for chunk in found[1:4]] == [
        {"content": "You"},
        {"content": " said:"},
        {"content": " hello"},
    ]
    assert [chunk["usage"] for chunk in found[:-1]] == [None] * (len(found) - 1)
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == whole(ask("hello there"))["usage"]
    assert joined(ask("hello there"))[0]["content"] == message(ask("hello there"))["content"]
    assert all("usage" not in chunk for chunk in chunks(ask()))


@pytest.mark.parametrize(
    ("fields", "text", "finish"),
    [
        ({"max_tokens": 3}, "You said: hello", "length"),
        ({"max_completion_tokens": 1}, "You", "length"),
        ({"max_tokens": 1000}, f"You said: hello there {NOTE}", "stop"),
        ({"stop": " there"}, "You said: hello", "stop"),
        ({"stop": ["not here", "said", "hello"]}, "You ", "stop"),
        ({"stop": "You"}, "", "stop"),
        ({"stop": "there", "max_tokens": 2}, "You said:", "length"),
        ({"stop": ""}, f"You said: hello there {NOTE}", "stop"),
    ],
)
def test_limits(fields: dict[str, Any], text: str, finish: str) -> None:
    choice = whole(ask("hello there", **fields))["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, finish)
    spelt = joined(ask("hello there", **fields))[0]
    assert (spelt["content"], spelt["finish"]) == (text, finish)


def test_several_choices() -> None:
    answer = whole(ask(n=3))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 3 * whole(ask())["usage"]["completion_tokens"]
    assert list(joined(ask(n=3))) == [0, 1, 2]


def test_log_probabilities() -> None:
    content = whole(ask(logprobs=True, top_logprobs=2, max_tokens=3))["choices"][0]["logprobs"]["content"]
    assert [each["token"] for each in content] == ["You", " said:", " hello"]
    assert all(each["logprob"] == 0 and len(each["top_logprobs"]) == 2 for each in content)
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks(ask(logprobs=True, top_logprobs=2, max_tokens=3))]
    assert [each for found in streamed if found for each in found["content"]] == content


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({"reasoning_effort": "low"}, True),
        ({"reasoning": {"effort": "low"}}, True),
        ({"reasoning_effort": "none"}, False),
    ],
)
def test_reasoning(fields: dict[str, Any], reasons: bool) -> None:
    answer = whole(ask("hello there", **fields))
    text = answer["choices"][0]["message"].get("reasoning_content", "")
    assert text == ("The user's message has 2 words. The simulator does not think." if reasons else "")
    assert joined(ask("hello there", **fields))[0]["reasoning"] == text
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == len(text.split())


def test_reasoning_counts_for_the_limit() -> None:
    choice = whole(ask("hello there", reasoning_effort="high", max_tokens=4))["choices"][0]
    assert choice["message"]["reasoning_content"] == "The user's message has"
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the current datetime in Europe/London?", [at("Europe/London")]),
        ("what time is it?", [("gateway_datetime", {})]),
        ("What's today's date in America/Argentina/Salta?", [at("America/Argentina/Salta")]),
        ("The time in Europe/London and in Asia/Tokyo, please.", [at("Europe/London"), at("Asia/Tokyo")]),
        ("What time is it in Mars/Phobos?", [at("Mars/Phobos")]),
        ("What's the weather in Paris?", [weather_in("Paris")]),
        ("weather for San Jose, Costa Rica in fahrenheit", [weather_in("San Jose, Costa Rica", unit="fahrenheit")]),
        ("Weather in Paris and Rome?", [weather_in("Paris"), weather_in("Rome")]),
        ("What time is it in UTC, and what's the weather in Paris?", [at("UTC"), weather_in("Paris")]),
        ("how is the weather", [weather_in("how is the weather")]),
        ("Hello, how are you?", []),
        ("What is the capital of France?", []),
        ("Is this the gateway?", []),
    ],
)  # fmt: skip
def test_it_calls_the_tools_that_the_text_asks_for(text: str, expected: list[tuple[str, Any]]) -> None:
    body = ask(text, tools=[weather(), clock()])
    found = whole(body)["choices"][0]
    assert calls(found["message"]) == expected
    assert found["finish_reason"] == ("tool_calls" if expected else "stop")
    spelt = joined(body)[0]
    assert [(call["name"], json.loads(call["arguments"])) for call in spelt["calls"].values()] == expected
    assert spelt["finish"] == found["finish_reason"]
    ids = [call["id"] for call in found["message"].get("tool_calls", ())]
    assert len(set(ids)) == len(expected)
    if expected:
        assert found["message"]["content"] is None


STRINGS = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("text", "properties", "arguments"),
    [
        ('Search for "red shoes" now', {"query": {"type": "string", "required": True}}, {"query": "red shoes"}),
        ("search shoes", {"query": {"type": "string", "required": True}}, {"query": "search shoes"}),
        ("search 5 below 20.5", {"count": {"type": "integer"}, "sum": {"type": "number"}}, {"count": 5, "sum": 20.5}),
        ("search", {"count": {"type": "integer", "minimum": 3, "required": True}}, {"count": 3}),
        ("search", {"count": {"type": ["integer", "null"], "required": True}}, {"count": None}),
        ("search", {"note": {"anyOf": [{"type": "string"}, {"type": "null"}], "required": True}}, {"note": None}),
        ("search", {"exact": {"type": "boolean", "required": True}}, {"exact": True}),
        ("search in Rome and Bari", {"cities": STRINGS}, {"cities": ["Rome", "Bari"]}),
        ("search from 2026-11-22", {"start_date": {"type": "string"}}, {"start_date": "2026-11-22"}),
        ("search mail of ann@example.com", {"email": {"type": "string"}}, {"email": "ann@example.com"}),
        ("search https://x.example/a?b=1.", {"url": {"type": "string"}}, {"url": "https://x.example/a?b=1"}),
        ("search", {"limit": {"type": "integer"}, "city": {"type": "string"}}, {}),
    ],
)  # fmt: skip
def test_arguments_come_from_the_text(text: str, properties: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert calls(message(ask(text, tools=[function("search", **properties)]))) == [("search", arguments)]


def test_a_function_without_parameters_is_called_with_none() -> None:
    tool = {"type": "function", "function": {"name": "listOrders"}}
    assert calls(message(ask("show my orders", tools=[tool]))) == [("listOrders", {})]


NAMED = {"type": "function", "function": {"name": "get_weather"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"tool_choice": "none"}, []),
        ({"tool_choice": "auto"}, ["gateway_datetime"]),
        ({"tool_choice": "required"}, ["gateway_datetime"]),
        ({"tool_choice": NAMED}, ["get_weather"]),
        ({"tool_choice": ALLOWED}, ["get_weather"]),
    ],
)
def test_tool_choice(fields: dict[str, Any], names: list[str]) -> None:
    found = message(ask("what time is it?", tools=[weather(), clock()], **fields))
    assert [name for name, _ in calls(found)] == names


def test_a_required_call_is_made_even_if_nothing_fits() -> None:
    found = message(ask("hello", tools=[weather(), clock()], tool_choice="required"))
    assert calls(found) == [weather_in("hello")]


def test_parallel_calls_can_be_switched_off() -> None:
    body = ask("The time in Europe/London and Asia/Tokyo?", tools=[clock()], parallel_tool_calls=False)
    assert calls(message(body)) == [at("Europe/London")]


def test_custom_tools_get_the_text() -> None:
    tool = {"type": "custom", "custom": {"name": "run_code", "description": "Runs code"}}
    (call,) = message(ask("run this code: 1+1", tools=[tool]))["tool_calls"]
    assert call["custom"] == {"name": "run_code", "input": "run this code: 1+1"}
    steps = played(ask("run this code: 1+1", tools=[tool], stream=True)).steps
    data = [json.loads(step.data[6:]) for step in steps if b'"tool_calls":[' in step.data]
    deltas = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in data]
    assert (deltas[0]["type"], deltas[0]["custom"]["name"]) == ("custom", "run_code")
    assert "".join(delta["custom"]["input"] for delta in deltas) == "run this code: 1+1"


def test_legacy_functions() -> None:
    body = ask("weather in Paris", functions=[weather()["function"]], function_call="auto")
    choice = whole(body)["choices"][0]
    assert choice["message"]["function_call"] == {"name": "get_weather", "arguments": '{"location":"Paris"}'}
    assert choice["finish_reason"] == "function_call"
    assert joined(body)[0]["finish"] == "function_call"
    assert message({**body, "function_call": "none"}).get("function_call") is None


TIME = '{"timezone": "Europe/London", "datetime": "2026-11-22T09:30:00.123+00:00"}'
SAID = "It is 09:30:00 on Sunday, 22 November 2026 in Europe/London (2026-11-22T09:30:00.123+00:00)."


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ([TIME], SAID),
        ([TIME, '{"error": "no such zone"}'], f"{SAID} f1 failed: no such zone"),
        (['{"celsius": 20}'], 'f0 answered: {"celsius": 20}'),
        (["sunny"], "f0 answered: sunny"),
        (['{"timezone": "UTC", "datetime": "soon"}'], 'f0 answered: {"timezone": "UTC", "datetime": "soon"}'),
        ([[{"type": "text", "text": "from parts"}]], "f0 answered: from parts"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_results_of_tools_are_told_and_not_asked_for_again(results: list[Any], text: str, choice: str) -> None:
    made = [{"id": f"c{n}", "type": "function", "function": {"name": f"f{n}", "arguments": "{}"}} for n in range(2)]
    body = ask("What time is it?", tools=[clock()], tool_choice=choice)
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": made},
        *({"role": "tool", "tool_call_id": f"c{n}", "content": result} for n, result in enumerate(results)),
    ]
    found = message(body)
    assert found["content"] == f"{text} {NOTE}"
    assert "tool_calls" not in found


def test_a_new_question_after_results_is_a_new_question() -> None:
    body = ask("What time is it?", tools=[clock()])
    body["messages"] += [
        {"role": "tool", "tool_call_id": "c", "content": TIME},
        {"role": "assistant", "content": "It is late."},
        {"role": "user", "content": "And what date in Asia/Tokyo?"},
    ]
    assert calls(message(body)) == [at("Asia/Tokyo")]


def test_json_objects() -> None:
    found = json.loads(message(ask("hello", response_format={"type": "json_object"}))["content"])
    assert found == {"answer": "You said: hello", "note": NOTE}


class Tree(BaseModel):
    name: str
    children: list[Tree]
    parent: Tree | None


class Step(BaseModel):
    explanation: str = Field(max_length=10)
    weight: float = Field(gt=0.2, lt=0.8)
    count: int = Field(ge=3, multiple_of=5)


class Everything(BaseModel):
    kind: Literal["b", "a"]
    fixed: Literal[5]
    step: Step
    steps: list[Step] = Field(min_length=2)
    tree: Tree
    note: str | None
    flag: bool
    mixed: int | str


@pytest.mark.parametrize("model", [Everything, Tree, Step])
def test_structured_output_can_be_parsed_into_the_model_that_it_was_asked_with(model: type[BaseModel]) -> None:
    body = ask("hello", response_format=type_to_response_format_param(model))
    model.model_validate_json(message(body)["content"])
    assert joined(body)[0]["content"] == message(body)["content"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"properties": {"a": {"type": "string"}}},
        {"type": "object", "properties": {}, "required": ["extra"]},
        {"type": "array", "items": {"type": "integer"}, "minItems": 3},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": False},
        {"type": "array", "items": {"type": "string"}, "maxItems": 0},
        {"type": "string", "minLength": 100},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "uuid"},
        {"type": "number", "minimum": 0.25, "maximum": 0.75},
        {"type": "number", "exclusiveMinimum": 1},
        {"type": "integer", "maximum": -3},
        {"type": "integer", "exclusiveMaximum": 0},
        {"type": "integer", "minimum": 7, "multipleOf": 5},
        {"type": ["null", "integer"]},
        {"type": "null"},
        {"enum": ["x", 1]},
        {"const": {"a": [1]}},
        {"oneOf": [{"type": "null"}, {"type": "boolean"}]},
        {"allOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}, {"$ref": "#/$defs/b"}],
         "$defs": {"b": {"properties": {"b": {"type": "integer"}}, "required": ["b"]}}},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "boolean"}}},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {},
        True,
    ],
)  # fmt: skip
def test_structured_output_is_valid(schema: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = json.loads(message(ask("hello", response_format=form))["content"])
    jsonschema.Draft202012Validator(schema).validate(answer)


@pytest.mark.parametrize(
    ("name", "behaviour"),
    [
        ("simulator", Behaviour()),
        ("simulator-fast", Behaviour(word_delay=0)),
        ("simulator-slow", Behaviour(word_delay=0.05)),
        ("simulator-delay-200ms", Behaviour(first_delay=0.2)),
        ("simulator-delay-2s-fail-503", Behaviour(first_delay=2, status=503)),
        ("simulator-fail-429", Behaviour(status=429)),
        ("simulator-cut", Behaviour(fault="cut")),
        ("simulator-cut-early", Behaviour(fault="cut-early")),
        ("simulator-fast-long-500-cut", Behaviour(word_delay=0, words=500, fault="cut")),
        ("simulator-stall", Behaviour(fault="stall")),
        ("simulator-empty", Behaviour(fault="empty")),
        ("simulator-error-event", Behaviour(fault="error-event")),
        *(
            (name, None)
            for name in ("", "gpt-5", "simulator-", "simulator-quick", "simulator-fail-200", "simulatorfast")
        ),
        *(
            (name, None)
            for name in ("simulator-delay-5", "simulator-fast-", "simulator-long-10000000", "simulator-cutx")
        ),
    ],
)
def test_names(name: str, behaviour: Behaviour | None) -> None:
    assert read_name(name) == behaviour


@pytest.mark.parametrize(
    ("status", "kind", "wait"),
    [
        (400, FailureKind.REJECTED, None),
        (401, FailureKind.CREDENTIALS, None),
        (403, FailureKind.CREDENTIALS, None),
        (404, FailureKind.MODEL_NOT_FOUND, None),
        (413, FailureKind.REJECTED, None),
        (429, FailureKind.RATE_LIMITED, 1.0),
        (500, FailureKind.SERVER, None),
        (503, FailureKind.OVERLOADED, None),
    ],
)
def test_errors(status: int, kind: FailureKind, wait: float | None) -> None:
    script = played(ask(model=f"simulator-delay-200ms-fail-{status}"))
    (step,) = script.steps
    assert (script.status, step.delay) == (status, 0.2)
    failure = DIALECT.decode_error(script.status, script.headers, step.data)
    assert (failure.kind, failure.retry_after) == (kind, wait)
    assert str(status) in failure.message


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (b"[]", 400), (b"{}", 404), (b'{"model": "gpt-5"}', 404), (b'{"model": 5}', 404)]
)
def test_what_is_no_request_of_its_own(body: bytes, status: int) -> None:
    script = play(UpstreamRequest("", {}, body))
    assert script.status == status
    assert json.loads(next(iter(script.steps)).data)["error"]["message"]


@pytest.mark.parametrize(
    ("model", "delays"), [("simulator", {0.01}), ("simulator-slow", {0.05}), ("simulator-fast", {0.0})]
)
def test_words_of_a_stream_take_their_time(model: str, delays: set[float]) -> None:
    steps = [step for step in played(ask(model=model, stream=True)).steps if b'"content":" ' in step.data]
    assert {step.delay for step in steps} == delays


@pytest.mark.parametrize("stream", [True, False])
def test_a_delay_comes_before_the_first_byte(stream: bool) -> None:
    steps = list(played(ask(model="simulator-fast-delay-2s", stream=stream)).steps)
    assert [step.delay for step in steps] == [2.0] + [0.0] * (len(steps) - 1)


@pytest.mark.parametrize("name", ["simulator-long-2000", "simulator-long-2000-fast"])
def test_long_answers(name: str) -> None:
    answer = whole(ask("weather", model=name, tools=[weather()]))
    assert len(answer["choices"][0]["message"]["content"].split()) == 2000
    assert answer["usage"]["completion_tokens"] == 2000


def contents(script: Script) -> list[str]:
    text = b"".join(step.data for step in script.steps).decode()
    return [event for event in text.split("\n\n") if '"content":"' in event and '"content":""' not in event]


def test_faults_of_streams() -> None:
    cut = played(ask(model="simulator-cut", stream=True))
    assert cut.cut
    assert 1 <= len(contents(cut)) < len(contents(played(ask(stream=True))))
    early = played(ask(model="simulator-cut-early", stream=True))
    assert early.cut
    assert [b'"role":"assistant"' in step.data for step in early.steps] == [True]
    broken = list(played(ask(model="simulator-error-event", stream=True)).steps)
    assert b'"content":"You"' in broken[1].data
    assert b'data: {"error"' in broken[-1].data
    assert [step.data for step in played(ask(model="simulator-empty", stream=True)).steps] == [b""]
    (stall,) = played(ask(model="simulator-stall", stream=True)).steps
    assert (stall.delay > 3600, stall.data) == (True, b"")


def test_faults_of_whole_answers() -> None:
    cut = played(ask(model="simulator-cut"))
    (step,) = cut.steps
    assert cut.cut
    assert step.data.startswith(b"{")
    assert not step.data.endswith(b"}")
    early = played(ask(model="simulator-cut-early"))
    assert (early.cut, [step.data for step in early.steps]) == (True, [b""])
    (broken,) = played(ask(model="simulator-error-event")).steps
    assert json.loads(broken.data)["error"]["type"] == "server_error"
    assert [step.data for step in played(ask(model="simulator-empty")).steps] == [b""]
    assert next(iter(played(ask(model="simulator-stall")).steps)).delay > 3600


def test_the_dialect_needs_no_address() -> None:
    request = CreateChatCompletionRequest(model="local/simulator", messages=[ChatMessage(role=ROLE_USER, text="hello")])
    endpoint = Endpoint(provider="local", model="simulator")
    encoded = DIALECT.encode(request, Provider(dialect="simulator"), endpoint, frozenset())
    (step,) = play(encoded).steps
    assert DIALECT.decode(step.data).choices[0].message.content == f"You said: hello {NOTE}"
