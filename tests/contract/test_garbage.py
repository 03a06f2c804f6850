"""Whatever is posted, the gateway answers 200 or 4xx in its own words, and goes on serving.

CONTRACT_EXAMPLES sets how many bodies are posted; more than the usual number are drawn at random.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.client import Client, request
from tests.contract.everything import EVERYTHING
from tests.contract.good_conversations import CLOCK
from tests.contract.provider import Provider
from tests.e2e.running import Gateway

USUAL = 500
EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", USUAL))
BASES: tuple[Mapping[str, Any], ...] = (
    EVERYTHING,
    request(stream=True, usage=True, meta=True),
    request(tools=[CLOCK], tool_choice="gateway:datetime", response_format={"type": "json_object"}),
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "auto", "user", "text", "function", "gateway:datetime", "image_url", "\ud800", "\x00"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


Steps = tuple[str | int, ...]


def places(value: Any, lead: Steps = ()) -> list[Steps]:
    """Return the way to every place within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for step, item in inner for way in ((*lead, step), *places(item, (*lead, step)))]


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A valid body with other values in up to three places, or nothing there."""
    body = json.loads(json.dumps(draw(st.sampled_from(BASES))))
    for _ in range(draw(st.integers(1, 3))):
        *lead, last = draw(st.sampled_from(places(body) or [("model",)]))
        place = body
        for step in lead:
            place = place[step]
        if draw(st.integers(0, 3)):
            place[last] = draw(values)
        elif place:
            del place[last]
    return json.dumps(body).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid body of which a few bytes are other ones, or gone, or twice there."""
    body = bytearray(json.dumps(draw(st.sampled_from(BASES))).encode())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(body) - 1, 0)))
        end = start + draw(st.integers(0, 12))
        body[start:end] = draw(st.binary(max_size=6) | st.just(bytes(body[start:end]) * 2))
    return bytes(body)


bodies = st.one_of(
    changed(), changed(), damaged(), st.binary(max_size=64), values.map(lambda v: json.dumps(v).encode())
)


def check(response: httpx.Response) -> None:
    if response.status_code == 200:
        assert response.headers["content-type"] in ("application/json", "text/event-stream")
        return
    assert 400 <= response.status_code < 500, response.text
    error = response.json()["error"]
    assert error.keys() >= {"message", "type", "param", "code", "generation_id"}
    assert error["type"] == "invalid_request_error"


@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= USUAL,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(body=bodies)
def ask_anything(client: Client, provider: Provider, body: bytes) -> None:
    provider.says()
    check(client.post(body))
    for sent in provider.requests:
        json.loads(sent.body)


def test_anything_may_be_posted(client: Client, provider: Provider, contract_gateway: Gateway) -> None:
    before = contract_gateway.workers
    ask_anything(client, provider)
    assert contract_gateway.workers == before
    assert "internal error" not in contract_gateway.log
    assert client.ask(request())["choices"][0]["finish_reason"] == "stop"
