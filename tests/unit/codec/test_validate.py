"""The rules hold for messages over gRPC as they do for JSON."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.content_pb2 import ROLE_USER, ChatMessage

from service.codec import validate
from service.errors import GatewayError


def request() -> CreateChatCompletionRequest:
    return CreateChatCompletionRequest(model="m", messages=[ChatMessage(role=ROLE_USER, text="hi")])


Change = Callable[[CreateChatCompletionRequest], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it,
        lambda it: it.messages.add(role=4, null_content=0),
        lambda it: it.messages.add(role=3, parts={}),
        lambda it: it.messages.add(role=3, parts={"parts": [{"text": {"text": "", "extra": {"a": "null"}}}]}),
        lambda it: it.tools.add(function={"function": {"name": "f", "parameters": ' {"a": 1e400}\n'}}),
        lambda it: it.tools.add(gateway_datetime={}),
        lambda it: it.extra.update({"later": "[1]", "topp": "1"}),
        lambda it: it.logit_bias.update({"1": 2}),
    ],
)
def test_a_good_request_passes(change: Change) -> None:
    message = request()
    change(message)
    validate(message)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        (lambda it: it.ClearField("model"), "missing_required_parameter", "model"),
        (lambda it: it.ClearField("messages"), "missing_required_parameter", "messages"),
        (lambda it: setattr(it, "model", ""), "out_of_range", "model"),
        (lambda it: setattr(it, "temperature", 2.1), "out_of_range", "temperature"),
        (lambda it: setattr(it, "temperature", float("nan")), "out_of_range", "temperature"),
        (lambda it: it.logit_bias.update({"7": float("inf")}), "out_of_range", "logit_bias.7"),
        (lambda it: setattr(it, "max_completion_tokens", 0), "out_of_range", "max_completion_tokens"),
        (lambda it: setattr(it, "session_id", "é" * 257), "out_of_range", "session_id"),
        (lambda it: setattr(it, "service_tier", 99), "invalid_value", "service_tier"),
        (lambda it: it.modalities.append(99), "invalid_value", "modalities[0]"),
        (lambda it: setattr(it, "response_format_type", 4), "invalid_value", "response_format"),
        (lambda it: setattr(it, "response_format_type", 0), "invalid_value", "response_format"),
        (lambda it: setattr(it, "tool_choice_mode", 0), "invalid_value", "tool_choice"),
        (lambda it: setattr(it, "function_call_mode", "f"), "invalid_value", "function_call"),
        (lambda it: it.messages.add(), "missing_required_parameter", "messages[1].role"),
        (lambda it: it.messages.add(role=9), "invalid_value", "messages[1].role"),
        (lambda it: it.messages.add(role=4, null_content=5), "invalid_value", "messages[1].content"),
        (
            lambda it: it.messages.add(role=3, parts={"parts": [{}]}),
            "missing_required_parameter",
            "messages[1].content[0].type",
        ),
        (
            lambda it: it.messages.add(
                role=3, parts={"parts": [{"text": {"text": "a"}}, {"image": {"image_url": {}}}]}
            ),
            "missing_required_parameter",
            "messages[1].content[1].image_url.url",
        ),
        (
            lambda it: it.messages.add(role=3, parts={"parts": [{"video": {}}]}),
            "missing_required_parameter",
            "messages[1].content[0].video_url",
        ),
        (
            lambda it: it.messages.add(role=3, parts={"parts": [{"text": {"text": "a", "extra": {"type": '"b"'}}}]}),
            "invalid_value",
            "messages[1].content[0].type",
        ),
        (lambda it: it.tools.add(), "missing_required_parameter", "tools[0].type"),
        (
            lambda it: it.tools.add(function={"function": {"name": "f", "parameters": "[]"}}),
            "invalid_value",
            "tools[0].function.parameters",
        ),
        (
            lambda it: it.tools.add(function={"function": {"name": "f", "parameters": "{"}}),
            "invalid_value",
            "tools[0].function.parameters",
        ),
        (
            lambda it: it.tools.add(
                function={"function": {"name": "f", "parameters": '{"a":' * 250 + "1" + "}" * 250}}
            ),
            "invalid_value",
            "tools[0].function.parameters",
        ),
        (
            lambda it: it.image_config.reference_images.append("null"),
            "invalid_value",
            "image_config.reference_images[0]",
        ),
        (lambda it: it.extra.update({"later": "nope"}), "invalid_value", "later"),
        (lambda it: it.extra.update({"later": ""}), "invalid_value", "later"),
        (lambda it: it.extra.update({"stop": '"a"'}), "invalid_value", "stop"),
        (lambda it: it.extra.update({"max_tokens": "5"}), "invalid_value", "max_tokens"),
        (lambda it: it.extra.update({"temprature": "1"}), "unknown_parameter", "temprature"),
    ],
)
def test_a_broken_rule_names_its_field(change: Change, code: str, param: str) -> None:
    message = request()
    change(message)
    with pytest.raises(GatewayError) as caught:
        validate(message)
    assert (caught.value.code, caught.value.param) == (code, param)
