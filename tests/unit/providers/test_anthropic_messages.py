"""What the Anthropic dialect makes of conversations and their parts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.providers.anthropic_requests import (
    CLAUDE,
    CLOCK,
    DIALECT,
    HI,
    PDF,
    PNG,
    WEATHER,
    call,
    encode,
    request,
    user,
)


def test_system_messages_become_system_blocks_in_order() -> None:
    body, _ = encode(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind.", "cache_control": {"ttl": "1h"}}]},
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": "Speak French."},
        ]
    )
    assert body["system"] == [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "Speak French."},
    ]
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        (
            [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
            [("user", ["a", "b"])],
        ),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "b"}],
            [("user", ["a", "b"])],
        ),
        ([{"role": "user", "content": " \n"}], [("user", ["Begin."])]),
        ([{"role": "system", "content": "s"}], [("user", ["Begin."])]),
        (
            [{"role": "assistant", "content": "Welcome!"}, {"role": "user", "content": "b"}],
            [("user", ["Begin."]), ("assistant", ["Welcome!"]), ("user", ["b"])],
        ),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "The answer is ( "}],
            [("user", ["a"]), ("assistant", ["The answer is ("])],
        ),
        (
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
                {"role": "assistant", "content": None, "refusal": "Never."},
            ],
            [("user", ["a"]), ("assistant", ["No.", "Never."])],
        ),
    ],
)
def test_turns_alternate_and_are_never_empty(
    messages: list[dict[str, Any]], turns: list[tuple[str, list[str]]]
) -> None:
    sent = encode(messages=messages)[0]["messages"]
    assert [(turn["role"], [block["text"] for block in turn["content"]]) for turn in sent] == turns


def test_two_turns_of_parallel_tools() -> None:
    body, sent = encode(
        tools=[WEATHER],
        messages=[
            {"role": "user", "content": "Paris and London?"},
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [
                    call("toolu_1", "get_weather", '{ "z": 1.0, "a": 12345678901234567890123 }'),
                    call("functions.get:1", "get_weather", ""),
                ],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": "rain"},
            {
                "role": "tool",
                "tool_call_id": "functions.get:1",
                "content": [
                    {"type": "text", "text": "sun", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": PNG}},
                ],
            },
            {"role": "user", "content": "Well?"},
        ],
    )
    assert b'"input":{ "z": 1.0, "a": 12345678901234567890123 }' in sent.body
    assert [block["type"] for block in body["messages"][1]["content"]] == ["text", "tool_use", "tool_use"]
    assert body["messages"][1]["content"][2] == {
        "type": "tool_use",
        "id": "functions_2e_get_3a_1",
        "name": "get_weather",
        "input": {},
    }
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"},
        {
            "type": "tool_result",
            "tool_use_id": "functions_2e_get_3a_1",
            "cache_control": {"type": "ephemeral"},
            "content": [
                {"type": "text", "text": "sun"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            ],
        },
        {"type": "text", "text": "Well?"},
    ]


def test_results_come_before_the_users_words() -> None:
    body, _ = encode(
        tools=[CLOCK],
        messages=[
            *HI,
            {"role": "assistant", "tool_calls": [call("c1", "clock", "{}")]},
            {"role": "user", "content": "Hurry."},
            {"role": "tool", "tool_call_id": "c1", "content": ""},
        ],
    )
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1"},
        {"type": "text", "text": "Hurry."},
    ]


@pytest.mark.parametrize("arguments", ["{not json", "[1, 2]", '"text"', "null"])
def test_arguments_that_are_no_object_are_kept_as_text(arguments: str) -> None:
    messages = [
        *HI,
        {"role": "assistant", "tool_calls": [call("c1", "clock", arguments)]},
        {"role": "tool", "tool_call_id": "c1", "content": "those are no arguments"},
    ]
    body, _ = encode(tools=[CLOCK], messages=messages)
    assert body["messages"][1]["content"][0]["input"] == {"arguments": arguments}


def test_calls_in_older_and_rarer_forms() -> None:
    body, _ = encode(
        messages=[
            *HI,
            {"role": "assistant", "content": None, "function_call": {"name": "clock", "arguments": '{"a":1}'}},
            {"role": "function", "name": "clock", "content": "noon"},
            {
                "role": "assistant",
                "content": [{"type": "tool_call", "id": "c2", "function": {"name": "clock", "arguments": "{}"}}],
                "tool_calls": [{"id": "c3", "type": "custom", "custom": {"name": "shell", "input": "ls"}}],
            },
            {"role": "tool", "tool_call_id": "c2", "content": "one"},
            {"role": "tool", "tool_call_id": "c3", "content": "two"},
        ]
    )
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "function_call_1", "name": "clock", "input": {"a": 1}}
    ]
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "function_call_1", "content": "noon"}
    ]
    assert [block["input"] for block in body["messages"][3]["content"]] == [{}, {"input": "ls"}]
    assert [tool["name"] for tool in body["tools"]] == ["clock", "shell"]
    assert body["tool_choice"] == {"type": "none"}


def test_thinking_blocks_go_back_as_they_came_and_before_the_rest() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "abc"},
        {"type": "thinking", "thinking": "of another provider"},
    ]
    messages = [
        *HI,
        {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm.", "thinking_blocks": blocks},
        *HI,
    ]
    body, _ = encode(messages=messages)
    assert body["messages"][1]["content"] == [*blocks[:2], {"type": "text", "text": "Yes."}]


SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
MORE = {"type": "server_tool_use", "id": "srvtoolu_2", "name": "web_search", "input": {"query": "r"}}
WITH_SEARCH = {"anthropic": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}}


def searched() -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [SEARCH, FOUND, MORE, {"type": "hologram"}]
    blocks = [{"index": place, **block} for place, block in enumerate(blocks)]
    return [*HI, {"role": "assistant", "content": "So far:", "content_blocks": blocks}]


def test_a_paused_turn_goes_on_with_what_anthropics_own_tools_found() -> None:
    body, sent = encode(messages=searched(), provider_options=WITH_SEARCH)
    assert body["messages"][1]["content"] == [SEARCH, FOUND, {"type": "text", "text": "So far:"}, MORE]
    assert sent.dropped == ()


def test_only_the_end_of_a_conversation_waits_for_anthropics_own_tools() -> None:
    body, sent = encode(messages=[*searched(), {"role": "user", "content": "And?"}], provider_options=WITH_SEARCH)
    assert body["messages"][1]["content"] == [SEARCH, FOUND, {"type": "text", "text": "So far:"}]
    assert sent.dropped == ("messages[].content_blocks",)


@pytest.mark.parametrize(
    "junk",
    [
        {},
        3,
        [3, "x", {"type": 1}],
        [{"type": "server_tool_use", "id": []}],
        [{"type": "x_tool_result", "tool_use_id": {}}],
        [FOUND],
    ],
)
def test_blocks_that_are_none_of_anthropics_tools_are_left_out(junk: Any) -> None:
    messages = [*HI, {"role": "assistant", "content": "Yes.", "content_blocks": junk}, *HI]
    body, _ = encode(messages=messages, provider_options=WITH_SEARCH, refused=frozenset({"cache_control.ttl"}))
    assert body["messages"][1]["content"] == [{"type": "text", "text": "Yes."}]


def test_what_anthropics_own_tools_found_is_left_out_where_they_are_not_asked_for() -> None:
    body, sent = encode(messages=searched())
    assert body["messages"][1]["content"] == [{"type": "text", "text": "So far:"}]
    assert sent.dropped == ("messages[].content_blocks",)


def test_what_has_no_place_in_a_message_is_reported() -> None:
    _, sent = encode(
        messages=[
            {"role": "user", "content": "Hi", "cache_control": {"type": "ephemeral"}},
            {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm.", "citations": []},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "And?", "color": "red"},
                    {"type": "image_url", "image_url": {"url": PNG, "crop": 1}, "alt": "a"},
                    {"type": "file", "file": {"file_data": PDF}, "title": "T", "pages": 3},
                ],
            },
        ],
        tools=[{"type": "function", "function": {"name": "f", "examples": []}, "group": "g"}],
    )
    assert set(sent.dropped) == {
        "messages[].cache_control",
        "messages[].reasoning_content",
        "messages[].citations",
        "messages[].content[].color",
        "messages[].content[].alt",
        "messages[].content[].image_url.crop",
        "messages[].content[].pages",
        "tools[].group",
        "tools[].function.examples",
    }


@pytest.mark.parametrize("junk", ["{}", "3", '[3, "x", {"type": "thinking"}]'])
def test_thinking_blocks_that_are_none_are_left_out(junk: str) -> None:
    messages = [*HI, {"role": "assistant", "content": "Yes.", "thinking_blocks": json.loads(junk)}, *HI]
    assert encode(messages=messages)[0]["messages"][1]["content"] == [{"type": "text", "text": "Yes."}]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/gif,GIF89a%00"}, "cache_control": {}},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAA=="},
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}, "citations": {"enabled": True}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "a.pdf",
                "citations": {"enabled": True},
            },
        ),
        (
            {"type": "file", "file": {"file_data": "JVBERi0="}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        ),
        (
            {"type": "file", "file": {"file_data": "https://example.com/a.pdf"}},
            {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        ),
        (
            {"type": "file", "file": {"file_data": "https://example.com/download?of=a.txt"}},
            {"type": "document", "source": {"type": "url", "url": "https://example.com/download?of=a.txt"}},
        ),
        (
            {"type": "file", "file": {"file_data": "https://example.com/a.PNG?size=3"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.PNG?size=3"}},
        ),
        (
            {"type": "file", "file": {"filename": "//[draft", "file_data": "JVBERi0="}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "//[draft",
            },
        ),
        (
            {"type": "file", "file": {"filename": "a.webp", "file_data": "https://example.com/7"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/7"}},
        ),
        (
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/octet-stream;base64,JVBERi0="},
            },
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"filename": "a.json", "file_data": "e30="}},
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "{}"},
                "title": "a.json",
            },
        ),
        (
            {"type": "file", "file": {"file_id": "file_011"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_011"}},
        ),
        (
            {"type": "file", "file": {"filename": "n.txt", "file_data": "Z3LDvG4="}},
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "grün"},
                "title": "n.txt",
            },
        ),
        (
            {"type": "file", "file": {"file_data": PNG}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        ),
        (
            {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
        ),
    ],
)
def test_parts(part: dict[str, Any], block: dict[str, Any]) -> None:
    assert encode(messages=user(part))[0]["messages"][0]["content"] == [block]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"n": 2}, "n"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities other than text"),
        ({"tools": [{"type": "custom", "custom": {"name": "shell"}}]}, "custom tools"),
        (
            {"messages": user({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}})},
            "input_audio",
        ),
        ({"messages": user({"type": "video_url", "video_url": {"url": "https://example.com/v.mp4"}})}, "input_video"),
        (
            {"messages": user({"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,PHN2Zy8+"}})},
            "an image of type image/svg+xml",
        ),
        (
            {"messages": user({"type": "file", "file": {"file_data": "data:application/zip;base64,UEs="}})},
            "a file of type application/zip",
        ),
        (
            {"messages": user({"type": "file", "file": {"filename": "a.docx", "file_data": "UEs="}})},
            "a file of type application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ),
        (
            {"messages": user({"type": "file", "file": {"file_data": "https://example.com/a.txt"}})},
            "a file of type text/plain by URL",
        ),
        (
            {"messages": user({"type": "file", "file": {"filename": "a.csv.gz", "file_data": "H4sI"}})},
            "a file of type application/gzip",
        ),
        ({"messages": user({"type": "file", "file": {"filename": "a.pdf"}})}, "a file without file_data or file_id"),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]},
            "image parts in system messages",
        ),
    ],
)
def test_what_anthropic_can_never_carry(fields: dict[str, Any], reason: str) -> None:
    assert DIALECT.unsupported(request(**fields), CLAUDE) == reason


TEXTS = st.sampled_from(["", " ", "a", "b \n", "é "])
CALLED = st.lists(st.sampled_from(["clock", "get_weather"]), max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Any order of roles, with a result for each call."""
    messages: list[dict[str, Any]] = []
    for place in range(draw(st.integers(1, 8))):
        role = draw(st.sampled_from(["system", "developer", "user", "assistant"]))
        message: dict[str, Any] = {"role": role, "content": draw(TEXTS)}
        if draw(st.booleans()):
            message["content"] = [{"type": "text", "text": text} for text in draw(st.lists(TEXTS, max_size=3))]
        messages.append(message)
        if role == "assistant" and (called := draw(CALLED)):
            ids = [f"call.{place}/{index}" for index in range(len(called))]
            message["tool_calls"] = [call(*pair, "{}") for pair in zip(ids, called, strict=True)]
            messages += [{"role": "tool", "tool_call_id": each, "content": draw(TEXTS)} for each in ids]
    return messages


