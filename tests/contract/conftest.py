"""One gateway behind a real Envoy, and the recording provider that it asks, for all contract tests of a process."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract.client import CALLER_KEY, Client
from tests.contract.provider import Provider
from tests.e2e.running import Gateway, start_gateway
from tests.fakes.wire import refusing_port

SECRETS: Mapping[str, str] = {
    "api_key": "planted-api-key-7f3a",
    "header": "planted-header-91bc",
    "query": "planted-query-d02e",
}
EVERYTHING = (
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "stop",
    "logprobs",
    "top_logprobs",
    "n",
    "response_format",
    "verbosity",
    "prediction",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "web_search_options",
    "reasoning",
    "image_config",
    "audio",
    "cache_control",
    "reasoning_content",
    "images",
    "audios",
)

FAILURES = ("500", "503", "401", "403", "404", "empty", "html", "redirect", "disguise")


def config(url: str) -> dict[str, Any]:
    """Return the catalogue of the contract tests. Each provider is known by its path at `url`."""

    def provider(name: str, **settings: Any) -> dict[str, Any]:
        return {"dialect": "openai", "base_url": f"{url}/{name}/v1", "api_key": f"key-of-{name}", **settings}

    def model(*endpoints: str, **settings: Any) -> dict[str, Any]:
        return {"endpoints": [{"provider": name, "model": "up"} for name in endpoints], **settings}

    def key(token: str, **settings: Any) -> dict[str, Any]:
        return {"name": f"name of {token[::-1]}", "sha256": hashlib.sha256(token.encode()).hexdigest(), **settings}

    def secretive(address: str) -> dict[str, Any]:
        return {
            "dialect": "openai",
            "base_url": f"http://{address}/secretive/v1",
            "api_key": SECRETS["api_key"],
            "headers": {"x-team-token": SECRETS["header"]},
            "query": {"access_token": SECRETS["query"]},
        }

    nobody = f"127.0.0.1:{refusing_port()}"
    return {
        "server": {"workers": 1, "max_body_bytes": 1_000_000, "max_messages": 50, "max_concurrency": 8},
        "providers": {
            "openai": provider("openai", token_limit_field="max_completion_tokens"),
            "other": provider("other"),
            "silent": provider("silent", stream_usage=False),
            "hasty": provider("hasty", timeouts={"total": "300ms"}),
            "gone": {**provider("gone"), "base_url": f"http://{nobody}/v1"},
            "secretive": secretive(url.removeprefix("http://")),
            "secretive-gone": secretive(nobody),
        },
        "models": {
            "plain": model("openai"),
            "everything": model("other", supported_parameters=EVERYTHING, prices={"input": 1, "output": 2}),
            "little": model("openai", supported_parameters=["temperature"]),
            "uncontrolled": model("openai", supported_parameters=["tools", "parallel_tool_calls"]),
            "unreasoning": model("openai", reasoning="none"),
            "silent": model("silent"),
            "hasty": model("hasty"),
            "gone": model("gone"),
            "secretive": model("secretive"),
            "secretive-gone": model("secretive-gone"),
            "two": model("openai", "other"),
            # What fails in one test is not to weigh on another: health is known by model.
            **{f"failing-{name}": model("openai") for name in FAILURES},
            "failing-two": model("openai", "other"),
            "limited-two": model("openai", "other"),
            "vendor/family/model-1:free": model("openai", created=1_700_000_000, owned_by="Vendor Inc."),
            "short": model(
                "openai",
                modalities={"input": ["text"], "output": ["text"]},
                context_length=1000,
                max_output_tokens=100,
            ),
            "priced": model("openai", prices={"input": 0.05, "cached_input": 0.005, "output": 0.4}),
            "dear": model(
                "openai",
                prices={"input": 3, "cached_input": 0.3, "cache_write": 3.75, "output": 15, "reasoning": 12.5},
            ),
            "simple-price": model("openai", prices={"input": 1, "output": 2}),
            **{
                f"switching-{place}": {
                    "endpoints": [
                        {"provider": "openai", "model": "up", "prices": {"input": 1, "output": 2}},
                        {"provider": "other", "model": "up-2", "prices": {"input": 10, "output": 20}},
                    ]
                }
                for place in ("whole", "streamed")
            },
            "mixed-status": {
                "endpoints": [
                    {"provider": "openai", "model": "up"},
                    {"provider": "other", "model": "up", "status": "alpha"},
                    {"provider": "silent", "model": "up", "status": "disabled"},
                ]
            },
            "alpha": {"endpoints": [{"provider": "openai", "model": "up", "status": "alpha"}]},
            "disabled": {"endpoints": [{"provider": "openai", "model": "up", "status": "disabled"}]},
        },
        "keys": [
            key(CALLER_KEY),
            key("key-for-vendor-models", models=["vendor/*"]),
            key("key-for-other-provider", providers=["other"]),
            key("key-that-is-disabled", disabled=True),
            key("key-that-has-expired", expires_at="2020-01-01T00:00:00Z"),
            key("key-for-one-a-minute", requests_per_minute=1),
        ],
    }


@pytest.fixture(scope="session")
def the_provider() -> Iterator[Provider]:
    """Run the provider."""
    running = Provider()
    yield running
    running.close()


@pytest.fixture(scope="session")
def contract_gateway(the_provider: Provider) -> Iterator[Gateway]:
    """Run the gateway. It is to have had no internal error, and to end well."""
    folder = Path(tempfile.mkdtemp(prefix="gw-", dir="/tmp"))
    running = start_gateway(folder, json.dumps(config(the_provider.url)))
    try:
        yield running
        assert "internal error" not in running.log
        assert running.stop() == 0
    finally:
        running.process.kill()
        running.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_client(contract_gateway: Gateway) -> Iterator[Client]:
    """A client with the key that may use everything."""
    client = Client(contract_gateway.url)
    yield client
    client.close()


@pytest.fixture
def provider(the_provider: Provider) -> Provider:
    """The provider, which says HELLO until it is told otherwise and has recorded nothing."""
    the_provider.says()
    return the_provider


@pytest.fixture
def client(shared_client: Client, provider: Provider) -> Client:
    """The client; the provider says HELLO."""
    return shared_client


@pytest.fixture
def client_with(contract_gateway: Gateway) -> Iterator[Any]:
    """Make clients with other keys."""
    made: list[Client] = []

    def make(key: str) -> Client:
        made.append(Client(contract_gateway.url, key))
        return made[-1]

    yield make
    for client in made:
        client.close()
