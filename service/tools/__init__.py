"""Server tools: functions that the gateway runs for the model. A new one is a module here and a line in the table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.tools.datetime import DatetimeTool
from service.tools.tool import ServerTool, Settings

REGISTRY: Mapping[str, ServerTool] = MappingProxyType({"gateway_datetime": DatetimeTool()})
"""Server tools by their member of the `Tool` union."""

__all__ = ["REGISTRY", "ServerTool", "Settings"]
