"""The tool loop's decisions, and what of a streamed turn reaches the client."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import AssistantMessage, ChatCompletionChunk, Choice, Usage
from gateway.v1.content_pb2 import TOOL_CALL_TYPE_FUNCTION, FunctionCall, ToolCall
from gateway.v1.tools_pb2 import TOOL_CHOICE_MODE_AUTO, TOOL_CHOICE_MODE_NONE, DatetimeTool, Tool

from service.chat.turns import MAX_FOLLOW_UPS, ToolLoop, TurnFilter, join_turns
from service.tools import REGISTRY

NOW = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)
CLOCK = REGISTRY["gateway_datetime"]


def loop(max_tool_calls: int | None = None, timezone: str = "Europe/London") -> ToolLoop:
    settings = CLOCK.settings(Tool(gateway_datetime=DatetimeTool(timezone=timezone)))
    return ToolLoop({"gateway_datetime": (CLOCK, settings)}, max_tool_calls, lambda: NOW)


def call(call_id: str, name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id=call_id, type=TOOL_CALL_TYPE_FUNCTION, function=FunctionCall(name=name, arguments=arguments))


def message(*calls: ToolCall, content: str | None = None) -> AssistantMessage:
    return AssistantMessage(role="assistant", content=content, tool_calls=calls)


def chunk(**delta: object) -> ChatCompletionChunk:
    finish = delta.pop("finish_reason", None)
    return ChatCompletionChunk(choices=[{"delta": delta, "finish_reason": finish}])  # type: ignore[list-item]


def piece(index: int, name: str | None = None, arguments: str = "", call_id: str | None = None) -> dict[str, object]:
    return {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}


def test_a_servers_call_is_answered_in_the_next_turn_in_call_order() -> None:
    tools, request = loop(), CreateChatCompletionRequest()
    answer = message(call("a", "gateway_datetime"), call("b", "gateway_datetime", '{"timezone":"Asia/Tokyo"}'))
    split = tools.split(answer)
    assert tools.goes_on(split, "tool_calls")
    tools.follow_up(request, answer, split.server)
    assert [m.tool_call_id for m in request.messages] == ["", "a", "b"]
    assert request.messages[1].text == '{"timezone":"Europe/London","datetime":"2026-07-01T13:30:00.000+01:00"}'
    assert request.messages[2].text == '{"timezone":"Asia/Tokyo","datetime":"2026-07-01T21:30:00.000+09:00"}'
    assert request.tool_choice_mode == TOOL_CHOICE_MODE_AUTO
    usage = Usage()
    tools.report(usage)
    assert usage.server_tool_use.datetime_requests == 2


@pytest.mark.parametrize(
    ("calls", "finish_reason", "goes_on", "told"),
    [
        ([call("a", "gateway_datetime")], "tool_calls", True, "stop"),
        ([call("a", "gateway_datetime")], "stop", True, "stop"),
        ([call("a", "gateway_datetime")], "length", False, "length"),
        ([call("a", "gateway_datetime"), call("b", "mine")], "tool_calls", False, "tool_calls"),
        ([call("b", "mine")], "tool_calls", False, "tool_calls"),
        ([], "stop", False, "stop"),
    ],
)
def test_only_a_turn_with_nothing_but_the_gateways_calls_goes_on(
    calls: list[ToolCall], finish_reason: str, goes_on: bool, told: str
) -> None:
    tools = loop()
    split = tools.split(message(*calls))
    assert tools.goes_on(split, finish_reason) is goes_on
    assert tools.final_reason(split, finish_reason) == told


def test_calls_past_the_limit_are_answered_with_an_error_and_do_not_count() -> None:
    tools, request = loop(max_tool_calls=1), CreateChatCompletionRequest()
    answer = message(call("a", "gateway_datetime"), call("b", "gateway_datetime"))
    tools.follow_up(request, answer, tools.split(answer).server)
    assert "error" in request.messages[2].text
    assert request.tool_choice_mode == TOOL_CHOICE_MODE_NONE
    usage = Usage()
    tools.report(usage)
    assert usage.server_tool_use.datetime_requests == 1
    assert not tools.goes_on(tools.split(answer), "tool_calls"), "tools were withheld"


def test_the_last_of_eight_follow_ups_withholds_the_tools() -> None:
    tools, request = loop(), CreateChatCompletionRequest()
    answer = message(call("a", "gateway_datetime"))
    choices = []
    for _ in range(MAX_FOLLOW_UPS):
        assert tools.goes_on(tools.split(answer), "tool_calls")
        tools.follow_up(request, answer, tools.split(answer).server)
        choices.append(request.tool_choice_mode)
    assert choices == [TOOL_CHOICE_MODE_AUTO] * 7 + [TOOL_CHOICE_MODE_NONE]
    assert not tools.goes_on(tools.split(answer), "tool_calls")


def test_a_call_with_a_bad_zone_counts_and_the_loop_goes_on() -> None:
    tools, request = loop(), CreateChatCompletionRequest()
    answer = message(call("a", "gateway_datetime", '{"timezone":"Mars/Olympus"}'))
    tools.follow_up(request, answer, tools.split(answer).server)
    assert "Mars/Olympus" in request.messages[1].text
    assert "error" in request.messages[1].text
    usage = Usage()
    tools.report(usage)
    assert usage.server_tool_use.datetime_requests == 1


def test_the_clients_calls_are_renumbered_and_the_gateways_withheld() -> None:
    through = TurnFilter(loop())
    chunks = [
        chunk(role="assistant", content="Hm."),
        chunk(tool_calls=[piece(0, "gateway_datetime", call_id="a"), piece(1, "mine", call_id="b")]),
        chunk(tool_calls=[piece(0, arguments="{}"), piece(1, arguments='{"x":')]),
        chunk(tool_calls=[piece(1, arguments="1}")]),
        chunk(finish_reason="tool_calls"),
    ]
    passed = [each for each in chunks if through.through(each)]
    calls = [c for each in passed for c in each.choices[0].delta.tool_calls]
    assert {c.index for c in calls} == {0}
    assert "".join(c.function.arguments for c in calls) == '{"x":1}'
    assert [c.function.name for c in calls if c.function.name] == ["mine"]
    assert not any(each.choices[0].finish_reason for each in passed)
    assert through.finish_reason == "tool_calls"
    assert [c.function.name for c in through.message().tool_calls] == ["gateway_datetime", "mine"]


def test_a_call_whose_name_comes_late_is_held_until_then() -> None:
    through = TurnFilter(loop())
    assert not through.through(chunk(tool_calls=[{"index": 0, "id": "b"}]))
    named = chunk(tool_calls=[piece(0, "mine", "{}")])
    assert through.through(named)
    told = named.choices[0].delta.tool_calls[0]
    assert (told.id, told.function.name, told.function.arguments) == ("b", "mine", "{}")


def test_a_later_turns_text_begins_with_a_blank_line_and_says_no_role_again() -> None:
    through = TurnFilter(loop())
    through.through(chunk(role="assistant", content="One."))
    through.next_turn(through.message())
    opening, text = chunk(role="assistant", content=""), chunk(content="Two.")
    assert not through.through(opening)
    assert through.through(text)
    assert text.choices[0].delta.content == "\n\nTwo."
    more = chunk(content=" More.")
    through.through(more)
    assert more.choices[0].delta.content == " More."


def test_images_are_numbered_over_all_turns() -> None:
    through = TurnFilter(loop())
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    first, second = chunk(images=[{**image, "index": 0}, {**image, "index": 1}]), chunk(images=[{**image, "index": 0}])
    through.through(first)
    through.next_turn(through.message())
    through.through(second)
    numbers = [each.index for told in (first, second) for each in told.choices[0].delta.images]
    assert numbers == [0, 1, 2]


def test_no_blank_line_where_no_text_came_before() -> None:
    through = TurnFilter(loop())
    through.through(chunk(role="assistant", tool_calls=[piece(0, "gateway_datetime", "{}", "a")]))
    through.next_turn(through.message())
    text = chunk(content="Two.")
    through.through(text)
    assert text.choices[0].delta.content == "Two."


def test_images_without_a_number_are_numbered_as_they_come() -> None:
    through = TurnFilter(loop())
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    turns = [chunk(images=[image, image]), chunk(images=[image])]
    for each in turns:
        through.next_turn(through.message())
        through.through(each)
    assert [image.index for told in turns for image in told.choices[0].delta.images] == [0, 1, 2]


def test_joined_turns_number_their_images_as_their_streams_do() -> None:
    def turn(*numbers: int | None) -> Choice:
        url = {"url": "data:image/png;base64,AA=="}
        images = [{"type": "image_url", "image_url": url, "index": number} for number in numbers]
        return Choice(message={"role": "assistant", "images": images})  # type: ignore[arg-type]

    last = turn(0)
    join_turns(last, [turn(0, 1)])
    assert [image.index for image in last.message.images] == [0, 1, 2]
    last = turn(None)
    join_turns(last, [turn(None)])
    assert not any(image.HasField("index") for image in last.message.images)


def test_which_tools_are_allowed_holds_for_all_turns() -> None:
    tools, request = loop(), CreateChatCompletionRequest()
    request.tool_choice_object.allowed_tools.allowed_tools.mode = "required"
    request.tool_choice_object.allowed_tools.allowed_tools.tools.append('{"type":"function","function":{"name":"f"}}')
    answer = message(call("a", "gateway_datetime"))
    tools.follow_up(request, answer, tools.split(answer).server)
    allowed = request.tool_choice_object.allowed_tools.allowed_tools
    assert (allowed.mode, len(allowed.tools)) == ("auto", 1)