@given(conversations(), st.sampled_from([{}, {"tools": [CLOCK, WEATHER]}, {"reasoning": {"effort": "low"}}]))
@settings(max_examples=150)
def test_any_conversation_is_one_that_anthropic_takes(messages: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    body, _ = encode(messages=messages, **fields)
    texts = [part for message in messages for part in _texts(message["content"]) if message["role"] == "user"]
    sent = [block["text"] for turn in body["messages"] for block in turn["content"] if block["type"] == "text"]
    assert all(text in sent for text in texts if text.strip())


def _texts(content: Any) -> list[str]:
    return [content] if isinstance(content, str) else [part["text"] for part in content]


def test_a_call_that_is_a_part_too_is_sent_once() -> None:
    part = {"type": "tool_call", "id": "t1", "function": {"name": "clock", "arguments": "{}"}}
    other = {**part, "id": "t2"}
    said = {"role": "assistant", "content": [part, other], "tool_calls": [call("t1", "clock", "{}")]}
    results = [{"role": "tool", "tool_call_id": name, "content": "noon"} for name in ("t1", "t2")]
    body, _ = encode(tools=[CLOCK], messages=[*HI, said, *results])
    assert [block["id"] for block in body["messages"][1]["content"]] == ["t2", "t1"]


@pytest.mark.parametrize("role", ["system", "assistant", "user", "tool"])
def test_a_name_is_reported_whoever_has_it(role: str) -> None:
    asked = {"role": "assistant", "content": None, "tool_calls": [call("t1", "clock", "{}")]}
    named = {"role": role, "name": "Ada", "content": "a", **({"tool_call_id": "t1"} if role == "tool" else {})}
    _, sent = encode(tools=[CLOCK], messages=[*HI, *([asked] if role == "tool" else []), named, *HI])
    assert sent.dropped == ("messages[].name",)
