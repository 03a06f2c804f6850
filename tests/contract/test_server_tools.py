"""`gateway:datetime` from the outside: what the model is asked, what the client reads, whole and streamed alike."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest

from service import codec
from tests.contract.client import HI, Client, request
from tests.contract.good_conversations import CLOCK, CLOCK_CHOICE, CLOCK_FUNCTION
from tests.contract.provider import Provider, Turn, Whole
from tests.contract.rows import allowed

F: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
NOON = Turn(text="It is noon.")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d")


def asks(arguments: str = "{}", call_id: str = "call_1", text: str | None = None) -> Turn:
    """A turn that calls the clock."""
    return Turn(text=text, calls=[(call_id, "gateway_datetime", arguments)])


@dataclass(frozen=True, slots=True)
class Told:
    """What the client was told, in the same words for a whole answer and a stream, and what the provider was asked."""

    text: str | None
    reasoning: str | None
    calls: Sequence[Mapping[str, Any]]
    finish_reason: str
    usage: Mapping[str, Any]
    asked: Sequence[Mapping[str, Any]]

    @property
    def results(self) -> Sequence[Mapping[str, Any]]:
        """The tools' results in the last request."""
        return [json.loads(m["content"]) for m in self.asked[-1]["messages"] if m["role"] == "tool"]


def ask_both_ways(client: Client, provider: Provider, turns: Sequence[Turn], **fields: Any) -> Told:
    """Ask for a whole answer and for a stream, on both faces; all are to say the same."""
    body = request(**{"tools": [CLOCK], **fields})
    provider.says(*turns)
    answer = client.ask(body)
    whole = _told(answer, provider)
    provider.says(*turns)
    streamed = client.stream({**body, "usage": True})
    assert streamed.done
    assert len(streamed.finish_reasons) == 1
    assert b"gateway_datetime" not in streamed.response.content
    told = _told_by(streamed.events, provider)
    assert _comparable(told) == _comparable(whole)
    message = codec.decode(CreateChatCompletionRequest, json.dumps(body).encode())
    provider.says(*turns)
    assert _comparable(_told(json.loads(codec.encode(client.call(message))), provider)) == _comparable(whole)
    provider.says(*turns)
    chunks = [json.loads(codec.encode(chunk)) for chunk in client.call_stream(message)]
    assert _comparable(_told_by(chunks, provider)) == _comparable(whole)
    return whole


def _told(answer: Mapping[str, Any], provider: Provider) -> Told:
    (choice,) = answer["choices"]
    message = choice["message"]
    calls = message.get("tool_calls", [])
    text, reasoning = message["content"], message.get("reasoning_content")
    return Told(text, reasoning, calls, choice["finish_reason"], answer["usage"], provider.bodies)


def _told_by(events: Sequence[Mapping[str, Any]], provider: Provider) -> Told:
    texts: dict[str, str] = {}
    calls: dict[int, dict[str, Any]] = {}
    finish = [choice["finish_reason"] for event in events for choice in event["choices"] if choice["finish_reason"]]
    roles = [c["delta"]["role"] for event in events for c in event["choices"] if "role" in c["delta"]]
    assert roles == ["assistant"]
    for delta in (choice["delta"] for event in events for choice in event["choices"]):
        for name in ("content", "reasoning_content"):
            if delta.get(name):
                texts[name] = texts.get(name, "") + delta[name]
        for call in delta.get("tool_calls", ()):
            known = calls.setdefault(call["index"], {"function": {"name": "", "arguments": ""}})
            known |= {name: call[name] for name in ("id", "type") if name in call}
            known["function"]["name"] += call["function"].get("name", "")
            known["function"]["arguments"] += call["function"].get("arguments", "")
    usage = {name: value for name, value in events[-1]["usage"].items() if name != "cost"}
    assert list(calls) == list(range(len(calls)))
    told = (texts.get("content"), texts.get("reasoning_content"), list(calls.values()), finish[0], usage)
    return Told(*told, provider.bodies)


def _comparable(told: Told) -> Any:
    bodies = [{n: v for n, v in body.items() if n not in ("stream", "stream_options")} for body in told.asked]
    calls = [(call["id"], call["type"], call["function"]) for call in told.calls]
    times = TIME.sub("TIME", json.dumps(bodies))
    return told.text or None, told.reasoning, calls, told.finish_reason, told.usage, times


