"""An answer as the bytes that an OpenAI-compatible server sends, and when: whole, or a stream word by word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from service.providers.simulator.behaviour import Behaviour
from service.providers.simulator.calls import Call
from service.providers.simulator.conversation import count_words
from service.providers.simulator.reply import Reply, split
from service.upstream.script import Script, Step

_JSON: Mapping[str, str] = MappingProxyType({"content-type": "application/json"})
_EVENTS: Mapping[str, str] = MappingProxyType({"content-type": "text/event-stream"})
_FOREVER = 7 * 24 * 3600.0
_UNLIKELY = -9999.0
_LOGPROBS_CHARACTERS = 100_000
"""Log probabilities repeat the text for each alternative and choice, with some 20 bytes a character."""

_ERRORS: Mapping[int, tuple[str, str | None]] = MappingProxyType(
    {
        401: ("authentication_error", "invalid_api_key"),
        403: ("permission_error", None),
        404: ("invalid_request_error", "model_not_found"),
        429: ("rate_limit_error", "rate_limit_exceeded"),
    }
)
"""OpenAI's type and code of an error status, where they are not those of all 4xx or 5xx."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a request, what ids are made of, and the reply."""

    body: Mapping[str, Any]
    key: str
    reply: Reply

    @property
    def choices(self) -> int:
        """How many choices are wanted."""
        return self.body.get("n") or 1


def error_script(status: int, message: str, delay: float = 0.0) -> Script:
    """Return an error answer. A 429 says to wait a second."""
    headers = {**_JSON, "retry-after": "1"} if status == 429 else _JSON
    return Script(status, headers, (Step(delay, orjson.dumps(_error(status, message))),))


def script(answer: Answer, behaviour: Behaviour) -> Script:
    """Return the answer to a request, with the delays and the fault that are asked for."""
    streamed = answer.body.get("stream") is True
    headers = _EVENTS if streamed else _JSON
    match behaviour.fault:
        case "stall":
            return Script(200, headers, (Step(_FOREVER, b""),))
        case "empty":
            return Script(200, headers, (Step(behaviour.first_delay, b""),))
        case "error-event" if not streamed:
            return Script(200, headers, (Step(behaviour.first_delay, orjson.dumps(_broken())),))
    steps = _stream(answer, behaviour) if streamed else _whole(answer, behaviour)
    return Script(200, headers, steps, cut=behaviour.fault in ("cut", "cut-early"))


def _error(status: int, message: str) -> dict[str, Any]:
    kind, code = _ERRORS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _broken() -> dict[str, Any]:
    return _error(500, "The simulator was told to break off.")


