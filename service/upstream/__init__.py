"""The only speaker of HTTP outwards: sends a request to a provider, gives back its answer whole or as events."""

from service.upstream.client import Upstream
from service.upstream.response import CallTimeouts, Response
from service.upstream.script import Script, Step
from service.upstream.sse import Event, EventDecoder, EventTooLarge

__all__ = ["CallTimeouts", "Event", "EventDecoder", "EventTooLarge", "Response", "Script", "Step", "Upstream"]
