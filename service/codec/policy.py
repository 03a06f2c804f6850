"""How strictly messages are read: requests with every rule, providers' answers with none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.codec.fault import Fault
from service.codec.rules import Check, count_check, value_check
from service.codec.schema import FieldSpec, MessageSpec
from service.codec.text import Notes, raw_text
from service.codec.typos import nearest_name
from service.codec.values import Reader, truncated_number, whole_number

_MOST_UNKNOWN = 1000
"""In one object of a request: each of them costs more than a known field."""

Keep = Callable[[str, Any, dict[str, Any], Notes], None]
"""Takes the key and the value of an unknown field, and the message being read."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What strict and lenient readers do differently.

    `required` gives JSON names, each with the message's fields of which one must be there. `unknown_names`: a field
    with a string that its enum does not have counts as unknown.
    """

    integers: Callable[[FieldSpec], Reader]
    value_check: Callable[[FieldSpec], Check | None]
    count_check: Callable[[FieldSpec], Check | None]
    required: Callable[[MessageSpec], tuple[tuple[str, frozenset[str]], ...]]
    unknown: Callable[[MessageSpec], Keep]
    unknown_names: bool


def _refuse_unknown(spec: MessageSpec) -> Keep:
    keep = _keep(spec) if spec.extra is not None else None
    extra = spec.extra or ""
    nearest = nearest_name(spec.json_names) if spec.refuse_typos else None

    def unknown(key: str, value: Any, out: dict[str, Any], notes: Notes) -> None:
        near = nearest(key) if nearest is not None else None
        if near is not None:
            raise Fault("unknown_parameter", f"is no known parameter; did you mean '{near}'?")
        if keep is None:
            raise Fault("unknown_parameter", "is no known parameter")
        if len(out.get(extra, ())) >= _MOST_UNKNOWN:
            raise Fault("out_of_range", f"is one of more than {_MOST_UNKNOWN} unknown fields")
        keep(key, value, out, notes)

    return unknown


def _accept_unknown(spec: MessageSpec) -> Keep:
    def ignore(key: str, value: Any, out: dict[str, Any], notes: Notes) -> None:
        return None

    return _keep(spec) if spec.extra is not None else ignore


def _keep(spec: MessageSpec) -> Keep:
    extra = spec.extra or ""

    def keep(key: str, value: Any, out: dict[str, Any], notes: Notes) -> None:
        kept = out.get(extra)
        if kept is None:
            out[extra] = {key: raw_text(value, notes)}
        else:
            kept[key] = raw_text(value, notes)

    return keep


def _required(spec: MessageSpec) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple(
        (item.json_name, frozenset(member.name for member in item.members)) for item in spec.items if item.required
    )


STRICT = Policy(
    integers=whole_number,
    value_check=value_check,
    count_check=count_check,
    required=_required,
    unknown=_refuse_unknown,
    unknown_names=False,
)
LENIENT = Policy(
    integers=truncated_number,
    value_check=lambda field: None,
    count_check=lambda field: None,
    required=lambda spec: (),
    unknown=_accept_unknown,
    unknown_names=True,
)
