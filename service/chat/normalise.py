"""Brings a request to the one form that routing and the dialects read, and takes out what is the gateway's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final, NamedTuple

from gateway.v1.chat_request_pb2 import (
    SERVICE_TIER_PRIORITY,
    CreateChatCompletionRequest,
    DebugOptions,
    Reasoning,
    ResponseFormatType,
    ThinkingType,
    TraceLevel,
)
from gateway.v1.content_pb2 import ROLE_SYSTEM, ChatMessage
from gateway.v1.tools_pb2 import Tool, ToolChoiceMode

from service import codec
from service.errors import GatewayError
from service.routing import Contents, read_contents
from service.tools import ServerTool, Settings

_MESSAGE_PATH: Final = re.compile(r"^messages\[(\d+)\](.*)")
_CLOCK: Final = "gateway_datetime"
_OWN_FIELDS = frozenset(
    (
        "system",
        "speed",
        "thinking",
        "reasoning_effort",
        "max_tool_calls",
        "session_id",
        "usage",
        "meta",
        "echo_upstream_request",
        "debug",
    )
)


class Options(NamedTuple):
    """What the caller asked of the gateway itself. `trace` is "", "summary" or "full"."""

    stream_usage: bool
    cost: bool
    meta: bool
    upstream_request: bool
    upstream_response: bool
    trace: str
    max_tool_calls: int | None
    sticky_key: str
    dropped: tuple[str, ...]


_REWRITTEN = frozenset(
    ("system", "speed", "thinking", "reasoning_effort", "response_format", "stop", "tools", "tool_choice")
)
"""The fields of which one is brought to another's form, or to one of several."""

_ASKING = frozenset(
    (
        "speed",
        "max_tool_calls",
        "prompt_cache_key",
        "session_id",
        "provider",
        "provider_options",
        "stream_options",
        "usage",
        "meta",
        "echo_upstream_request",
        "debug",
    )
)
"""The fields that options are made from."""


class Normalised(NamedTuple):
    """A request ready for routing, with the gateway's own part of it.

    `tools`: server tools by function name. `contents`: the paths in it are those that the caller wrote. `prepended`:
    messages that stand before the caller's.
    """

    request: CreateChatCompletionRequest
    options: Options
    tools: Mapping[str, tuple[ServerTool, Settings]]
    contents: Contents
    prepended: int = 0

    def as_written(self, error: GatewayError) -> GatewayError:
        """Return an error that was found in the normalised request, its `param` as the caller counts messages."""
        if self.prepended and error.param:
            error.param = _MESSAGE_PATH.sub(self._place, error.param)
        return error

    def _place(self, found: re.Match[str]) -> str:
        place = int(found[1]) - self.prepended
        return f"messages[{place}]{found[2]}" if place >= 0 else "system"


def normalise(request: CreateChatCompletionRequest, registry: Mapping[str, ServerTool]) -> Normalised:
    """Normalise a valid request in place. `provider` is left for routing, which clears it.

    Raises:
        GatewayError: fields contradict each other, or a server tool's settings are wrong.
    """
    contents = read_contents(request)
    tools: Mapping[str, tuple[ServerTool, Settings]] = {}
    prepended = 0
    if not contents.given.isdisjoint(_REWRITTEN):
        if request.HasField("system"):
            prepended = 1
            message = ChatMessage(role=ROLE_SYSTEM, text=request.system)
            request.messages.insert(0, message)
            contents = contents._replace(characters=contents.characters + len(request.system))
        tools = _rewrite(request, registry)
        contents = contents._replace(given=frozenset(codec.field_names(request)))
    given = contents.given
    options = _NOTHING if given.isdisjoint(_ASKING) else _options(request, has_server_tools=bool(tools))
    own = given & _OWN_FIELDS
    if own:
        for name in own:
            request.ClearField(name)  # type: ignore[arg-type]  # the stubs list literals, the table holds strings
        contents = contents._replace(given=given - own)
    return Normalised(request, options, tools, contents, prepended)


def _rewrite(
    request: CreateChatCompletionRequest, registry: Mapping[str, ServerTool]
) -> Mapping[str, tuple[ServerTool, Settings]]:
    """Bring each field to its one form; return the server tools by function name."""
    if request.speed == "fast":
        request.service_tier = SERVICE_TIER_PRIORITY
    _merge_reasoning(request)
    if request.WhichOneof("response_format") is not None:
        _unify_response_format(request)
    if request.WhichOneof("stop") == "stop_sequences" and not request.stop_sequences.sequences:
        request.ClearField("stop_sequences")
    tools = _replace_server_tools(request, registry) if request.tools else {}
    if request.WhichOneof("tool_choice") is not None:
        _check_tool_choice(request, registry, tools)
    if tools and request.n > 1:
        raise GatewayError("invalid_value", "n must be 1 together with server tools", param="n")
    return tools


