"""What the Gemini dialect sends: every body is checked against the vendor's published types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway.v1 import chat_request_pb2 as request_pb2
from gateway.v1 import content_pb2, tools_pb2
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.content_pb2 import ChatMessage
from pydantic import SecretStr

from service.config import Endpoint, Provider
from service.providers.dialect import UpstreamRequest
from service.providers.google import GoogleDialect
from tests.fakes.google import check_request

DIALECT = GoogleDialect()
PROVIDER = Provider(
    dialect="google", base_url="https://generativelanguage.googleapis.com", api_key=SecretStr("AIza-test")
)
FLASH = Endpoint(provider="google", model="gemini-2.5-flash")
GEMINI_3 = Endpoint(provider="google", model="gemini-3-flash-preview")


def user(text: str) -> ChatMessage:
    return ChatMessage(role=content_pb2.ROLE_USER, text=text)


def call(call_id: str, name: str, arguments: str, **extra: str) -> content_pb2.ToolCall:
    function = content_pb2.FunctionCall(name=name, arguments=arguments)
    return content_pb2.ToolCall(id=call_id, type=content_pb2.TOOL_CALL_TYPE_FUNCTION, function=function, extra=extra)


def result(call_id: str, text: str) -> ChatMessage:
    return ChatMessage(role=content_pb2.ROLE_TOOL, tool_call_id=call_id, text=text)


def encode(
    request: CreateChatCompletionRequest, endpoint: Endpoint = FLASH, refused: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], UpstreamRequest]:
    request.model = "google/gemini"
    if not request.messages:
        request.messages.append(user("Hi"))
    sent = DIALECT.encode(request, PROVIDER, endpoint, refused)
    return check_request(sent.body), sent


def contents_of(*messages: ChatMessage, endpoint: Endpoint = FLASH) -> Any:
    return encode(CreateChatCompletionRequest(messages=messages), endpoint)[0]["contents"]


def adjusted(sent: UpstreamRequest) -> list[tuple[str, str, str]]:
    return [(item.name, getattr(item, "from"), item.to) for item in sent.adjusted]


@pytest.mark.parametrize(
    ("base_url", "model", "stream", "url"),
    [
        ("https://g.test", "gemini-2.5-flash", False, "https://g.test/v1beta/models/gemini-2.5-flash:generateContent"),
        (
            "https://g.test/v1beta/",
            "gemini-2.5-flash",
            True,
            "https://g.test/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        ),
        ("https://g.test/proxy/v1", "models/gemini", False, "https://g.test/proxy/v1/models/gemini:generateContent"),
        ("https://g.test", "tunedModels/my one", False, "https://g.test/v1beta/tunedModels/my%20one:generateContent"),
        (
            "https://g.test/v1/projects/p/publishers/google/models/{model}",
            "gemini-2.5-pro",
            False,
            "https://g.test/v1/projects/p/publishers/google/models/gemini-2.5-pro:generateContent",
        ),
    ],
)
def test_url(base_url: str, model: str, stream: bool, url: str) -> None:
    provider = Provider(dialect="google", base_url=base_url)
    request = CreateChatCompletionRequest(messages=[user("Hi")], stream=stream)
    assert DIALECT.encode(request, provider, Endpoint(provider="g", model=model), frozenset()).url == url


def test_query_and_headers_come_from_the_configuration() -> None:
    provider = PROVIDER.model_copy(update={"query": {"quotaUser": "a b"}, "headers": {"X-Team": "blue"}})
    sent = DIALECT.encode(CreateChatCompletionRequest(messages=[user("Hi")], stream=True), provider, FLASH, frozenset())
    assert sent.url.endswith(":streamGenerateContent?quotaUser=a+b&alt=sse")
    assert sent.headers == {"content-type": "application/json", "x-goog-api-key": "AIza-test", "x-team": "blue"}


@pytest.mark.parametrize(
    ("header", "value"), [("authorization", "Bearer AIza-test"), ("X-Proxy-Key", "AIza-test"), (None, "AIza-test")]
)
def test_key_header(header: str | None, value: str) -> None:
    provider = PROVIDER.model_copy(update={"api_key_header": header})
    sent = DIALECT.encode(CreateChatCompletionRequest(messages=[user("Hi")]), provider, FLASH, frozenset())
    assert sent.headers[(header or "x-goog-api-key").lower()] == value


def test_leading_system_messages_become_the_system_instruction_and_roles_alternate() -> None:
    body, _ = encode(
        CreateChatCompletionRequest(
            messages=[
                ChatMessage(role=content_pb2.ROLE_SYSTEM, text="Be brief."),
                ChatMessage(role=content_pb2.ROLE_DEVELOPER, text="Be kind."),
                user("One"),
                user("Two"),
                ChatMessage(role=content_pb2.ROLE_ASSISTANT, text="Three"),
                ChatMessage(role=content_pb2.ROLE_ASSISTANT, text=""),
                ChatMessage(role=content_pb2.ROLE_SYSTEM, text="Now be grave."),
                user("Four"),
            ]
        )
    )
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "One"}, {"text": "Two"}]},
            {"role": "model", "parts": [{"text": "Three"}]},
            {"role": "user", "parts": [{"text": "Now be grave."}, {"text": "Four"}]},
        ],
    }


def test_a_lone_system_message_is_what_is_answered() -> None:
    body, _ = encode(CreateChatCompletionRequest(messages=[ChatMessage(role=content_pb2.ROLE_SYSTEM, text="Go.")]))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Go."}]}]}


def test_an_empty_conversation_is_still_one() -> None:
    assert contents_of(user("")) == [{"role": "user", "parts": [{"text": " "}]}]


def _part(**part: Any) -> ChatMessage:
    parts = content_pb2.ContentParts(parts=[content_pb2.ContentPart(**part)])
    return ChatMessage(role=content_pb2.ROLE_USER, parts=parts)


def _image(url: str) -> ChatMessage:
    return _part(image=content_pb2.ImagePart(image_url=content_pb2.ImageUrl(url=url)))


def _audio(form: content_pb2.AudioFormat.ValueType, data: str = "AAAA") -> ChatMessage:
    return _part(audio=content_pb2.AudioPart(input_audio=content_pb2.InputAudio(data=data, format=form)))


def _file(**file: Any) -> ChatMessage:
    return _part(file=content_pb2.FilePart(file=content_pb2.InputFile(**file)))


FILES = "https://generativelanguage.googleapis.com/v1beta/files"


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (_image("data:image/png;base64,iVBORw=="), {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}),
        (
            _image("https://x.test/a.WEBP?w=1#top"),
            {"fileData": {"fileUri": "https://x.test/a.WEBP?w=1#top", "mimeType": "image/webp"}},
        ),
        (_image("https://x.test/a"), {"fileData": {"fileUri": "https://x.test/a", "mimeType": "image/jpeg"}}),
        (_image("gs://b/a.png"), {"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}}),
        (
            _part(video=content_pb2.VideoPart(url="https://www.youtube.com/watch?v=9hE5-98ZeCg")),
            {"fileData": {"fileUri": "https://www.youtube.com/watch?v=9hE5-98ZeCg"}},
        ),
        (
            _part(video=content_pb2.VideoPart(video_url=content_pb2.VideoUrl(url="https://x.test/a.mov"))),
            {"fileData": {"fileUri": "https://x.test/a.mov", "mimeType": "video/mov"}},
        ),
        (
            _part(video=content_pb2.VideoPart(url="data:video/mp4;base64,AAAA")),
            {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}},
        ),
        (_audio(content_pb2.AUDIO_FORMAT_MP3), {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}}),
        (_audio(content_pb2.AUDIO_FORMAT_PCM16), {"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}}),
        (
            _audio(content_pb2.AUDIO_FORMAT_WAV, "data:audio/L16;rate=16000;base64,AAAA"),
            {"inlineData": {"mimeType": "audio/L16;rate=16000", "data": "AAAA"}},
        ),
        (
            _file(filename="a.pdf", file_data="data:application/pdf;base64,JVBERg=="),
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERg=="}},
        ),
        (_file(filename="a.csv", file_data="YSxi"), {"inlineData": {"mimeType": "text/csv", "data": "YSxi"}}),
        (
            _file(file_data="data:text/plain;charset=utf-8,gr%C3%BCezi"),
            {"inlineData": {"mimeType": "text/plain", "data": "Z3LDvGV6aQ=="}},
        ),
        (
            _file(file_data="https://x.test/b.pdf"),
            {"fileData": {"fileUri": "https://x.test/b.pdf", "mimeType": "application/pdf"}},
        ),
        (_file(file_id="files/abc"), {"fileData": {"fileUri": f"{FILES}/abc"}}),
        (
            _file(file_id=f"{FILES}/abc", filename="a.md"),
            {"fileData": {"fileUri": f"{FILES}/abc", "mimeType": "text/markdown"}},
        ),
    ],
)
def test_media_is_inline_or_by_reference(message: ChatMessage, part: dict[str, Any]) -> None:
    assert contents_of(message) == [{"role": "user", "parts": [part]}]


def test_tool_turns_keep_ids_names_arguments_and_signatures() -> None:
    arguments = '{"unit": "c", "city": "Zürich", "big": 12345678901234567890123}'
    extra = '{"google":{"thought_signature":"CvQBAcsigA=="}}'
    messages = [
        user("Weather?"),
        ChatMessage(
            role=content_pb2.ROLE_ASSISTANT,
            null_content=0,  # type: ignore[arg-type]  # the stubs want the enum, protobuf takes its number
            tool_calls=[call("a", "get_weather", arguments, extra_content=extra), call("b", "get_time", "")],
        ),
        result("a", '{"z": 1, "a": [2.50]}'),
        result("b", "half past ten"),
        user("And tomorrow?"),
    ]
    body, sent = encode(CreateChatCompletionRequest(messages=messages), GEMINI_3)
    assert body["contents"][1] == {
        "role": "model",
        "parts": [
            {
                "functionCall": {
                    "id": "a",
                    "name": "get_weather",
                    "args": {"unit": "c", "city": "Zürich", "big": 12345678901234567890123},
                },
                "thoughtSignature": "CvQBAcsigA==",
            },
            {"functionCall": {"id": "b", "name": "get_time", "args": {}}},
        ],
    }
    assert body["contents"][2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "a", "name": "get_weather", "response": {"z": 1, "a": [2.5]}}},
            {"functionResponse": {"id": "b", "name": "get_time", "response": {"result": "half past ten"}}},
            {"text": "And tomorrow?"},
        ],
    }
    assert arguments.encode() in sent.body
    assert b'{"z": 1, "a": [2.50]}' in sent.body


@pytest.mark.parametrize("arguments", ["[1]", "not json", "{oops", '"text"'])
def test_arguments_that_are_no_object_are_put_into_one(arguments: str) -> None:
    message = ChatMessage(role=content_pb2.ROLE_ASSISTANT, tool_calls=[call("a", "f", arguments)])
    assert contents_of(message)[0]["parts"] == [
        {"functionCall": {"id": "a", "name": "f", "args": {"arguments": arguments}}}
    ]


def test_calls_of_another_model_are_marked_unsigned_for_gemini_3_only() -> None:
    messages = [user("?"), ChatMessage(role=content_pb2.ROLE_ASSISTANT, tool_calls=[call("a", "f", "{}")])]
    messages += [result("a", "1")]
    assert contents_of(*messages, endpoint=GEMINI_3)[1]["parts"] == [
        {
            "functionCall": {"id": "a", "name": "f", "args": {}},
            "thoughtSignature": "skip_thought_signature_validator",
        }
    ]
    assert "thoughtSignature" not in contents_of(*messages)[1]["parts"][0]


@pytest.mark.parametrize("extra", ["no json", "[]", '{"google":[]}', '{"google":{"thought_signature":5}}'])
def test_a_garbled_signature_is_none(extra: str) -> None:
    message = ChatMessage(role=content_pb2.ROLE_ASSISTANT, text="Hi", extra={"extra_content": extra})
    assert contents_of(message) == [{"role": "model", "parts": [{"text": "Hi"}]}]


def test_the_signature_of_a_text_goes_back_on_it() -> None:
    extra = {"extra_content": '{"google": {"thought_signature": "EqQCaEk="}}'}
    message = ChatMessage(role=content_pb2.ROLE_ASSISTANT, text="Hi", extra=extra)
    assert contents_of(message) == [{"role": "model", "parts": [{"text": "Hi", "thoughtSignature": "EqQCaEk="}]}]


def test_made_images_go_back_signed() -> None:
    image = content_pb2.ImageOutput(
        image_url=content_pb2.ImageUrl(url="data:image/png;base64,iVBORw=="),
        extra={"extra_content": '{"google": {"thought_signature": "EqcDAQ=="}}'},
    )
    assert contents_of(ChatMessage(role=content_pb2.ROLE_ASSISTANT, images=[image]))[0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}, "thoughtSignature": "EqcDAQ=="}
    ]


def test_a_tool_result_may_hold_media() -> None:
    message = _image("data:image/png;base64,iVBORw==")
    message.role = content_pb2.ROLE_TOOL
    message.tool_call_id = "a"
    message.parts.parts.add().text.text = "a chart"
    said = ChatMessage(role=content_pb2.ROLE_ASSISTANT, tool_calls=[call("a", "draw", "{}")])
    assert contents_of(said, message)[1]["parts"] == [
        {
            "functionResponse": {
                "id": "a",
                "name": "draw",
                "response": {"result": "a chart"},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}],
            }
        }
    ]


def test_legacy_function_messages_and_call_parts_and_refusals() -> None:
    parts = content_pb2.ContentParts()
    parts.parts.add().refusal.refusal = "I would rather not."
    part = parts.parts.add().tool_call
    part.id, part.function.name, part.function.arguments = "p", "g", '{"x":1}'
    messages = [
        ChatMessage(
            role=content_pb2.ROLE_ASSISTANT, function_call=content_pb2.FunctionCall(name="f", arguments='{"a":1}')
        ),
        ChatMessage(role=content_pb2.ROLE_FUNCTION, name="f", text="2"),
        ChatMessage(role=content_pb2.ROLE_ASSISTANT, parts=parts),
    ]
    assert contents_of(*messages) == [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "2"}}}]},
        {
            "role": "model",
            "parts": [
                {"text": "I would rather not."},
                {"functionCall": {"id": "p", "name": "g", "args": {"x": 1}}},
            ],
        },
    ]


SCHEMA = '{"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "number"}}, "required": ["z", "a"]}'


def _tool(name: str, **function: Any) -> tools_pb2.Tool:
    return tools_pb2.Tool(function=tools_pb2.FunctionTool(function=tools_pb2.FunctionDefinition(name=name, **function)))


def test_tools_are_sent_with_their_schema_verbatim() -> None:
    tools = [_tool("f", description="Does f.", parameters=SCHEMA, strict=True), _tool("g")]
    body, sent = encode(CreateChatCompletionRequest(tools=tools, parallel_tool_calls=False))
    assert [list(declaration) for declaration in body["tools"][0]["functionDeclarations"]] == [
        ["name", "description", "parametersJsonSchema"],
        ["name"],
    ]
    assert SCHEMA.encode() in sent.body
    assert list(sent.dropped) == ["parallel_tool_calls", "tools[].function.strict"]


def _allowed(mode: str) -> tools_pb2.ToolChoice:
    tools = ['{"type":"function","function":{"name":"f"}}']
    allowed = tools_pb2.AllowedToolsChoice(allowed_tools=tools_pb2.AllowedTools(mode=mode, tools=tools))
    return tools_pb2.ToolChoice(allowed_tools=allowed)


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ({"tool_choice_mode": tools_pb2.TOOL_CHOICE_MODE_AUTO}, {"mode": "AUTO"}),
        ({"tool_choice_mode": tools_pb2.TOOL_CHOICE_MODE_NONE}, {"mode": "NONE"}),
        ({"tool_choice_mode": tools_pb2.TOOL_CHOICE_MODE_REQUIRED}, {"mode": "ANY"}),
        (
            {
                "tool_choice_object": tools_pb2.ToolChoice(
                    function=tools_pb2.FunctionChoice(function=tools_pb2.NamedFunction(name="f"))
                )
            },
            {"mode": "ANY", "allowedFunctionNames": ["f"]},
        ),
        ({"tool_choice_object": _allowed("required")}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        ({"tool_choice_object": _allowed("auto")}, {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: dict[str, Any], config: dict[str, Any]) -> None:
    body, _ = encode(CreateChatCompletionRequest(tools=[_tool("f")], **choice))
    assert body["toolConfig"] == {"functionCallingConfig": config}


def test_sampling_fields() -> None:
    body, sent = encode(
        CreateChatCompletionRequest(
            max_completion_tokens=100,
            temperature=0.0,
            top_p=0.9,
            top_k=5,
            presence_penalty=-1,
            frequency_penalty=2,
            seed=2**31 + 7,
            stop_sequences=request_pb2.StopSequences(sequences=list("abcdef")),
            logprobs=True,
            top_logprobs=3,
            n=2,
            logit_bias={"1": 2},
            user_id="u",
            safety_identifier="s",
            prompt_cache_key="k",
            verbosity=request_pb2.VERBOSITY_LOW,
            extra={"min_p": "0.1"},
        )
    )
    assert body["generationConfig"] == {
        "maxOutputTokens": 100,
        "temperature": 0,
        "topP": 0.9,
        "topK": 5,
        "presencePenalty": -1,
        "frequencyPenalty": 1.99,
        "seed": 7,
        "stopSequences": list("abcde"),
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 3,
    }
    assert adjusted(sent) == [
        ("frequency_penalty", "2.0", "1.99"),
        ("seed", "2147483655", "7"),
        ("stop", '["a","b","c","d","e","f"]', '["a","b","c","d","e"]'),
    ]
    expected = {"logit_bias", "user_id", "safety_identifier", "prompt_cache_key", "verbosity", "min_p"}
    assert set(sent.dropped) == expected


def test_response_format_keeps_the_order_of_keys() -> None:
    form = request_pb2.ResponseFormat(
        type=request_pb2.RESPONSE_FORMAT_TYPE_JSON_SCHEMA,
        json_schema=request_pb2.JsonSchemaFormat(name="answer", schema=SCHEMA, strict=True),
    )
    body, sent = encode(CreateChatCompletionRequest(response_format_object=form))
    assert body["generationConfig"]["responseMimeType"] == "application/json"
    assert f'"responseJsonSchema":{SCHEMA}'.encode() in sent.body
    assert not sent.dropped


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (request_pb2.RESPONSE_FORMAT_TYPE_TEXT, None),
        (request_pb2.RESPONSE_FORMAT_TYPE_JSON_OBJECT, {"responseMimeType": "application/json"}),
    ],
)
def test_plain_response_formats(kind: request_pb2.ResponseFormatType.ValueType, config: dict[str, Any] | None) -> None:
    form = request_pb2.ResponseFormat(type=kind)
    assert encode(CreateChatCompletionRequest(response_format_object=form))[0].get("generationConfig") == config


EFFORT = request_pb2.ReasoningEffort


@pytest.mark.parametrize(
    ("model", "style", "reasoning", "config", "dropped", "adjustments"),
    [
        ("gemini-2.5-flash", None, {"effort": EFFORT.REASONING_EFFORT_LOW}, (1024, None, True), [], []),
        ("gemini-2.5-flash", None, {"effort": EFFORT.REASONING_EFFORT_MEDIUM}, (8192, None, True), [], []),
        ("gemini-2.5-flash", None, {"effort": EFFORT.REASONING_EFFORT_HIGH}, (24576, None, True), [], []),
        ("gemini-2.5-flash", None, {"effort": EFFORT.REASONING_EFFORT_MAX}, (24576, None, True), [], []),
        ("gemini-2.5-pro", None, {"effort": EFFORT.REASONING_EFFORT_MAX}, (32768, None, True), [], []),
        ("gemini-2.5-flash", None, {"enabled": True}, (-1, None, True), [], []),
        ("gemini-2.5-flash", None, {"enabled": True, "include_thoughts": False}, (-1, None, False), [], []),
        ("gemini-2.5-flash", None, {"include_thoughts": True}, (None, None, True), [], []),
        ("gemini-2.5-flash", None, {"enabled": False}, (0, None, None), [], []),
        ("gemini-2.5-flash", None, {"effort": EFFORT.REASONING_EFFORT_NONE}, (0, None, None), [], []),
        (
            "gemini-2.5-pro",
            None,
            {"enabled": False},
            (128, None, None),
            [],
            [("reasoning.enabled", "false", "true")],
        ),
        (
            "gemini-2.5-flash-lite",
            None,
            {"max_tokens": 100},
            (512, None, True),
            [],
            [("reasoning.max_tokens", "100", "512")],
        ),
        (
            "gemini-2.5-flash",
            None,
            {"max_tokens": 2000, "effort": EFFORT.REASONING_EFFORT_HIGH, "extra": {"x": "1"}},
            (2000, None, True),
            ["reasoning.x", "reasoning.effort"],
            [],
        ),
        ("gemini-3-pro-preview", None, {"effort": EFFORT.REASONING_EFFORT_MINIMAL}, (None, "LOW", True), [], []),
        ("gemini-3-flash-preview", None, {"effort": EFFORT.REASONING_EFFORT_MINIMAL}, (None, "MINIMAL", True), [], []),
        ("gemini-3-flash-preview", None, {"effort": EFFORT.REASONING_EFFORT_XHIGH}, (None, "HIGH", True), [], []),
        ("gemini-3-flash-preview", None, {"max_tokens": 512}, (512, None, True), [], []),
        (
            "gemini-3-flash-preview",
            None,
            {"effort": EFFORT.REASONING_EFFORT_NONE},
            (None, "MINIMAL", None),
            [],
            [("reasoning.effort", '"none"', '"minimal"')],
        ),
        ("my-tuned", "budget", {"effort": EFFORT.REASONING_EFFORT_LOW}, (1024, None, True), [], []),
        ("gemini-2.5-flash", "level", {"effort": EFFORT.REASONING_EFFORT_LOW}, (None, "LOW", True), [], []),
        (
            "gemini-2.5-flash",
            "adaptive",
            {"effort": EFFORT.REASONING_EFFORT_LOW},
            (-1, None, True),
            ["reasoning.effort"],
            [],
        ),
        ("gemini-2.0-flash", "none", {"enabled": True}, None, ["reasoning"], []),
        ("gemini-2.0-flash", "none", {"enabled": False}, None, [], []),
    ],
)
def test_reasoning(
    model: str,
    style: Any,
    reasoning: dict[str, Any],
    config: tuple[int | None, str | None, bool | None] | None,
    dropped: list[str],
    adjustments: list[tuple[str, str, str]],
) -> None:
    endpoint = Endpoint(provider="google", model=model, reasoning=style)
    body, sent = encode(CreateChatCompletionRequest(reasoning=request_pb2.Reasoning(**reasoning)), endpoint)
    thinking = body.get("generationConfig", {}).get("thinkingConfig")
    names = ("thinkingBudget", "thinkingLevel", "includeThoughts")
    assert (thinking and tuple(thinking.get(name) for name in names)) == config
    assert list(sent.dropped) == dropped
    assert adjusted(sent) == adjustments


def test_image_and_audio_output() -> None:
    body, sent = encode(
        CreateChatCompletionRequest(
            modalities=[request_pb2.MODALITY_TEXT, request_pb2.MODALITY_IMAGE, request_pb2.MODALITY_AUDIO],
            image_config=request_pb2.ImageConfig(
                aspect_ratio="16:9",
                image_size=request_pb2.IMAGE_SIZE_HALF_K,
                include_rai_reason=True,
                reference_images=['{"referenceId":1}'],
                extra={"style": '"oil"'},
            ),
            audio=request_pb2.AudioConfig(voice_name="Kore", format="wav"),
        )
    )
    assert body["generationConfig"] == {
        "responseModalities": ["TEXT", "IMAGE", "AUDIO"],
        "imageConfig": {"aspectRatio": "16:9", "imageSize": "512"},
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }
    assert list(sent.dropped) == [
        "image_config.include_rai_reason",
        "image_config.reference_images",
        "image_config.style",
        "audio.format",
    ]


SAFETY = '[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"BLOCK_NONE"}]'


def test_provider_options_tier_labels_and_store() -> None:
    google = request_pb2.GoogleOptions(
        cached_content="abc",
        cache_ttl="300s",
        cache_control=content_pb2.CacheControl(type="ephemeral"),
        extra={"safetySettings": SAFETY, "contents": "[]"},
    )
    body, sent = encode(
        CreateChatCompletionRequest(
            provider_options=request_pb2.ProviderOptions(
                google=google, openai=request_pb2.OpenAiOptions(prompt_cache_retention="24h")
            ),
            service_tier=request_pb2.SERVICE_TIER_PRIORITY,
            metadata={"team": "blue"},
            store=False,
        )
    )
    del body["contents"]
    assert body == {
        "cachedContent": "cachedContents/abc",
        "serviceTier": "priority",
        "labels": {"team": "blue"},
        "store": False,
        "safetySettings": json.loads(SAFETY),
    }
    assert list(sent.dropped) == [
        "provider_options.openai.prompt_cache_retention",
        "provider_options.google.cache_control",
        "provider_options.google.cache_ttl",
        "provider_options.google.contents",
    ]


def test_what_has_no_form_is_reported() -> None:
    message = user("Hi")
    message.name = "ann"
    parts = content_pb2.ContentParts()
    parts.parts.add().text.text = "Look"
    parts.parts[0].text.cache_control.type = "ephemeral"
    parts.parts.add().image.image_url.url = "data:image/png;base64,iVBORw=="
    parts.parts[1].image.image_url.detail = "high"
    _, sent = encode(
        CreateChatCompletionRequest(
            messages=[message, ChatMessage(role=content_pb2.ROLE_USER, parts=parts)],
            metadata={"Request ID": "Ünïque"},
            service_tier=request_pb2.SERVICE_TIER_SCALE,
        )
    )
    assert list(sent.dropped) == [
        "messages[].name",
        "cache_control",
        "image_url.detail",
        "service_tier",
        "metadata",
    ]


def test_supported_parameters_of_the_endpoint_are_honoured_but_the_token_limit_stays() -> None:
    endpoint = Endpoint(provider="google", model="gemini-2.5-flash", supported_parameters=frozenset({"temperature"}))
    request = CreateChatCompletionRequest(temperature=1, top_k=2, seed=3, max_completion_tokens=4)
    body, sent = encode(request, endpoint)
    assert body["generationConfig"] == {"maxOutputTokens": 4, "temperature": 1}
    assert set(sent.dropped) == {"top_k", "seed"}


@pytest.mark.parametrize(
    ("refused", "dropped"),
    [
        ("Penalty", ["presence_penalty", "frequency_penalty"]),
        ("Logprobs", ["logprobs", "top_logprobs"]),
        ("thinking_level", ["reasoning"]),
        ("topK", ["top_k"]),
        ("labels", ["metadata"]),
        ("contents", []),
    ],
)
def test_refused_parameters_are_left_out(refused: str, dropped: list[str]) -> None:
    request = CreateChatCompletionRequest(
        presence_penalty=1,
        frequency_penalty=1,
        logprobs=True,
        top_logprobs=2,
        top_k=3,
        metadata={"a": "b"},
        reasoning=request_pb2.Reasoning(enabled=True),
    )
    _, sent = encode(request, refused=frozenset({refused}))
    assert list(sent.dropped) == dropped


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (CreateChatCompletionRequest(messages=[user("Hi")], n=8, tools=[_tool("f")]), None),
        (CreateChatCompletionRequest(n=9), "n"),
        (
            CreateChatCompletionRequest(
                tools=[tools_pb2.Tool(custom=tools_pb2.CustomTool(custom=tools_pb2.CustomDefinition(name="c")))]
            ),
            "custom tools",
        ),
        (CreateChatCompletionRequest(functions=[tools_pb2.FunctionDefinition(name="f")]), "functions"),
        (CreateChatCompletionRequest(messages=[_audio(content_pb2.AUDIO_FORMAT_PCM24)]), "input_audio.format"),
        (CreateChatCompletionRequest(messages=[_audio(content_pb2.AUDIO_FORMAT_WAV)]), None),
        (
            CreateChatCompletionRequest(
                messages=[ChatMessage(role=content_pb2.ROLE_ASSISTANT, audio=content_pb2.AudioReference(id="a"))]
            ),
            "messages[].audio",
        ),
    ],
)
def test_unsupported(request_: CreateChatCompletionRequest, what: str | None) -> None:
    assert DIALECT.unsupported(request_, FLASH) == what


def test_top_logprobs_alone_are_not_taken() -> None:
    body, sent = encode(CreateChatCompletionRequest(top_logprobs=2))
    assert "generationConfig" not in body
    assert list(sent.dropped) == ["top_logprobs"]


def test_to_call_nothing_is_to_have_no_tools_where_the_choice_is_not_taken() -> None:
    function = tools_pb2.FunctionDefinition(name="f")
    tools = [tools_pb2.Tool(function=tools_pb2.FunctionTool(function=function))]
    endpoint = Endpoint(provider="google", model="gemini-2.5-flash", supported_parameters=frozenset({"tools"}))
    request = CreateChatCompletionRequest(tools=tools, tool_choice_mode=tools_pb2.TOOL_CHOICE_MODE_NONE)
    body, sent = encode(request, endpoint)
    assert ("tools" in body, sent.dropped) == (False, ())
    body, sent = encode(CreateChatCompletionRequest(tools=tools, tool_choice_mode=request.tool_choice_mode))
    assert body["toolConfig"]["functionCallingConfig"]["mode"] == "NONE"


def test_all_that_is_for_others_is_reported() -> None:
    request = CreateChatCompletionRequest()
    request.stream_options.include_usage = True
    request.stream_options.include_obfuscation = True
    request.stream_options.extra["padding"] = "1"
    request.provider_options.openai.extra["foo"] = "1"
    request.provider_options.anthropic.extra["bar"] = "2"
    request.messages.add(role=content_pb2.ROLE_ASSISTANT, text="Hi", extra={"thinking_blocks": "[]"})
    request.messages.add(role=content_pb2.ROLE_USER).parts.parts.add().text.text = "Hi"
    request.messages[-1].parts.parts[0].text.extra["color"] = "1"
    tool = request.tools.add().function
    tool.function.name = "f"
    tool.function.extra["examples"] = "[]"
    tool.extra["group"] = "1"
    assert set(encode(request)[1].dropped) == {
        "stream_options.include_obfuscation",
        "stream_options.padding",
        "provider_options.openai.foo",
        "provider_options.anthropic.bar",
        "messages[].thinking_blocks",
        "messages[].content[].color",
        "tools[].function.examples",
        "tools[].group",
    }
