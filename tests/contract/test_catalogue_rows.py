"""The catalogue from the outside: models and providers, for whom they are and what stands in them, on both faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from gateway.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
from gateway.v1.provider_service_pb2 import ListProvidersRequest

from tests.contract.client import Client, request
from tests.contract.conftest import EVERYTHING

ClientWith = Callable[[str], Client]
SLASHED = "vendor/family/model-1:free"

MODELS: Mapping[str, Mapping[str, Any]] = {
    "plain": {
        "id": "plain",
        "object": "model",
        "created": 0,
        "owned_by": "plain",
        "supported_parameters": [],
        "providers": [{"provider": "openai", "status": "active", "supported_parameters": []}],
    },
    SLASHED: {
        "id": SLASHED,
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "Vendor Inc.",
        "supported_parameters": [],
        "providers": [{"provider": "openai", "status": "active", "supported_parameters": []}],
    },
    "short": {
        "id": "short",
        "object": "model",
        "created": 0,
        "owned_by": "short",
        "context_length": 1000,
        "max_output_tokens": 100,
        "modalities": {"input": ["text"], "output": ["text"]},
        "supported_parameters": [],
        "providers": [
            {
                "provider": "openai",
                "status": "active",
                "context_length": 1000,
                "max_output_tokens": 100,
                "modalities": {"input": ["text"], "output": ["text"]},
                "supported_parameters": [],
            }
        ],
    },
    "dear": {
        "id": "dear",
        "object": "model",
        "created": 0,
        "owned_by": "dear",
        "prices": {"input": 3, "cached_input": 0.3, "cache_write": 3.75, "output": 15, "reasoning": 12.5},
        "supported_parameters": [],
        "providers": [
            {
                "provider": "openai",
                "status": "active",
                "prices": {"input": 3, "cached_input": 0.3, "cache_write": 3.75, "output": 15, "reasoning": 12.5},
                "supported_parameters": [],
            }
        ],
    },
    "mixed-status": {
        "id": "mixed-status",
        "object": "model",
        "created": 0,
        "owned_by": "mixed-status",
        "supported_parameters": [],
        "providers": [
            {"provider": "openai", "status": "active", "supported_parameters": []},
            {"provider": "other", "status": "alpha", "supported_parameters": []},
            {"provider": "silent", "status": "disabled", "supported_parameters": []},
        ],
    },
}


def plainly(name: str) -> str:
    return name


def escaped(name: str) -> str:
    """As OpenAI's clients write ids."""
    return name.replace("/", "%2F")


def wholly_escaped(name: str) -> str:
    return name.replace("/", "%2f").replace(":", "%3A").replace("-", "%2D")


@pytest.mark.parametrize("write", [plainly, escaped, wholly_escaped])
@pytest.mark.parametrize("name", MODELS)
def test_one_model(name: str, write: Callable[[str], str], client: Client) -> None:
    response = client.http.get(f"/v1/models/{write(name)}")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-generation-id"].startswith("chatcmpl-")
    assert response.json() == MODELS[name]


def test_all_models(client: Client) -> None:
    body = client.http.get("/v1/models").json()
    assert body["object"] == "list"
    found = {model["id"]: model for model in body["data"]}
    assert len(found) == len(body["data"])
    assert {name: found[name] for name in MODELS} == MODELS
    assert found["everything"]["supported_parameters"] == sorted(EVERYTHING)


def test_typed_callers_read_the_same(client: Client) -> None:
    models = client.models.ListModels(ListModelsRequest(), metadata=client.metadata).data
    assert [model.id for model in models] == [model["id"] for model in client.http.get("/v1/models").json()["data"]]
    model = client.models.GetModel(GetModelRequest(model="short"), metadata=client.metadata)
    assert model in models
    assert (model.context_length, model.max_output_tokens, list(model.modalities.input)) == (1000, 100, ["text"])
    assert [(each.provider, each.status) for each in model.providers] == [("openai", "active")]
    dear = client.models.GetModel(GetModelRequest(model="dear"), metadata=client.metadata)
    assert (dear.prices.input, dear.prices.reasoning) == (3, 12.5)


def ids(client: Client) -> Sequence[str]:
    over_http = [model["id"] for model in client.http.get("/v1/models").json()["data"]]
    over_grpc = [model.id for model in client.models.ListModels(ListModelsRequest(), metadata=client.metadata).data]
    assert over_http == over_grpc
    return over_http


def test_a_key_sees_only_what_it_may_use(client: Client, client_with: ClientWith) -> None:
    assert len(ids(client)) > 20
    assert ids(client_with("key-for-vendor-models")) == [SLASHED]
    narrow = client_with("key-for-other-provider")
    assert {"everything", "two", "mixed-status"} <= set(ids(narrow))
    assert not {"plain", "short"} & set(ids(narrow))
    two = narrow.http.get("/v1/models/two").json()
    assert [provider["provider"] for provider in two["providers"]] == ["other"]


@pytest.mark.parametrize("name", ["nope", "plain/nope", "plane", "%F0%9F%97%BC", "a%2Fb", "x" * 500, "short"])
def test_models_that_are_not_there(name: str, client: Client, client_with: ClientWith) -> None:
    """Nor is there, for a key, what it may not use."""
    asking = client_with("key-for-vendor-models") if name == "short" else client
    response = asking.http.get(f"/v1/models/{name}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    told = (error["type"], error["code"], error["param"])
    assert told == ("invalid_request_error", "model_not_found", "model")
    assert error["generation_id"] == response.headers["x-generation-id"]
    assert ("plain" in error["message"]) == (name in ("plane", "plain/nope"))


def test_every_model_that_is_listed_can_be_asked_for_by_its_id(client: Client) -> None:
    for name in (SLASHED, "plain"):
        assert client.ask(request(name))["model"] == name


def test_providers(client: Client, client_with: ClientWith) -> None:
    body = client.http.get("/v1/providers").json()
    assert body["object"] == "list"
    found = {provider["id"]: provider for provider in body["data"]}
    assert {"openai", "other", "silent", "hasty", "gone"} <= found.keys()
    assert (found["openai"]["object"], found["openai"]["dialect"]) == ("provider", "openai")
    endpoints = {(each["model"], each["status"]): each for each in found["openai"]["endpoints"]}
    assert ("alpha", "alpha") in endpoints
    assert ("disabled", "disabled") in endpoints
    client.ask(request("vendor/family/model-1:free"))
    (seen,) = [
        each
        for provider in client.http.get("/v1/providers").json()["data"]
        for each in provider["endpoints"]
        if each["model"] == SLASHED
    ]
    assert (seen["upstream_model"], seen["breaker"], seen["failures"]) == ("up", "closed", 0)
    assert seen["attempts"] >= 1
    assert seen["answer_ms"] > 0
    narrow = client_with("key-for-other-provider")
    assert [provider["id"] for provider in narrow.http.get("/v1/providers").json()["data"]] == ["other"]
    typed = narrow.providers.ListProviders(ListProvidersRequest(), metadata=narrow.metadata)
    assert [provider.id for provider in typed.data] == ["other"]
