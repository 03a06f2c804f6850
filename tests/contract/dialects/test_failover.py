"""A request that one vendor fails is served by another, which speaks another dialect: the same answer."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.contract.dialects.client import over
from tests.contract.dialects.fake import Fake
from tests.contract.dialects.scenes import SCENES, Scene
from tests.contract.dialects.talk import Breaks, Fails, Reply, Trouble
from tests.contract.dialects.test_matrix import converse, expected
from tests.contract.dialects.vendors import VENDORS
from tests.fakes import wire

streams = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@streams
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name.replace(" ", "-"))
async def test_google_serves_what_anthropic_fails(scene: Scene, stream: bool) -> None:
    says = [step.says for step in scene.steps]
    failing, serving = Fake(VENDORS["anthropic"], Fails("overloaded")), Fake(VENDORS["google"], *says)
    answers = await converse(over({"anthropic": failing, "google": serving}), scene, stream=stream)
    assert [answer.visible() for answer in answers] == [expected(each) for each in says]
    assert {answer.value["provider"] for answer in answers} == {"google"}
    assert len(serving.bodies) == len(says)


@streams
@pytest.mark.parametrize(("first", "second"), list(permutations(VENDORS, 2)))
@pytest.mark.parametrize("trouble", ["invalid_key", "rate_limit", "server", "bad_gateway"])
async def test_any_vendor_serves_what_any_other_fails(first: str, second: str, trouble: Trouble, stream: bool) -> None:
    scene = next(scene for scene in SCENES if scene.name == "parallel tools")
    says = [step.says for step in scene.steps]
    fakes = {first: Fake(VENDORS[first], Fails(trouble)), second: Fake(VENDORS[second], *says)}
    answers = await converse(over(fakes), scene, stream=stream)
    assert [answer.visible() for answer in answers] == [expected(each) for each in says]
    assert {answer.value["provider"] for answer in answers} == {second}


@pytest.mark.parametrize(("first", "second"), list(permutations(VENDORS, 2)))
@pytest.mark.parametrize("by", ["cut", "error"])
async def test_a_stream_that_broke_before_content_over_sockets(first: str, second: str, by: str) -> None:
    (step,) = SCENES[0].steps
    broken: Reply = Breaks(step.says, after="", by="cut" if by == "cut" else "error")
    fakes = {first: Fake(VENDORS[first], broken), second: Fake(VENDORS[second], step.says)}
    async with wire.serve(fakes[first].answer) as one, wire.serve(fakes[second].answer) as other:
        urls = {first: one.url + VENDORS[first].path, second: other.url + VENDORS[second].path}
        gateway = over(fakes, urls)
        (answer,) = await converse(gateway, SCENES[0], stream=True)
        await gateway.upstream.close()
    assert answer.visible() == expected(step.says)
    assert answer.value["provider"] == second
