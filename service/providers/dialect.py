"""The interface of a wire dialect: pure translation between `gateway.v1` messages and one vendor's HTTP bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import AdjustedParameter, ChatCompletion, ChatCompletionChunk

from service.config import Endpoint, Provider
from service.errors import ProviderFailure
from service.upstream.sse import Event


class UpstreamRequest(NamedTuple):
    """One HTTP POST to a provider: what to send, and what of the client's request it does not carry.

    `dropped` names request fields that the provider has no form for (`top_k`, `provider_options.google.cache_ttl`);
    `adjusted` are values brought into the provider's range. `choices`: how many answers it asks for.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    dropped: Sequence[str] = ()
    adjusted: Sequence[AdjustedParameter] = ()
    choices: int = 1


class Run(NamedTuple):
    """A chunk, and the texts of those right after it that differ from it in their text alone.

    A chunk with any such texts has one choice, and in its delta nothing but `content`. `told`: the chunk itself is that
    of the run before, and no new one; the texts go on from there.
    """

    chunk: ChatCompletionChunk
    texts: list[str]
    told: bool = False

    def chunks(self) -> list[ChatCompletionChunk]:
        """Return all chunks that are new, each a message of its own."""
        chunks = [] if self.told else [self.chunk]
        for text in self.texts:
            chunk = ChatCompletionChunk()
            chunk.CopyFrom(self.chunk)
            chunk.choices[0].delta.content = text
            chunks.append(chunk)
        return chunks


class StreamDecoder(Protocol):
    """Turns one provider stream's events into chunks. Made anew for each stream."""

    @property
    def finished(self) -> bool:
        """Whether the stream's terminal event was seen, that of each choice. One that ends before has failed."""
        ...

    @property
    def over(self) -> bool:
        """Whether the provider has said that nothing more comes: usage neither. Some never say so."""
        ...

    def decode(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """Return the chunks that an event means, often one, sometimes none.

        Chunks carry `native_response_id`, `created`, choices, usage and what else the provider said; the caller sets
        `id`, `object`, `model` and `provider`. Usage stands in whatever chunk the provider put it.

        Raises:
            ProviderFailure: the event is an error, or malformed.
        """
        ...

    def again(self, events: Sequence[Event]) -> Sequence[str]:
        """Return the texts of the leading events that mean the last chunk over again, each with its own text.

        It ends before the first event that means anything else, and wherever that cannot be told cheaply: `decode` then
        says what it means. It may be asked again about the same events.
        """
        ...


class Dialect(Protocol):
    """One wire dialect. Stateless; one instance serves every request of every provider that speaks it."""

    def unsupported(self, request: CreateChatCompletionRequest, endpoint: Endpoint) -> str | None:
        """Return what of the request this dialect can never carry (`input_audio`, `n`), or None."""
        ...

    def encode(
        self,
        request: CreateChatCompletionRequest,
        provider: Provider,
        endpoint: Endpoint,
        refused: frozenset[str],
    ) -> UpstreamRequest:
        """Return the HTTP request for a normalised request (see `chat.normalise`).

        `request.stream` says whether a stream is wanted. `refused` are names of parameters, in the provider's own
        words, that this provider has just said it does not take.
        """
        ...

    def decode(self, body: bytes) -> ChatCompletion:
        """Return the answer that a 200 body means.

        Raises:
            ProviderFailure: the body is malformed, empty, or an error in disguise.
        """
        ...

    def stream_decoder(self, choices: int = 1) -> StreamDecoder:
        """Return a decoder for one stream. `choices`: how many were asked for."""
        ...

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
        """Return the failure that a non-200 answer means. `headers` has lower-case names."""
        ...
