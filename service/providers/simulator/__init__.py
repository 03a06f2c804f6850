"""The built-in provider: an OpenAI-compatible server without a network and without a model, known to the last byte.

What it says depends on nothing but the request. It never pretends to be a language model.
"""

from __future__ import annotations

import hashlib

import orjson

from service.providers.dialect import UpstreamRequest
from service.providers.openai import OpenAiDialect
from service.providers.simulator.behaviour import Behaviour, read_name
from service.providers.simulator.reply import compose
from service.providers.simulator.schema import MalformedSchema
from service.providers.simulator.wire import Answer, error_script, script
from service.upstream.script import Script

__all__ = ["Behaviour", "SimulatorDialect", "play", "read_name"]


class SimulatorDialect(OpenAiDialect):
    """OpenAI's chat completions. The provider's address is not used."""


def play(request: UpstreamRequest) -> Script:
    """Return the answer to a chat-completion request, as an OpenAI-compatible server would send it.

    The model's name says how it behaves, see `read_name`; an unknown one is answered with 404.
    """
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        return error_script(400, "The body is no JSON object.")
    model = str(body.get("model", ""))
    behaviour = read_name(model)
    if behaviour is None:
        return error_script(404, f"The simulator has no model {model!r}.")
    if behaviour.status is not None:
        text = f"The simulator was told to fail with {behaviour.status}."
        return error_script(behaviour.status, text, behaviour.first_delay)
    try:
        reply = compose(body, behaviour.words)
    except MalformedSchema as error:
        return error_script(400, str(error))
    key = hashlib.blake2s(request.body, digest_size=12).hexdigest()
    return script(Answer(body, key, reply), behaviour)