def _whole(answer: Answer, behaviour: Behaviour) -> Iterator[Step]:
    reply = answer.reply
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.tokens), "refusal": None}
    if reply.reasoning:
        message["reasoning_content"] = "".join(reply.reasoning)
    if reply.calls:
        message["content"] = None
        message |= _called(reply, [_call(call, answer.key, place) for place, call in enumerate(reply.calls)])
    logprobs = _logprobs(answer, _alternatives(answer), 0, len(reply.tokens))
    choices = [
        {"index": n, "message": message, "logprobs": logprobs, "finish_reason": reply.finish}
        for n in range(answer.choices)
    ]
    data = orjson.dumps({**_head(answer, "chat.completion"), "choices": choices, "usage": _usage(answer)})
    match behaviour.fault:
        case "cut":
            data = data[: len(data) // 2]
        case "cut-early":
            data = b""
    yield Step(behaviour.first_delay, data)


def _called(reply: Reply, calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"function_call": calls[0]["function"]} if reply.finish == "function_call" else {"tool_calls": calls}


def _call(call: Call, key: str, place: int) -> dict[str, Any]:
    held = {"name": call.name, "input" if call.kind == "custom" else "arguments": call.text}
    return {"id": f"call_{key}{place}", "type": call.kind, call.kind: held}


def _stream(answer: Answer, behaviour: Behaviour) -> Iterator[Step]:
    """Yield the events. What breaks off does so before the content, or in the middle of it."""
    include_usage = (answer.body.get("stream_options") or {}).get("include_usage") is True
    head = orjson.dumps(_head(answer, "chat.completion.chunk") | ({"usage": None} if include_usage else {}))[:-1]

    def chunk(index: int, delta: Mapping[str, Any], finish: str | None = None, logprobs: Any = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return b'data: %b,"choices":[%b]}\n\n' % (head, orjson.dumps(choice))

    delay = behaviour.first_delay
    for index in range(answer.choices):
        yield Step(delay, chunk(index, {"role": "assistant", "content": None if answer.reply.calls else ""}))
        delay = behaviour.word_delay
        if behaviour.fault == "cut-early":
            return
        for place, (delta, logprobs) in enumerate(_deltas(answer)):
            if behaviour.fault and place > (len(answer.reply.reasoning) + len(answer.reply.tokens)) // 2:
                break
            yield Step(delay, chunk(index, delta, None, logprobs))
        if behaviour.fault == "error-event":
            yield Step(delay, b"data: %b\n\n" % orjson.dumps(_broken()))
        if behaviour.fault:
            return
        yield Step(0.0, chunk(index, {}, answer.reply.finish))
    if include_usage:
        last = {**_head(answer, "chat.completion.chunk"), "choices": [], "usage": _usage(answer)}
        yield Step(0.0, b"data: %b\n\n" % orjson.dumps(last))
    yield Step(0.0, b"data: [DONE]\n\n")


def _deltas(answer: Answer) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield what is new in each chunk of a choice, with its log probabilities."""
    reply, alternatives = answer.reply, _alternatives(answer)
    for token in reply.reasoning:
        yield {"reasoning_content": token}, None
    for place, token in enumerate(reply.tokens):
        yield {"content": token}, _logprobs(answer, alternatives, place, place + 1)
    for place, call in enumerate(reply.calls):
        whole = _call(call, answer.key, place)
        field = "input" if call.kind == "custom" else "arguments"
        begun = {"index": place, **whole, call.kind: {"name": call.name, field: ""}}
        yield _called(reply, [begun]), None
        for token in split(call.text):
            yield _called(reply, [{"index": place, call.kind: {field: token}}]), None


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    head = {
        "id": f"chatcmpl-{answer.key}",
        "object": kind,
        # it has no clock
        "created": 0,
        "model": answer.body["model"],
        "system_fingerprint": "fp_simulator",
    }
    tier = answer.body.get("service_tier")
    return head if tier is None else {**head, "service_tier": "default" if tier == "auto" else tier}


def _usage(answer: Answer) -> dict[str, Any]:
    reply = answer.reply
    prompt = count_words(answer.body.get("messages") or ())
    called = sum(1 + len(split(call.text)) for call in reply.calls)
    completion = answer.choices * (len(reply.reasoning) + len(reply.tokens) + called)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.choices * len(reply.reasoning),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _alternatives(answer: Answer) -> int | None:
    """Return how many tokens each log probability is given with; None if there are none, or would be too many."""
    if not answer.body.get("logprobs"):
        return None
    most: int = answer.body.get("top_logprobs") or 0
    repeated = answer.choices * (1 + most) * sum(map(len, answer.reply.tokens))
    return most if repeated <= _LOGPROBS_CHARACTERS else None


def _logprobs(answer: Answer, alternatives: int | None, begin: int, end: int) -> dict[str, Any] | None:
    """Return the log probabilities of tokens: each is certain, and other words of the answer are the unlikely ones."""
    if alternatives is None:
        return None
    tokens = answer.reply.tokens
    return {
        "content": [
            {
                **_logprob(tokens[place], 0.0),
                "top_logprobs": [
                    _logprob(tokens[(place + other) % len(tokens)], _UNLIKELY if other else 0.0)
                    for other in range(alternatives)
                ],
            }
            for place in range(begin, end)
        ],
        "refusal": None,
    }


def _logprob(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