def _options(request: CreateChatCompletionRequest, *, has_server_tools: bool) -> Options:
    debug = request.debug
    silenced = debug.HasField("enabled") and not debug.enabled
    return Options(
        stream_usage=request.usage or request.stream_options.include_usage,
        cost=request.usage,
        meta=request.meta,
        upstream_request=request.echo_upstream_request or (debug.return_upstream_request and not silenced),
        upstream_response=debug.return_upstream_response and not silenced,
        trace="" if silenced else _trace(debug),
        max_tool_calls=request.max_tool_calls if request.HasField("max_tool_calls") else None,
        sticky_key=request.prompt_cache_key or request.session_id,
        dropped=_meaningless(request, has_server_tools=has_server_tools),
    )


def _trace(debug: DebugOptions) -> str:
    alone = debug.enabled and not (debug.return_upstream_request or debug.return_upstream_response)
    if debug.trace or (alone and not debug.HasField("trace")):
        return "full" if debug.trace_level == TraceLevel.TRACE_LEVEL_FULL else "summary"
    return ""


def _meaningless(request: CreateChatCompletionRequest, *, has_server_tools: bool) -> tuple[str, ...]:
    """Return the gateway-only settings that mean nothing here; they are reported, not sent."""
    names: list[str] = []
    if request.HasField("debug"):
        names += [f"debug.{name}" for name in request.debug.extra]
    if request.HasField("provider"):
        names += [f"provider.{name}" for name in request.provider.extra]
        names += [f"provider.max_price.{name}" for name in request.provider.max_price.extra]
    if request.HasField("provider_options"):
        names += [f"provider_options.{name}" for name in request.provider_options.extra]
    if request.HasField("speed") and request.speed != "fast":
        names.append("speed")
    if request.HasField("max_tool_calls") and not has_server_tools:
        names.append("max_tool_calls")
    return tuple(names)


def _merge_reasoning(request: CreateChatCompletionRequest) -> None:
    """Fold `thinking` and `reasoning_effort` into `reasoning`, which beats them key by key."""
    if request.HasField("thinking"):
        thinking, reasoning = request.thinking, request.reasoning
        if thinking.effort and not reasoning.effort:
            reasoning.effort = thinking.effort
        if not reasoning.HasField("enabled"):
            _set_enabled(request, reasoning)
        if thinking.HasField("include_thoughts") and not reasoning.HasField("include_thoughts"):
            reasoning.include_thoughts = thinking.include_thoughts
        if thinking.HasField("max_tokens") and not reasoning.HasField("max_tokens"):
            reasoning.max_tokens = thinking.max_tokens
        for name, text in thinking.extra.items():
            if name not in reasoning.extra:
                reasoning.extra[name] = text
    if request.reasoning_effort and not request.reasoning.effort:
        request.reasoning.effort = request.reasoning_effort


def _set_enabled(request: CreateChatCompletionRequest, reasoning: Reasoning) -> None:
    thinking = request.thinking
    if thinking.HasField("enabled"):
        reasoning.enabled = thinking.enabled
    elif thinking.type:
        reasoning.enabled = thinking.type != ThinkingType.THINKING_TYPE_DISABLED


def _unify_response_format(request: CreateChatCompletionRequest) -> None:
    if request.WhichOneof("response_format") == "response_format_type":
        request.response_format_object.type = request.response_format_type
    form = request.response_format_object
    if form.type == ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON:
        form.type = ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_OBJECT
    if form.type != ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_SCHEMA:
        return
    if not form.HasField("json_schema") and form.HasField("schema"):
        form.json_schema.name = "response"
        form.json_schema.schema = form.schema
    form.ClearField("schema")
    if not form.json_schema.HasField("schema"):
        raise GatewayError(
            "missing_required_parameter",
            "response_format of type json_schema needs a schema",
            param="response_format.json_schema.schema"
            if form.HasField("json_schema")
            else "response_format.json_schema",
        )


