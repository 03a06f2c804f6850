"""What a request holds: its messages, read in one walk since there may be thousands, and which fields are set."""

from __future__ import annotations

from typing import NamedTuple

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.content_pb2 import TOOL_CALL_TYPE_CUSTOM, ToolCall

from service.codec import field_names
from service.errors import GatewayError

CHARACTERS_PER_TOKEN = 4


class Contents(NamedTuple):
    """The characters of all text, and the kinds of input by the path of the first part of that kind.

    `given` are the JSON names of the fields that are set. Listing them costs as much as asking for a dozen of them.
    """

    characters: int
    inputs: dict[str, str]
    given: frozenset[str]

    def tokens(self, most: int) -> int:
        """Return roughly how many tokens a request will use: a token for four characters, and all it may generate."""
        return self.characters // CHARACTERS_PER_TOKEN + most


def read_contents(request: CreateChatCompletionRequest) -> Contents:
    """Read the messages.

    Raises:
        GatewayError: a tool call does not say what was called.
    """
    characters = 0
    inputs: dict[str, str] = {}
    for place, message in enumerate(request.messages):
        text = message.text
        if text:
            characters += len(text)
        elif message.HasField("parts"):
            for number, part in enumerate(message.parts.parts):
                kind = part.WhichOneof("part")
                if kind == "text":
                    characters += len(part.text.text)
                elif kind in ("image", "audio", "video", "file") and kind not in inputs:
                    inputs[kind] = f"messages[{place}].content[{number}]"
        # Most messages have none, and an empty field costs more to walk through than to ask.
        for number, call in enumerate(message.tool_calls or ()):
            _check(call, f"messages[{place}].tool_calls[{number}]")
            characters += len(call.function.arguments)
    return Contents(characters, inputs, frozenset(field_names(request)))


def _check(call: ToolCall, path: str) -> None:
    kind = "custom" if call.type == TOOL_CALL_TYPE_CUSTOM else "function"
    if not call.HasField(kind):  # type: ignore[arg-type]  # the stubs list literals
        raise GatewayError("missing_required_parameter", f"{path}.{kind} is required", param=f"{path}.{kind}")
