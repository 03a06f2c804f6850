"""What the Gemini dialect makes of recorded answers, streams and errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import AssistantMessage, ChatCompletion, ChatCompletionChunk
from gateway.v1.content_pb2 import TOOL_CALL_TYPE_FUNCTION
from google.genai import types
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from service.codec import decode_request, encode
from service.config import Endpoint, Provider
from service.errors import FailureKind, ProviderFailure
from service.providers.google import GoogleDialect
from service.upstream.sse import Event, EventDecoder
from tests.fakes.google import check_request

RECORDINGS = Path(__file__).parents[2] / "recordings" / "google"
DIALECT = GoogleDialect()


def decoded(name: str) -> ChatCompletion:
    return DIALECT.decode((RECORDINGS / "unary" / name).read_bytes())


def events(body: bytes, size: int) -> list[Event]:
    decoder = EventDecoder(1_000_000)
    return [event for at in range(0, len(body), size) for event in decoder.feed(body[at : at + size])]


def streamed(name: str, size: int = 1000) -> tuple[list[ChatCompletionChunk], bool]:
    decoder = DIALECT.stream_decoder()
    body = (RECORDINGS / "stream" / name).read_bytes()
    chunks = [chunk for event in events(body, size) for chunk in decoder.decode(event)]
    return chunks, decoder.finished


def plain(message: Message) -> Any:
    """A message as a value, `extra` and other raw fields as JSON text."""
    return MessageToDict(message, preserving_proto_field_name=True)


def signature(value: str) -> str:
    return f'{{"google":{{"thought_signature":"{value}"}}}}'


@pytest.mark.parametrize("path", sorted((RECORDINGS / "unary").iterdir()), ids=lambda path: path.name)
def test_recorded_answers_are_what_the_published_types_say(path: Path) -> None:
    types.GenerateContentResponse.model_validate_json(path.read_bytes())


@pytest.mark.parametrize("path", sorted((RECORDINGS / "stream").iterdir()), ids=lambda path: path.name)
def test_recorded_streams_are_what_the_published_types_say(path: Path) -> None:
    for event in events(path.read_bytes(), 1000):
        if b'"error"' not in event.data:
            types.GenerateContentResponse.model_validate_json(event.data)


def test_text_and_usage() -> None:
    assert plain(decoded("text.json")) == {
        "native_response_id": "mrFjaPqDGZ2K7dcP",
        "system_fingerprint": "gemini-2.5-flash",
        "choices": [
            {"message": {"role": "assistant", "content": "Hello from Gemini — schön."}, "finish_reason": "stop"}
        ],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 6,
            "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 4, "text_tokens": 9, "image_tokens": 3},
            "completion_tokens_details": {"text_tokens": 6},
        },
    }


def test_thoughts_are_reasoning_and_count_as_completion() -> None:
    completion = decoded("thoughts.json")
    assert plain(completion.choices[0].message) == {
        "role": "assistant",
        "content": "4",
        "reasoning_content": "**Adding**\n\nTwo and two.",
        "extra": {"extra_content": signature("CiQBcsjafE0=")},
    }
    assert completion.usage.completion_tokens == 43
    assert completion.usage.completion_tokens_details.reasoning_tokens == 42
    assert completion.usage.total_tokens == 51


def test_parallel_calls_get_stable_ids_and_keep_the_order_of_their_arguments() -> None:
    choice = decoded("parallel_tools.json").choices[0]
    assert choice.finish_reason == "tool_calls"
    assert [plain(call) for call in choice.message.tool_calls] == [
        {
            "id": "call_pArAlLeL_0",
            "type": "TOOL_CALL_TYPE_FUNCTION",
            "function": {
                "name": "get_weather",
                "arguments": '{"unit":"c","city":"Zürich","days":1,"offset":0.5}',
            },
            "extra": {"extra_content": signature("CvQBAcsigA==")},
        },
        {
            "id": "call_pArAlLeL_1",
            "type": "TOOL_CALL_TYPE_FUNCTION",
            "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
        },
        {
            "id": "call_pArAlLeL_2",
            "type": "TOOL_CALL_TYPE_FUNCTION",
            "function": {"name": "get_time", "arguments": "{}"},
        },
    ]
    assert decoded("parallel_tools.json") == decoded("parallel_tools.json")


def test_images_and_audio() -> None:
    completion = decoded("image.json")
    message = completion.choices[0].message
    assert message.content == "Here it is."
    assert [plain(image) for image in message.images] == [
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="},
            "mime_type": "image/png",
            "extra": {"extra_content": signature("EqcDAQ==")},
        }
    ]
    assert [plain(audio) for audio in message.audios] == [
        {
            "type": "audio_url",
            "audio_url": {"url": "data:audio/L16;codec=pcm;rate=24000;base64,AAAAAA=="},
            "mime_type": "audio/L16;codec=pcm;rate=24000",
            "format": "pcm16",
        }
    ]
    assert json.loads(message.extra["google_parts"])[0]["thought"] is True
    assert plain(completion.usage.completion_tokens_details) == {
        "text_tokens": 4,
        "image_tokens": 1290,
        "audio_tokens": 6,
    }


def test_parts_without_a_place_are_kept() -> None:
    completion = decoded("code.json")
    assert [list(part) for part in json.loads(completion.choices[0].message.extra["google_parts"])] == [
        ["executableCode"],
        ["codeExecutionResult"],
    ]
    assert (completion.usage.prompt_tokens, completion.usage.total_tokens) == (11, 31)


def test_a_filtered_answer_says_why() -> None:
    choice = decoded("safety.json").choices[0]
    assert (choice.finish_reason, choice.message.content) == ("content_filter", "First,")
    assert choice.extra["native_finish_reason"] == '"SAFETY"'
    assert json.loads(choice.extra["safety_ratings"])[0]["probability"] == "HIGH"


def test_a_blocked_prompt_is_an_answer() -> None:
    completion = decoded("blocked_prompt.json")
    assert [plain(choice) for choice in completion.choices] == [
        {
            "message": {"role": "assistant", "content": ""},
            "finish_reason": "content_filter",
            "extra": {
                "native_finish_reason": '"PROHIBITED_CONTENT"',
                "prompt_feedback": '{"blockReason":"PROHIBITED_CONTENT"}',
            },
        }
    ]
    assert completion.usage.prompt_tokens == 9


def test_the_token_limit_is_length_even_without_text() -> None:
    choice = decoded("max_tokens.json").choices[0]
    assert choice.finish_reason == "length"
    assert choice.message.content == ""
    assert choice.message.HasField("content")


def test_candidates_are_choices_with_log_probabilities() -> None:
    heads, tails = decoded("two_candidates.json").choices
    assert plain(heads.logprobs) == {
        "content": [
            {
                "token": "Heads",
                "logprob": -0.25,
                "top_logprobs": [{"token": "Heads", "logprob": -0.25}, {"token": "Tails", "logprob": -1.5}],
            }
        ]
    }
    assert (tails.index, tails.message.tool_calls[0].id, tails.finish_reason) == (1, "call_tWo_1_0", "tool_calls")
    assert json.loads(tails.extra["citation_metadata"])["citations"][0]["uri"] == "https://example.com/coins"


def test_a_reason_of_the_future_passes_through() -> None:
    choice = DIALECT.decode(b'{"candidates":[{"finishReason":"OTHER"}]}').choices[0]
    assert (choice.finish_reason, choice.extra["native_finish_reason"]) == ("other", '"OTHER"')


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FailureKind.MALFORMED),
        (b"<html>", FailureKind.MALFORMED),
        (b"[]", FailureKind.MALFORMED),
        (b"{}", FailureKind.EMPTY),
        (b'{"candidates": [], "usageMetadata": {"promptTokenCount": 3}}', FailureKind.EMPTY),
        (b'{"candidates": [7]}', FailureKind.MALFORMED),
        (b'{"candidates": [{"content": []}]}', FailureKind.MALFORMED),
        (b'{"candidates": [{"content": {"parts": [{"text": 7}]}}]}', FailureKind.MALFORMED),
        (b'{"candidates": [{"content": {"parts": [{"functionCall": {"args": []}}]}}]}', FailureKind.MALFORMED),
        (b'{"candidates": [{"index": -1}]}', FailureKind.MALFORMED),
        (b'{"candidates": [{}], "usageMetadata": {"promptTokenCount": "3"}}', FailureKind.MALFORMED),
        (
            b'{"candidates": [{"logprobsResult": {"chosenCandidates": [{"logProbability": "x"}]}}]}',
            FailureKind.MALFORMED,
        ),
        (b'{"error": {"code": 503, "message": "Busy", "status": "UNAVAILABLE"}}', FailureKind.OVERLOADED),
        (b'[{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}]', FailureKind.RATE_LIMITED),
        (b'{"error": "oops"}', FailureKind.SERVER),
    ],
)
def test_what_only_pretends_to_be_an_answer_fails(body: bytes, kind: FailureKind) -> None:
    with pytest.raises(ProviderFailure) as failure:
        DIALECT.decode(body)
    assert failure.value.kind is kind


def test_a_malformed_call_is_no_clean_end() -> None:
    with pytest.raises(ProviderFailure, match="Malformed function call") as failure:
        decoded("malformed_call.json")
    assert (failure.value.kind, failure.value.code) == (FailureKind.MALFORMED, "MALFORMED_FUNCTION_CALL")


SIZES = pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])


@SIZES
def test_streamed_text(size: int) -> None:
    chunks, finished = streamed("text.sse", size)
    assert finished
    common = {"native_response_id": "sTrEaM", "system_fingerprint": "gemini-2.5-flash"}
    assert [plain(chunk) for chunk in chunks] == [
        {**common, "choices": [{"delta": {"role": "assistant", "content": "Grüezi"}}]},
        {**common, "choices": [{"delta": {"content": " mit\u2028einander 👋"}}]},
        {
            **common,
            "choices": [{"finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": 5,
                "completion_tokens": 6,
                "total_tokens": 11,
                "prompt_tokens_details": {"text_tokens": 5},
            },
        },
    ]


@SIZES
def test_streamed_calls_over_several_events_are_numbered(size: int) -> None:
    chunks, finished = streamed("tools.sse", size)
    assert finished
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].reasoning_content == "**Planning**"
    assert [plain(call) for delta in deltas for call in delta.tool_calls] == [
        {
            "id": "fc_1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"unit":"c","city":"Zürich"}'},
            "extra": {"extra_content": signature("CvQBAcsigA==")},
        },
        {
            "index": 1,
            "id": "call_tOoLs_1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
        },
        {"index": 2, "id": "call_tOoLs_2", "type": "function", "function": {"name": "get_time", "arguments": "{}"}},
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == ["", "", "", "tool_calls"]
    assert dict(deltas[3].extra) == {"extra_content": signature("EqQCaEk=")}
    assert [chunk.HasField("usage") for chunk in chunks] == [False, False, False, True]
    assert chunks[3].usage.completion_tokens == 32


def test_streamed_images_are_numbered_and_late_usage_is_read() -> None:
    chunks, finished = streamed("images.sse")
    assert finished
    images = [image for chunk in chunks for choice in chunk.choices for image in choice.delta.images]
    assert [(image.index, image.image_url.url[-4:]) for image in images] == [(0, "Ggo="), (1, "Gg8=")]
    assert not chunks[-1].choices
    assert chunks[-1].usage.total_tokens == 2591


def test_a_filtered_stream_says_why() -> None:
    chunks, finished = streamed("filtered.sse")
    assert finished
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert dict(chunks[-1].choices[0].extra) == {
        "native_finish_reason": '"PROHIBITED_CONTENT"',
        "finish_message": '"The answer was blocked."',
    }


def test_a_blocked_prompt_ends_a_stream() -> None:
    chunks, finished = streamed("blocked_prompt.sse")
    assert finished
    assert [chunk.choices[0].finish_reason for chunk in chunks] == ["content_filter"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].usage.prompt_tokens == 9


@SIZES
def test_a_cut_stream_is_not_finished(size: int) -> None:
    chunks, finished = streamed("cut.sse", size)
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["Once upon"]
    assert not finished


def test_an_error_in_mid_stream_fails() -> None:
    with pytest.raises(ProviderFailure, match="overloaded") as failure:
        streamed("error.sse")
    assert (failure.value.kind, failure.value.status) == (FailureKind.OVERLOADED, 503)


@pytest.mark.parametrize("data", [b"{oops", b"[]", b'"text"', b'{"candidates": {}}'])
def test_a_malformed_event_fails(data: bytes) -> None:
    with pytest.raises(ProviderFailure) as failure:
        DIALECT.stream_decoder().decode(Event("message", data))
    assert failure.value.kind is FailureKind.MALFORMED


def test_an_event_that_says_nothing_is_ignored() -> None:
    decoder = DIALECT.stream_decoder()
    assert decoder.decode(Event("message", b'{"responseId": "x", "somethingNew": {}}')) == ()
    assert decoder.decode(Event("ping", b"1")) == ()
    assert not decoder.finished


def test_a_repeated_finish_reason_is_given_once_and_several_candidates_all_have_to_end() -> None:
    decoder = DIALECT.stream_decoder()
    first = decoder.decode(
        Event("message", b'{"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1, "content": {}}]}')
    )
    assert [choice.finish_reason for choice in first[0].choices] == ["stop", ""]
    assert not decoder.finished
    second = decoder.decode(
        Event(
            "message",
            b'{"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1, "finishReason": "MAX_TOKENS"}]}',
        )
    )
    assert [choice.finish_reason for choice in second[0].choices] == ["", "length"]
    assert decoder.finished


@pytest.mark.parametrize(
    ("name", "status", "kind", "code", "param", "retry_after"),
    [
        ("invalid_key.json", 400, FailureKind.CREDENTIALS, "API_KEY_INVALID", None, None),
        ("quota.json", 429, FailureKind.RATE_LIMITED, "RESOURCE_EXHAUSTED", None, 17.5),
        ("overloaded.json", 503, FailureKind.OVERLOADED, "UNAVAILABLE", None, None),
        ("context_length.json", 400, FailureKind.CONTEXT_LENGTH, "context_length_exceeded", None, None),
        ("not_found.json", 404, FailureKind.MODEL_NOT_FOUND, "NOT_FOUND", None, None),
        ("location.json", 400, FailureKind.CREDENTIALS, "FAILED_PRECONDITION", None, None),
        ("file.json", 403, FailureKind.REJECTED, "PERMISSION_DENIED", None, None),
        ("penalty.json", 400, FailureKind.UNSUPPORTED_PARAMETER, "INVALID_ARGUMENT", "Penalty", None),
        ("unknown_name.json", 400, FailureKind.UNSUPPORTED_PARAMETER, "INVALID_ARGUMENT", "labels", None),
        (
            "bad_value.json",
            400,
            FailureKind.REJECTED,
            "INVALID_ARGUMENT",
            "generation_config.max_output_tokens",
            None,
        ),
        ("bad_gateway.html", 502, FailureKind.SERVER, None, None, None),
    ],
)
def test_errors(
    name: str, status: int, kind: FailureKind, code: str | None, param: str | None, retry_after: float | None
) -> None:
    failure = DIALECT.decode_error(status, {}, (RECORDINGS / "errors" / name).read_bytes())
    assert (failure.kind, failure.status, failure.code, failure.param, failure.retry_after) == (
        kind,
        status,
        code,
        param,
        retry_after,
    )


@pytest.mark.parametrize(
    ("status", "own_status", "kind"),
    [
        (400, "INVALID_ARGUMENT", FailureKind.REJECTED),
        (401, "UNAUTHENTICATED", FailureKind.CREDENTIALS),
        (403, "PERMISSION_DENIED", FailureKind.CREDENTIALS),
        (499, "CANCELLED", FailureKind.SERVER),
        (500, "INTERNAL", FailureKind.SERVER),
        (504, "DEADLINE_EXCEEDED", FailureKind.SERVER),
        (418, "SOMETHING_NEW", FailureKind.REJECTED),
        (599, "SOMETHING_NEW", FailureKind.SERVER),
        (401, "", FailureKind.CREDENTIALS),
        (404, "", FailureKind.MODEL_NOT_FOUND),
        (408, "", FailureKind.SERVER),
        (413, "", FailureKind.REJECTED),
        (429, "", FailureKind.RATE_LIMITED),
        (503, "", FailureKind.OVERLOADED),
    ],
)
def test_error_statuses(status: int, own_status: str, kind: FailureKind) -> None:
    body = json.dumps({"error": {"code": status, "message": "No.", "status": own_status}}).encode()
    failure = DIALECT.decode_error(status, {"retry-after": "3"}, body)
    assert (failure.kind, failure.message, failure.retry_after) == (kind, "No.", 3.0)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"AIzaSecret"', b"AIzaSecret", b'{"error": "AIzaSecret"}'])
def test_a_body_that_is_no_error_of_google_is_never_quoted(body: bytes) -> None:
    failure = DIALECT.decode_error(502, {}, body)
    assert failure.kind is FailureKind.SERVER
    assert not re.search("AIza", failure.message)


def test_an_unknown_name_in_a_schema_is_the_callers_mistake() -> None:
    message = "Invalid JSON payload received. Unknown name \"const\" at 'tools[0]': Cannot find field."
    body = json.dumps({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}).encode()
    assert DIALECT.decode_error(400, {}, body).kind is FailureKind.REJECTED


def sent_back(message: AssistantMessage) -> Any:
    """The parts that Gemini gets when a client sends a message back as it came, as JSON."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "?"}, %s]}' % encode(message)
    request = decode_request(CreateChatCompletionRequest, body, max_depth=32)
    provider = Provider(dialect="google", base_url="https://gemini.test")
    endpoint = Endpoint(provider="google", model="gemini-3-flash-preview")
    return check_request(DIALECT.encode(request, provider, endpoint, frozenset()).body)["contents"][1]["parts"]


