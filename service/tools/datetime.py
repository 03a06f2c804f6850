"""`gateway:datetime`: the current date and time in a time zone."""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from importlib import resources
from zoneinfo import ZoneInfo

import orjson
from gateway.v1.tools_pb2 import FunctionDefinition, FunctionTool, Tool

from service.errors import GatewayError
from service.tools.tool import Settings

ZONES = frozenset(resources.files("tzdata").joinpath("zones").read_text("utf-8").split())
"""IANA's names, those of the tzdata package. ZoneInfo alone also takes what else lies in a machine's zone folder."""

_FOLDED = {name.casefold(): name for name in sorted(ZONES)}
_DEFAULT_ZONE = "UTC"
_LONGEST_NAME = max(map(len, ZONES))

_PARAMETERS = """\
{"type": "object", "properties": {"timezone": {"type": "string", "description": "IANA time zone, e.g. Europe/London. \
Leave it out for the default time zone."}}, "additionalProperties": false}"""


class DatetimeTool:
    """The gateway's clock. Its one setting is `timezone`, an IANA name."""

    type = "gateway:datetime"
    function_name = "gateway_datetime"
    usage_field = "datetime_requests"

    def definition(self) -> FunctionTool:
        """See `ServerTool.definition`."""
        return FunctionTool(
            function=FunctionDefinition(
                name=self.function_name,
                description="Get the current date and time (today, now) in a time zone.",
                parameters=_PARAMETERS,
            )
        )

    def settings(self, tool: Tool) -> Settings:
        """See `ServerTool.settings`. Raises GatewayError invalid_timezone."""
        entry = tool.gateway_datetime
        zones: dict[str, str] = {}
        if entry.HasField("timezone"):
            zones["timezone"] = entry.timezone
        if entry.parameters.HasField("timezone"):
            zones["parameters.timezone"] = entry.parameters.timezone
        for param, zone in zones.items():
            if zone not in ZONES:
                raise GatewayError("invalid_timezone", _unknown(zone), param=param)
        return {"timezone": list(zones.values())[-1]} if zones else {}

    def execute(self, arguments: str, settings: Settings, now: datetime) -> str:
        """See `ServerTool.execute`.

        The zone is the model's, else the request's, else UTC. The result is
        `{"timezone": "Europe/London", "datetime": "2026-11-22T09:30:00.123+00:00"}`.
        """
        zone = _object(arguments).get("timezone")
        # null and an empty string are how models say that they leave an argument out
        if zone is None or zone == "":
            zone = settings.get("timezone", _DEFAULT_ZONE)
        if not isinstance(zone, str) or zone not in ZONES:
            return orjson.dumps({"error": _unknown(zone)}).decode()
        local = now.astimezone(ZoneInfo(zone))
        return orjson.dumps({"timezone": zone, "datetime": local.isoformat(timespec="milliseconds")}).decode()


def _object(text: str) -> dict[str, object]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _unknown(zone: object) -> str:
    if not isinstance(zone, str):
        return "timezone is to be an IANA time zone, such as Europe/London."
    if len(zone) > _LONGEST_NAME:
        return f"{zone[:_LONGEST_NAME]!r}... is no IANA time zone, such as Europe/London."
    near = get_close_matches(zone.casefold(), _FOLDED, n=1, cutoff=0.8)
    hint = f"did you mean {_FOLDED[near[0]]}?" if near else "such a name is Europe/London."
    return f"{zone!r} is no IANA time zone; {hint}"
