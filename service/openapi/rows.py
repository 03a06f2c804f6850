"""Reads an OpenAPI schema as rows of fields, for people: what the page and the tables of docs/api.md show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

_INT_LIMITS = frozenset({-(2**31), 2**31 - 1, -(2**63), 2**63 - 1, 2**32 - 1})


@dataclass(frozen=True, slots=True)
class Group:
    """Fields of an object. `label` says when it is this object, where there is a choice: `type: text`."""

    label: str
    description: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Row:
    """A field. `kind` is its type in words, `limits` its range, `default` as JSON-able text or None."""

    path: str
    name: str
    aliases: Sequence[str]
    kind: str
    limits: str
    default: Any
    required: bool
    description: str
    groups: Sequence[Group]


def object_rows(schemas: Mapping[str, Schema], schema: Schema, path: str = "", skip: str = "") -> list[Row]:
    """Return the rows of an object's schema; `path` stands before each name; the property `skip` is left out."""
    schema = _resolved(schemas, schema)
    required = schema.get("required", ())
    properties: Mapping[str, Schema] = schema.get("properties", {})
    aliases: dict[str, list[str]] = {}
    for name, each in properties.items():
        if "x-alias-of" in each:
            aliases.setdefault(each["x-alias-of"], []).append(name)
    return [
        _row(schemas, each, f"{path}{name}", name in required, aliases.get(name, ()))
        for name, each in properties.items()
        if "x-alias-of" not in each and name != skip
    ]


def walk(rows: Sequence[Row]) -> list[tuple[Row, Sequence[str]]]:
    """Return rows with all that are within them, each path once, and the labels of the groups that it stands in."""
    found: dict[str, tuple[Row, list[str]]] = {}
    for row, label in _walk(rows, ""):
        _, labels = found.setdefault(row.path, (row, []))
        if label and label not in labels:
            labels.append(label)
    return list(found.values())


def _walk(rows: Sequence[Row], label: str) -> Iterator[tuple[Row, str]]:
    for row in rows:
        yield row, label
        for group in row.groups:
            yield from _walk(group.rows, group.label)


def _row(schemas: Mapping[str, Schema], schema: Schema, path: str, required: bool, aliases: Sequence[str]) -> Row:
    choices = _choices(schema)
    return Row(
        path=path,
        name=path.rpartition(".")[2],
        aliases=aliases,
        kind=" or ".join(dict.fromkeys(_kind(schemas, choice) for choice in choices)),
        limits=", ".join(filter(None, (_limits(choice) for choice in choices))),
        default=schema.get("default"),
        required=required,
        description=schema.get("description", ""),
        groups=[group for choice in choices for group in _groups(schemas, choice, path)],
    )


def _choices(schema: Schema) -> Sequence[Schema]:
    """Return what a value may be; null is a choice only where it says more than that nothing is given."""
    choices = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return [choice for choice in choices if choice != {"type": "null"}]


def _kind(schemas: Mapping[str, Schema], schema: Schema) -> str:
    if "$ref" in schema:
        return "object"
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    types = [kind for kind in types if kind != "null"]
    if len(types) > 1:
        return "any JSON value"
    match types[0]:
        case "array":
            return f"array of {_plural(_kind(schemas, schema['items']))}"
        case "object" if isinstance(schema.get("additionalProperties"), Mapping):
            return f"object of {_plural(_kind(schemas, schema['additionalProperties']))}"
    return str(types[0])


def _plural(kind: str) -> str:
    first, _, rest = kind.partition(" ")
    return f"{first}s {rest}".strip() if first != "any" else "JSON values"


def _limits(schema: Schema) -> str:
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    texts = [
        _between(schema.get("minimum"), schema.get("maximum"), ""),
        _between(schema.get("minLength"), schema.get("maxLength"), "character"),
        _between(schema.get("minItems"), schema.get("maxItems"), "item"),
    ]
    if schema.get("type") in ("array", ["array", "null"]) and "$ref" not in schema["items"]:
        texts.append(_limits(schema["items"]))
    return ", ".join(filter(None, texts))


def _between(low: float | None, high: float | None, unit: str) -> str:
    """Return a range in words; limits that are only those of the integer's type are left out, but for int64's."""
    if low == -(2**63):
        return "int64"
    low = None if low in _INT_LIMITS else low
    high = None if high in _INT_LIMITS else high
    if low is not None and high is not None:
        return f"{low} to {_counted(high, unit)}"
    if low is not None:
        return f"at least {_counted(low, unit)}"
    return f"at most {_counted(high, unit)}" if high is not None else ""


def _counted(number: float, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}" if unit else str(number)


def _groups(schemas: Mapping[str, Schema], schema: Schema, path: str) -> list[Group]:
    """Return the fields of what a value consists of, if it is an object or an array of objects."""
    if "items" in schema:
        return _groups(schemas, schema["items"], f"{path}[]")
    if "$ref" not in schema:
        return []
    found = _resolved(schemas, schema)
    if "discriminator" not in found:
        return [Group("", found.get("description", ""), object_rows(schemas, found, f"{path}."))]
    field = found["discriminator"]["propertyName"]
    members = [_resolved(schemas, choice) for choice in found["oneOf"]]
    tags = [_limits(member["properties"][field]) for member in members]
    choice = Row(f"{path}.{field}", field, (), "string", ", ".join(tags), None, True, "Says which it is.", ())
    return [
        Group("", found["description"], [choice]),
        *(
            Group(f"{field} {tag}", member["description"], object_rows(schemas, member, f"{path}.", skip=field))
            for tag, member in zip(tags, members, strict=True)
        ),
    ]


def _resolved(schemas: Mapping[str, Schema], schema: Schema) -> Schema:
    return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
