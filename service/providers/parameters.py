"""Which request fields an endpoint may lack, and what `supported_parameters` calls each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.config import Endpoint

PARAMETERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        name: frozenset((name, *others))
        for name, *others in (
            ("temperature",),
            ("top_p",),
            ("top_k",),
            ("frequency_penalty",),
            ("presence_penalty",),
            ("logit_bias",),
            ("seed",),
            ("stop",),
            ("logprobs",),
            ("top_logprobs",),
            ("n",),
            ("response_format", "structured_outputs"),
            ("verbosity",),
            ("prediction",),
            ("tools",),
            ("tool_choice",),
            ("parallel_tool_calls",),
            ("functions", "tools"),
            ("function_call", "tool_choice"),
            ("web_search_options",),
            ("reasoning", "reasoning_effort", "thinking"),
            ("image_config",),
            ("audio",),
        )
    }
)
"""Request fields that an endpoint may lack, each with the names in `supported_parameters` that stand for it."""


def takes(endpoint: Endpoint, name: str) -> bool:
    """Say whether an endpoint takes a request field, as far as its catalogue entry says.

    An entry without `supported_parameters` takes anything. Fields that are not in the table say nothing of how a model
    answers, and the entry is not asked about them.
    """
    names = PARAMETERS.get(name)
    supported = endpoint.supported_parameters
    return names is None or supported is None or not names.isdisjoint(supported)
