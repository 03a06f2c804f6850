"""The gateway's clock, whichever vendor calls it, whole and streamed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.contract.dialects.client import Answer, over
from tests.contract.dialects.fake import Fake
from tests.contract.dialects.scenes import LIMIT, WEATHER_TOOL, user
from tests.contract.dialects.talk import Call, Counts, Reply, Says
from tests.contract.dialects.vendors import VENDORS
from tests.fakes import wire

CLOCK = {"type": "gateway:datetime"}
ASK: dict[str, Any] = {"messages": [user("What time is it?")], "tools": [CLOCK], "max_tokens": LIMIT}
PARIS = Call("gateway_datetime", {"timezone": "Europe/Paris"})
TOKYO = Call("gateway_datetime", {"timezone": "Asia/Tokyo"})
ATLANTIS = Call("gateway_datetime", {"timezone": "Atlantis"})
WEATHER = Call("get_weather", {"location": "Paris"}, id="call_w")
NOON = Says(text=["It is ", "noon."])

pytestmark = [
    pytest.mark.parametrize("dialect", VENDORS),
    pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"]),
]


def calls(*wanted: Call, **more: Any) -> Says:
    """A turn that calls functions."""
    return Says(calls=wanted, finish="tool_calls", **more)


async def loop(dialect: str, stream: bool, request: Mapping[str, Any], *replies: Reply) -> tuple[Answer, Fake]:
    """Ask; the model says one thing after the other."""
    fake = Fake(VENDORS[dialect], *replies, size=7)
    return await over({dialect: fake}).ask(request, stream=stream), fake


def results(fake: Fake, turn: int = -1) -> list[dict[str, Any]]:
    """Return what the clock answered, as the model heard it."""
    return [json.loads(item[2]) for item in fake.heard[turn].turns[-1][1] if item[0] == "result"]


def executed(answer: Answer) -> Any:
    """Return how many calls the client is told were run."""
    return answer.value["usage"].get("server_tool_use")


async def test_one_call(dialect: str, stream: bool) -> None:
    answer, fake = await loop(dialect, stream, ASK, calls(PARIS), NOON)
    assert answer.visible() == {
        "content": "It is noon.",
        "refusal": None,
        "reasoning_content": None,
        "calls": [],
        "finish_reason": "stop",
        "prompt_tokens": 42,
        "cached_tokens": 12,
        "completion_tokens": 30,
        "reasoning_tokens": 0,
        "total_tokens": 72,
    }
    assert executed(answer) == {"datetime_requests": 1}
    first, second = fake.heard
    assert list(first.tools) == list(second.tools) == ["gateway_datetime"]
    assert [role for role, _ in second.turns] == ["user", "model", "user"]
    assert second.turns[1][1] == [("call", "gateway_datetime", {"timezone": "Europe/Paris"})]
    assert [result["timezone"] for result in results(fake)] == ["Europe/Paris"]


async def test_parallel_calls_are_answered_in_call_order(dialect: str, stream: bool) -> None:
    answer, fake = await loop(dialect, stream, ASK, calls(PARIS, TOKYO), NOON)
    assert answer.message.content == "It is noon."
    assert executed(answer) == {"datetime_requests": 2}
    assert [result["timezone"] for result in results(fake)] == ["Europe/Paris", "Asia/Tokyo"]


async def test_texts_of_all_turns_are_the_answer(dialect: str, stream: bool) -> None:
    answer, fake = await loop(dialect, stream, ASK, calls(PARIS, text=["Let me ", "look."]), calls(TOKYO), NOON)
    assert answer.message.content == "Let me look.\n\nIt is noon."
    assert executed(answer) == {"datetime_requests": 2}
    assert len(fake.bodies) == 3


async def test_a_forced_call_is_forced_once(dialect: str, stream: bool) -> None:
    ask = {**ASK, "tools": [WEATHER_TOOL, CLOCK], "tool_choice": "gateway:datetime"}
    _, fake = await loop(dialect, stream, ask, calls(PARIS), NOON)
    assert [heard.choice for heard in fake.heard] == ["function gateway_datetime", "auto"]
    assert list(fake.heard[0].tools) == ["get_weather", "gateway_datetime"]


async def test_of_a_mixed_turn_only_the_clients_calls_are_returned(dialect: str, stream: bool) -> None:
    ask = {**ASK, "tools": [WEATHER_TOOL, CLOCK]}
    answer, fake = await loop(dialect, stream, ask, calls(PARIS, WEATHER, text=["Both."]))
    assert answer.calls() == [("get_weather", {"location": "Paris"})]
    assert answer.message.content == "Both."
    assert answer.completion.choices[0].finish_reason == "tool_calls"
    assert executed(answer) is None
    messages = [*ask["messages"], answer.history(), tool_result(answer, "sunny")]
    again = Fake(VENDORS[dialect], NOON)
    await over({dialect: again}).ask({**ask, "messages": messages}, stream=stream)
    assert again.heard[0].turns[-1] == ("user", [("result", "get_weather", "sunny")])
    assert len(fake.bodies) == 1


def tool_result(answer: Answer, text: str) -> Mapping[str, Any]:
    """Return the tool message that answers the answer's one call."""
    (call_id,) = answer.call_ids()
    return {"role": "tool", "tool_call_id": call_id, "content": text}


