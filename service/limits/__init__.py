"""The keys' limits on requests and tokens a minute and on requests at once, over a machine or over replicas."""

from service.limits.limiter import Grant, Limiter

__all__ = ["Grant", "Limiter"]