def _replace_server_tools(
    request: CreateChatCompletionRequest, registry: Mapping[str, ServerTool]
) -> dict[str, tuple[ServerTool, Settings]]:
    """Put a function in the place of each server tool, after the user's own tools."""
    found: dict[str, tuple[ServerTool, Settings]] = {}
    own: list[Tool] = []
    for place, tool in enumerate(request.tools):
        kind = tool.WhichOneof("tool")
        server_tool = registry.get(kind or "")
        if server_tool is None:
            own.append(tool)
            continue
        try:
            _, before = found.get(server_tool.function_name, (server_tool, {}))
            found[server_tool.function_name] = (server_tool, {**before, **server_tool.settings(tool)})
        except GatewayError as error:
            error.param = f"tools[{place}].{error.param}"
            raise
    if not found:
        return found
    for place, tool in enumerate(request.tools):
        form, name = _name_of(tool)
        if name in found:
            raise GatewayError(
                "invalid_value",
                f"the name {name} is reserved for the gateway's own tool",
                param=f"tools[{place}].{form}.name",
            )
    kept = [Tool.FromString(tool.SerializeToString()) for tool in own]
    kept += [Tool(function=server_tool.definition()) for server_tool, _ in found.values()]
    request.ClearField("tools")
    request.tools.extend(kept)
    return found


def _check_tool_choice(
    request: CreateChatCompletionRequest,
    registry: Mapping[str, ServerTool],
    tools: Mapping[str, Any],
) -> None:
    """Point a choice of a server tool to its function, and refuse one of a tool that is not there."""
    clock = registry[_CLOCK].function_name
    if request.WhichOneof("tool_choice") == "tool_choice_mode":
        if request.tool_choice_mode != ToolChoiceMode.TOOL_CHOICE_MODE_GATEWAY_DATETIME:
            return
        kind, chosen, path = _CLOCK, clock, "tool_choice"
    else:
        choice = request.tool_choice_object
        match choice.WhichOneof("choice"):
            case "function":
                kind, chosen, path = "function", choice.function.function.name, "tool_choice.function.name"
            case "custom":
                kind, chosen, path = "custom", choice.custom.custom.name, "tool_choice.custom.name"
            case "gateway_datetime":
                kind, chosen, path = _CLOCK, clock, "tool_choice"
            case "allowed_tools":
                references = choice.allowed_tools.allowed_tools.tools
                if not references:
                    path = "tool_choice.allowed_tools.tools"
                    raise GatewayError("out_of_range", f"{path} needs an item: none is allowed otherwise", param=path)
                references[:] = _checked_references(references, clock, _offered(request, tools))
                return
            case _:
                return
    _check_offered(_offered(request, tools), kind, chosen, path)
    if kind == _CLOCK:
        request.tool_choice_object.function.function.name = chosen


def _checked_references(references: Sequence[str], clock: str, offered: Set[tuple[str, str]]) -> list[str]:
    """Return references to tools in OpenAI's form, those to the clock as to its function; refuse unknown names."""
    checked: list[str] = []
    for place, text in enumerate(references):
        reference = codec.parse(text.encode())
        path = f"tool_choice.allowed_tools.tools[{place}]"
        match reference.get("type"):
            case "gateway:datetime":
                _check_offered(offered, _CLOCK, clock, path)
                text = _reference("function", clock)
            case "function" | "custom" as kind:
                named = reference.get(kind, reference)
                name = named.get("name") if isinstance(named, dict) else None
                path += f".{kind}.name" if kind in reference else ".name"
                if not isinstance(name, str):
                    raise GatewayError("missing_required_parameter", f"{path} is required", param=path)
                _check_offered(offered, kind, name, path)
                text = text if kind in reference else _reference(kind, name)
        checked.append(text)
    return checked


def _reference(kind: str, name: str) -> str:
    return codec.dumps({"type": kind, kind: {"name": name}}).decode()


def _offered(request: CreateChatCompletionRequest, tools: Mapping[str, Any]) -> Set[tuple[str, str]]:
    """Return the kinds and names of all tools that may be chosen."""
    return {_name_of(tool) for tool in request.tools} | {(_CLOCK, name) for name in tools}


def _check_offered(offered: Set[tuple[str, str]], kind: str, name: str, path: str) -> None:
    if (kind, name) not in offered:
        name = "gateway:datetime" if kind == _CLOCK else name
        raise GatewayError("invalid_value", f"tool_choice names {name}, which is not in tools", param=path)


def _name_of(tool: Tool) -> tuple[str, str]:
    """Return the kind of a tool of the client's, and its name."""
    if tool.HasField("custom"):
        return "custom", tool.custom.custom.name
    return "function", tool.function.function.name


_NOTHING = _options(CreateChatCompletionRequest(), has_server_tools=False)
"""The options of a request that asks for none."""