def test_the_model_is_asked_again_with_the_result(client: Client, provider: Provider) -> None:
    told = ask_both_ways(client, provider, [asks('{"timezone":"Asia/Tokyo"}'), NOON], temperature=1, user_id="u")
    first, second = told.asked
    assert first == {"model": "up", "messages": HI, "temperature": 1, "user": "u", "tools": [CLOCK_FUNCTION]}
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "gateway_datetime", "arguments": '{"timezone":"Asia/Tokyo"}'},
    }
    (result,) = told.results
    assert second == {
        **first,
        "messages": [
            *HI,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": second["messages"][2]["content"], "tool_call_id": "call_1"},
        ],
        "tool_choice": "auto",
    }
    assert re.fullmatch(rf'\{{"timezone":"Asia/Tokyo","datetime":"{TIME.pattern}"\}}', second["messages"][2]["content"])
    assert result.keys() == {"timezone", "datetime"}
    assert (told.text, told.calls, told.finish_reason) == ("It is noon.", [], "stop")
    assert told.usage == {
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "total_tokens": 30,
        "server_tool_use": {"datetime_requests": 1},
    }


TOOLS: Sequence[tuple[Mapping[str, Any], str]] = (
    (CLOCK, "UTC"),
    ({**CLOCK, "parameters": {}}, "UTC"),
    ({**CLOCK, "parameters": {"timezone": "Asia/Kathmandu"}}, "Asia/Kathmandu"),
    ({**CLOCK, "timezone": "Pacific/Marquesas"}, "Pacific/Marquesas"),
    ({**CLOCK, "timezone": "UTC", "parameters": {"timezone": "America/New_York"}}, "America/New_York"),
    ({**CLOCK, "timezone": "Europe/London", "parameters": {}}, "Europe/London"),
    ({**CLOCK, "timezone": "Europe/London", "parameters": {"timezone": None}}, "Europe/London"),
)
NO_ZONE = (
    "{}",
    "",
    "null",
    "[]",
    "5",
    '"Asia/Tokyo"',
    "{",
    "not JSON",
    '{"timezone":null}',
    '{"timezone":""}',
    '{"x":1}',
)
ZONES = ("UTC", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "Etc/GMT+12", "Europe/Kyiv")
BAD_ZONES = ('"Europe/Nowhere"', '"europe/london"', '"../../etc/passwd"', "5", "0", "false", "[]", '{"a":1}', '"UTC+1"')


@pytest.mark.parametrize(("tool", "zone"), TOOLS, ids=str)
def test_the_requests_zone(tool: Mapping[str, Any], zone: str, client: Client, provider: Provider) -> None:
    check_time(ask_both_ways(client, provider, [asks(), NOON], tools=[tool]), zone)


@pytest.mark.parametrize("arguments", NO_ZONE)
def test_arguments_without_a_zone(arguments: str, client: Client, provider: Provider) -> None:
    told = ask_both_ways(client, provider, [asks(arguments), NOON], tools=[{**CLOCK, "timezone": "Asia/Tokyo"}])
    check_time(told, "Asia/Tokyo")


@pytest.mark.parametrize("zone", ZONES)
def test_the_models_zone_beats_the_requests(zone: str, client: Client, provider: Provider) -> None:
    turns = [asks(json.dumps({"timezone": zone})), NOON]
    check_time(ask_both_ways(client, provider, turns, tools=[{**CLOCK, "timezone": "Asia/Tokyo"}]), zone)


def check_time(told: Told, zone: str) -> None:
    """The result is now, in a zone, with the offset that it has now: summer time where there is one."""
    (result,) = told.results
    assert result["timezone"] == zone
    shown = datetime.fromisoformat(result["datetime"])
    assert abs(shown - datetime.now(UTC)) < timedelta(seconds=20)
    assert shown.utcoffset() == shown.astimezone(ZoneInfo(zone)).utcoffset()
    assert told.usage["server_tool_use"] == {"datetime_requests": 1}


@pytest.mark.parametrize("zone", BAD_ZONES)
def test_a_bad_zone_of_the_model_is_told_to_the_model(zone: str, client: Client, provider: Provider) -> None:
    told = ask_both_ways(client, provider, [asks(f'{{"timezone":{zone}}}'), NOON])
    (result,) = told.results
    assert result.keys() == {"error"}
    assert "IANA time zone" in result["error"]
    assert told.text == "It is noon."
    assert told.usage["server_tool_use"] == {"datetime_requests": 1}


