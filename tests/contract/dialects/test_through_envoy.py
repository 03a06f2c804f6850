"""OpenAI's own client against a real Envoy, a real worker and a vendor on a socket, for every dialect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.contract.dialects.client import MODEL, Answer, endpoints, providers, read_stream
from tests.contract.dialects.fake import Fake
from tests.contract.dialects.scenes import HELLO, LIMIT, SCENES, Scene, user
from tests.contract.dialects.talk import Breaks, Call, Fails, Says
from tests.contract.dialects.test_matrix import addressed, check
from tests.contract.dialects.vendors import VENDORS
from tests.e2e.conftest import short_dir as short_dir
from tests.e2e.running import start_gateway
from tests.fakes import wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
providers: {providers}
models:
  {model}:
    endpoints: {endpoints}
keys: [{{name: k, sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}}]
"""


@dataclass(slots=True)
class Stage:
    """A running gateway whose vendors are whatever a test puts in `fakes`."""

    client: openai.AsyncOpenAI
    fakes: dict[str, Fake]

    async def ask(self, dialect: str, request: dict[str, Any], *, stream: bool) -> Answer:
        """Ask one vendor through the gateway."""
        extra = {"provider": {"only": [dialect]}, **request}
        create: Any = self.client.chat.completions.create
        if not stream:
            completion = await create(model=MODEL, messages=extra.pop("messages"), extra_body=extra)
            return Answer(completion, completion.model_dump())
        extra["stream_options"] = {"include_usage": True}
        pieces = await create(model=MODEL, messages=extra.pop("messages"), extra_body=extra, stream=True)
        return read_stream([piece.model_dump(exclude_unset=True) async for piece in pieces])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(short_dir: Callable[[], Path]) -> AsyncIterator[Stage]:
    """Run one gateway, with one worker, in front of all vendors."""
    fakes: dict[str, Fake] = {}

    def answer(dialect: str) -> wire.Answer:
        return lambda connection, request: fakes[dialect].answer(connection, request)

    async with AsyncExitStack() as stack:
        urls = {}
        for dialect, vendor in VENDORS.items():
            urls[dialect] = (await stack.enter_async_context(wire.serve(answer(dialect)))).url + vendor.path
        config = CONFIG.format(
            providers=json.dumps(providers(urls)), model=MODEL, endpoints=json.dumps(endpoints(urls))
        )
        gateway = start_gateway(short_dir(), config, {"GATEWAY_WORKERS": "1"})
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="test", max_retries=0)
        yield Stage(client, fakes)
        await client.close()
        assert gateway.stop() == 0


dialects = pytest.mark.parametrize("dialect", VENDORS)
streams = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@dialects
@streams
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name.replace(" ", "-"))
async def test_conversation(stage: Stage, dialect: str, scene: Scene, stream: bool) -> None:
    fake = stage.fakes[dialect] = Fake(VENDORS[dialect], *(step.says for step in scene.steps), size=40)
    messages: list[Any] = []
    answers: list[Answer] = []
    for step in scene.steps:
        messages += [answers[-1].history()] if answers else []
        messages += addressed(step, answers)
        request = {"messages": messages, "max_tokens": LIMIT, **scene.fields}
        answers.append(await stage.ask(dialect, request, stream=stream))
    check(scene, fake, answers, dialect)


@dialects
@streams
async def test_clock(stage: Stage, dialect: str, stream: bool) -> None:
    calls = [Call("gateway_datetime", {"timezone": zone}) for zone in ("Europe/Paris", "Asia/Tokyo")]
    says = Says(text=["Let me look."], calls=calls, finish="tool_calls")
    fake = stage.fakes[dialect] = Fake(VENDORS[dialect], says, Says(text=["It is ", "noon."]), size=40)
    request = {"messages": [user("What time is it?")], "tools": [{"type": "gateway:datetime"}]}
    answer = await stage.ask(dialect, request, stream=stream)
    assert answer.message.content == "Let me look.\n\nIt is noon."
    assert answer.value["usage"]["server_tool_use"] == {"datetime_requests": 2}
    heard = [json.loads(item[2])["timezone"] for item in fake.heard[1].turns[-1][1]]
    assert heard == ["Europe/Paris", "Asia/Tokyo"]


@dialects
@streams
async def test_refused_request(stage: Stage, dialect: str, stream: bool) -> None:
    stage.fakes[dialect] = Fake(VENDORS[dialect], Fails("context_length"))
    with pytest.raises(openai.BadRequestError) as caught:
        await stage.ask(dialect, {"messages": [user("Hi")]}, stream=stream)
    assert caught.value.code == "context_length_exceeded"


@dialects
async def test_stream_that_breaks(stage: Stage, dialect: str) -> None:
    stage.fakes[dialect] = Fake(VENDORS[dialect], Breaks(HELLO, after="Hello", by="cut"), size=40)
    with pytest.raises(openai.APIError) as caught:
        await stage.ask(dialect, {"messages": [user("Hi")]}, stream=True)
    assert "broke" in caught.value.message
