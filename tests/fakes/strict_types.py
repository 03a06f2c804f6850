"""A vendor's request types without their lenience: nothing unknown, no lazy iterables, no answer types."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, with_config
from typing_extensions import TypedDict, is_typeddict


def strict(annotation: Any, seen: dict[Any, Any] | None = None) -> Any:
    """Return a TypedDict, or what stands in one, as a type for pydantic that refuses what the vendor's server would."""
    seen = {} if seen is None else seen
    if is_typeddict(annotation):
        if annotation not in seen:
            hints = get_type_hints(annotation, include_extras=True)
            fields = {name: _field(annotation, name, strict(hint, seen)) for name, hint in hints.items()}
            seen[annotation] = with_config(ConfigDict(extra="forbid"))(TypedDict(annotation.__name__, fields))  # type: ignore[operator]  # made at run time
        return seen[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Required, NotRequired, Annotated):
        return strict(arguments[0], seen)
    if origin in (Union, types.UnionType):
        members = [member for member in arguments if not (isinstance(member, type) and issubclass(member, BaseModel))]
        return Union[tuple(strict(member, seen) for member in members)]  # noqa: UP007  # made at run time
    if origin in (list, Iterable) or getattr(origin, "__name__", "") == "SequenceNotStr":
        return list[strict(arguments[0], seen)]  # type: ignore[misc]  # made at run time
    if origin is dict:
        return dict[arguments[0], strict(arguments[1], seen)]  # type: ignore[misc,valid-type]  # made at run time
    return annotation


def _field(owner: Any, name: str, annotation: Any) -> Any:
    return Required[annotation] if name in owner.__required_keys__ else NotRequired[annotation]