@pytest.mark.parametrize("choice", ["gateway:datetime", {"type": "gateway:datetime"}, CLOCK_CHOICE])
def test_a_forced_call_is_forced_once(choice: Any, client: Client, provider: Provider) -> None:
    told = ask_both_ways(client, provider, [asks(), NOON], tools=[F, CLOCK], tool_choice=choice)
    assert [body["tool_choice"] for body in told.asked] == [CLOCK_CHOICE, "auto"]
    assert [body["tools"] for body in told.asked] == [[F, CLOCK_FUNCTION]] * 2


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_other_choices_hold_for_the_first_turn(choice: str, client: Client, provider: Provider) -> None:
    told = ask_both_ways(client, provider, [asks(), NOON], tool_choice=choice)
    assert [body["tool_choice"] for body in told.asked] == [choice, "auto"]


@pytest.mark.parametrize("choice", ["gateway:datetime", {"type": "gateway:datetime"}])
def test_the_clock_cannot_be_forced_where_it_is_not(choice: Any, client: Client, provider: Provider) -> None:
    response = client.post(request(tools=[F], tool_choice=choice))
    assert response.status_code == 400
    assert (response.json()["error"]["code"], response.json()["error"]["param"]) == ("invalid_value", "tool_choice")
    assert not provider.requests


def test_parallel_calls_are_answered_in_their_order(client: Client, provider: Provider) -> None:
    zones = ["Asia/Tokyo", "Nowhere", "UTC"]
    calls = [(f"call_{n}", "gateway_datetime", json.dumps({"timezone": zone})) for n, zone in enumerate(zones)]
    told = ask_both_ways(client, provider, [Turn(calls=calls), NOON])
    answers = told.asked[-1]["messages"][2:]
    assert [message["tool_call_id"] for message in answers] == ["call_0", "call_1", "call_2"]
    assert [result.get("timezone", "error") for result in told.results] == ["Asia/Tokyo", "error", "UTC"]
    assert told.usage["server_tool_use"] == {"datetime_requests": 3}


def test_in_a_mixed_turn_only_the_clients_calls_are_returned(client: Client, provider: Provider) -> None:
    calls = [
        ("c1", "gateway_datetime", "{}"),
        ("c2", "f", '{"a":1}'),
        ("c3", "gateway_datetime", "{}"),
        ("c4", "f", "{}"),
    ]
    told = ask_both_ways(client, provider, [Turn(text="Wait.", calls=calls)], tools=[CLOCK, F])
    assert [(call["id"], call["function"]["arguments"]) for call in told.calls] == [("c2", '{"a":1}'), ("c4", "{}")]
    assert (told.text, told.finish_reason, len(told.asked)) == ("Wait.", "tool_calls", 1)
    assert "server_tool_use" not in told.usage


def test_the_clients_calls_may_come_after_the_gateways(client: Client, provider: Provider) -> None:
    told = ask_both_ways(client, provider, [asks(), Turn(calls=[("c2", "f", "{}")])], tools=[CLOCK, F])
    assert [call["id"] for call in told.calls] == ["c2"]
    assert (told.finish_reason, told.usage["server_tool_use"]) == ("tool_calls", {"datetime_requests": 1})


def test_texts_of_all_turns_are_told(client: Client, provider: Provider) -> None:
    first = Turn(text="Let me see.", reasoning="Hm.", calls=[("a", "gateway_datetime", "{}")])
    third = Turn(text="It is noon.", reasoning="Aha.")
    told = ask_both_ways(client, provider, [first, asks(call_id="b"), third])
    assert told.text == "Let me see.\n\nIt is noon."
    assert told.reasoning == "Hm.\n\nAha."
    assert told.asked[1]["messages"][1]["content"] == "Let me see."
    assert told.usage["total_tokens"] == 45


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_past_the_limit_of_calls_the_model_answers_without(limit: int, client: Client, provider: Provider) -> None:
    turns = [*(asks(call_id=f"call_{n}") for n in range(limit)), NOON]
    told = ask_both_ways(client, provider, turns, max_tool_calls=limit)
    assert [body.get("tool_choice") for body in told.asked] == [None, *["auto"] * (limit - 1), "none"]
    assert told.usage["server_tool_use"] == {"datetime_requests": limit}
    assert told.text == "It is noon."


def test_surplus_calls_of_a_turn_are_refused(client: Client, provider: Provider) -> None:
    calls = [(f"call_{n}", "gateway_datetime", "{}") for n in range(3)]
    told = ask_both_ways(client, provider, [Turn(calls=calls), NOON], max_tool_calls=2)
    assert ["error" in result for result in told.results] == [False, False, True]
    assert told.usage["server_tool_use"] == {"datetime_requests": 2}
    assert told.asked[-1]["tool_choice"] == "none"


