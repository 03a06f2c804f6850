"""What a vendor wants back (signatures of thoughts) survives a client that knows only OpenAI's package."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from anthropic import types

from tests.contract.dialects.client import Answer, over
from tests.contract.dialects.fake import Fake
from tests.contract.dialects.scenes import LIMIT, WEATHER_TOOL, user
from tests.contract.dialects.talk import Call, Counts, Says
from tests.contract.dialects.vendors import VENDORS
from tests.contract.dialects.vendors.anthropic import AnthropicVendor

streams = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])

ASK = {
    "tools": [WEATHER_TOOL],
    "reasoning": {"effort": "low", "include_thoughts": True},
    "max_tokens": LIMIT,
}
CALLS = [Call("get_weather", {"location": "Paris"}), Call("get_weather", {"location": "Oslo"})]
THINKS = Says(
    thoughts=["I need ", "the weather."],
    text=["Let me look."],
    calls=CALLS,
    finish="tool_calls",
    counts=Counts(reasoning=8),
    signature="sig-1",
)
ANSWERS = Says(text=["Sunny."])


async def two_turns(fake: Fake, *, stream: bool) -> Answer:
    """Ask, send the answer's message back with the tools' results, and return the first answer."""
    gateway = over({fake.vendor.dialect: fake})
    first = await gateway.ask({**ASK, "messages": [user("The weather?")]}, stream=stream)
    results = [{"role": "tool", "tool_call_id": call_id, "content": "sunny"} for call_id in first.call_ids()]
    await gateway.ask({**ASK, "messages": [user("The weather?"), first.history(), *results]}, stream=stream)
    return first


@streams
async def test_anthropic_gets_its_thinking_back_as_it_was(stream: bool) -> None:
    fake = Fake(VENDORS["anthropic"], THINKS, ANSWERS, size=7)
    first = await two_turns(fake, stream=stream)
    turns = fake.bodies[1]["messages"]
    assert turns[1]["content"][:2] == [
        {"type": "thinking", "thinking": "I need the weather.", "signature": "sig-1"},
        {"type": "text", "text": "Let me look."},
    ]
    assert [block["id"] for block in turns[1]["content"][2:]] == first.call_ids()
    assert fake.bodies[1]["thinking"] == fake.bodies[0]["thinking"] == {"type": "enabled", "budget_tokens": 4096}


class _Interleaves(AnthropicVendor):
    """Thinks twice, of which once under a seal."""

    BLOCKS: tuple[Mapping[str, Any], ...] = (
        {"type": "thinking", "thinking": "First.", "signature": "sig-1"},
        {"type": "redacted_thinking", "data": "c2VhbGVk"},
        {"type": "thinking", "thinking": "Second.", "signature": "sig-2"},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}},
    )

    def whole(self, says: Says) -> bytes:
        if says is not THINKS:
            return super().whole(says)
        message = json.loads(super().whole(says))
        return types.Message.model_validate({**message, "content": self.BLOCKS}).model_dump_json().encode()

    def events(self, says: Says) -> list[bytes]:
        events = list(super().events(says))
        if says is not THINKS:
            return events
        steps: list[dict[str, Any]] = []
        for index, block in enumerate(self.BLOCKS):
            begun = {**block, "thinking": "", "signature": ""} if "thinking" in block else block
            steps.append({"type": "content_block_start", "index": index, "content_block": begun})
            if "thinking" in block:
                given = ({"type": f"{name}_delta", name: block[name]} for name in ("thinking", "signature"))
                steps += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in given]
            steps.append({"type": "content_block_stop", "index": index})
        return [events[0], *(b"event: %b\ndata: %b\n\n" % _named(step) for step in steps), *events[-2:]]


def _named(step: Mapping[str, Any]) -> tuple[bytes, bytes]:
    return step["type"].encode(), json.dumps(step).encode()


@streams
async def test_several_thinking_blocks_come_back_in_their_order(stream: bool) -> None:
    fake = Fake(_Interleaves(), THINKS, ANSWERS)
    await two_turns(fake, stream=stream)
    assert fake.bodies[1]["messages"][1]["content"] == list(_Interleaves.BLOCKS)


@streams
async def test_gemini_gets_the_signature_back_on_the_call_that_it_came_with(stream: bool) -> None:
    fake = Fake(VENDORS["google"], THINKS, ANSWERS, size=7)
    await two_turns(fake, stream=stream)
    parts = fake.bodies[1]["contents"][1]["parts"]
    signature = base64.b64encode(b"sig-1").decode()
    assert [part.get("thoughtSignature") for part in parts] == [None, signature, None]
    assert [part.get("functionCall", {}).get("args") for part in parts] == [
        None,
        {"location": "Paris"},
        {"location": "Oslo"},
    ]


@streams
async def test_gemini_gets_the_signature_of_a_text_back_on_the_text(stream: bool) -> None:
    fake = Fake(VENDORS["google"], Says(thoughts=["Hm."], text=["Hel", "lo."], signature="sig-2"), ANSWERS)
    gateway = over({"google": fake})
    first = await gateway.ask({**ASK, "messages": [user("Hi")]}, stream=stream)
    await gateway.ask({**ASK, "messages": [user("Hi"), first.history(), user("And?")]}, stream=stream)
    signature = base64.b64encode(b"sig-2").decode()
    assert fake.bodies[1]["contents"][1]["parts"] == [{"text": "Hello.", "thoughtSignature": signature}]


@streams
@pytest.mark.parametrize("first", VENDORS)
@pytest.mark.parametrize("second", VENDORS)
async def test_a_conversation_that_one_vendor_began_goes_on_with_another(first: str, second: str, stream: bool) -> None:
    """Nothing of the first vendor's own reaches the second, whose checks would refuse it."""
    begun = await over({first: Fake(VENDORS[first], THINKS)}).ask(
        {**ASK, "messages": [user("The weather?")]}, stream=stream
    )
    results = [{"role": "tool", "tool_call_id": call_id, "content": "sunny"} for call_id in begun.call_ids()]
    fake = Fake(VENDORS[second], ANSWERS)
    messages = [user("The weather?"), begun.history(), *results]
    answer = await over({second: fake}).ask({**ASK, "messages": messages}, stream=stream)
    assert answer.message.content == "Sunny."
    assert fake.heard[0].turns == [
        ("user", [("text", "The weather?")]),
        ("model", [("text", "Let me look."), *(("call", call.name, call.arguments) for call in CALLS)]),
        ("user", [("result", "get_weather", "sunny"), ("result", "get_weather", "sunny")]),
    ]
    if first != second:
        assert "sig-1" not in json.dumps(fake.bodies[0])
        assert base64.b64encode(b"sig-1").decode() not in json.dumps(fake.bodies[0])
