"""A conversation as Anthropic's system blocks and alternating turns.

https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from gateway.v1 import content_pb2
from gateway.v1.content_pb2 import (
    CacheControl,
    ChatMessage,
    ContentPart,
    FilePart,
    FunctionCall,
    ImagePart,
    TextPart,
    ToolCall,
    ToolCallType,
)
from orjson import Fragment

from service.codec import AnswerError, parse
from service.providers.anthropic.media import DOCUMENT_FIELDS, file_block, image_block
from service.providers.report import Report

OPENING = "Begin."
"""What the user says where the conversation has no first word of theirs, which Anthropic demands."""

_CARRIED = ("thinking_blocks", "content_blocks")
"""Unknown fields of messages that have a form here."""
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")

Block = dict[str, Any]
Turn = dict[str, Any]


def conversation(messages: Sequence[ChatMessage], server_tools: bool, report: Report) -> tuple[list[Block], list[Turn]]:
    """Return the system blocks and the turns, user first, roles alternating, none empty.

    With `server_tools` answers hold what Anthropic's own tools were asked and found.

    System messages from within the conversation move to its head in their order, as in Anthropic's own OpenAI endpoint:
    only its newest models take them in their place. https://platform.claude.com/docs/en/api/openai-sdk
    """
    system: list[Block] = []
    turns: list[Turn] = []
    function_call_id = ""
    for place, message in enumerate(messages):
        if message.name and message.role != content_pb2.ROLE_FUNCTION:
            report.drop("messages[].name")
        report.drop_unknown("messages[]", message, but=_CARRIED)
        match message.role:
            case content_pb2.ROLE_SYSTEM | content_pb2.ROLE_DEVELOPER:
                system += _content(message, report)
                continue
            case content_pb2.ROLE_ASSISTANT:
                role, blocks = "assistant", _assistant(message, server_tools, place == len(messages) - 1, report)
                if message.HasField("function_call"):
                    function_call_id = f"function_call_{place}"
                    blocks.append(_tool_use(function_call_id, message.function_call))
            case content_pb2.ROLE_TOOL:
                role, blocks = "user", [_tool_result(message.tool_call_id, message, report)]
            case content_pb2.ROLE_FUNCTION:
                role, blocks = "user", [_tool_result(function_call_id, message, report)]
            case _:
                role, blocks = "user", _content(message, report)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    _settle(turns)
    return system, turns


def cache_control(control: CacheControl, report: Report) -> dict[str, str]:
    """Return a cache breakpoint."""
    if control.scope:
        report.drop("cache_control.scope")
    breakpoint_ = {"type": control.type or "ephemeral"}
    if control.ttl:
        breakpoint_["ttl"] = control.ttl
    return breakpoint_


def _settle(turns: list[Turn]) -> None:
    """Bring the turns to what Anthropic checks: user first, tool results first, no white space at a prefill's end."""
    for turn in turns:
        blocks = turn["content"]
        if turn["role"] == "user" and any(block["type"] == "tool_result" for block in blocks):
            # https://platform.claude.com/docs/en/agents-and-tools/tool-use/handle-tool-calls: results come first
            blocks.sort(key=lambda block: block["type"] != "tool_result")
    if not turns or turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": OPENING}]})
    last = turns[-1]
    if last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()


def _content(message: ChatMessage, report: Report) -> list[Block]:
    match message.WhichOneof("content"):
        case "text":
            # Anthropic refuses text blocks that are empty or all white space.
            return [{"type": "text", "text": message.text}] if message.text.strip() else []
        case "parts":
            blocks = (_part(part, report) for part in message.parts.parts)
            return [block for block in blocks if block is not None]
        case _:
            return []


def _part(part: ContentPart, report: Report) -> Block | None:
    """Return a part's block, None for an empty text. What has no block makes the endpoint unsupported (`support`)."""
    match part.WhichOneof("part"):
        case "text":
            if not part.text.text.strip():
                return None
            report.drop_unknown("messages[].content[]", part.text)
            return _cached({"type": "text", "text": part.text.text}, part.text, report)
        case "image":
            if part.image.image_url.detail not in ("", "auto"):
                report.drop("image_url.detail")
            report.drop_unknown("messages[].content[]", part.image)
            report.drop_unknown("messages[].content[].image_url", part.image.image_url)
            return _cached(image_block(part.image.image_url.url), part.image, report)
        case "file":
            report.drop_unknown("messages[].content[]", part.file, but=DOCUMENT_FIELDS)
            return _cached(file_block(part.file), part.file, report)
        case "refusal" if part.refusal.refusal.strip():
            return {"type": "text", "text": part.refusal.refusal}
        case "tool_call":
            return _tool_use(part.tool_call.id, part.tool_call.function)
        case _:
            return None


