"""What a client's JSON becomes, and what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway.v1.chat_request_pb2 import REASONING_EFFORT_HIGH, CreateChatCompletionRequest

from service.codec import decode_request, encode
from service.errors import GatewayError

USER = {"role": "user", "content": "hi"}


def decoded(**fields: Any) -> CreateChatCompletionRequest:
    body = json.dumps({"model": "m", "messages": [USER], **fields}).encode()
    return decode_request(CreateChatCompletionRequest, body, max_depth=128)


def written(**fields: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(encode(decoded(**fields)))
    assert value.pop("model") == "m"
    assert value.pop("messages") == [USER]
    return value


def refused(body: bytes) -> tuple[str, str | None, str]:
    with pytest.raises(GatewayError) as caught:
        decode_request(CreateChatCompletionRequest, body, max_depth=128)
    return caught.value.code, caught.value.param, caught.value.message


FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": "a"},
        {"stop": ["a", "b"]},
        {"stop": []},
        {"response_format": "json_object"},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"b": 1, "a": {}}}}},
        {"tool_choice": "gateway:datetime"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": {"type": "gateway:datetime"}},
        {
            "tools": [
                FUNCTION,
                {"type": "gateway:datetime", "parameters": {"timezone": "UTC"}},
                {"type": "gateway:datetime"},
            ]
        },
        {"function_call": "auto"},
        {"function_call": {"name": "f"}},
        {"prediction": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
        {"audio": {"voice": {"id": "v"}, "format": "wav"}},
        {"image_config": {"image_size": "0.5K", "reference_images": [{"b": 1, "a": [1.0]}]}},
        {"logit_bias": {"50256": -100, "7": 0.5}},
        {"metadata": {"a": "b", "z": ""}},
        {"modalities": ["text", "audio"]},
        {"stream_options": {}},
        {"seed": -(2**63)},
        {"seed": 2**63 - 1},
        {"temperature": 0, "top_p": 0.25, "n": 1},
        {"service_tier": "priority", "reasoning_effort": "xhigh"},
        {"unknown": None, "unknown_list": [1, None], "Über": {"z": 1, "a": 2}},
        {"user_id": "", "system": "\u2028 and \U0001f600 and \x00"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_comes_in_goes_out(fields: dict[str, Any]) -> None:
    assert written(**fields) == fields


@pytest.mark.parametrize(
    ("given", "meaning"),
    [
        ({"max_tokens": 5}, {"max_completion_tokens": 5}),
        ({"max_output_tokens": 5}, {"max_completion_tokens": 5}),
        ({"max_output_tokens": 1, "max_tokens": 2}, {"max_completion_tokens": 2}),
        ({"max_completion_tokens": 3, "max_output_tokens": 1, "max_tokens": 2}, {"max_completion_tokens": 3}),
        ({"max_tokens": 2, "max_completion_tokens": None}, {"max_completion_tokens": 2}),
        ({"max_tools_calls": 4}, {"max_tool_calls": 4}),
        ({"user": "a", "user_id": "b"}, {"user_id": "b"}),
        ({"imageConfig": {"aspectRatio": "16:9"}}, {"image_config": {"aspect_ratio": "16:9"}}),
        ({"responseModalities": ["image"]}, {"modalities": ["image"]}),
        (
            {"thinking": {"budgetTokens": 9, "includeThoughts": True}},
            {"thinking": {"include_thoughts": True, "max_tokens": 9}},
        ),
        ({"temperature": None, "tools": None, "stop": None, "reasoning_effort": None}, {}),
        (
            {"max_tokens": 10.0, "temperature": 1.0, "seed": 1e3},
            {"max_completion_tokens": 10, "temperature": 1, "seed": 1000},
        ),
        ({"tools": []}, {}),
    ],
)
def test_what_is_read_in_another_form(given: dict[str, Any], meaning: dict[str, Any]) -> None:
    assert written(**given) == meaning


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None},
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}],
        },
        {"role": "user", "content": []},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}, "later": [1, {"b": 1, "a": 2}]},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "input_video", "video_url": "https://example.com/v"},
                {"type": "file", "file": {"file_id": "f"}},
                {"type": "tool_call", "id": "1", "function": {"name": "f", "arguments": "{}"}},
                {"type": "refusal", "refusal": "no"},
            ],
        },
    ],
)
def test_messages_keep_their_form(message: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "messages": [message]}).encode()
    value = json.loads(encode(decode_request(CreateChatCompletionRequest, body, max_depth=128)))
    assert value["messages"] == [message]
    assert json.dumps(value["messages"][0].get("content")) == json.dumps(message.get("content"))


def test_a_tag_of_two_is_written_as_the_first() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":[{"video_url":{"url":"u"},"type":"video_url"}]}]}'
    message = decode_request(CreateChatCompletionRequest, body, max_depth=128)
    assert b'[{"type":"input_video","video_url":{"url":"u"}}]' in encode(message)


def test_fields_are_written_in_order_of_number_and_unknown_ones_last() -> None:
    body = b'{"zeta":1,"temperature":1,"alpha":2,"messages":[{"content":"hi","role":"user"}],"model":"m"}'
    message = decode_request(CreateChatCompletionRequest, body, max_depth=128)
    expected = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":1,"alpha":2,"zeta":1}'
    assert encode(message) == expected


def test_the_last_of_two_equal_keys_wins() -> None:
    body = b'{"model":"a","messages":[{"role":"user","content":"hi"}],"model":"b"}'
    assert decode_request(CreateChatCompletionRequest, body, max_depth=128).model == "b"


def test_enums_and_presence_are_those_of_the_message() -> None:
    message = decoded(reasoning_effort="high", stream_options={}, stream=False)
    assert message.reasoning_effort == REASONING_EFFORT_HIGH
    assert message.HasField("stream_options")
    assert message.HasField("stream")
    assert not message.HasField("temperature")


@pytest.mark.parametrize(
    ("tail", "code", "param"),
    [
        ('"temperature": "1"', "invalid_type", "temperature"),
        ('"temperature": true', "invalid_type", "temperature"),
        ('"temperature": 2.5', "out_of_range", "temperature"),
        ('"temperature": 1e400', "out_of_range", "temperature"),
        ('"stream": 1', "invalid_type", "stream"),
        ('"stream": "true"', "invalid_type", "stream"),
        ('"n": true', "invalid_type", "n"),
        ('"n": 1.5', "invalid_type", "n"),
        ('"n": 0', "out_of_range", "n"),
        ('"n": 129', "out_of_range", "n"),
        ('"top_k": 2147483648', "out_of_range", "top_k"),
        ('"top_k": 1e400', "out_of_range", "top_k"),
        ('"seed": 9223372036854775808', "out_of_range", "seed"),
        ('"seed": -9223372036854775809', "out_of_range", "seed"),
        ('"seed": 1' + "0" * 30, "out_of_range", "seed"),
        ('"max_tokens": 0', "out_of_range", "max_tokens"),
        ('"max_tokens": 0, "max_completion_tokens": 5', "out_of_range", "max_tokens"),
        ('"maxTokens": 5, "thinking": {"budgetTokens": -1}', "out_of_range", "thinking.budgetTokens"),
        ('"session_id": "' + "é" * 257 + '"', "out_of_range", "session_id"),
        ('"model": ""', "out_of_range", "model"),
        ('"model": null', "missing_required_parameter", "model"),
        ('"model": 5', "invalid_type", "model"),
        ('"messages": null', "missing_required_parameter", "messages"),
        ('"messages": []', "out_of_range", "messages"),
        ('"messages": {}', "invalid_type", "messages"),
        ('"messages": [{"role": "user"}, null]', "invalid_type", "messages[1]"),
        ('"messages": [{"content": "a"}]', "missing_required_parameter", "messages[0].role"),
        ('"messages": [{"role": "boss"}]', "invalid_value", "messages[0].role"),
        ('"messages": [{"role": "unspecified"}]', "invalid_value", "messages[0].role"),
        ('"messages": [{"role": "user", "content": 5}]', "invalid_type", "messages[0].content"),
        ('"messages": [{"role": "user", "content": {}}]', "invalid_type", "messages[0].content"),
        (
            '"messages": [{"role": "user", "content": [{}]}]',
            "missing_required_parameter",
            "messages[0].content[0].type",
        ),
        ('"messages": [{"role": "user", "content": [{"type": 1}]}]', "invalid_type", "messages[0].content[0].type"),
        ('"messages": [{"role": "user", "content": [{"type": "x"}]}]', "invalid_value", "messages[0].content[0].type"),
        ('"messages": [{"role": "user", "content": ["x"]}]', "invalid_type", "messages[0].content[0]"),
        (
            '"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]',
            "missing_required_parameter",
            "messages[0].content[0].image_url.url",
        ),
        (
            '"messages": [{"role": "user", "content": [{"type": "video_url"}]}]',
            "missing_required_parameter",
            "messages[0].content[0].video_url",
        ),
        ('"stop": [1]', "invalid_type", "stop[0]"),
        ('"stop": 1', "invalid_type", "stop"),
        ('"logit_bias": {"5": "a"}', "invalid_type", "logit_bias.5"),
        ('"metadata": {"a": null}', "invalid_type", "metadata.a"),
        ('"metadata": []', "invalid_type", "metadata"),
        ('"modalities": ["smell"]', "invalid_value", "modalities[0]"),
        ('"response_format": "json_schema"', "invalid_value", "response_format"),
        ('"response_format": 1', "invalid_type", "response_format"),
        ('"response_format": {}', "missing_required_parameter", "response_format.type"),
        (
            '"response_format": {"type": "json_schema", "json_schema": {}}',
            "missing_required_parameter",
            "response_format.json_schema.name",
        ),
        ('"tool_choice": "any"', "invalid_value", "tool_choice"),
        ('"tool_choice": {"type": "function", "function": {"name": ""}}', "out_of_range", "tool_choice.function.name"),
        ('"function_call": "f"', "invalid_value", "function_call"),
        ('"service_tier": "gold"', "invalid_value", "service_tier"),
        ('"prediction": {"type": "contents", "content": "a"}', "invalid_value", "prediction.type"),
        ('"prediction": {"type": "content"}', "missing_required_parameter", "prediction.content"),
        ('"tools": [{"type": "web_search_preview"}]', "tool_disabled", "tools[0].type"),
        ('"tools": [{"type": "gateway:web_search"}]', "tool_disabled", "tools[0].type"),
        ('"tools": [{"type": "gateway:clock"}]', "unknown_tool", "tools[0].type"),
        ('"tools": [{"type": "clock"}]', "invalid_value", "tools[0].type"),
        ('"tools": [{"function": {"name": "f"}}]', "missing_required_parameter", "tools[0].type"),
        ('"tools": [{"type": "function"}]', "missing_required_parameter", "tools[0].function"),
        (
            '"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]',
            "invalid_type",
            "tools[0].function.parameters",
        ),
        ('"tools": [{"type": "gateway:datetime", "zone": "UTC"}]', "unknown_parameter", "tools[0].zone"),
        (
            '"tools": [{"type": "gateway:datetime", "parameters": {"tz": 1}}]',
            "unknown_parameter",
            "tools[0].parameters.tz",
        ),
        ('"image_config": {"reference_images": [null]}', "invalid_type", "image_config.reference_images[0]"),
        ('"imageConfig": {"imageSize": "8K"}', "invalid_value", "imageConfig.imageSize"),
        ('"provider": {"max_price": {"prompt": -1}}', "out_of_range", "provider.max_price.prompt"),
    ],
)
def test_a_broken_rule_names_its_field(tail: str, code: str, param: str) -> None:
    body = '{"model": "m", "messages": [{"role": "user", "content": "hi"}], ' + tail + "}"
    assert refused(body.encode())[:2] == (code, param)


def test_an_error_is_a_sentence() -> None:
    message = refused(b'{"model":"m","messages":[{"role":"user"}],"verbosity":"loud"}')[2]
    assert message == "'verbosity' must be one of 'low', 'medium', 'high', not 'loud'."


def test_required_fields_are_missed_by_name() -> None:
    assert refused(b"{}")[:2] == ("missing_required_parameter", "model")
    assert refused(b'{"model":"m"}')[:2] == ("missing_required_parameter", "messages")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("temprature", "temperature"),
        ("temperatures", "temperature"),
        ("temperatrue", "temperature"),
        ("temqerature", "temperature"),
        ("stremm", "stream"),
        ("imageConfg", "imageConfig"),
        ("max_token", "max_tokens"),
    ],
)
def test_a_typo_is_refused(key: str, meant: str) -> None:
    body = json.dumps({"model": "m", "messages": [USER], key: 1}).encode()
    assert refused(body) == ("unknown_parameter", key, f"'{key}' is no known parameter; did you mean '{meant}'?")


@pytest.mark.parametrize("key", ["topp", "model2", "tmpratur", "erutarepmet", "", "user_", "a" * 70, "x.y"])
def test_what_is_no_typo_is_kept(key: str) -> None:
    assert written(**{key: [1]}) == {key: [1]}


def test_typos_are_not_looked_for_in_parts_of_a_request() -> None:
    assert written(reasoning={"sumary": "auto"}) == {"reasoning": {"sumary": "auto"}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The JSON text is empty."),
        (b" \n", "The JSON text is empty."),
        (b"\xef\xbb\xbf{}", "The JSON text begins with a byte order mark."),
        (b"[]", "The JSON text is not an object."),
        (b"null", "The JSON text is not an object."),
        (b'"a"', "The JSON text is not an object."),
        (b'{"a": 1,}', "The text is not JSON: expecting property name enclosed in double quotes at line 1 column 9."),
        (b"{} x", "The text is not JSON: extra data at line 1 column 4."),
        (b'{"a": NaN}', "The text is not JSON: NaN is no JSON value."),
        (b'{"a": -Infinity}', "The text is not JSON: -Infinity is no JSON value."),
        (b'{"a": "\xff"}', "The JSON text is not UTF-8 at byte 7."),
        (b'{"a": "\\ud83d"}', "The JSON text has half a surrogate pair, which is no character."),
        (b'{"\\ud83d": 1e400}', "The JSON text has half a surrogate pair, which is no character."),
        (b'{"a":' * 128 + b"1" + b"}" * 128 + b" ", "'model' is required."),
        (b'{"a":' * 129 + b"1" + b"}" * 129, "The JSON text is nested more than 128 deep."),
        (b'{"a":' * 600 + b"1e400" + b"}" * 600, "The JSON text is nested more than 128 deep."),
        (b"[" * (32 * 2**20), "The JSON text is nested too deep."),
        (b'{"a":' * (4 * 2**20), "The JSON text is nested too deep."),
    ],
    ids=lambda value: str(value[:20]),
)
def test_what_is_not_json_is_refused(body: bytes, message: str) -> None:
    code, param, text = refused(body)
    assert text == message
    assert code in ("invalid_json", "missing_required_parameter")
    assert param == ("model" if "model" in message else None)
