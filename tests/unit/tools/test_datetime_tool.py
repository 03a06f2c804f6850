"""The gateway's clock: what it accepts, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from zoneinfo import available_timezones

import pytest
from gateway.v1.chat_response_pb2 import ServerToolUse
from gateway.v1.tools_pb2 import DatetimeParameters, DatetimeTool, Tool
from hypothesis import given
from hypothesis import strategies as st

from service.errors import GatewayError
from service.tools import REGISTRY

CLOCK = REGISTRY["gateway_datetime"]
NOW = datetime(2026, 11, 22, 9, 30, 0, 123_999, tzinfo=UTC)


def entry(legacy: str | None = None, zone: str | None = None) -> Tool:
    parameters = None if zone is None else DatetimeParameters(timezone=zone)
    return Tool(gateway_datetime=DatetimeTool(timezone=legacy, parameters=parameters))


def test_every_registered_tool_has_a_member_of_the_union_and_a_counter() -> None:
    for member, tool in REGISTRY.items():
        assert member in Tool.DESCRIPTOR.fields_by_name
        assert tool.usage_field in ServerToolUse.DESCRIPTOR.fields_by_name
        assert tool.definition().function.name == tool.function_name
        assert tool.type.startswith("gateway:")


def test_the_model_sees_a_function_with_one_optional_string() -> None:
    function = CLOCK.definition().function
    assert function.name == "gateway_datetime"
    parameters = json.loads(function.parameters)
    assert parameters["properties"]["timezone"]["type"] == "string"
    assert list(parameters["properties"]) == ["timezone"]
    assert "required" not in parameters


@pytest.mark.parametrize(
    ("tool", "settings"),
    [
        (entry(), {}),
        (Tool(gateway_datetime=DatetimeTool(parameters=DatetimeParameters())), {}),
        (entry(zone="Europe/London"), {"timezone": "Europe/London"}),
        (entry(legacy="Asia/Tokyo"), {"timezone": "Asia/Tokyo"}),
        (entry(legacy="Asia/Tokyo", zone="Europe/London"), {"timezone": "Europe/London"}),
    ],
)
def test_settings_of_every_accepted_shape(tool: Tool, settings: Mapping[str, str]) -> None:
    assert CLOCK.settings(tool) == settings


BAD_ZONES = [
    "Mars/Phobos",
    "",
    "europe/london",
    "../etc/passwd",
    "/etc/localtime",
    "Europe",
    "Europe/",
    "localtime",
    "posix/UTC",
]
BAD_ZONES += ["Europe/London ", "Europe/London\x00", "UTC+1", "tzdata.zi", "Z" * 100_000]


@pytest.mark.parametrize("zone", BAD_ZONES)
@pytest.mark.parametrize(("make", "param"), [(lambda z: entry(zone=z), "parameters.timezone"), (entry, "timezone")])
def test_a_bad_zone_in_the_request_is_refused(make: Callable[[str], Tool], param: str, zone: str) -> None:
    with pytest.raises(GatewayError) as caught:
        CLOCK.settings(make(zone))
    assert caught.value.code == "invalid_timezone"
    assert caught.value.param == param
    assert len(caught.value.message) < 200


def test_a_zone_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(GatewayError, match="did you mean Europe/London"):
        CLOCK.settings(entry(zone="europe/london"))


@pytest.mark.parametrize(
    ("arguments", "settings", "zone", "text"),
    [
        ("{}", {}, "UTC", "2026-11-22T09:30:00.123+00:00"),
        ("{}", {"timezone": "Asia/Tokyo"}, "Asia/Tokyo", "2026-11-22T18:30:00.123+09:00"),
        ('{"timezone": "Europe/London"}', {"timezone": "Asia/Tokyo"}, "Europe/London", "2026-11-22T09:30:00.123+00:00"),
        ('{"timezone": "Asia/Kathmandu", "x": 1}', {}, "Asia/Kathmandu", "2026-11-22T15:15:00.123+05:45"),
        ('{"timezone": null}', {"timezone": "Asia/Tokyo"}, "Asia/Tokyo", "2026-11-22T18:30:00.123+09:00"),
        ('{"timezone": ""}', {"timezone": "Asia/Tokyo"}, "Asia/Tokyo", "2026-11-22T18:30:00.123+09:00"),
        ("", {}, "UTC", "2026-11-22T09:30:00.123+00:00"),
        ("not json", {}, "UTC", "2026-11-22T09:30:00.123+00:00"),
        ('["Europe/London"]', {}, "UTC", "2026-11-22T09:30:00.123+00:00"),
        ('"Europe/London"', {}, "UTC", "2026-11-22T09:30:00.123+00:00"),
        ("null", {}, "UTC", "2026-11-22T09:30:00.123+00:00"),
    ],
)
def test_the_zone_is_the_models_else_the_requests_else_utc(
    arguments: str, settings: Mapping[str, str], zone: str, text: str
) -> None:
    assert json.loads(CLOCK.execute(arguments, settings, NOW)) == {"timezone": zone, "datetime": text}


@pytest.mark.parametrize("arguments", ['{"timezone": "Mars/Phobos"}', '{"timezone": 5}', '{"timezone": "../../UTC"}'])
def test_a_bad_zone_from_the_model_is_answered_with_an_error(arguments: str) -> None:
    answer = json.loads(CLOCK.execute(arguments, {"timezone": "Asia/Tokyo"}, NOW))
    assert list(answer) == ["error"]
    assert "Europe/London" in answer["error"]


@pytest.mark.parametrize(
    ("now", "zone", "text"),
    [
        # London puts its clocks forward at 01:00 UTC on 29 March 2026 and back at 01:00 UTC on 25 October
        ("2026-03-29T00:59:59.999", "Europe/London", "2026-03-29T00:59:59.999+00:00"),
        ("2026-03-29T01:00:00.000", "Europe/London", "2026-03-29T02:00:00.000+01:00"),
        ("2026-10-25T00:30:00.000", "Europe/London", "2026-10-25T01:30:00.000+01:00"),
        ("2026-10-25T01:30:00.000", "Europe/London", "2026-10-25T01:30:00.000+00:00"),
        # New York: 07:00 UTC on 8 March; the date changes too
        ("2026-03-08T06:59:59.000", "America/New_York", "2026-03-08T01:59:59.000-05:00"),
        ("2026-03-08T07:00:00.000", "America/New_York", "2026-03-08T03:00:00.000-04:00"),
        ("2026-01-01T03:00:00.000", "America/New_York", "2025-12-31T22:00:00.000-05:00"),
        # Lord Howe moves by half an hour; southern summer time
        ("2026-01-15T00:00:00.000", "Australia/Lord_Howe", "2026-01-15T11:00:00.000+11:00"),
        ("2026-07-15T00:00:00.000", "Australia/Lord_Howe", "2026-07-15T10:30:00.000+10:30"),
    ],
)
def test_summer_time(now: str, zone: str, text: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert json.loads(CLOCK.execute(json.dumps({"timezone": zone}), {}, at))["datetime"] == text


def test_every_iana_name_of_this_machine_is_known() -> None:
    unknown = [
        zone
        for zone in available_timezones() - {"localtime"}
        if "error" in json.loads(CLOCK.execute(json.dumps({"timezone": zone}), {}, NOW))
    ]
    assert unknown == []


@given(st.text())
def test_any_arguments_get_a_json_object(arguments: str) -> None:
    answer = json.loads(CLOCK.execute(arguments, {}, NOW))
    assert set(answer) in ({"timezone", "datetime"}, {"error"})
