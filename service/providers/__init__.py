"""The wire dialects, by the name that a provider's configuration gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.providers.anthropic import AnthropicDialect
from service.providers.dialect import Dialect, StreamDecoder, UpstreamRequest
from service.providers.google import GoogleDialect
from service.providers.openai import OpenAiDialect
from service.providers.simulator import SimulatorDialect

__all__ = ["DIALECTS", "Dialect", "StreamDecoder", "UpstreamRequest"]

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "anthropic": AnthropicDialect(),
        "google": GoogleDialect(),
        "openai": OpenAiDialect(),
        "simulator": SimulatorDialect(),
    }
)
