"""Every conversation, whichever vendor serves it, unary and streamed in any pieces: one request, one answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest

from tests.contract.dialects.client import Answer, Gateway, over
from tests.contract.dialects.fake import Fake
from tests.contract.dialects.scenes import LIMIT, SCENES, Scene, Step
from tests.contract.dialects.talk import Says
from tests.contract.dialects.vendors import VENDORS
from tests.fakes import wire

SIZES = (1, 2, 3, 7, 1000, None)
"""Bytes of a piece of a stream; None: all in one."""

dialects = pytest.mark.parametrize("dialect", VENDORS)
scenes = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name.replace(" ", "-"))


def expected(says: Says) -> dict[str, Any]:
    """Return what the client reads of what the model says."""
    counts = says.counts
    return {
        "content": "".join(says.text),
        "refusal": None,
        "reasoning_content": "".join(says.thoughts) or None,
        "calls": [(call.name, call.arguments) for call in says.calls],
        "finish_reason": says.finish,
        "prompt_tokens": counts.prompt,
        "cached_tokens": counts.cached,
        "completion_tokens": counts.completion,
        "reasoning_tokens": counts.reasoning,
        "total_tokens": counts.prompt + counts.completion,
    }


async def converse(gateway: Gateway, scene: Scene, *, stream: bool) -> list[Answer]:
    """Play a scene: ask, answer the model's calls, ask again."""
    messages: list[Mapping[str, Any]] = []
    answers: list[Answer] = []
    for step in scene.steps:
        if answers:
            messages.append(answers[-1].history())
        messages += addressed(step, answers)
        request = {"messages": messages, "max_tokens": LIMIT, **scene.fields}
        answers.append(await gateway.ask(request, stream=stream))
    return answers


def addressed(step: Step, answers: list[Answer]) -> list[Mapping[str, Any]]:
    """Return a step's messages, its tool results with the ids of the calls that they answer."""
    return [
        {**each, "tool_call_id": answers[-1].call_ids()[each["tool_call_id"]]} if each["role"] == "tool" else each
        for each in step.messages
    ]


def check(scene: Scene, fake: Fake, answers: list[Answer], provider: str) -> None:
    """Assert that the vendor heard what the client said, and the client reads what the model says."""
    for place, (step, answer) in enumerate(zip(scene.steps, answers, strict=True)):
        heard, wanted = json.dumps(asdict(fake.heard[place])), json.dumps(asdict(scene.heard(place)))
        assert json.loads(heard) == json.loads(wanted)
        # Also in the order of keys, which decides what a model writes first.
        assert heard == wanted
        assert answer.visible() == expected(step.says)
        assert len(set(answer.call_ids())) == len(step.says.calls)
        assert all(answer.call_ids())
        assert answer.value["provider"] == provider
        assert answer.value["nativeResponseId"]


@dialects
@scenes
async def test_whole_answer(dialect: str, scene: Scene) -> None:
    fake = Fake(VENDORS[dialect], *(step.says for step in scene.steps))
    answers = await converse(over({dialect: fake}), scene, stream=False)
    check(scene, fake, answers, dialect)
    for step, answer in zip(scene.steps, answers, strict=True):
        content = answer.value["choices"][0]["message"]["content"]
        assert content == ("".join(step.says.text) or (None if step.says.calls else ""))


@dialects
@scenes
@pytest.mark.parametrize("size", SIZES)
async def test_streamed_answer_in_any_pieces(dialect: str, scene: Scene, size: int | None) -> None:
    fake = Fake(VENDORS[dialect], *(step.says for step in scene.steps), size=size)
    answers = await converse(over({dialect: fake}), scene, stream=True)
    check(scene, fake, answers, dialect)


@dialects
@scenes
async def test_whole_and_streamed_answer_give_calls_the_same_ids(dialect: str, scene: Scene) -> None:
    says = [step.says for step in scene.steps]
    whole = await converse(over({dialect: Fake(VENDORS[dialect], *says)}), scene, stream=False)
    streamed = await converse(over({dialect: Fake(VENDORS[dialect], *says)}), scene, stream=True)
    assert [answer.call_ids() for answer in whole] == [answer.call_ids() for answer in streamed]


@dialects
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_all_conversations_over_one_socket(dialect: str, stream: bool) -> None:
    vendor = VENDORS[dialect]
    fake = Fake(vendor, *(step.says for scene in SCENES for step in scene.steps), size=50)
    async with wire.serve(fake.answer) as server:
        gateway = over({dialect: fake}, {dialect: server.url + vendor.path})
        for scene in SCENES:
            answers = await converse(gateway, scene, stream=stream)
            assert [answer.visible() for answer in answers] == [expected(step.says) for step in scene.steps]
        await gateway.upstream.close()
        assert len(server.connections) == 1
