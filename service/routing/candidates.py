"""Who may serve a request, and in what order: the request, the catalogue and the endpoints' health in, a plan out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest, ProviderRouting
from gateway.v1.chat_response_pb2 import Candidate

from service.config import Config, Endpoint, Key, Provider
from service.errors import GatewayError
from service.keys import allows
from service.providers.dialect import Dialect
from service.routing.contents import Contents
from service.routing.health import HealthBoard
from service.routing.needs import Needs, find_lack, missing_parameters, read_needs
from service.routing.order import Ordering, Target, ailing_last, arrange, fold


class Surroundings(NamedTuple):
    """What routing decides by, apart from the request. `now` is a reading of the monotonic clock, in seconds."""

    config: Config
    dialects: Mapping[str, Dialect]
    health: HealthBoard
    key: Key
    sticky_key: str
    now: float
    rng: random.Random


class Left(NamedTuple):
    """An endpoint that is not tried, and why."""

    endpoint: Endpoint
    reason: str


class Plan(NamedTuple):
    """The targets in the order in which they are tried, at least one, and what was left out."""

    targets: Sequence[Target]
    reasons: Sequence[str]
    left: Sequence[Left]

    def candidates(self, taken: Endpoint | None) -> list[Candidate]:
        """Return every endpoint of the model with what became of it. `taken` is the one that served."""
        found = [
            Candidate(
                provider=target.endpoint.provider,
                decision="taken" if target.endpoint is taken else "kept",
                reason=reason,
            )
            for target, reason in zip(self.targets, self.reasons, strict=True)
        ]
        return found + [Candidate(provider=e.provider, decision="left", reason=reason) for e, reason in self.left]


class _Stage(IntEnum):
    """What an endpoint has to pass, in this order. If nobody is left, the furthest stage that any reached is told."""

    STATUS = 0
    KEY = 1
    PREFERENCE = 2
    ABILITY = 3


class _Verdict(NamedTuple):
    """Why an endpoint is left: where, in words, the request field at fault, and a code that clients act on."""

    stage: _Stage
    reason: str
    param: str | None = None
    code: str | None = None


def plan(request: CreateChatCompletionRequest, contents: Contents, model_id: str, surroundings: Surroundings) -> Plan:
    """Decide who is asked, in what order. `model_id` is one of the catalogue's; `request` is normalised.

    The same arguments, `rng` in the same state, give the same plan.

    Raises:
        GatewayError: model_not_allowed, no_allowed_provider or unsupported_by_model, when nobody is left.
    """
    preferences = _Preferences(request.provider) if "provider" in contents.given else _NO_PREFERENCES
    needs = read_needs(request, contents, model_id)
    targets: list[Target] = []
    refused: list[tuple[Endpoint, _Verdict]] = []
    for endpoint in surroundings.config.models[model_id].endpoints:
        provider = surroundings.config.providers[endpoint.provider]
        dialect = surroundings.dialects[provider.dialect]
        verdict = (
            _unavailable(endpoint, surroundings.key)
            or preferences.verdict(endpoint)
            or _unable(request, needs, endpoint, dialect)
            or (_incomplete(request, endpoint, provider, dialect) if preferences.needs_all else None)
        )
        if verdict is not None:
            refused.append((endpoint, verdict))
            continue
        health = surroundings.health.of(model_id, endpoint, provider)
        targets.append(Target(endpoint, provider, dialect, health, missing_parameters(needs, endpoint)))
    if not targets:
        raise _nobody_left(model_id, refused)
    left = [Left(endpoint, verdict.reason) for endpoint, verdict in refused]
    if len(targets) == 1:
        return Plan(targets, ("the only one left" if left else "the only one",), left)
    ordering = Ordering(request.provider, request.stream, surroundings.sticky_key, surroundings.now, surroundings.rng)
    return _ordered(targets, left, ordering)


def larger_context(failed: Endpoint, rest: Sequence[Target]) -> list[Target]:
    """Return those of the remaining targets that are known to take a longer context than the one that failed."""
    known = failed.context_length
    return [t for t in rest if known is not None and (t.endpoint.context_length or 0) > known]


def _ordered(targets: Sequence[Target], left: list[Left], ordering: Ordering) -> Plan:
    routing, now = ordering.routing, ordering.now
    arranged = arrange(targets, ordering)
    pinned = routing.HasField("allow_fallbacks") and not routing.allow_fallbacks
    named = pinned and fold(arranged[0][0].endpoint.provider) in map(fold, routing.order)
    if not named:
        # Without fallbacks, a provider that the caller named is asked even while it rests.
        arranged = ailing_last(arranged, now)
        welcome = [pair for pair in arranged if not pair[0].health.refuses_credentials(now)]
        if welcome and len(welcome) < len(arranged):
            left += [Left(t.endpoint, why) for t, why in arranged if t.health.refuses_credentials(now)]
            arranged = welcome
    if pinned:
        left += [Left(t.endpoint, "provider.allow_fallbacks is false") for t, _ in arranged[1:]]
        arranged = arranged[:1]
    return Plan([t for t, _ in arranged], [why for _, why in arranged], left)


def _unavailable(endpoint: Endpoint, key: Key) -> _Verdict | None:
    if endpoint.status == "disabled":
        return _Verdict(_Stage.STATUS, "disabled")
    if not allows(key.providers, endpoint.provider):
        return _Verdict(_Stage.KEY, "not allowed to this API key")
    return None


class _Preferences:
    """The filters of a request's `provider`."""

    def __init__(self, routing: ProviderRouting) -> None:
        self._only = frozenset(map(fold, routing.only))
        self._ignore = frozenset(map(fold, routing.ignore))
        self._routing = routing
        self.needs_all = routing.require_parameters
        """Whether nothing of the request may be dropped."""

    def verdict(self, endpoint: Endpoint) -> _Verdict | None:
        """Return why the caller does not want an endpoint, or None."""
        if self._only and fold(endpoint.provider) not in self._only:
            return _Verdict(_Stage.PREFERENCE, "not in provider.only", "provider.only")
        if self._ignore and fold(endpoint.provider) in self._ignore:
            return _Verdict(_Stage.PREFERENCE, "in provider.ignore", "provider.ignore")
        if endpoint.status == "alpha" and not self._routing.include_alpha:
            return _Verdict(_Stage.PREFERENCE, "in alpha: needs provider.include_alpha", "provider.include_alpha")
        if self._routing.HasField("max_price") and self._too_dear(endpoint):
            return _Verdict(_Stage.PREFERENCE, "dearer than provider.max_price", "provider.max_price")
        return None

    def _too_dear(self, endpoint: Endpoint) -> bool:
        """An unknown price is too dear: the limit would not be one otherwise."""
        limit, prices = self._routing.max_price, endpoint.prices
        if prices is None:
            return limit.HasField("prompt") or limit.HasField("completion")
        return (limit.HasField("prompt") and prices.input > limit.prompt) or (
            limit.HasField("completion") and prices.output > limit.completion
        )


