"""What a 404 says where its message alone tells: the endpoint lacks its model, or the request names something else."""

from __future__ import annotations

import re

from service.errors import FailureKind

_THINGS = re.compile(
    r"\b(?:files?|file[_-]\w+|cached_?contents?|containers?|skills?|vector stores?|audio)\b", re.IGNORECASE
)
"""What a request can name besides a model."""


def not_found(message: str) -> FailureKind:
    """Return the kind of failure that a 404 with a message means.

    A file or a cache of the caller's is no fault of the endpoint's; a wrong address or a missing model is.
    """
    named = _THINGS.search(message) and "model" not in message.lower()
    return FailureKind.NOT_FOUND if named else FailureKind.MODEL_NOT_FOUND
