"""Looks up models for a caller: what is not there, and what its key may not use."""

from __future__ import annotations

import difflib

from service.config import Config, Key
from service.errors import GatewayError
from service.keys import allows


def check_model(name: str, config: Config, key: Key) -> None:
    """Check that a model is there and that the key may use it.

    Raises:
        GatewayError: model_not_found, with the nearest names that the key may use; model_not_allowed.
    """
    if name not in config.models:
        raise model_not_found(name, [m for m in config.models if allows(key.models, m)])
    if not allows(key.models, name):
        raise GatewayError("model_not_allowed", f"The API key may not use the model {name}.", param="model")


def model_not_found(name: str, known: list[str]) -> GatewayError:
    """Return the error for a model that is not there, with the nearest of the known names."""
    near = difflib.get_close_matches(name[:200], known, n=3, cutoff=0.5)
    hint = f" Did you mean {', '.join(near)}?" if near else " GET /v1/models lists the models."
    return GatewayError("model_not_found", f"There is no model {name[:200]!r}.{hint}", param="model")
