"""The document as text: YAML for people, JSON for clients."""

from __future__ import annotations

import orjson
import yaml

from service.openapi.document import Document

_HEAD = "# Made from protos/ by `make gen`. Not to be edited.\n"


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out in full, and texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _string)


def to_yaml(document: Document) -> str:
    """Return the document as YAML, in its own order."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return _HEAD + text


def to_json(document: Document) -> bytes:
    """Return the document as JSON, in one line."""
    return orjson.dumps(document)
