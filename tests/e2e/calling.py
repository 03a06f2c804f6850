"""Configures gateways in front of fake providers, and calls them as HTTP clients do."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.e2e.running import Gateway

KEY = "sk-test"
CHAT = "/v1/chat/completions"
PATIENCE_S = 20.0
"""A test's own patience; the gateway's timeouts are far below it."""


def configuration(
    providers: Mapping[str, Mapping[str, Any]],
    models: Mapping[str, Sequence[str]],
    server: Mapping[str, Any] | None = None,
    keys: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return a configuration, as JSON, which is YAML.

    Providers are of the openai dialect unless they say otherwise; `models` gives each model's providers, whose own name
    of the model is `upstream`. `keys` come beside KEY, each with its `key` in plain text.
    """
    spoken = ({"name": "test", "key": KEY}, *keys)
    return json.dumps(
        {
            "server": {"workers": 1, "drain": "5s", **(server or {})},
            "providers": {name: {"dialect": "openai", **settings} for name, settings in providers.items()},
            "models": {
                model: {"endpoints": [{"provider": name, "model": "upstream"} for name in names]}
                for model, names in models.items()
            },
            "keys": [_hashed(key) for key in spoken],
        }
    )


def _hashed(key: Mapping[str, Any]) -> Mapping[str, Any]:
    digest = hashlib.sha256(key["key"].encode()).hexdigest()
    return {**{name: value for name, value in key.items() if name != "key"}, "sha256": digest}


def question(model: str, text: str = "Hi", **fields: Any) -> Mapping[str, Any]:
    """Return a request with one message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


@asynccontextmanager
async def client_of(gateway: Gateway, key: str = KEY, http2: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a gateway: HTTP/1.1, or HTTP/2 without TLS."""
    async with httpx.AsyncClient(
        base_url=gateway.url,
        headers={"authorization": f"Bearer {key}"},
        timeout=PATIENCE_S,
        http1=not http2,
        http2=http2,
        limits=httpx.Limits(max_connections=None),
    ) as client:
        yield client


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as its client read it.

    `chunks` are a stream's events that are JSON objects, `done` says whether `[DONE]` ended it. `error` is the error
    object of a JSON answer or of a stream's event.
    """

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None
    chunks: Sequence[Mapping[str, Any]]
    done: bool

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The error, wherever it stood."""
        places = [self.body] if self.body is not None else self.chunks[-1:]
        return next((place["error"] for place in places if "error" in place), None)

    @property
    def text(self) -> str:
        """What the model said."""
        if self.body is not None:
            return str(self.body["choices"][0]["message"]["content"])
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk.get("choices", ())]
        return "".join(delta.get("content") or "" for delta in deltas)

    @property
    def finish_reasons(self) -> Sequence[str]:
        """Every finish reason, in order."""
        choices = [choice for chunk in (self.body,) if chunk for choice in chunk.get("choices", ())]
        choices += [choice for chunk in self.chunks for choice in chunk.get("choices", ())]
        return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]


async def ask(client: httpx.AsyncClient, body: Mapping[str, Any], **headers: str) -> Answer:
    """Ask, and read the answer to its end."""
    return read(await client.post(CHAT, json=body, headers=headers))


def read(response: httpx.Response) -> Answer:
    """Return an answer whose body was read."""
    if response.headers["content-type"] == "application/json":
        return Answer(response.status_code, response.headers, response.json(), (), False)
    assert response.headers["content-type"] == "text/event-stream"
    events = [part for part in response.text.split("\n\n") if part and not part.startswith(":")]
    data = [part.removeprefix("data: ") for part in events]
    done = bool(data) and data[-1] == "[DONE]"
    chunks = [json.loads(each) for each in (data[:-1] if done else data)]
    return Answer(response.status_code, response.headers, None, chunks, done)


def assert_ended_once(answer: Answer) -> None:
    """Check that a stream ended in exactly one way: well, with one finish reason, or with one error."""
    if answer.body is not None:
        return
    errors = [chunk for chunk in answer.chunks if "error" in chunk]
    assert len(errors) == (0 if answer.done else 1)
    assert len(answer.finish_reasons) == (1 if answer.done else 0)


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not within so many seconds.
    """
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)
