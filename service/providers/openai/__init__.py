"""The dialect of OpenAI's chat completions, which many other providers speak."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletion

from service.config import Endpoint, Provider
from service.errors import ProviderFailure
from service.providers.dialect import StreamDecoder, UpstreamRequest
from service.providers.openai.answer import decode
from service.providers.openai.errors import decode_error
from service.providers.openai.request import encode
from service.providers.openai.stream import OpenAiStreamDecoder

__all__ = ["OpenAiDialect"]


class OpenAiDialect:
    """Translates to and from chat completions. See `service.providers.dialect.Dialect`."""

    def unsupported(self, request: CreateChatCompletionRequest, endpoint: Endpoint) -> str | None:
        """Return None: there is nothing that no provider of this dialect takes."""
        return None

    def encode(
        self, request: CreateChatCompletionRequest, provider: Provider, endpoint: Endpoint, refused: frozenset[str]
    ) -> UpstreamRequest:
        """Return the POST for a normalised request."""
        return encode(request, provider, endpoint, refused)

    def decode(self, body: bytes) -> ChatCompletion:
        """Return the answer of a 200 body.

        Raises:
            ProviderFailure: the body is malformed, empty, or an error.
        """
        return decode(body)

    def stream_decoder(self, choices: int = 1) -> StreamDecoder:
        """Return a decoder for one stream."""
        return OpenAiStreamDecoder(choices)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
        """Return the failure of an answer that is no 200."""
        return decode_error(status, headers, body)
