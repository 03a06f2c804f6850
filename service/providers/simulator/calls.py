"""Which tools the simulator calls: those whose name and description share words with what the user said."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from service.providers.simulator.arguments import Said, fill
from service.providers.simulator.budget import VALUE, Budget
from service.providers.simulator.schema import sound

_COMMON = frozenset(
    """a about all also an and any are as at be by can current currently default do does e for from function g gateway
    get give given has have how i in into is it its just leave make me my name no not now of on optional or out please
    return returns say set should some such tell that the their them then there these this to tool use used user using
    value want was what when where which who why will with would you your""".split()  # noqa: SIM905  # reads better
)
"""Words that say nothing of what a tool does."""


_READ_CHARACTERS = 10_000
"""So much of the end of a text is looked at."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool. `text` is the arguments' JSON, or the input of a custom tool."""

    kind: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class _Offer:
    """A tool that the request declares."""

    kind: str
    name: str
    description: str
    parameters: Any


def choose(body: Mapping[str, Any], text: str, budget: Budget) -> list[Call]:
    """Return the calls with which to answer what the user said, in the order in which the text asks for them.

    Those beyond the budget are left out, but for the first.
    """
    text = text[-_READ_CHARACTERS:]
    offers = _offers(body)
    mode, names = _choice(body)
    if names is not None:
        offers = [offer for offer in offers if offer.name in names]
    if mode == "none" or not offers:
        return []
    chosen = _asked_for(offers, text)
    if mode == "required":
        chosen = chosen or offers[:1]
    said = Said(text)
    calls: list[Call] = []
    for call in (call for offer in chosen for call in _calls(offer, said, budget)):
        if not budget.spend(VALUE + len(call.name)) and calls:
            break
        calls.append(call)
    alone = body.get("parallel_tool_calls") is False or "functions" in body
    return calls[:1] if alone else calls


def _offers(body: Mapping[str, Any]) -> list[_Offer]:
    declared: list[tuple[str, Any]] = [("function", function) for function in body.get("functions") or ()]
    for tool in body.get("tools") or ():
        kind = str(tool.get("type", ""))
        declared.append((kind, tool.get(kind)))
    return [
        _Offer(kind, str(tool.get("name", "")), str(tool.get("description") or ""), tool.get("parameters"))
        for kind, tool in declared
        if kind in ("function", "custom") and isinstance(tool, dict)
    ]


def _choice(body: Mapping[str, Any]) -> tuple[str, Collection[str] | None]:
    """Return the mode of choice (`auto`, `none`, `required`) and the names to choose from; None is any."""
    choice = body.get("tool_choice", body.get("function_call", "auto"))
    match choice:
        case {"type": "allowed_tools", "allowed_tools": {"tools": list(tools), **rest}}:
            return str(rest.get("mode", "auto")), {str((t.get("function") or t).get("name")) for t in tools}
        case {"function": {"name": str(name)}} | {"custom": {"name": str(name)}} | {"name": str(name)}:
            return "required", [name]
        case str():
            return choice, None
    return "auto", None


def _asked_for(offers: Sequence[_Offer], text: str) -> list[_Offer]:
    """Return the tools that the text asks for: each has a word in common with it that no better one has."""
    words = _words(text)
    places = {word: place for place, word in reversed(list(enumerate(words)))}
    shared = [(offer, places.keys() & _described(offer)) for offer in offers]
    covered: set[str] = set()
    chosen: list[tuple[int, _Offer]] = []
    for offer, common in sorted(shared, key=lambda pair: -len(pair[1])):
        if common - covered:
            chosen.append((min(places[word] for word in common - covered), offer))
            covered |= common
    return [offer for _, offer in sorted(chosen, key=lambda pair: pair[0])]


def _described(offer: _Offer) -> set[str]:
    names = " ".join([offer.name, *sound(offer.parameters).get("properties", ())])
    return set(_words(f"{re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', names)} {offer.description}"))


def _words(text: str) -> list[str]:
    """Return a text's words that mean something, in the singular."""
    found = re.findall(r"[^\W_]+", text.lower())
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in found if word not in _COMMON]


def _calls(offer: _Offer, said: Said, budget: Budget) -> Iterator[Call]:
    if offer.kind == "custom":
        yield Call(offer.kind, offer.name, budget.buy(said.text) or "")
        return
    for place, arguments in enumerate(fill(offer.parameters, said, budget)):
        text = orjson.dumps(arguments).decode()
        if place and not budget.spend(len(text)):
            break
        yield Call(offer.kind, offer.name, text)
