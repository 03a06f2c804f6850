"""The use case of the gateway. Knows no JSON, no HTTP and no provider."""

from service.chat.call import Call
from service.chat.completions import ChatCompletions, ChatStream
from service.chat.deps import Deps
from service.chat.models import model_not_found
from service.chat.turn_stream import Runs

__all__ = ["Call", "ChatCompletions", "ChatStream", "Deps", "Runs", "model_not_found"]
