"""The simulator's bounds: no request makes it work for long, or answer with more than a little."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from service.providers.dialect import UpstreamRequest
from service.providers.simulator import play
from service.providers.simulator.budget import VALUE, Budget

MOST_CHARACTERS = 100_000
STRING = {"type": "string"}
ITSELF = {"$ref": "#"}


def ask(text: str = "hello there", **fields: Any) -> dict[str, Any]:
    return {"model": "simulator", "messages": [{"role": "user", "content": text}], **fields}


def told(result: str, name: str = "f", **fields: Any) -> dict[str, Any]:
    body = ask(**fields)
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": result},
    ]
    return body


def tool(name: str, properties: Mapping[str, Any], required: bool = False, **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties) if required else [], **more}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def data(body: Mapping[str, Any]) -> bytes:
    script = play(UpstreamRequest("", {}, json.dumps(body).encode()))
    assert script.status == 200
    return b"".join(step.data for step in script.steps)


def choice(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data(body))["choices"][0]
    return found


def content(body: Mapping[str, Any]) -> str:
    found: str = choice(body)["message"]["content"]
    return found


def formatted(schema: Any, text: str = "hello", **fields: Any) -> str:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return content(ask(text, response_format=form, **fields))


def calls(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = choice(body)["message"]["tool_calls"]
    return found


def arguments(body: Mapping[str, Any]) -> list[Any]:
    return [json.loads(call["function"]["arguments"]) for call in calls(body)]


def object_of(*names: str, schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": dict.fromkeys(names, schema), "required": names, **more}


def items(schema: Any, least: int = 1000) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": least}


NAMES = [f"p{n}" for n in range(2000)]


@pytest.mark.parametrize(
    "schema",
    [
        object_of("a", "b", "c", schema=ITSELF),
        object_of(*NAMES, schema=ITSELF),
        object_of("a", "b", "c", schema=ITSELF, **dict.fromkeys(NAMES, 1)),
        {"type": "object", "properties": dict.fromkeys(NAMES, ITSELF)},
        {"type": "array", "prefixItems": [ITSELF] * 10_000},
        {"type": "array", "items": {**ITSELF, "title": "x"}, "minItems": 3, **dict.fromkeys(NAMES, 1)},
        {"allOf": [ITSELF] * 2000, **object_of(*NAMES, schema=ITSELF)},
        items(STRING, 3_000_000_000),
        items(items(items({"type": "null"}))),
        items(items({"type": "number", "exclusiveMinimum": 0.2, "maximum": 0.9, "multipleOf": 0.123})),
        items(items({"anyOf": [None] * 9000 + [{"type": "null"}]})),
        items(items({"type": ["null"] * 9000})),
        items(items({"$ref": "#/" + "a/" * 40_000})),
        items({"const": ["x" * 50] * 2000}),
        items({"enum": [["x" * 50] * 2000]}),
        items(object_of("n" * 50_000, schema={"type": "null"})),
        items({"type": "object", "required": NAMES}),
        {"type": "string", "minLength": 500_000_000_000},
        items({"type": "string", "minLength": 500_000_000_000}),
    ],
)
@pytest.mark.parametrize("text", ["hello", "x" * 10_000, "\x01" * 10_000])
def test_no_schema_makes_a_large_instance(schema: Any, text: str) -> None:
    found = formatted(schema, text)
    json.loads(found)
    # Commas, colons, quotes and nulls of at most some thousand values are not counted.
    assert len(found) < 2 * MOST_CHARACTERS


def test_lengths_have_their_limits() -> None:
    assert len(json.loads(formatted(items({"type": "null"}, 3_000_000)))) == 1000
    assert len(json.loads(formatted({"type": "string", "minLength": 500_000_000}))) == 10_000
    assert len(json.loads(formatted({"type": "string", "minLength": 500_000_000, "maxLength": 7}))) == 7


def test_what_is_beyond_the_budget_is_the_smallest_thing() -> None:
    long, short = {"type": "string", "minLength": 10_000}, object_of("a", schema=STRING)
    found = json.loads(formatted({"type": "array", "prefixItems": [long] * 9 + [long, short, long]}))
    assert [len(each) for each in found] == [10_000] * 9 + [0]
    found = json.loads(formatted({"type": "object", "properties": {"big": {"const": "x" * 200_000}, "after": STRING}}))
    assert found == {"big": None}


@pytest.mark.parametrize(
    "schema",
    [
        object_of(*NAMES[:300], schema={"type": "integer", "minimum": 3}),
        items(object_of("name", "count", schema={"type": ["string", "null"]}), 100),
        items({"enum": NAMES}, 20),
        {"$ref": "#/$defs/n", "$defs": {"n": object_of(*NAMES[:50], schema={"$ref": "#/$defs/s"}), "s": STRING}},
        {"allOf": [object_of(name, schema=STRING) for name in NAMES[:100]]},
        # Contains itself so often that what is not required has to be left out before the end.
        {"properties": {**dict.fromkeys(NAMES[:30], ITSELF), "name": STRING}, "required": ["name"], "type": "object"},
    ],
)
@pytest.mark.parametrize("choices", [1, 3])
def test_large_but_sensible_schemas_get_valid_instances(schema: Any, choices: int) -> None:
    jsonschema.Draft202012Validator(schema).validate(json.loads(formatted(schema, n=choices)))


def test_all_calls_share_a_budget() -> None:
    long = {"type": "string", "minLength": 1_000_000}
    tools = [tool(f"search{n}", {"a": long, "b": long, "c": long}, required=True) for n in range(100)]
    text = " ".join(each["function"]["name"] for each in tools)
    found = calls(ask(text, tools=tools))
    assert 1 < len(found) < 10
    assert sum(len(call["function"]["arguments"]) for call in found) < 2 * MOST_CHARACTERS


def test_many_tools_are_not_all_called() -> None:
    functions = [tool(f"w{n}", {"city": STRING}) for n in range(3000)]
    text = " ".join(f"w{n}" for n in range(2000)) + " in " + " and ".join(f"A{n}" for n in range(10))
    assert 8 < len(calls(ask(text, tools=functions))) < MOST_CHARACTERS / VALUE
    custom = [{"type": "custom", "custom": {"name": f"w{n}"}} for n in range(2000)]
    found = [call["custom"]["input"] for call in calls(ask(text, tools=custom))]
    assert found[0] == text[-10_000:]
    assert len("".join(found)) < MOST_CHARACTERS


def test_many_choices_share_a_budget() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": items(STRING)}}
    assert len(data(ask("\\" * 1000, response_format=form, n=128))) < 10_000_000


def test_a_required_call_is_made_however_little_is_left_for_it() -> None:
    long = {"type": "custom", "custom": {"name": "n" * 200_000}}
    assert [call["custom"]["input"] for call in calls(ask("hello", tools=[long], tool_choice="required"))] == ["hello"]
    found = arguments(ask("hello", tools=[tool("f", {"n" * 200_000: STRING}, True)], tool_choice="required"))
    assert found == [{}]


@pytest.mark.parametrize("text", ["a" * 10_000, "a." * 5000, "a@" * 5000, "“" * 10_000, "in A'" * 2000, "1" * 10_000])
def test_texts_that_are_slow_to_search_are_searched_once(text: str) -> None:
    names = [f"{kind}_{n}" for kind in ("email", "city", "url", "date", "zone", "note") for n in range(100)]
    properties = {**dict.fromkeys(names, STRING), **{f"n{n}": {"type": "integer"} for n in range(100)}}
    (found,) = arguments(ask(text, tools=[tool("search", properties)], tool_choice="required"))
    assert len(json.dumps(found)) < MOST_CHARACTERS


def test_the_end_of_a_long_text_is_searched() -> None:
    text = f"Search for ann@example.com. {'word ' * 1000} Copy to bob@example.com."
    assert arguments(ask(text, tools=[tool("search", {"email": STRING})])) == [{"email": "bob@example.com"}]


def test_found_values_are_paid_for() -> None:
    mails = " ".join(f"a{n}@example.com" for n in range(200))
    properties = {f"email_{n}": {"type": "array", "items": STRING} for n in range(2000)}
    (found,) = arguments(ask(f"search {mails}", tools=[tool("search", properties)]))
    assert 10 < len(found) < 50
    assert len(found["email_0"]) == 200


@pytest.mark.parametrize(
    ("text", "values", "found"),
    [
        ("weather in Celsius", ["fahrenheit", "celsius"], ["celsius"]),
        ("weather, red shoes", ["red", "red shoes", "shoe", "ed"], ["red", "red shoes"]),
        ("weather of an X-ray", ["x-ray", "x-rays", "ray"], ["x-ray", "ray"]),
        ("weather of 5", [5, 50, True, None], [5]),
        ("weather of v77", [f"v{n}" for n in range(100_000)], ["v77"]),
    ],
)
def test_values_of_an_enum_are_found_as_whole_words(text: str, values: list[Any], found: list[Any]) -> None:
    assert arguments(ask(text, tools=[tool("weather", {"unit": {"enum": values}})])) == [{"unit": v} for v in found]


def test_a_number_too_large_for_json_is_none() -> None:
    assert arguments(ask("search 99999999999999999999", tools=[tool("search", {"n": {"type": "integer"}})])) == [{}]


def test_a_repeated_text_is_cut() -> None:
    assert len(content(told("x" * 3_000_000))) < 21_000
    assert len(content(ask("x" * 3_000_000))) < 21_000


def test_blanks_alone_are_no_words() -> None:
    assert content(told("x", name=" " * 500_000, stop="(This")) == ""


def test_only_some_stop_sequences_are_looked_for() -> None:
    assert content(ask(stop=["none"] * 15 + ["hello"])) == "You said: "
    assert content(ask("hello", stop=["none"] * 50_000 + ["hello"])).startswith("You said: hello")


@pytest.mark.parametrize("text", ["x" * 10_000, "\x01 " * 10])
def test_log_probabilities_that_would_be_too_many_are_left_out(text: str) -> None:
    assert choice(ask(text, logprobs=True))["logprobs"] is not None
    assert choice(ask(text, logprobs=True, top_logprobs=20, n=128))["logprobs"] is None
    streamed = data(ask(text, logprobs=True, top_logprobs=20, n=128, stream=True))
    assert b'"logprobs":{' not in streamed


def test_a_budget_that_was_overdrawn_buys_nothing_any_more() -> None:
    budget = Budget()
    assert budget.buy("x" * 40_000) == "x" * 40_000
    assert not budget.scarce
    assert budget.buy("x" * 20_000) == "x" * 20_000
    assert (budget.scarce, budget.overdrawn) == (True, False)
    assert budget.buy("x" * 50_000) is None
    assert budget.overdrawn
    assert budget.buy("x") is None
    assert not budget.spend(1)