def test_calls_and_signatures_survive_the_way_through_a_client() -> None:
    assert sent_back(decoded("parallel_tools.json").choices[0].message) == [
        {"text": "I will look."},
        {
            "functionCall": {
                "id": "call_pArAlLeL_0",
                "name": "get_weather",
                "args": {"unit": "c", "city": "Zürich", "days": 1, "offset": 0.5},
            },
            "thoughtSignature": "CvQBAcsigA==",
        },
        {"functionCall": {"id": "call_pArAlLeL_1", "name": "get_weather", "args": {"city": "Oslo"}}},
        {"functionCall": {"id": "call_pArAlLeL_2", "name": "get_time", "args": {}}},
    ]
    assert sent_back(decoded("thoughts.json").choices[0].message) == [{"text": "4", "thoughtSignature": "CiQBcsjafE0="}]


def test_streamed_calls_and_signatures_survive_the_way_through_a_client() -> None:
    message = AssistantMessage(role="assistant")
    for delta in (chunk.choices[0].delta for chunk in streamed("tools.sse")[0]):
        message.extra.update(delta.extra)
        for call in delta.tool_calls:
            whole = message.tool_calls.add(id=call.id, type=TOOL_CALL_TYPE_FUNCTION, extra=call.extra)
            whole.function.name, whole.function.arguments = call.function.name, call.function.arguments
    parts = sent_back(message)
    assert [part["functionCall"]["id"] for part in parts] == ["fc_1", "call_tOoLs_1", "call_tOoLs_2"]
    assert [part.get("thoughtSignature") for part in parts] == ["CvQBAcsigA==", None, None]


