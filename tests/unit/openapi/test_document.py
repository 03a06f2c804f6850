"""The OpenAPI document is valid, fresh, and says of every message what the codec reads and writes."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway.v1 import chat_response_pb2, model_service_pb2, provider_service_pb2
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from service import codec
from service.errors import ERRORS, GatewayError
from service.openapi.document import Document
from service.openapi.meanings import DEFAULTS, ERROR_MEANINGS, LACKING
from service.openapi.page import render_page
from service.openapi.rows import object_rows, walk
from service.openapi.tables import fill
from service.openapi.text import to_json, to_yaml
from tests.unit.openapi.editions import json_values, values

_ROOT = Path(__file__).parents[3]
_RAW = '{"kept": [1, 2.50]}'
_ANSWERS = (
    chat_response_pb2.ChatCompletion,
    chat_response_pb2.ChatCompletionChunk,
    model_service_pb2.Model,
    model_service_pb2.ListModelsResponse,
    provider_service_pb2.ListProvidersResponse,
)


def test_the_document_is_valid_openapi_3_1(document: Document) -> None:
    OpenAPIV31SpecValidator(document).validate()


@pytest.mark.parametrize("name", ["openapi.yaml", "gateway/openapi.json", "gateway/docs.html"])
def test_the_committed_files_are_fresh(name: str, document: Document) -> None:
    made = {
        "openapi.yaml": to_yaml(document).encode(),
        "gateway/openapi.json": to_json(document),
        "gateway/docs.html": render_page(document).encode(),
    }
    assert (_ROOT / "gen" / name).read_bytes() == made[name], "stale: run make gen"


def test_yaml_and_json_are_the_same_document(document: Document) -> None:
    assert yaml.safe_load(to_yaml(document)) == json.loads(to_json(document)) == document


def test_the_tables_of_the_api_page_are_fresh(document: Document) -> None:
    page = (_ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert page == fill(page, document), "stale: run make gen"


def test_every_example_request_is_one(document: Document, request_validator: Draft202012Validator) -> None:
    media = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    assert {"datetimeServerTool", "streamed", "structuredOutput"} <= set(media["examples"])
    for example in media["examples"].values():
        request_validator.validate(example["value"])
        _decode(example["value"])


def test_every_example_answer_is_one(document: Document, validator_of: Callable[[str], Draft202012Validator]) -> None:
    content = document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
    validator_of("ChatCompletion").validate(content["application/json"]["examples"]["answer"]["value"])
    events = re.findall("data: (.*)\n\n", content["text/event-stream"]["examples"]["events"]["value"])
    assert events.pop() == "[DONE]"
    for event in events:
        validator_of("ChatCompletionChunk").validate(json.loads(event))


def test_every_error_has_its_code_and_a_response_of_its_status(document: Document) -> None:
    code = document["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]
    assert code["anyOf"][0]["enum"] == list(ERRORS)
    for name, error in ERRORS.items():
        assert f"`{name}`" in document["components"]["responses"][f"Error{error.http}"]["description"]


def test_what_the_protos_do_not_say_is_said_of_things_that_exist(document: Document) -> None:
    schemas = document["components"]["schemas"]
    paths = {row.path for row, _ in walk(object_rows(schemas, schemas["CreateChatCompletionRequest"]))}
    assert set(LACKING) <= paths
    assert {path for path in paths if "." not in path} <= set(LACKING)
    assert set(ERROR_MEANINGS) == set(ERRORS)
    for name in DEFAULTS:
        _, _, message, field = name.split(".")
        assert "default" in schemas[message]["properties"][field]


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize("kind", _ANSWERS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_answers_are_as_the_document_says(
    kind: type[Message], filled: bool, validator_of: Callable[[str], Draft202012Validator]
) -> None:
    message = kind()
    if filled:
        _fill(message)
    if kind.DESCRIPTOR.full_name in ("gateway.v1.ChatCompletion", "gateway.v1.ChatCompletionChunk"):
        answer = json.loads(codec.encode(message))
    else:
        # As Envoy's transcoder is told to write them.
        answer = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    validator_of(kind.DESCRIPTOR.name).validate(answer)


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_the_document_and_the_codec_accept_and_refuse_the_same_requests(
    data: st.DataObject, document: Document, request_validator: Draft202012Validator
) -> None:
    schemas = document["components"]["schemas"]
    body = data.draw(values(schemas, schemas["CreateChatCompletionRequest"]))
    _decode(body)
    request_validator.validate(body)
    spoilt = _spoil(data, body)
    assert _is_accepted(spoilt) == request_validator.is_valid(spoilt), spoilt


def _spoil(data: st.DataObject, body: dict[str, Any]) -> dict[str, Any]:
    """Return the body with one value somewhere in it replaced or taken away."""
    spoilt = copy.deepcopy(body)
    place: Any = spoilt
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
            place = place[key]
        elif isinstance(place, dict) and data.draw(st.booleans()):
            del place[key]
            return spoilt
        else:
            place[key] = data.draw(json_values())
            return spoilt


def _decode(body: Any) -> CreateChatCompletionRequest:
    return codec.decode_request(CreateChatCompletionRequest, json.dumps(body).encode(), max_depth=64)


def _is_accepted(body: Any) -> bool:
    try:
        _decode(body)
    except GatewayError:
        return False
    return True


def _fill(message: Message) -> None:
    """Set every field of a message, and of all messages within it."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["vendor_field"] = _RAW
        elif field.message_type is not None:
            _fill(getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name))
        elif field.is_repeated:
            getattr(message, field.name).append(_sample(field.type))
        else:
            setattr(message, field.name, _sample(field.type))


def _sample(kind: int) -> Any:
    match kind:
        case FieldDescriptor.TYPE_STRING:
            return _RAW
        case FieldDescriptor.TYPE_BOOL:
            return True
        case FieldDescriptor.TYPE_DOUBLE:
            return 0.5
    return 1
