"""The conversations that every dialect has to carry alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.contract.dialects.talk import Call, Counts, Heard, Says

LIMIT = 8000
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAA"
    "DUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PHOTO = "https://images.example/cat.png"
WEATHER: Mapping[str, Any] = {
    "type": "object",
    "properties": {"location": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["location"],
}
CITY: Mapping[str, Any] = {
    "type": "object",
    "properties": {"zone": {"type": "string"}, "area_km2": {"type": "number"}, "city": {"type": "string"}},
    "required": ["zone", "area_km2", "city"],
    "additionalProperties": False,
}
WEATHER_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather of a place.", "parameters": WEATHER},
}


def user(text: str) -> dict[str, Any]:
    """A message of the user."""
    return {"role": "user", "content": text}


@dataclass(frozen=True, slots=True)
class Step:
    """One call: the messages that the client adds, what the vendor must hear, what the model says.

    In a tool message, `tool_call_id` is the place of the call in the answer before.
    """

    messages: Sequence[Mapping[str, Any]]
    heard: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]
    says: Says


@dataclass(frozen=True, slots=True)
class Scene:
    """A conversation. `fields` are the request's beside `messages`."""

    name: str
    steps: Sequence[Step]
    fields: Mapping[str, Any] = field(default_factory=dict)
    system: Sequence[str] = ()
    tools: Mapping[str, Any] = field(default_factory=dict)
    format: Mapping[str, Any] | None = None
    choice: str = ""
    stop: Sequence[str] = ()

    def heard(self, step: int) -> Heard:
        """Return what the vendor must hear at a step: all turns so far."""
        turns = [turn for each in self.steps[: step + 1] for turn in each.heard]
        return Heard(self.system, turns, self.tools, self.choice, self.format, LIMIT, self.stop)


_PARIS = Call("get_weather", {"location": "Paris", "days": 2}, id="call_paris")
_OSLO = Call("get_weather", {"location": "Oslo"}, id="call_oslo")
_SUN = '{"sky":"clear","celsius":21.5}'


def _tools(name: str, calls: Sequence[Call], fields: Mapping[str, Any], *, text: str = "") -> Scene:
    """A conversation in which the model calls functions and answers from their results: one JSON, the others text."""
    results = [_SUN, "rain, 7 °C"][: len(calls)]
    answered = [{"role": "tool", "tool_call_id": place, "content": result} for place, result in enumerate(results)]
    said: list[tuple[Any, ...]] = [("text", text)] if text else []
    said += [("call", call.name, call.arguments) for call in calls]
    given = [("result", call.name, result) for call, result in zip(calls, results, strict=True)]
    first = Says(text=[text] if text else (), calls=calls, finish="tool_calls")
    return Scene(
        name,
        [
            Step([user("The weather?")], [("user", [("text", "The weather?")])], first),
            Step(answered, [("model", said), ("user", given)], Says(text=["Sunny ", "in Paris."])),
            Step([user("Thanks!")], [("model", [("text", "Sunny in Paris.")]), ("user", [("text", "Thanks!")])], HELLO),
        ],
        fields={"tools": [WEATHER_TOOL], **fields},
        tools={"get_weather": WEATHER},
        choice="auto" if "tool_choice" in fields else "",
    )


HELLO = Says(text=["Hello", ", wörld \u2028 👋", "!"])

SCENES: Sequence[Scene] = (
    Scene("text", [Step([user("Hi")], [("user", [("text", "Hi")])], HELLO)]),
    Scene(
        "several turns",
        [
            Step([user("Hi")], [("user", [("text", "Hi")])], HELLO),
            Step(
                [user("How are you?"), user("Well?")],
                [
                    ("model", [("text", "".join(HELLO.text))]),
                    ("user", [("text", "How are you?"), ("text", "Well?")]),
                ],
                Says(text=["Fine."]),
            ),
        ],
        fields={"stop": ["END", "FIN"]},
        stop=["END", "FIN"],
    ),
    Scene(
        "system and developer",
        [
            Step(
                [
                    {"role": "system", "content": "Be kind."},
                    {"role": "developer", "content": [{"type": "text", "text": "Answer in French."}]},
                    user("Hi"),
                ],
                [("user", [("text", "Hi")])],
                Says(text=["Bon", "jour"]),
            )
        ],
        system=["Be kind.", "Answer in French."],
    ),
    Scene(
        "system field",
        [Step([user("Hi")], [("user", [("text", "Hi")])], Says(text=["Salut"]))],
        fields={"system": "Be brief."},
        system=["Be brief."],
    ),
    _tools("tools over two turns", [_PARIS], {"tool_choice": "auto"}),
    _tools("parallel tools", [_PARIS, _OSLO], {}),
    _tools("text beside a tool call", [_PARIS], {}, text="Let me look."),
    _tools("calls without ids", [Call(_PARIS.name, _PARIS.arguments), Call(_OSLO.name, _OSLO.arguments)], {}),
    _tools("a call without arguments", [Call("get_weather", {}, id="call_bare")], {}),
    Scene(
        "images",
        [
            Step(
                [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "Compare."},
                            {"type": "image_url", "image_url": {"url": PIXEL}},
                            {"type": "image_url", "image_url": {"url": PHOTO}},
                        ],
                    }
                ],
                [("user", [("text", "Compare."), ("image", PIXEL), ("image", PHOTO)])],
                Says(text=["A cat."]),
            )
        ],
    ),
    Scene(
        "structured output",
        [
            Step(
                [user("Oslo?")],
                [("user", [("text", "Oslo?")])],
                Says(text=['{"zone":"Europe/Oslo",', '"area_km2":454.0,"city":"Oslo"}']),
            )
        ],
        fields={
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "city", "strict": True, "schema": CITY},
            }
        },
        format=CITY,
    ),
    Scene(
        "reasoning",
        [
            Step(
                [user("17 * 3?")],
                [("user", [("text", "17 * 3?")])],
                Says(thoughts=["17 * 3 is ", "51."], text=["51"], counts=Counts(reasoning=9), signature="sig-1"),
            )
        ],
        fields={"reasoning": {"effort": "low", "include_thoughts": True}},
    ),
    Scene(
        "refusal",
        [Step([user("How to?")], [("user", [("text", "How to?")])], Says(finish="content_filter"))],
    ),
    Scene(
        "length stop",
        [Step([user("Tell")], [("user", [("text", "Tell")])], Says(text=["Once upon ", "a"], finish="length"))],
    ),
)