async def test_surplus_calls_are_answered_with_an_error_and_tools_withheld(dialect: str, stream: bool) -> None:
    answer, fake = await loop(dialect, stream, {**ASK, "max_tool_calls": 1}, calls(PARIS, TOKYO), NOON)
    assert executed(answer) == {"datetime_requests": 1}
    first, second = results(fake)
    assert first["timezone"] == "Europe/Paris"
    assert "error" in second
    assert fake.heard[1].choice == "none"
    assert answer.message.content == "It is noon."


async def test_a_model_that_never_stops_calling_is_stopped(dialect: str, stream: bool) -> None:
    answer, fake = await loop(dialect, stream, ASK, calls(PARIS, text=["Again."]))
    assert len(fake.bodies) == 9
    assert answer.calls() == []
    assert answer.completion.choices[0].finish_reason == "stop"
    assert answer.message.content == "\n\n".join(["Again."] * 9)


async def test_a_zone_that_there_is_not_is_answered_with_an_error(dialect: str, stream: bool) -> None:
    answer, fake = await loop(dialect, stream, ASK, calls(ATLANTIS), NOON)
    assert answer.message.content == "It is noon."
    assert "error" in results(fake)[0]


async def test_thoughts_and_their_signature_go_into_the_next_turn(dialect: str, stream: bool) -> None:
    ask = {**ASK, "reasoning": {"effort": "low", "include_thoughts": True}}
    first = calls(PARIS, thoughts=["A clock ", "helps."], signature="sig-1", counts=Counts(reasoning=9))
    answer, fake = await loop(dialect, stream, ask, first, Says(thoughts=["Noon."], text=["Noon."]))
    assert answer.visible()["reasoning_content"] == "A clock helps.\n\nNoon."
    assert answer.visible()["reasoning_tokens"] == 9
    body = json.dumps(fake.bodies[1])
    match dialect:
        case "anthropic":
            assert '{"type": "thinking", "thinking": "A clock helps.", "signature": "sig-1"}' in body
        case "google":
            assert '"thoughtSignature": "c2lnLTE="' in body


async def test_the_loop_over_a_socket(dialect: str, stream: bool) -> None:
    vendor = VENDORS[dialect]
    fake = Fake(vendor, calls(PARIS, text=["Let me look."]), NOON)
    async with wire.serve(fake.answer) as server:
        gateway = over({dialect: fake}, {dialect: server.url + vendor.path})
        answer = await gateway.ask(ASK, stream=stream)
        await gateway.upstream.close()
        assert len(server.connections) == 1
    assert answer.message.content == "Let me look.\n\nIt is noon."


async def test_the_message_to_send_back_is_the_last_turns(dialect: str, stream: bool) -> None:
    """Blocks of thoughts with signatures of several turns cannot stand in one message: the vendor would refuse it."""
    ask = {**ASK, "tools": [WEATHER_TOOL, CLOCK], "reasoning": {"effort": "low", "include_thoughts": True}}
    first = calls(PARIS, thoughts=["A clock."], signature="sig-1")
    second = calls(WEATHER, thoughts=["A map."], signature="sig-2")
    answer, _ = await loop(dialect, stream, ask, first, second)
    text = json.dumps(answer.history())
    match dialect:
        case "anthropic":
            (block,) = answer.history()["thinking_blocks"]
            assert block["thinking"] == "A map."
            assert block["signature"] == "sig-2"
        case "google":
            assert text.count("thought_signature") == 1
            assert base64.b64encode(b"sig-2").decode() in text


async def test_a_refusal_says_why_also_when_the_gateway_holds_back_ends(dialect: str, stream: bool) -> None:
    answer, _ = await loop(dialect, stream, ASK, calls(PARIS), Says(finish="content_filter"))
    ends = [
        choice for chunk in answer.chunks or [answer.value] for choice in chunk["choices"] if choice["finish_reason"]
    ]
    assert [end["finish_reason"] for end in ends] == ["content_filter"]
    assert dialect == "openai" or ends[0]["native_finish_reason"]
