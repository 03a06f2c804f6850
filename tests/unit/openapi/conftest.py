"""The document and a validator of requests, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from service.openapi.document import Document, make_document
from service.openapi.source import read_source

_DESCRIPTORS = Path(__file__).parents[3] / "gen" / "gateway.binpb"


@pytest.fixture(scope="session")
def document() -> Document:
    return make_document(read_source(_DESCRIPTORS.read_bytes()))


@pytest.fixture(scope="session")
def validator_of(document: Document) -> Callable[[str], Draft202012Validator]:
    """Make the validator of one of the document's schemas."""

    def make(name: str) -> Draft202012Validator:
        return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})

    return make


@pytest.fixture(scope="session")
def request_validator(validator_of: Callable[[str], Draft202012Validator]) -> Draft202012Validator:
    return validator_of("CreateChatCompletionRequest")
