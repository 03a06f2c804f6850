"""Decides, and does nothing else: who serves a request, what follows a failure, how each endpoint is doing."""

from service.routing.candidates import Left, Plan, Surroundings, larger_context, plan
from service.routing.health import BreakerState, Health, HealthBoard, Ticket
from service.routing.needs import estimate_tokens
from service.routing.order import Target
from service.routing.policy import Again, Decision, Failed, GiveUp, Next, Position, Without, attempt_timeouts, decide
from service.routing.report import report_providers

__all__ = [
    "Again",
    "BreakerState",
    "Decision",
    "Failed",
    "GiveUp",
    "Health",
    "HealthBoard",
    "Left",
    "Next",
    "Plan",
    "Position",
    "Surroundings",
    "Target",
    "Ticket",
    "Without",
    "attempt_timeouts",
    "decide",
    "estimate_tokens",
    "larger_context",
    "plan",
    "report_providers",
]
