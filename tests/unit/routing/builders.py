"""Makes catalogues, requests and plans for the tests of routing."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.content_pb2 import ROLE_USER, ChatMessage

from service.config import Config, Endpoint, Key
from service.errors import FailureKind, ProviderFailure
from service.providers import DIALECTS as REAL
from service.providers.dialect import Dialect
from service.routing import HealthBoard, Plan, Surroundings, Target, plan, read_contents

MODEL = "acme/m"


class Takes:
    """A dialect as far as routing knows one: it says what it cannot carry, and drops what the one of a name drops."""

    def __init__(self, name: str, cannot: str | None = None) -> None:
        self._cannot = cannot
        self.encode = REAL[name].encode

    def unsupported(self, request: CreateChatCompletionRequest, endpoint: Endpoint) -> str | None:
        if self._cannot is not None and any(f.name == self._cannot for f, _ in request.ListFields()):
            return self._cannot
        return None


DIALECTS: Mapping[str, Dialect] = {
    "simulator": cast("Dialect", Takes("openai")),
    "anthropic": cast("Dialect", Takes("anthropic", "n")),
}


def catalogue(*endpoints: Mapping[str, Any], providers: Mapping[str, Any] | None = None, **server: Any) -> Config:
    """Return a configuration with one model; each provider that is not given speaks the simulator's dialect."""
    names = [endpoint["provider"] for endpoint in endpoints]
    given = providers or {}
    return Config.model_validate(
        {
            "server": server,
            "providers": {name: given.get(name, {"dialect": "simulator"}) for name in names},
            "models": {MODEL: {"endpoints": [{"model": f"{e['provider']}-m", **e} for e in endpoints]}},
        }
    )


def ask(**fields: Any) -> CreateChatCompletionRequest:
    """Return a request that says hello, with more fields."""
    return CreateChatCompletionRequest(model=MODEL, messages=[ChatMessage(role=ROLE_USER, text="hello")], **fields)


def caller(**fields: Any) -> Key:
    return Key(name="k", sha256="0" * 64, **fields)


@dataclass
class Routing:
    """One catalogue with its health board, asked again and again."""

    config: Config
    key: Key = field(default_factory=caller)
    now: float = 1000.0
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.board = HealthBoard(self.config)

    def plan(self, request: CreateChatCompletionRequest | None = None, sticky_key: str = "") -> Plan:
        asked = request or ask()
        return plan(
            asked,
            read_contents(asked),
            MODEL,
            Surroundings(
                config=self.config,
                dialects=DIALECTS,
                health=self.board,
                key=self.key,
                sticky_key=sticky_key,
                now=self.now,
                rng=self.rng,
            ),
        )

    def target(self, provider: str) -> Target:
        """Return a provider's endpoint with its health, whatever a plan would say."""
        endpoint = next(e for e in self.config.models[MODEL].endpoints if e.provider == provider)
        config = self.config.providers[provider]
        return Target(endpoint, config, DIALECTS[config.dialect], self.board.of(MODEL, endpoint, config))

    def fail(self, provider: str, kind: FailureKind, times: int = 1, **fields: Any) -> None:
        """Let a provider fail so many attempts."""
        health = self.target(provider).health
        for _ in range(times):
            health.begin(self.now, streamed=False).failed(ProviderFailure(kind, "no", **fields), self.now)

    def serve(
        self,
        provider: str,
        *,
        seconds: float = 0.1,
        speed: float | None = None,
        times: int = 1,
        streamed: bool = False,
    ) -> None:
        """Let a provider answer so many attempts, the first content after so many seconds."""
        health = self.target(provider).health
        for _ in range(times):
            ticket = health.begin(self.now - seconds, streamed=streamed)
            ticket.first_event(self.now)
            ticket.succeeded(self.now, speed)


def order(found: Plan) -> Sequence[str]:
    """Return the providers of a plan in order."""
    return [target.endpoint.provider for target in found.targets]


def left(found: Plan) -> Mapping[str, str]:
    """Return why each provider was left out."""
    return {each.endpoint.provider: each.reason for each in found.left}
