"""The health of the providers as `gateway.v1` messages, for ListProviders."""

from __future__ import annotations

from gateway.v1.provider_service_pb2 import EndpointHealth, Provider

from service.config import Config, Endpoint, Key
from service.keys import allows
from service.routing.health import Health, HealthBoard


def report_providers(config: Config, board: HealthBoard, key: Key, now: float) -> list[Provider]:
    """Return the providers that a key may use, with the endpoints of the models that it may use, by name."""
    endpoints: dict[str, list[EndpointHealth]] = {
        name: [] for name in sorted(config.providers) if allows(key.providers, name)
    }
    for model_id, model in config.models.items():
        if not allows(key.models, model_id):
            continue
        for endpoint in model.endpoints:
            if endpoint.provider in endpoints:
                health = board.of(model_id, endpoint, config.providers[endpoint.provider])
                endpoints[endpoint.provider].append(_report(model_id, endpoint, health, now))
    return [
        Provider(id=name, object="provider", dialect=config.providers[name].dialect, endpoints=found)
        for name, found in endpoints.items()
    ]


def _report(model_id: str, endpoint: Endpoint, health: Health, now: float) -> EndpointHealth:
    attempts, failures = health.counts(now)
    rests = health.rests(now)
    return EndpointHealth(
        model=model_id,
        upstream_model=endpoint.model,
        status=endpoint.status,
        breaker=health.state(now).value,
        attempts=attempts,
        failures=failures,
        latency_ms=_scaled(health.latency(now, streamed=True), 1000),
        tokens_per_second=_scaled(health.speed(now, streamed=True), 1),
        answer_ms=_scaled(health.latency(now, streamed=False), 1000),
        answer_tokens_per_second=_scaled(health.speed(now, streamed=False), 1),
        rests_s=round(rests, 3) if rests else None,
    )


def _scaled(value: float | None, factor: int) -> float | None:
    return None if value is None else round(value * factor, 3)
