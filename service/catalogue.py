"""Loads the configuration: the YAML file, or the embedded default, with the environment's values in it."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from service.config import Config

MIN_KEY_LENGTH = 16
"""Characters of GATEWAY_KEY, at least."""

_VARIABLE = re.compile(r"\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_PREFIXED = re.compile(r"[\w.\[\]/:-]+?: ")

Place = tuple[str | int, ...]


class ConfigError(ValueError):
    """The configuration is wrong. `mistakes` are all of them, each `place: what is wrong`, without any value."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def load(path: str | None, environ: Mapping[str, str]) -> Config:
    """Return the checked configuration of a file; without one (None or ""), the embedded default.

    Raises:
        ConfigError: the file cannot be read or is wrong.
    """
    return check(read(path), path, environ)


def read(path: str | None) -> bytes:
    """Return what a file holds; without one, the embedded default.

    Raises:
        ConfigError: the file cannot be read.
    """
    if not path:
        return resources.files("service").joinpath("defaults.yaml").read_bytes()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error


def check(content: bytes, path: str | None, environ: Mapping[str, str]) -> Config:
    """Return the checked configuration that was read from a file, or without one is the embedded default.

    In the embedded default a provider without an API key is left out, together with its models. GATEWAY_KEY adds a key.

    Raises:
        ConfigError: it is wrong, or names a file that cannot be used.
    """
    tree = _parse(content, path or "the embedded default")
    mistakes = _Mistakes()
    tree = _expanded(tree, environ, (), mistakes)
    if not path:
        tree = _served(tree)
    _add_key(tree, environ.get("GATEWAY_KEY", "").strip(), mistakes)
    _check_references(tree, mistakes)
    _use_copies(tree, environ.get("GATEWAY_CA_DIR"))
    _check_certificates(tree, mistakes)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        for place, text in _described(error, tree):
            mistakes.add(place, text)
    if mistakes.found:
        raise ConfigError([f"{place}: {text}" for place, text in mistakes.found.items()])
    return config


class _Mistakes:
    """Mistakes by place; of several in one place the first counts."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add(self, place: Place, text: str) -> None:
        self.found.setdefault(_written(place), text)


def _written(place: Place) -> str:
    """Return a place as it is told: `keys[1].name`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).removeprefix(".")


class _Loader(yaml.CSafeLoader):
    """YAML without dates, so that `api-version: 2026-10-21` is the text that it looks like."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # the base class has it so
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def _parse(content: bytes, origin: str) -> dict[str, Any]:
    try:
        loader = _Loader(content.decode())
        node = loader.get_single_node()
        repeated = [f"{origin}, {mistake}" for mistake in _repeated(node, ())] if node else []
        tree = loader.construct_document(node) if node and not repeated else {}
    except UnicodeDecodeError as error:
        raise ConfigError([f"{origin}: not in UTF-8"]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{origin}, line {mark.line + 1}" if mark else origin
        raise ConfigError([f"{place}: {error.problem or 'not valid YAML'}"]) from None
    except RecursionError:
        raise ConfigError([f"{origin}: nested too deep"]) from None
    except (yaml.YAMLError, ValueError, KeyError):  # PyYAML's own for `!!int x`, `!!float x`, `!!bool x`
        raise ConfigError([f"{origin}: not valid YAML"]) from None
    if repeated:
        raise ConfigError(repeated)
    if not isinstance(tree, dict):
        raise ConfigError([f"{origin}: sections such as providers, models and keys are required"])
    return {name: section for name, section in tree.items() if section is not None}


def _repeated(node: yaml.Node, within: tuple[yaml.Node, ...]) -> Iterator[str]:
    """Tell each key that stands twice in one mapping, which YAML readers resolve silently, and anchors in a circle."""
    line = node.start_mark.line + 1
    if node in within:
        yield f"line {line}: an anchor contains itself"
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            at, name = key.start_mark.line + 1, str(key.value)
            if name in first and key.tag != "tag:yaml.org,2002:merge":
                yield f"line {at}: {name} stands twice, here and in line {first[name]}"
            first.setdefault(name, at)
            yield from _repeated(value, (*within, node))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value, (*within, node))


def _expanded(value: Any, environ: Mapping[str, str], place: Place, mistakes: _Mistakes) -> Any:
    """Return a value with the environment's in place of `${NAME}` and `${NAME:-default}`.

    As in a shell, the line breaks at the end of what a file may have put there are no part of it.
    """

    def variable(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = environ.get(name or "", "").rstrip("\r\n")
        if name is None:
            mistakes.add(place, "an environment variable is written ${NAME} or ${NAME:-default}")
        elif not found and default is None:
            mistakes.add(place, f"the environment variable {name} is not set")
        return found or default or ""

    match value:
        case str():
            return _VARIABLE.sub(variable, value)
        case dict():
            return {name: _expanded(item, environ, (*place, name), mistakes) for name, item in value.items()}
        case list():
            return [_expanded(item, environ, (*place, number), mistakes) for number, item in enumerate(value)]
    return value


def _served(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the embedded default without the providers that have no API key, and without their models."""
    providers = {name: provider for name, provider in tree["providers"].items() if provider.get("api_key") != ""}
    models = {
        model_id: model
        for model_id, model in tree["models"].items()
        if any(endpoint["provider"] in providers for endpoint in model["endpoints"])
    }
    return {**tree, "providers": providers, "models": models}


def _add_key(tree: dict[str, Any], key: str, mistakes: _Mistakes) -> None:
    if not key:
        return
    if len(key) < MIN_KEY_LENGTH:
        mistakes.add(("GATEWAY_KEY",), f"at least {MIN_KEY_LENGTH} characters are required")
    keys = tree.setdefault("keys", [])
    if isinstance(keys, list):
        keys.append({"name": "env", "sha256": hashlib.sha256(key.encode()).hexdigest()})


