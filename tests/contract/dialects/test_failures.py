"""Every failure, whichever vendor fails: one error for the client, whole and streamed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from service.errors import GatewayError
from tests.contract.dialects.client import broken, over
from tests.contract.dialects.fake import Fake
from tests.contract.dialects.scenes import HELLO, LIMIT, WEATHER_TOOL, user
from tests.contract.dialects.talk import RATE_LIMIT_WAIT_S, Breaks, Call, Fails, Says, Trouble
from tests.contract.dialects.vendors import VENDORS
from tests.fakes import wire

ASK = {"messages": [user("Hi")], "max_tokens": LIMIT}

dialects = pytest.mark.parametrize("dialect", VENDORS)
streams = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])

TOLD: dict[Trouble, tuple[int, str, str, str, int]] = {
    "bad_request": (400, "invalid_request_error", "upstream_rejected", "rejected", 1),
    "context_length": (400, "invalid_request_error", "upstream_rejected", "context_length_exceeded", 1),
    "invalid_key": (502, "upstream_error", "all_providers_failed", "credentials_refused", 1),
    "rate_limit": (429, "rate_limit_error", "upstream_rate_limited", "rate_limited", 1),
    "server": (502, "upstream_error", "all_providers_failed", "server_error", 2),
    "overloaded": (502, "upstream_error", "all_providers_failed", "overloaded", 2),
    "bad_gateway": (502, "upstream_error", "all_providers_failed", "server_error", 2),
}
"""What the client is told: status, type, the gateway's code, the outcome of the attempt; and how often was asked."""


@dialects
@streams
@pytest.mark.parametrize("trouble", TOLD)
async def test_error_status(dialect: str, stream: bool, trouble: Trouble) -> None:
    fake = Fake(VENDORS[dialect], Fails(trouble))
    error = await broken(over({dialect: fake}), ASK, stream=stream)
    asked = len(fake.bodies)
    assert (error.http_status, error.error_class.type, error.code, error.details[0]["outcome"], asked) == TOLD[trouble]
    assert error.details[0]["provider"] == dialect
    assert error.retry_after == (RATE_LIMIT_WAIT_S if trouble == "rate_limit" else None)
    told = json.dumps([error.message, *error.details])
    assert "<html>" not in told
    assert "10.0.0.7" not in told


@dialects
@streams
async def test_a_context_that_is_too_long_has_the_code_that_clients_act_on(dialect: str, stream: bool) -> None:
    error = await broken(over({dialect: Fake(VENDORS[dialect], Fails("context_length"))}), ASK, stream=stream)
    assert error.wire_code == "context_length_exceeded"


@dialects
@streams
async def test_a_refused_request_is_told_in_the_vendors_words(dialect: str, stream: bool) -> None:
    vendor = VENDORS[dialect]
    error = await broken(over({dialect: Fake(vendor, Fails("bad_request"))}), ASK, stream=stream)
    assert error.message == json.loads(vendor.error("bad_request").body)["error"]["message"]


@dialects
@pytest.mark.parametrize(("by", "outcome"), [("error", {"overloaded", "server_error"}), ("cut", {"cut_stream"})])
@pytest.mark.parametrize("size", [1, 7])
async def test_a_stream_that_breaks_after_content_ends_with_one_error(
    dialect: str, by: Any, outcome: set[str], size: int
) -> None:
    fake = Fake(VENDORS[dialect], Breaks(HELLO, after="Hello", by=by), size=size)
    error = await broken(over({dialect: fake}), ASK, stream=True)
    assert (error.http_status, error.code) == (502, "upstream_stream_broken")
    assert error.details[0]["outcome"] in outcome
    assert len(fake.bodies) == 1


@dialects
@pytest.mark.parametrize("by", ["error", "cut"])
async def test_a_stream_that_breaks_before_content_is_asked_for_again(dialect: str, by: Any) -> None:
    fake = Fake(VENDORS[dialect], Breaks(HELLO, after="", by=by), HELLO)
    answer = await over({dialect: fake}).ask(ASK, stream=True)
    assert answer.message.content == "".join(HELLO.text)
    assert len(fake.bodies) == 2


@dialects
async def test_content_that_comes_with_an_error_event_has_not_been_sent(dialect: str) -> None:
    fake = Fake(VENDORS[dialect], Breaks(HELLO, after="Hello", by="error"), HELLO)
    answer = await over({dialect: fake}).ask(ASK, stream=True)
    assert answer.message.content == "".join(HELLO.text)
    assert len(fake.bodies) == 2


@dialects
async def test_a_whole_answer_that_breaks_off_is_asked_for_again(dialect: str) -> None:
    fake = Fake(VENDORS[dialect], Breaks(HELLO, after="", by="cut"), HELLO)
    answer = await over({dialect: fake}).ask(ASK, stream=False)
    assert answer.message.content == "".join(HELLO.text)


class _EndsAt(Fake):
    """A vendor whose streams end after `end` bytes, as if they were complete."""

    end = 0

    def _answer(self, body: bytes, url: str) -> tuple[Any, Any, bool]:
        answer, pieces, _ = super()._answer(body, url)
        return answer, [b"".join(pieces)[: self.end]], False


THOUGHTFUL = Says(
    thoughts=["I have ", "to look."],
    text=["Let me ", "look."],
    calls=[Call("get_weather", {"location": "Paris"}, id="call_paris")],
    finish="tool_calls",
)


@dialects
async def test_a_stream_cut_anywhere_is_an_error_or_complete(dialect: str) -> None:
    ask = {**ASK, "tools": [WEATHER_TOOL]}
    whole = b"".join(VENDORS[dialect].events(THOUGHTFUL))
    complete = await over({dialect: Fake(VENDORS[dialect], THOUGHTFUL)}).ask(ask, stream=True)
    fake = _EndsAt(VENDORS[dialect], THOUGHTFUL)
    gateway = over({dialect: fake})
    completed = 0
    for fake.end in range(1, len(whole) + 29, 29):
        chunks: list[Mapping[str, Any]] = []
        with contextlib.suppress(GatewayError):
            chunks = await gateway.chunks(ask)
        if not chunks:
            continue
        # Only what stands after the terminal event is lost: the usage at most.
        completed += 1
        assert [c["choices"] for c in chunks if c["choices"]] == [c["choices"] for c in complete.chunks if c["choices"]]
    assert 0 < completed < len(whole) / 29 / 2


@dialects
@pytest.mark.parametrize("trouble", ["server", "bad_gateway", "rate_limit"])
async def test_error_status_on_a_socket(dialect: str, trouble: Trouble) -> None:
    vendor = VENDORS[dialect]
    fake = Fake(vendor, Fails(trouble))
    async with wire.serve(fake.answer) as server:
        gateway = over({dialect: fake}, {dialect: server.url + vendor.path})
        error = await broken(gateway, ASK, stream=True)
        await gateway.upstream.close()
    assert error.code == TOLD[trouble][2]


@dialects
async def test_cut_on_a_socket(dialect: str) -> None:
    vendor = VENDORS[dialect]
    fake = Fake(vendor, Breaks(HELLO, after="Hello", by="cut"))
    async with wire.serve(fake.answer) as server:
        gateway = over({dialect: fake}, {dialect: server.url + vendor.path})
        error = await broken(gateway, ASK, stream=True)
        await gateway.upstream.close()
    assert error.code == "upstream_stream_broken"
