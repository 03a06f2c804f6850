"""Decides, and does nothing else: who serves a request, what follows a failure, how each endpoint is doing."""

from service.routing.candidates import Left, Plan, Surroundings, larger_context, plan
from service.routing.contents import Contents, read_contents
from service.routing.health import BreakerState, Health, HealthBoard, Ticket
from service.routing.order import Target
from service.routing.policy import Again, Decision, Failed, GiveUp, Next, Position, Without, attempt_timeouts, decide
from service.routing.report import report_providers

__all__ = [
    "Again",
    "BreakerState",
    "Contents",
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
    "larger_context",
    "plan",
    "read_contents",
    "report_providers",
]