def _check_references(tree: Mapping[str, Any], mistakes: _Mistakes) -> None:
    """Tell names that lead nowhere and keys that stand twice, even where other mistakes keep the whole from a check."""
    providers, models, keys = tree.get("providers"), tree.get("models"), tree.get("keys")
    if isinstance(providers, dict) and isinstance(models, dict):
        for model_id, model in models.items():
            endpoints = model.get("endpoints") if isinstance(model, dict) else None
            for number, endpoint in enumerate(endpoints if isinstance(endpoints, list) else ()):
                name = endpoint.get("provider") if isinstance(endpoint, dict) else None
                if isinstance(name, str) and name not in providers:
                    place = ("models", model_id, "endpoints", number, "provider")
                    mistakes.add(place, f"no provider named {name!r}{_hint(name, providers)}")
    first: dict[tuple[str, str], int] = {}
    for number, key in enumerate(keys if isinstance(keys, list) else ()):
        for field in ("name", "sha256"):
            value = key.get(field) if isinstance(key, dict) else None
            if isinstance(value, str) and first.setdefault((field, value), number) != number:
                mistakes.add(("keys", number, field), f"the same as of keys[{first[field, value]}]")


def copy_of(folder: Path, file: str) -> Path:
    """Return where in a folder the copy of a file of certificates is."""
    return folder / f"{hashlib.sha256(os.fsencode(file)).hexdigest()[:32]}.pem"


def _use_copies(tree: Mapping[str, Any], folder: str | None) -> None:
    """Name each `ca_file`'s copy in the folder, if there is one: what was checked is what is used."""
    providers = tree.get("providers")
    for provider in providers.values() if folder and isinstance(providers, dict) else ():
        file = provider.get("ca_file") if isinstance(provider, dict) else None
        if isinstance(file, str) and (copy := copy_of(Path(folder or ""), file)).exists():
            provider["ca_file"] = str(copy)


def _check_certificates(tree: Mapping[str, Any], mistakes: _Mistakes) -> None:
    """Tell each `ca_file` that no certificates can be loaded from."""
    providers = tree.get("providers")
    for name, provider in providers.items() if isinstance(providers, dict) else ():
        file = provider.get("ca_file") if isinstance(provider, dict) else None
        if not isinstance(file, str) or not file:
            continue
        place = ("providers", name, "ca_file")
        try:
            ssl.create_default_context(cafile=file)
        except ssl.SSLError:
            mistakes.add(place, f"{file}: not a PEM file of certificates")
        except OSError as error:
            mistakes.add(place, f"{file}: {error.strerror}")
        except ValueError:
            mistakes.add(place, "no name of a file")


def _described(error: ValidationError, tree: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield what the checks of the types found, by place."""
    alternatives: dict[Place, list[str]] = {}
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        place, kind = found["loc"], found["type"]
        if _is_inherited(place, tree):
            continue
        match kind:
            case "extra_forbidden":
                yield place, "there is no such setting" + _hint(str(place[-1]), _settings(place[:-1]))
            case "missing":
                yield place, "is required"
            case "too_short" if _at(place, tree):
                continue  # wrong items are told one by one, and do not count
            case "value_error":
                for text in found["msg"].removeprefix("Value error, ").split("; "):
                    yield _moved(_existing(place, tree), text)
            case _:
                alternatives.setdefault(_existing(place, tree), []).append(found["msg"])
    for place, texts in alternatives.items():
        yield place, ", or: ".join(texts)


def _moved(place: Place, text: str) -> tuple[Place, str]:
    """Return a message that begins with the place within `place` that it is about, apart from that place."""
    prefix = _PREFIXED.match(text)
    if prefix is None:
        return place, text
    return (*place, prefix[0].removesuffix(": ")), text[prefix.end() :]


def _existing(place: Place, tree: Any) -> Place:
    """Return a place without what the checks add to it, such as the alternatives of `workers`, or `[key]`."""
    for number, part in enumerate(place):
        if isinstance(tree, list):
            is_there = isinstance(part, int) and part < len(tree)
        else:
            is_there = isinstance(tree, dict) and part in tree
        if not is_there:
            return place[:number]
        tree = tree[part]
    return place


def _at(place: Place, tree: Any) -> Any:
    for part in place:
        tree = tree[part]
    return tree


def _is_inherited(place: Place, tree: Mapping[str, Any]) -> bool:
    """Say whether a place within an endpoint holds what its model sets: the mistake is told there."""
    if len(place) < 5 or place[0] != "models" or place[2] != "endpoints":
        return False
    model = tree["models"][place[1]]
    return place[4] in model and place[4] not in model["endpoints"][place[3]]


def _settings(place: Place) -> Sequence[str]:
    """Return the names of the settings that there are in a place."""
    kind: Any = Config
    for part in place:
        kind = _inner(kind, part)
    return list(kind.model_fields)


def _inner(kind: Any, part: str | int) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _section(kind.model_fields[str(part)].annotation)
    # dict[str, X] and tuple[X, ...]
    return _section(get_args(kind)[1 if get_origin(kind) is dict else 0])


def _section(kind: Any) -> Any:
    """Return X of `X | None`."""
    arms = [arm for arm in get_args(kind) if arm is not NoneType]
    return arms[0] if NoneType in get_args(kind) else kind


def _hint(name: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    near = get_close_matches(name, [str(known) for known in names], n=1)
    return f"; did you mean {near[0]}?" if near else ""
