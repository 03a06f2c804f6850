"""The gateway as a client of OpenAI's package sees it, without a network in front."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import chat as openai_chat

from service import codec
from service.chat import Call, ChatCompletions, Deps
from service.config import Config, Key
from service.errors import GatewayError
from service.limits import Limiter
from service.providers import DIALECTS, UpstreamRequest
from service.routing import HealthBoard
from service.telemetry import Masker
from service.tools import REGISTRY
from service.upstream import Upstream
from service.upstream.script import Script
from tests.contract.dialects.fake import Fake

MODEL = "acme/m"
MODELS: Mapping[str, str] = {"openai": "gpt-5-nano", "anthropic": "claude-sonnet-4-5", "google": "gemini-2.5-flash"}
INPUTS = ["text", "image", "audio", "video", "file"]


class _NoJitter(random.Random):
    """Weighs as ever, and repeats at once."""

    def uniform(self, a: float, b: float) -> float:
        return min(a, b)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client reads: the whole answer, and the chunks that it came in, if it did."""

    completion: openai_chat.ChatCompletion
    value: Mapping[str, Any]
    chunks: Sequence[Mapping[str, Any]] = ()

    @property
    def message(self) -> openai_chat.ChatCompletionMessage:
        return self.completion.choices[0].message

    def visible(self) -> dict[str, Any]:
        """Return what has to be the same whoever served: all but ids, the provider, and what only one vendor has."""
        choice = self.completion.choices[0]
        usage = self.completion.usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        assert usage.completion_tokens_details is not None
        return {
            "content": choice.message.content or "",
            "refusal": choice.message.refusal,
            "reasoning_content": (choice.message.model_extra or {}).get("reasoning_content"),
            "calls": self.calls(),
            "finish_reason": choice.finish_reason,
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.prompt_tokens_details.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "reasoning_tokens": usage.completion_tokens_details.reasoning_tokens,
            "total_tokens": usage.total_tokens,
        }

    def calls(self) -> list[tuple[str, Any]]:
        """Return the calls' names and arguments."""
        return [(each.function.name, json.loads(each.function.arguments)) for each in self.functions()]

    def call_ids(self) -> list[str]:
        """Return the calls' ids."""
        return [each.id for each in self.functions()]

    def functions(self) -> list[openai_chat.ChatCompletionMessageFunctionToolCall]:
        """Return the calls; they are all of functions."""
        found = []
        for each in self.message.tool_calls or []:
            assert each.type == "function"
            found.append(each)
        return found

    def history(self) -> dict[str, Any]:
        """Return the message as a client of OpenAI's package sends it back."""
        return self.message.model_dump(exclude_none=True)


class Gateway:
    """The use case, and a client that asks for its MODEL."""

    def __init__(self, config: Config, players: Mapping[str, Callable[[UpstreamRequest], Script]]) -> None:
        """Serve MODEL of any configuration. `players`: vendors in process, by dialect."""
        self.upstream = Upstream(config.providers, players)
        self._order = [endpoint.provider for endpoint in config.models[MODEL].endpoints]
        self._chat = ChatCompletions(
            Deps(
                config=config,
                dialects=DIALECTS,
                upstream=self.upstream,
                health=HealthBoard(config),
                limiter=Limiter(config, 0, None),
                tools=REGISTRY,
                masker=Masker(config),
                rng=_NoJitter(1),
            )
        )

    async def ask(self, request: Mapping[str, Any], *, stream: bool) -> Answer:
        """Ask, and return the whole answer.

        Raises:
            GatewayError: what a client is told instead, also when a stream broke.
        """
        if stream:
            return read_stream(await self.chunks(request))
        value = json.loads(codec.encode(await self._chat.complete(self._message(request), _call())))
        return Answer(openai_chat.ChatCompletion.model_validate(value), value)

    async def chunks(self, request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Ask for a stream with usage, and return its chunks.

        Raises:
            GatewayError: what a client is told instead, also when the stream broke.
        """
        message = self._message(request)
        message.stream_options.include_usage = True
        chunks: list[Mapping[str, Any]] = []
        async with await self._chat.open(message, _call()) as pieces:
            async for piece in pieces:
                chunks += [json.loads(codec.encode(chunk)) for run in piece for chunk in run.chunks()]
        return chunks

    def _message(self, request: Mapping[str, Any]) -> CreateChatCompletionRequest:
        body = json.dumps({"model": MODEL, "provider": {"order": self._order}, **request}).encode()
        return codec.decode_request(CreateChatCompletionRequest, body, max_depth=64)


def _call() -> Call:
    return Call("chatcmpl-1", Key(name="k", sha256="0" * 64), time.monotonic(), 1)


def over(fakes: Mapping[str, Fake], urls: Mapping[str, str] | None = None) -> Gateway:
    """Return a gateway whose model the given vendors serve in this order: on sockets at base `urls`, or in process."""
    players = {} if urls else {fake.vendor.dialect: fake.play for fake in fakes.values()}
    return Gateway(catalogue({name: (urls or {}).get(name, "http://vendor.test") for name in fakes}), players)


async def broken(gateway: Gateway, request: Mapping[str, Any], *, stream: bool) -> GatewayError:
    """Ask for what cannot be answered, and return what the client is told."""
    try:
        answer = await gateway.ask(request, stream=stream)
    except GatewayError as error:
        return error
    raise AssertionError(f"it was answered: {answer.visible()}")


def read_stream(chunks: Sequence[Mapping[str, Any]]) -> Answer:
    """Read chunks with OpenAI's own accumulator, and check what every stream has to keep to."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for value in chunks:
        # The accumulator keeps and changes what it is given.
        state.handle_chunk(openai_chat.ChatCompletionChunk.model_validate(json.loads(json.dumps(value))))
    deltas = [choice["delta"] for value in chunks for choice in value["choices"]]
    ends = [choice["finish_reason"] for value in chunks for choice in value["choices"] if choice["finish_reason"]]
    assert len(ends) == 1, f"one finish_reason, not {ends}"
    assert deltas[0].get("role") == "assistant"
    assert sum("role" in delta for delta in deltas) == 1
    assert [place for place, value in enumerate(chunks) if value.get("usage")] == [len(chunks) - 1]
    assert chunks[-1]["choices"] == []
    assert len({(value["id"], value["provider"], value["model"], value["created"]) for value in chunks}) == 1
    # Not its final completion, which is an error when the answer ended for length or a filter.
    completion = state.current_completion_snapshot
    plain = openai_chat.ChatCompletion.model_validate(completion.model_dump(exclude_none=True))
    return Answer(plain, chunks[-1], chunks)


def catalogue(urls: Mapping[str, str]) -> Config:
    """Return a configuration of one model that a provider at each URL serves; its name is its dialect."""
    return Config.model_validate({"providers": providers(urls), "models": {MODEL: {"endpoints": endpoints(urls)}}})


def providers(urls: Mapping[str, str]) -> dict[str, Any]:
    """Return the configuration's providers."""
    own = {"openai": {"token_limit_field": "max_completion_tokens"}}
    return {
        name: {"dialect": name, "base_url": url, "api_key": f"{name}-secret", **own.get(name, {})}
        for name, url in urls.items()
    }


def endpoints(urls: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the model's endpoints."""
    return [{"provider": name, "model": MODELS[name], "modalities": {"input": INPUTS}} for name in urls]