def test_the_numbers_of_arguments_are_exact() -> None:
    arguments = '{"n":0.12345678901234567891,"m":1e400}'
    call = b'{"functionCall": {"name": "f", "args": %s}}' % arguments.encode()
    completion = DIALECT.decode(b'{"candidates": [{"content": {"parts": [%s]}}]}' % call)
    assert completion.choices[0].message.tool_calls[0].function.arguments == arguments


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("models/gemini-x is not found for API version v1beta.", FailureKind.MODEL_NOT_FOUND),
        ("File files/abc is not there.", FailureKind.NOT_FOUND),
        ("Not Found", FailureKind.MODEL_NOT_FOUND),
    ],
)
def test_a_404_for_what_the_caller_names_is_not_for_the_model(message: str, kind: FailureKind) -> None:
    body = json.dumps({"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}).encode()
    assert DIALECT.decode_error(404, {}, body).kind is kind


@pytest.mark.parametrize("tokens", ["true", "-1", "1.5", "2147483648"])
def test_a_count_that_is_none_is_malformed(tokens: str) -> None:
    data = b'{"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}], "usageMetadata": {%b}}'
    with pytest.raises(ProviderFailure) as failure:
        DIALECT.decode(data % b'"promptTokenCount": %b' % tokens.encode())
    assert failure.value.kind is FailureKind.MALFORMED


def test_a_wait_beyond_reason_is_cut() -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9" * 400 + "s"}
    error = {"code": 429, "message": "No.", "status": "RESOURCE_EXHAUSTED", "details": [retry]}
    assert DIALECT.decode_error(429, {}, json.dumps({"error": error}).encode()).retry_after == 30 * 86400


def test_a_stream_has_ended_when_all_candidates_that_were_asked_for_have() -> None:
    decoder = DIALECT.stream_decoder(2)
    ends = [b'{"candidates": [{"index": %d, "finishReason": "STOP"}]}' % index for index in range(2)]
    decoder.decode(Event("message", ends[0]))
    assert not decoder.finished
    decoder.decode(Event("message", ends[1]))
    assert decoder.finished


@pytest.mark.parametrize("part", [{"functionCall": {"name": "f", "args": {}}}, {"text": "a functionCall"}])
def test_a_log_probability_may_have_an_exponent_beside_a_call(part: dict[str, Any]) -> None:
    """Where a body has a call, its numbers are kept as they are written."""
    chosen = {"chosenCandidates": [{"token": "a", "logProbability": "NUMBER"}]}
    candidate = {"content": {"parts": [part]}, "finishReason": "STOP", "logprobsResult": chosen}
    body = json.dumps({"candidates": [candidate]}).replace('"NUMBER"', "-1.1920929e-06").encode()
    whole = DIALECT.decode(body).choices[0].logprobs
    piece = DIALECT.stream_decoder().decode(Event("message", body))[0].choices[0].logprobs
    assert [logprobs.content[0].logprob for logprobs in (whole, piece)] == [-1.1920929e-06] * 2


def test_an_error_that_is_null_is_none() -> None:
    body = b'{"error": null, "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}'
    (streamed_choice,) = DIALECT.stream_decoder().decode(Event("message", body))[0].choices
    assert (DIALECT.decode(body).choices[0].message.content, streamed_choice.delta.content) == ("Hi", "Hi")