def test_a_model_that_calls_on_and_on_is_stopped(client: Client, provider: Provider) -> None:
    turns = [asks(call_id=f"call_{n}", text=f"{n}") for n in range(12)]
    told = ask_both_ways(client, provider, turns)
    assert len(told.asked) == 9
    assert [body.get("tool_choice") for body in told.asked] == [None, *["auto"] * 7, "none"]
    assert told.text == "\n\n".join(map(str, range(9)))
    assert (told.calls, told.finish_reason) == ([], "stop")
    assert told.usage["server_tool_use"] == {"datetime_requests": 8}


def test_a_model_that_calls_though_it_may_not_is_stopped(client: Client, provider: Provider) -> None:
    turns = [asks(), asks(call_id="call_2", text="Still")]
    told = ask_both_ways(client, provider, turns, max_tool_calls=1)
    assert (told.text, told.calls, told.finish_reason, len(told.asked)) == ("Still", [], "stop", 2)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_turn_that_was_cut_short_is_not_followed(reason: str, client: Client, provider: Provider) -> None:
    cut = Turn(text="Let me", calls=[("a", "gateway_datetime", "{")], finish_reason=reason)
    told = ask_both_ways(client, provider, [cut])
    assert (told.text, told.calls, told.finish_reason, len(told.asked)) == ("Let me", [], reason, 1)


def test_a_turn_without_calls_ends_as_it_is(client: Client, provider: Provider) -> None:
    told = ask_both_ways(client, provider, [NOON])
    assert (told.text, told.finish_reason, len(told.asked)) == ("It is noon.", "stop", 1)
    assert told.usage == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def test_a_provider_that_says_stop_beside_calls_is_understood(client: Client, provider: Provider) -> None:
    odd = Turn(calls=[("a", "gateway_datetime", "{}")], finish_reason="stop")
    told = ask_both_ways(client, provider, [odd, NOON])
    assert (told.text, len(told.asked)) == ("It is noon.", 2)


def test_a_users_own_function_of_that_name_is_an_ordinary_one(client: Client, provider: Provider) -> None:
    own = {"type": "function", "function": {"name": "gateway_datetime"}}
    provider.says(asks())
    (choice,) = client.ask(request(tools=[own]))["choices"]
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "gateway_datetime"
    assert len(provider.requests) == 1


def test_a_failure_in_a_later_turn(client: Client, provider: Provider) -> None:
    refused = Whole(400, {"error": {"message": "no", "code": "bad"}})
    provider.says(asks(text="Let me see."), refused)
    response = client.post(request(tools=[CLOCK]))
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad")
    provider.says(asks(text="Let me see."), refused)
    streamed = client.stream(request(tools=[CLOCK]))
    assert (streamed.done, streamed.finish_reasons, streamed.text) == (False, [], "Let me see.")
    assert streamed.events[-1]["error"]["code"] == "bad"


def test_the_reference_example(client: Client, provider: Provider) -> None:
    tool = {"type": "gateway:datetime", "parameters": {"timezone": "Europe/London"}}
    messages = [{"role": "user", "content": "What is the current datetime in Europe/London?"}]
    told = ask_both_ways(client, provider, [asks(), NOON], tools=[tool], tool_choice="auto", messages=messages)
    check_time(told, "Europe/London")


def test_counts_beyond_what_can_be_told_are_cut(client: Client, provider: Provider) -> None:
    most = {"prompt_tokens": 2**31 - 1, "completion_tokens": 2**31 - 1, "total_tokens": 2**31 - 1}
    clock = ("call_1", "gateway_datetime", "{}")
    told = ask_both_ways(client, provider, [Turn(calls=[clock], usage=most), Turn(text="It is noon.", usage=most)])
    assert told.usage["total_tokens"] == 2**31 - 1


def test_a_function_of_the_clocks_name_is_not_the_clock(client: Client, provider: Provider) -> None:
    """Without the clock among the tools the name is the client's to use; a choice of the clock then chooses nothing."""
    own = {"type": "function", "function": {"name": "gateway_datetime"}}
    for choice in ("gateway:datetime", CLOCK, allowed(CLOCK)):
        response = client.post(request(tools=[own], tool_choice=choice))
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "invalid_value"
    assert not provider.requests
