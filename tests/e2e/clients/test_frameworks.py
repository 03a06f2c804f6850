"""Frameworks as clients: LangChain and LiteLLM's library."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from tests.e2e.running import Gateway

MODEL = "local/simulator"


class City(BaseModel):
    """A city."""

    name: str
    population: int


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    return f"21 degrees in {city}"


@pytest.fixture
def chain(gateway: Gateway) -> ChatOpenAI:
    return ChatOpenAI(base_url=f"{gateway.url}/v1", api_key=SecretStr("sk-local"), model=MODEL, max_retries=0)


def test_langchain_whole_and_streamed(chain: ChatOpenAI) -> None:
    whole = chain.invoke("Say hello to the world.")
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["total_tokens"] > 0
    pieces = list(chain.stream("Say hello to the world.", stream_usage=True))
    assert sum(bool(piece.text) for piece in pieces) > 3
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    assert total.text == whole.text
    assert total.usage_metadata is not None
    assert total.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"]


def test_langchain_calls_a_tool_and_reads_its_result(chain: ChatOpenAI) -> None:
    bound = chain.bind_tools([get_weather])
    asked = HumanMessage("What is the weather in Paris?")
    called = bound.invoke([asked])
    assert [(c["name"], c["args"]) for c in called.tool_calls] == [("get_weather", {"city": "Paris"})]
    answered = bound.invoke([asked, called, get_weather.invoke(called.tool_calls[0])])
    assert "21" in answered.text


def test_langchain_structured_output(chain: ChatOpenAI) -> None:
    assert isinstance(chain.with_structured_output(City).invoke("Describe Paris."), City)


def test_langchain_raises_openais_errors(gateway: Gateway) -> None:
    wrong = ChatOpenAI(base_url=f"{gateway.url}/v1", api_key=SecretStr("sk-wrong"), model=MODEL, max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        wrong.invoke("Hi")


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> object:
    # Its price table is bundled; without this it would be fetched on import.
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return pytest.importorskip("litellm")


def test_litellm_whole_streamed_and_with_tools(gateway: Gateway, litellm: object) -> None:
    from litellm import completion
    from litellm.exceptions import AuthenticationError, BadRequestError, NotFoundError

    def ask(text: str, model: str = MODEL, key: str = "sk-local", **more: Any) -> Any:
        return completion(
            model=f"openai/{model}",
            api_base=f"{gateway.url}/v1",
            api_key=key,
            messages=[{"role": "user", "content": text}],
            max_retries=0,
            **more,
        )

    whole = ask("Say hello to the world.").choices[0].message.content
    pieces = [c.choices[0].delta.content or "" for c in ask("Say hello to the world.", stream=True)]
    assert "".join(pieces) == whole
    weather = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    called = ask("What is the weather in Paris?", tools=[weather]).choices[0]
    assert called.message.tool_calls[0].function.name == "get_weather"
    with pytest.raises(NotFoundError):
        ask("Hi", model="no/such")
    with pytest.raises(AuthenticationError):
        ask("Hi", key="sk-wrong")
    with pytest.raises(BadRequestError):
        ask("Hi", temperature=3)
