"""One client of the gateway: the same question over HTTP and over gRPC, whole or streamed, in one form of answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
import httpx
from gateway.v1 import chat_service_pb2_grpc, model_service_pb2_grpc, provider_service_pb2_grpc
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletion, ChatCompletionChunk
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from service import codec

CHAT = "/v1/chat/completions"
CALLER_KEY = "caller-key-0123456789"
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
Body = Mapping[str, Any] | bytes
Timeout = float | None


@dataclass(frozen=True, slots=True)
class Streamed:
    """A streamed answer over HTTP: the data of its events in order, `[DONE]` left out but noted in `done`."""

    response: httpx.Response
    events: Sequence[dict[str, Any]]
    done: bool

    @property
    def text(self) -> str:
        """All content of the first choice."""
        return "".join(choice["delta"].get("content") or "" for choice in self.choices)

    @property
    def choices(self) -> Sequence[dict[str, Any]]:
        """Each chunk's choice of index 0."""
        return [choice for event in self.events for choice in event.get("choices", ()) if choice["index"] == 0]

    @property
    def finish_reasons(self) -> Sequence[str]:
        """The finish reasons that were sent."""
        return [choice["finish_reason"] for choice in self.choices if choice["finish_reason"]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A gRPC error: the canonical code, and what its details say."""

    code: str
    message: str
    info: ErrorInfo
    fields: Sequence[str]
    retry_s: float | None
    metadata: Mapping[str, str | bytes]
    raw: bytes


class Client:
    """Speaks to the gateway's Envoy, with a key."""

    def __init__(self, url: str, key: str = CALLER_KEY) -> None:
        self.headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self.http = httpx.Client(base_url=url, headers=self.headers, timeout=20)
        self.channel = grpc.insecure_channel(url.removeprefix("http://"))
        self._metadata = (("authorization", f"Bearer {key}"),)
        self.chat = chat_service_pb2_grpc.ChatCompletionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.providers = provider_service_pb2_grpc.ProviderServiceStub(self.channel)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()
        self.channel.close()

    def post(self, body: Body, **headers: str) -> httpx.Response:
        """Post a body; a mapping is written as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(CHAT, content=content, headers={n.replace("_", "-"): v for n, v in headers.items()})

    def ask(self, body: Body) -> dict[str, Any]:
        """Post a body and return the whole answer, which is to be a 200."""
        response = self.post(body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def stream(self, body: Body) -> Streamed:
        """Post a body that asks for a stream, and read it to its end."""
        response = self.post(body if isinstance(body, bytes) else {**body, "stream": True})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "text/event-stream"
        assert response.text.endswith("\n\n")
        data = [part.removeprefix("data: ") for part in response.text.split("\n\n")[:-1]]
        done = data[-1] == "[DONE]"
        return Streamed(response, [json.loads(text) for text in (data[:-1] if done else data)], done)

    def call(self, message: CreateChatCompletionRequest, timeout: Timeout = 20) -> ChatCompletion:
        """Call CreateChatCompletion."""
        answer: ChatCompletion = self.chat.CreateChatCompletion(message, metadata=self._metadata, timeout=timeout)
        return answer

    def call_stream(self, message: CreateChatCompletionRequest, timeout: Timeout = 20) -> list[ChatCompletionChunk]:
        """Call StreamChatCompletion and read it to its end."""
        return list(self.chat.StreamChatCompletion(message, metadata=self._metadata, timeout=timeout))

    def refusal(self, message: CreateChatCompletionRequest, timeout: Timeout = 20) -> Refusal:
        """Call both typed methods, which are to be refused alike, and return how the first was."""
        found = []
        for method in (self.call, self.call_stream):
            try:
                method(message, timeout)
            except grpc.RpcError as error:
                found.append(read_refusal(error))
            else:
                raise AssertionError("the call was served")
        whole, streamed = found
        assert (whole.code, whole.info.reason, whole.fields) == (streamed.code, streamed.info.reason, streamed.fields)
        return whole

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call."""
        return self._metadata


def read_refusal(error: grpc.RpcError) -> Refusal:
    """Return what a gRPC error says."""
    pairs = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata())
    metadata = dict(pairs)
    raw = metadata["grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    status = Status.FromString(raw)
    info, fields, retry_s = ErrorInfo(), [], None
    for detail in status.details:
        bad, retry = BadRequest(), RetryInfo()
        if detail.Unpack(bad):
            fields = [violation.field for violation in bad.field_violations]
        elif detail.Unpack(retry):
            retry_s = retry.retry_delay.ToMilliseconds() / 1000
        else:
            assert detail.Unpack(info)
    assert status.message == error.details()
    return Refusal(error.code().name, status.message, info, fields, retry_s, metadata, raw)


def typed(body: Mapping[str, Any]) -> CreateChatCompletionRequest | None:
    """Return a JSON body as a message, or None where the typed schema cannot express it."""
    try:
        message = codec.decode(CreateChatCompletionRequest, json.dumps(body).encode())
    except codec.AnswerError:
        return None
    return message if json.loads(codec.encode(message)) == body else None


def request(model: str = "plain", **fields: Any) -> dict[str, Any]:
    """Return a request's body; `fields` replace those of the least one."""
    return {"model": model, "messages": HI, **fields}
