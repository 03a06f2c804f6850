"""Checks a Messages request against the vendor's published types, strictly, and against what its server refuses."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from anthropic.types import message_create_params
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict, is_typeddict

_TAGS = ("type", "role")
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_SAMPLING = {
    "temperature": Annotated[float, Field(ge=0, le=1)],
    "top_p": Annotated[float, Field(ge=0, le=1)],
    "top_k": Annotated[int, Field(ge=0)],
}
"""The types are those of version 2026-10-21; earlier ones have these fields too."""


def _strict(annotation: Any, seen: dict[Any, Any]) -> Any:
    """Return a type of request parameters without its lenience: nothing unknown, no lazy iterables, no answer types."""
    if is_typeddict(annotation):
        if getattr(annotation, "__pydantic_config__", {}).get("extra") == "allow":
            return annotation
        if annotation not in seen:
            seen[annotation] = _strict_dict(annotation.__name__, get_type_hints(annotation, include_extras=True), seen)
        return seen[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Required, NotRequired):
        return origin[_strict(arguments[0], seen)]
    if origin in (Union, types.UnionType):
        members = [member for member in arguments if not _is_answer(member)]
        return Union[tuple(_strict(member, seen) for member in members)]  # noqa: UP007  # made at run time
    if origin in (list, Iterable) or getattr(origin, "__name__", "") == "SequenceNotStr":
        return list[_strict(arguments[0], seen)]  # type: ignore[misc]  # made at run time
    return annotation


def _strict_dict(name: str, hints: dict[str, Any], seen: dict[Any, Any]) -> Any:
    fields = {field: _strict(annotation, seen) for field, annotation in hints.items()}
    strict = types.new_class(name, (TypedDict,), {"total": False}, lambda space: space.update(__annotations__=fields))
    with_config(ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True))(strict)
    return strict


def _is_answer(annotation: Any) -> bool:
    """Say whether a member of a union is a type of answers or of local files, which have no form in JSON requests."""
    if get_origin(annotation) is Annotated:
        return _is_answer(get_args(annotation)[0])
    if get_origin(annotation) is Union:
        return all(_is_answer(member) for member in get_args(annotation))
    is_file = annotation is not None and getattr(annotation, "__module__", "") in ("io", "os", "typing", "pathlib")
    return (isinstance(annotation, type) and issubclass(annotation, BaseModel)) or (
        is_file and get_origin(annotation) is None and isinstance(annotation, type)
    )


def _adapter(sampling: bool) -> TypeAdapter[Any]:
    hints = get_type_hints(message_create_params.MessageCreateParamsBase, include_extras=True)
    del hints["workspace_id"]  # a header
    hints["stream"] = bool
    return TypeAdapter(_strict_dict("Body", hints | (_SAMPLING if sampling else {}), {}))


_BODY = {True: _adapter(sampling=True), False: _adapter(sampling=False)}


def check_request(body: bytes, version: str = "2023-06-01") -> dict[str, Any]:
    """Return a request's body as JSON, if it is one that Anthropic's published types and server take.

    Raises:
        ValueError: it is not, in a way that Anthropic would answer with 400.
    """
    try:
        _BODY[version < "2026-10-21"].validate_json(body)
    except ValidationError as error:
        raise ValueError(_mistakes(error)) from None
    value: dict[str, Any] = json.loads(body)
    _check_turns(value["messages"])
    _check_tools(value)
    _check_thinking(value)
    for sequence in value.get("stop_sequences", ()):
        if not sequence.strip():
            raise ValueError("stop_sequences: each stop sequence must contain non-whitespace")
    return value


def _mistakes(error: ValidationError) -> str:
    """Return what is wrong, without what the wrong members of unions say."""
    details = error.errors(include_url=False, include_input=False)
    others = {each["loc"][:-1] for each in details if each["type"] == "literal_error" and each["loc"][-1] in _TAGS}
    told = [each for each in details if not any(each["loc"][:size] in others for size in range(len(each["loc"])))]
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in told or details)


def _check_turns(turns: list[dict[str, Any]]) -> None:
    if not turns or turns[0]["role"] != "user":
        raise ValueError('messages: first message must use the "user" role')
    calls: set[str] = set()
    for place, turn in enumerate(turns):
        if turn["role"] not in ("user", "assistant") or (place and turns[place - 1]["role"] == turn["role"]):
            raise ValueError(f"messages.{place}: roles must alternate")
        if not turn["content"]:
            raise ValueError(f"messages.{place}: all messages must have non-empty content")
        kinds = [block["type"] for block in turn["content"]]
        results = {block["tool_use_id"] for block in turn["content"] if block["type"] == "tool_result"}
        if results - calls or (calls - results and turn["role"] == "user"):
            raise ValueError(f"messages.{place}: `tool_use` ids and `tool_result` blocks must correspond")
        if "tool_result" in kinds[len(results) :]:
            raise ValueError(f"messages.{place}: `tool_result` blocks must come first")
        calls = {block["id"] for block in turn["content"] if block["type"] == "tool_use"}
        for block in turn["content"]:
            _check_block(block, f"messages.{place}")
            allowed = ("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result")
            if turn["role"] == "assistant" and block["type"] not in allowed:
                raise ValueError(f"messages.{place}: `{block['type']}` blocks are not permitted in assistant messages")
    last = turns[-1]["content"][-1]
    if turns[-1]["role"] == "assistant" and last["type"] == "text" and last["text"] != last["text"].rstrip():
        raise ValueError("messages: final assistant content cannot end with trailing whitespace")


def _check_block(block: dict[str, Any], path: str) -> None:
    if block["type"] == "text" and not block["text"].strip():
        raise ValueError(f"{path}: text content blocks must contain non-whitespace text")
    if block["type"] == "tool_use" and not isinstance(block["input"], dict):
        raise ValueError(f"{path}: tool_use.input must be an object")
    call_id = block.get("id", block.get("tool_use_id"))
    if call_id is not None and not _ID.fullmatch(call_id):
        raise ValueError(f"{path}: tool_use.id must match {_ID.pattern}")
    if isinstance(block.get("content"), list):
        for inner in block["content"]:
            _check_block(inner, path)


def _check_tools(body: dict[str, Any]) -> None:
    names = [tool["name"] for tool in body.get("tools", ())]
    if len(set(names)) != len(names):
        raise ValueError("tools: Tool names must be unique.")
    for tool in body.get("tools", ()):
        if "type" not in tool and "type" not in tool["input_schema"]:
            raise ValueError("tools: input_schema.type: Field required")
    choice = body.get("tool_choice")
    if choice is not None and not names:
        raise ValueError("tool_choice may only be specified while providing tools")
    if choice is not None and choice["type"] == "tool" and choice["name"] not in names:
        raise ValueError("tool_choice names a tool that is not there")
    if not names and any(block["type"] == "tool_use" for turn in body["messages"] for block in turn["content"]):
        raise ValueError("Requests which include `tool_use` or `tool_result` blocks must define tools")


def _check_thinking(body: dict[str, Any]) -> None:
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] == "enabled" and not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        raise ValueError("thinking.enabled.budget_tokens must be at least 1024 and less than max_tokens")
    if thinking["type"] == "disabled":
        return
    if body.get("temperature", 1) != 1 or "top_k" in body or body.get("top_p", 1) < 0.95:
        raise ValueError("sampling may not be changed when thinking is enabled")
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        raise ValueError("Thinking may not be enabled when tool_choice forces tool use.")
