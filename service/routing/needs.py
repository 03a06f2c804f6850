"""What a request asks of an endpoint, and what of it an endpoint lacks by its catalogue entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest, Modality, ResponseFormatType
from gateway.v1.tools_pb2 import ToolChoiceMode

from service.config import Endpoint
from service.providers.parameters import PARAMETERS, takes
from service.routing.contents import Contents

_MOST_CHARACTERS_PER_TOKEN = 6
"""Only odd texts have more, so a prompt that is too long even so is too long."""

_JSON_FORMATS = (
    ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_OBJECT,
    ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_SCHEMA,
)
_PARAMETERS = frozenset(PARAMETERS)
_FORCING_MODES = (ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED, ToolChoiceMode.TOOL_CHOICE_MODE_GATEWAY_DATETIME)
_OUTPUTS = MappingProxyType(
    {Modality.MODALITY_TEXT: "text", Modality.MODALITY_IMAGE: "image", Modality.MODALITY_AUDIO: "audio"}
)


def _forces_tools(request: CreateChatCompletionRequest) -> bool:
    if not request.tools:
        return False
    return request.HasField("tool_choice_object") or request.tool_choice_mode in _FORCING_MODES


_CAPABILITIES: Mapping[str, Callable[[CreateChatCompletionRequest], bool]] = MappingProxyType(
    {
        "tools": lambda request: True,
        "functions": lambda request: True,
        "tool_choice": _forces_tools,
        "response_format": lambda request: request.response_format_object.type in _JSON_FORMATS,
        "logprobs": lambda request: request.logprobs,
        "n": lambda request: request.n > 1,
        "web_search_options": lambda request: True,
    }
)
"""Parameters without which the answer is of another kind, and whether one that is given asks for that.

Lack of any other is no reason to leave an endpoint.
"""


class Lack(NamedTuple):
    """What an endpoint lacks: in words, the request field that asks for it, and a code that clients act on, if any."""

    what: str
    param: str
    code: str | None = None


class Needs(NamedTuple):
    """What a request asks of an endpoint. `inputs` are kinds of input by the path of the first part of that kind."""

    model_id: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    parameters: frozenset[str]
    capabilities: tuple[str, ...]
    max_tokens: int
    prompt_characters: int


def read_needs(request: CreateChatCompletionRequest, contents: Contents, model_id: str) -> Needs:
    """Return what a normalised request asks of an endpoint."""
    given = contents.given
    return Needs(
        model_id=model_id,
        inputs=contents.inputs,
        outputs=tuple([_OUTPUTS[m] for m in request.modalities if m in _OUTPUTS]) if "modalities" in given else (),
        parameters=_PARAMETERS & given,
        capabilities=()
        if given.isdisjoint(_CAPABILITIES)
        else tuple(name for name, asks in _CAPABILITIES.items() if name in given and asks(request)),
        max_tokens=request.max_completion_tokens,
        prompt_characters=contents.characters,
    )


def find_lack(needs: Needs, endpoint: Endpoint) -> Lack | None:
    """Return why an endpoint cannot serve a request, or None. What its catalogue entry leaves open, it can."""
    modalities = endpoint.modalities
    if modalities is not None:
        for kind, path in needs.inputs.items():
            if kind not in modalities.input:
                return Lack(f"{kind} input", path)
        for kind in needs.outputs:
            if kind not in modalities.output:
                return Lack(f"{kind} output", "modalities")
    for name in needs.capabilities:
        if not takes(endpoint, name):
            return Lack(name, name)
    if endpoint.max_output_tokens is not None and needs.max_tokens > endpoint.max_output_tokens:
        return Lack(f"more than {endpoint.max_output_tokens} output tokens", "max_completion_tokens")
    if endpoint.context_length is not None:
        tokens = needs.prompt_characters // _MOST_CHARACTERS_PER_TOKEN + needs.max_tokens
        if tokens > endpoint.context_length:
            what = f"a context of about {tokens} tokens (it takes {endpoint.context_length})"
            return Lack(what, "messages", "context_length_exceeded")
    return None


def missing_parameters(needs: Needs, endpoint: Endpoint) -> list[str]:
    """Return the parameters of a request that an endpoint does not take, sorted."""
    if endpoint.supported_parameters is None:
        return []
    return sorted(name for name in needs.parameters if not takes(endpoint, name))
