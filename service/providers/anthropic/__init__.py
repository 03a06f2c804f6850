"""The dialect of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletion

from service.config import Endpoint, Provider
from service.errors import ProviderFailure
from service.providers.anthropic.answer import decode
from service.providers.anthropic.errors import decode_error
from service.providers.anthropic.request import encode
from service.providers.anthropic.stream import AnthropicStreamDecoder
from service.providers.anthropic.support import unsupported
from service.providers.dialect import StreamDecoder, UpstreamRequest

__all__ = ["AnthropicDialect"]


class AnthropicDialect:
    """Translates to and from the Messages API. See `service.providers.dialect.Dialect`."""

    def unsupported(self, request: CreateChatCompletionRequest, endpoint: Endpoint) -> str | None:
        """Return what of the request the Messages API can never carry, or None."""
        return unsupported(request)

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
        return AnthropicStreamDecoder()

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
        """Return the failure of an answer that is no 200."""
        return decode_error(status, headers, body)
