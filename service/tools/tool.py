"""The interface of a server tool: what the model is offered, and what the gateway runs when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from gateway.v1.tools_pb2 import FunctionTool, Tool

Settings = Mapping[str, str]
"""What a request's tool entry sets, by name; only what was given."""


class ServerTool(Protocol):
    """One server tool. Stateless; one instance serves every request."""

    @property
    def type(self) -> str:
        """The tool's `type` in a request, e.g. `gateway:datetime`."""
        ...

    @property
    def function_name(self) -> str:
        """The name of the function that the model sees."""
        ...

    @property
    def usage_field(self) -> str:
        """The field of `ServerToolUse` that counts executed calls."""
        ...

    def definition(self) -> FunctionTool:
        """Return the function that the model sees."""
        ...

    def settings(self, tool: Tool) -> Settings:
        """Return what a request's tool entry sets.

        Raises:
            GatewayError: a value is wrong; `param` is the path within the entry, e.g. `parameters.timezone`.
        """
        ...

    def execute(self, arguments: str, settings: Settings, now: datetime) -> str:
        """Return the result of a call, JSON text.

        `arguments` is the model's text, whatever it may be; what is no JSON object counts as `{}`. `now` knows its time
        zone. Wrong arguments are answered with `{"error": "..."}`, which the model reads.
        """
        ...