def _cached(block: Block, part: TextPart | ImagePart | FilePart, report: Report) -> Block:
    """Set the cache breakpoint that a part carries, in Anthropic's words or OpenAI's."""
    if part.HasField("cache_control"):
        block["cache_control"] = cache_control(part.cache_control, report)
    elif part.HasField("prompt_cache_breakpoint"):
        block["cache_control"] = {"type": "ephemeral"}
    return block


def _assistant(message: ChatMessage, server_tools: bool, last: bool, report: Report) -> list[Block]:
    if message.images:
        report.drop("messages[].images")
    if message.audios:
        report.drop("messages[].audios")
    if message.HasField("audio"):
        report.drop("messages[].audio")
    extra = message.extra
    if message.reasoning_content and "thinking_blocks" not in extra:
        report.drop("messages[].reasoning_content")
    blocks = _thinking(extra["thinking_blocks"]) if "thinking_blocks" in extra else []
    pending: list[Block] = []
    if "content_blocks" in extra:
        if server_tools:
            ran, pending = _server_side(extra["content_blocks"])
            blocks += ran
        if not server_tools or (pending and not last):
            # Only the end of a conversation may wait for a tool.
            report.drop("messages[].content_blocks")
            pending = []
    calls = _tool_uses(message.tool_calls)
    known = {call["id"] for call in calls}
    # A call may stand among the parts as well.
    blocks += [block for block in _content(message, report) if block.get("id") not in known]
    if message.refusal.strip():
        blocks.append({"type": "text", "text": message.refusal})
    return blocks + pending + calls


def _thinking(text: str) -> list[Block]:
    """Return the thinking blocks of an earlier answer, as they came: Anthropic verifies their signatures."""
    blocks: list[Block] = []
    for item in _items(text):
        match item:
            case {"type": "thinking", "thinking": str(thinking), "signature": str(signature)} if signature:
                blocks.append({"type": "thinking", "thinking": thinking, "signature": signature})
            case {"type": "redacted_thinking", "data": str(data)}:
                blocks.append({"type": "redacted_thinking", "data": data})
    return blocks


def _server_side(text: str) -> tuple[list[Block], list[Block]]:
    """Return what Anthropic's own tools were asked and found in an earlier answer, and calls that have yet to be run.

    A paused turn ends with such calls, and goes on with them.
    https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
    """
    calls: dict[str, Block] = {}
    ran: list[Block] = []
    for item in _items(text):
        match item:
            case {"type": "server_tool_use" | "mcp_tool_use", "id": str(call_id)}:
                calls[call_id] = _as_it_came(item)
            case {"type": str(kind), "tool_use_id": str(call_id)} if kind.endswith("_tool_result"):
                if call_id in calls:
                    ran += calls.pop(call_id), _as_it_came(item)
    return ran, list(calls.values())


def _as_it_came(item: Block) -> Block:
    """Return a block of an earlier answer without the gateway's number, by which clients put a list together."""
    return {name: value for name, value in item.items() if name not in ("index", "cache_control")}


def _items(text: str) -> list[Any]:
    try:
        items = parse(text.encode())
    except AnswerError:
        return []
    return items if isinstance(items, list) else []


def _tool_uses(calls: Iterable[ToolCall]) -> list[Block]:
    blocks: list[Block] = []
    for call in calls:
        if call.type == ToolCallType.TOOL_CALL_TYPE_CUSTOM:
            block = {
                "type": "tool_use",
                "id": _id(call.id),
                "name": call.custom.name,
                "input": {"input": call.custom.input},
            }
            blocks.append(block)
        else:
            blocks.append(_tool_use(call.id, call.function))
    return blocks


def _tool_use(call_id: str, call: FunctionCall) -> Block:
    return {"type": "tool_use", "id": _id(call_id), "name": call.name, "input": _input(call.arguments)}


def _input(arguments: str) -> Fragment | dict[str, str]:
    """Return a call's arguments as the object that Anthropic demands, verbatim where they are one.

    Arguments that are no JSON object (a model can write such) are kept as text, so that the model can see its mistake.
    """
    if not arguments.strip():
        return {}
    try:
        if isinstance(parse(arguments.encode()), dict):
            return Fragment(arguments)
    except AnswerError:
        return {"arguments": arguments}
    return {"arguments": arguments}


def _tool_result(call_id: str, message: ChatMessage, report: Report) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _id(call_id)}
    if message.HasField("text"):
        if message.text:
            block["content"] = message.text
        return block
    content = _content(message, report)
    for inner in content:
        # A breakpoint stands on the result, not within it.
        # https://platform.claude.com/docs/en/build-with-claude/prompt-caching
        if "cache_control" in inner:
            block["cache_control"] = inner.pop("cache_control")
    if content:
        block["content"] = content
    return block


def _id(call_id: str) -> str:
    """Return an id of a tool call in Anthropic's alphabet: another provider may have given it. Stable, and distinct."""
    return _NOT_IN_IDS.sub(lambda match: f"_{ord(match[0]):x}_", call_id) or "_"
