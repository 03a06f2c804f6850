"""The catalogue's faces: models, providers and their health; Envoy transcodes them."""

from __future__ import annotations

from gateway.v1 import health_service_pb2_grpc, model_service_pb2_grpc, provider_service_pb2_grpc
from gateway.v1.health_service_pb2 import (
    GetHealthRequest,
    GetHealthResponse,
    GetReadinessRequest,
    GetReadinessResponse,
)
from gateway.v1.model_service_pb2 import (
    GetModelRequest,
    ListModelsRequest,
    ListModelsResponse,
    Modalities,
    Model,
    ModelProvider,
    Prices,
)
from gateway.v1.provider_service_pb2 import ListProvidersRequest, ListProvidersResponse

from service import config
from service.chat import model_not_found
from service.errors import GatewayError
from service.faces.interceptor import CALL, Context, answer_headers
from service.keys import allows
from service.routing import report_providers
from service.runtime import Runtime

_PRICES = ("input", "cached_input", "cache_write", "output", "reasoning")


class ModelFace(model_service_pb2_grpc.ModelServiceServicer):
    """Serves gateway.v1.ModelService: a key sees what it may use."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def ListModels(self, request: ListModelsRequest, context: Context) -> ListModelsResponse:
        """Answer with the models that the key may use."""
        await context.send_initial_metadata(answer_headers(CALL.get()))
        return ListModelsResponse(object="list", data=self._visible().values())

    async def GetModel(self, request: GetModelRequest, context: Context) -> Model:
        """Answer with one model.

        Raises:
            GatewayError: model_not_found, also for a model that the key may not use.
        """
        visible = self._visible()
        model = visible.get(request.model)
        if model is None:
            raise model_not_found(request.model, list(visible))
        await context.send_initial_metadata(answer_headers(CALL.get()))
        return model

    def _visible(self) -> dict[str, Model]:
        key = CALL.get().key
        found: dict[str, Model] = {}
        for model_id, model in self._runtime.snapshot.config.models.items():
            endpoints = [e for e in model.endpoints if allows(key.providers, e.provider)]
            if endpoints and allows(key.models, model_id):
                found[model_id] = _model(model_id, model, endpoints)
        return found


class ProviderFace(provider_service_pb2_grpc.ProviderServiceServicer):
    """Serves gateway.v1.ProviderService."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def ListProviders(self, request: ListProvidersRequest, context: Context) -> ListProvidersResponse:
        """Answer with the providers that the key may use and their health, as this worker sees it."""
        call = CALL.get()
        await context.send_initial_metadata(answer_headers(call))
        config = self._runtime.snapshot.config
        providers = report_providers(config, self._runtime.health, call.key, call.started)
        return ListProvidersResponse(object="list", data=providers)


class HealthFace(health_service_pb2_grpc.HealthServiceServicer):
    """Serves gateway.v1.HealthService."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def GetHealth(self, request: GetHealthRequest, context: Context) -> GetHealthResponse:
        """Answer that the worker lives, and what is degraded."""
        notes = self._runtime.notes()
        return GetHealthResponse(status="degraded" if notes else "ok", notes=notes)

    async def GetReadiness(self, request: GetReadinessRequest, context: Context) -> GetReadinessResponse:
        """Answer whether the worker takes new requests."""
        if self._runtime.draining:
            raise GatewayError("overloaded", "This worker is shutting down.", retry_after=1)
        return GetReadinessResponse(status="ready")


def _model(model_id: str, model: config.Model, endpoints: list[config.Endpoint]) -> Model:
    parameters = [e.supported_parameters for e in endpoints]
    supported = frozenset[str]().union(*(p for p in parameters if p)) if all(p is not None for p in parameters) else ()
    return Model(
        id=model_id,
        object="model",
        created=model.created,
        owned_by=model.owned_by or model_id.partition("/")[0],
        context_length=_most([e.context_length for e in endpoints]),
        max_output_tokens=_most([e.max_output_tokens for e in endpoints]),
        modalities=_modalities([e.modalities for e in endpoints]),
        supported_parameters=sorted(supported),
        prices=_prices(min((e.prices for e in endpoints if e.prices), key=lambda p: p.input + p.output, default=None)),
        providers=[_provider(e) for e in endpoints],
    )


def _provider(endpoint: config.Endpoint) -> ModelProvider:
    return ModelProvider(
        provider=endpoint.provider,
        status=endpoint.status,
        context_length=endpoint.context_length,
        max_output_tokens=endpoint.max_output_tokens,
        prices=_prices(endpoint.prices),
        supported_parameters=sorted(endpoint.supported_parameters or ()),
        modalities=_modalities([endpoint.modalities]),
    )


def _most(values: list[int | None]) -> int | None:
    return max((v for v in values if v is not None), default=None)


def _modalities(values: list[config.Modalities | None]) -> Modalities | None:
    known = [v for v in values if v is not None]
    if not known:
        return None
    inputs = dict.fromkeys(name for v in known for name in v.input)
    outputs = dict.fromkeys(name for v in known for name in v.output)
    return Modalities(input=list(inputs), output=list(outputs))


def _prices(prices: config.Prices | None) -> Prices | None:
    if prices is None:
        return None
    return Prices(**{name: getattr(prices, name) for name in _PRICES})
