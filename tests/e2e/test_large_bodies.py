"""Bodies that are made to be slow to read hold nobody else up."""

from __future__ import annotations

import threading

import grpc
import httpx
import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest

from tests.e2e.running import Gateway

CHAT = "/v1/chat/completions"
METHOD = "/gateway.v1.ChatCompletionService/CreateChatCompletion"
HEADERS = {"authorization": "Bearer sk-local", "content-type": "application/json"}


def test_a_body_of_a_million_unknown_fields_holds_nobody_up(gateway: Gateway) -> None:
    fields = ",".join(f'"temperat{i:06d}":1' for i in range(600_000))
    body = f'{{"model":"local/simulator-fast","messages":[{{"role":"user","content":"hi"}}],{fields}}}'.encode()
    ended: list[int] = []

    def post() -> None:
        ended.append(httpx.post(gateway.url + CHAT, content=body, headers=HEADERS, timeout=60).status_code)

    posters = [threading.Thread(target=post) for _ in range(3)]
    for poster in posters:
        poster.start()
    answers = []
    with httpx.Client(base_url=gateway.url, headers=HEADERS, timeout=20) as client:
        while any(poster.is_alive() for poster in posters):
            answers.append(client.get("/healthz").status_code)
    for poster in posters:
        poster.join()
    assert len(ended) == 3
    assert set(ended) <= {200, 400, 503}
    assert set(answers) == {200}


def test_a_message_of_a_million_empty_messages_is_refused(gateway: Gateway) -> None:
    """They are two bytes each on the wire, and a hundred times as much in memory."""
    place = CreateChatCompletionRequest.MESSAGES_FIELD_NUMBER << 3 | 2
    body = CreateChatCompletionRequest(model="local/simulator-fast").SerializeToString() + bytes((place, 0)) * 1_000_000
    metadata = (("authorization", "Bearer sk-local"),)
    with grpc.insecure_channel(gateway.grpc[0]) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        with pytest.raises(grpc.RpcError, match="more than 500000 fields") as caught:
            ask(body, metadata=metadata, timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