_NO_PREFERENCES = _Preferences(ProviderRouting())


def _unable(
    request: CreateChatCompletionRequest, needs: Needs, endpoint: Endpoint, dialect: Dialect
) -> _Verdict | None:
    name = dialect.unsupported(request, endpoint)
    if name is not None:
        param = name if name in request.DESCRIPTOR.fields_by_name else None
        return _Verdict(_Stage.ABILITY, f"{name} is not supported", param)
    lack = find_lack(needs, endpoint)
    if lack is not None:
        return _Verdict(_Stage.ABILITY, f"{lack.what} is not supported", lack.param, lack.code)
    return None


def _incomplete(
    request: CreateChatCompletionRequest, endpoint: Endpoint, provider: Provider, dialect: Dialect
) -> _Verdict | None:
    # Only the dialect knows all that it drops. Names with a dot are parts of a parameter; `provider` is ours.
    dropped = dialect.encode(request, provider, endpoint, frozenset()).dropped
    missing = sorted(name for name in dropped if name.isidentifier() and name != "provider")
    if missing:
        return _Verdict(_Stage.ABILITY, f"{', '.join(missing)} is not supported", missing[0])
    return None


def _nobody_left(model_id: str, refused: Sequence[tuple[Endpoint, _Verdict]]) -> GatewayError:
    last = max(verdict.stage for _, verdict in refused)
    told = [(endpoint.provider, verdict) for endpoint, verdict in refused if verdict.stage == last]
    reasons = "; ".join(dict.fromkeys(f"{provider}: {verdict.reason}" for provider, verdict in told))
    providers = ", ".join(dict.fromkeys(endpoint.provider for endpoint, _ in refused))
    match last:
        case _Stage.KEY:
            message = f"The API key may not use any provider of the model {model_id} ({providers})."
            return GatewayError("model_not_allowed", message, param="model")
        case _Stage.ABILITY:
            message = f"No provider of the model {model_id} can serve this request: {reasons}."
            codes = {verdict.code for _, verdict in told}
            code = codes.pop() if len(codes) == 1 else None
            return GatewayError("unsupported_by_model", message, param=told[0][1].param, upstream_code=code)
        case _:
            message = f"No allowed provider is left for the model {model_id}. Its providers: {providers} ({reasons})."
            return GatewayError("no_allowed_provider", message, param=told[0][1].param)
