"""What the gateway is configured with: the types of the YAML file, checked whole. Loading it is `service.catalogue`'s.

Durations are seconds, written as `2s`, `500ms`, `5m` or a plain number. docs/configuration.md speaks of these names.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

MOST_WORKERS = 64
"""Worker processes, at most: so many have a place in the file in which they count their requests."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 9110, 5.6.2."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _seconds(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*", value)
        if match is None:
            raise ValueError("a duration is a number of seconds or text such as 500ms, 2s, 5m, 1h")
        return float(match[1]) * _UNITS[match[2]]
    return value


def _given(value: object) -> object:
    """Return a value without the line break that a secret's file ends with; None for an empty one."""
    text = value.rstrip("\r\n") if isinstance(value, str) else value
    return None if text == "" else text


def _header_name(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("a header's name has letters, digits and !#$%&'*+-.^_`|~ alone")
    return value


def _header_value(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("it goes out in a header, so it is to have no line breaks nor other control characters")
    return value


def _has_port(url: str) -> bool:
    """Say whether a URL's port is one, where it has any."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
Status = Literal["active", "alpha", "disabled"]
InputModality = Literal["text", "image", "audio", "video", "file"]
OutputModality = Literal["text", "image", "audio"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class Timeouts(_Part):
    """Timeouts of one provider's calls, in seconds."""

    connect: Seconds = 2.0
    first_event: Seconds = 10.0
    """Streamed calls: until the first event, while another candidate remains."""
    first_event_last: Seconds = 120.0
    """The same, for the last candidate."""
    idle: Seconds = 60.0
    """Streamed calls: between events."""
    response: Seconds = 60.0
    """Unary calls, while another candidate remains; the last has `total`."""
    total: Seconds = 600.0
    """The whole request, over all its attempts."""


class Provider(_Part):
    """A provider: a wire dialect at an address, with credentials."""

    dialect: Literal["openai", "anthropic", "google", "simulator"]
    base_url: str = ""
    """Up to, not including, the dialect's own path. `{model}` stands for the upstream model (Azure deployments)."""
    api_key: Annotated[SecretStr | None, BeforeValidator(_given)] = None
    """Empty is the same as absent. Line breaks at its end are no part of it."""
    api_key_header: Annotated[HeaderName | None, BeforeValidator(_given)] = None
    """Default: the dialect's own. `authorization` sends `Bearer <key>`; any other header carries the bare key."""
    headers: dict[HeaderName, HeaderValue] = {}
    query: dict[str, str] = {}
    """Query parameters of every call, e.g. Azure's `api-version`."""
    timeouts: Timeouts = Timeouts()
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """openai dialect: the name under which the token limit goes up."""
    stream_usage: bool = True
    """openai dialect: ask for usage in every stream."""
    anthropic_version: HeaderValue = "2023-06-01"
    anthropic_beta: tuple[HeaderValue, ...] = ()
    ca_file: str | None = None
    """PEM file of the certificate authorities to trust, instead of the system's."""
    max_response_bytes: int = Field(64 * 1024 * 1024, gt=0)
    """Unary answers beyond it, decompressed, are refused."""
    max_event_bytes: int = Field(16 * 1024 * 1024, gt=0)
    """Stream events beyond it are refused."""

    @field_validator("api_key")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _header_value(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _address(self) -> Self:
        if self.dialect != "simulator" and not re.match(r"https?://[^/]", self.base_url):
            raise ValueError("base_url: an http:// or https:// URL is required")
        if not re.fullmatch(r"(https?://[^/@]*(/.*)?)?", self.base_url) or "?" in self.base_url or "#" in self.base_url:
            raise ValueError("base_url: credentials belong in api_key or headers, parameters in query")
        if not _has_port(self.base_url):
            raise ValueError("base_url: the port is to be a number from 1 to 65535")
        return self


class Prices(_Part):
    """USD per million tokens. Cached and reasoning tokens without a price of their own cost as input and output."""

    input: float = Field(0.0, ge=0)
    cached_input: float | None = Field(None, ge=0)
    cache_write: float | None = Field(None, ge=0)
    output: float = Field(0.0, ge=0)
    reasoning: float | None = Field(None, ge=0)


class Modalities(_Part):
    """Kinds of input and output."""

    input: tuple[InputModality, ...] = ("text",)
    output: tuple[OutputModality, ...] = ("text",)


class Endpoint(_Part):
    """One way to reach a model: a provider and its own name of the model. What is absent, the model says."""

    provider: str
    model: str
    weight: float = Field(1.0, ge=0)
    status: Status = "active"
    prices: Prices | None = None
    modalities: Modalities | None = None
    supported_parameters: frozenset[str] | None = None
    """Names of request fields. Absent: any."""
    context_length: int | None = Field(None, gt=0)
    max_output_tokens: int | None = Field(None, gt=0)
    reasoning: Literal["effort", "budget", "level", "adaptive", "none"] | None = None
    """How the model takes reasoning settings. Absent: the dialect's default."""


class Model(_Part):
    """A model of the catalogue and the endpoints that serve it."""

    endpoints: tuple[Endpoint, ...] = Field(min_length=1)
    created: int = Field(0, ge=0)
    owned_by: str | None = None
    """Default: the model id up to its first slash."""
    prices: Prices | None = None
    modalities: Modalities | None = None
    supported_parameters: frozenset[str] | None = None
    context_length: int | None = Field(None, gt=0)
    max_output_tokens: int | None = Field(None, gt=0)
    reasoning: Literal["effort", "budget", "level", "adaptive", "none"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, value: object) -> object:
        inherited = ("prices", "modalities", "supported_parameters", "context_length", "max_output_tokens", "reasoning")
        if not isinstance(value, dict) or not isinstance(value.get("endpoints"), list):
            return value
        defaults = {name: value[name] for name in inherited if value.get(name) is not None}
        endpoints = [{**defaults, **e} if isinstance(e, dict) else e for e in value["endpoints"]]
        return {**value, "endpoints": endpoints}


class Key(_Part):
    """A caller's key, by its hash, with what it may use and how much."""

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    models: tuple[str, ...] = ("*",)
    """Model ids; `*` at the end stands for anything."""
    providers: tuple[str, ...] = ("*",)
    requests_per_minute: int | None = Field(None, gt=0)
    tokens_per_minute: int | None = Field(None, gt=0)
    concurrency: int | None = Field(None, gt=0)
    expires_at: datetime | None = None
    disabled: bool = False
    local_only: bool = False
    """Accepted only while the service is bound to loopback."""

    @field_validator("expires_at")
    @classmethod
    def _zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time zone is required, e.g. 2027-01-31T00:00:00Z")
        return value


class Breaker(_Part):
    """When an endpoint rests, and how it comes back."""

    window: Seconds = 30.0
    """Outcomes older than this do not count."""
    min_attempts: int = Field(5, gt=0)
    """Fewer attempts in the window never open it."""
    failure_rate: float = Field(0.5, gt=0, le=1)
    rest: Seconds = 10.0
    """Rests so long, then is probed."""
    probes: int = Field(1, gt=0)
    """Requests at once while half open."""


class Server(_Part):
    """The service itself."""

    grpc: str = "127.0.0.1:50051"
    """Address of the first worker; the next ones take the following ports."""
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] | Literal["auto"] = "auto"
    pin: bool = True
    """Each worker keeps its threads on one CPU, as long as nothing else wants that one (Linux). Read at the start."""
    drain: Seconds = 30.0
    """Streams in flight may take so long after SIGTERM."""
    keep_alive: Seconds = 15.0
    """Idle event streams get a comment line this often."""
    max_body_bytes: int = Field(32 * 1024 * 1024, gt=0)
    max_messages: int = Field(10_000, gt=0)
    max_json_depth: int = Field(128, gt=0)
    max_concurrency: int = Field(1000, gt=0)
    """Requests at once in one worker; more get 503."""
    max_attempts: int = Field(5, gt=0)
    redis: SecretStr | None = None
    """URL of a Redis that holds the keys' limits for all replicas."""
    breaker: Breaker = Breaker()

    @field_validator("redis")
    @classmethod
    def _redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if not re.match(r"rediss?://[^/]|unix://", value.get_secret_value()):
            raise ValueError("a redis://, rediss:// or unix:// URL is required")
        if not _has_port(value.get_secret_value()):
            raise ValueError("no such port (in a password, reserved characters are percent-encoded)")
        return value

    @field_validator("grpc")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or not 0 <= int(port) < 65536:
            raise ValueError("an address such as 127.0.0.1:50051 is required")
        return value

    @property
    def host(self) -> str:
        """The address without its port."""
        return self.grpc.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The first worker's port."""
        return int(self.grpc.rpartition(":")[2])


class Config(_Part):
    """The whole configuration."""

    server: Server = Server()
    providers: dict[str, Provider]
    models: dict[str, Model]
    keys: tuple[Key, ...] = ()

    @field_validator("providers")
    @classmethod
    def _names(cls, value: dict[str, Provider]) -> dict[str, Provider]:
        for name in value:
            if not (name.isascii() and name.isprintable() and name.strip() == name != ""):
                raise ValueError(f"{name!r}: the name stands in a header, so it is to be printable ASCII")
        return value

    @model_validator(mode="after")
    def _references(self) -> Self:
        unknown = [
            f"models.{model_id}.endpoints[{place}].provider: no provider named {endpoint.provider!r}"
            for model_id, model in self.models.items()
            for place, endpoint in enumerate(model.endpoints)
            if endpoint.provider not in self.providers
        ]
        if unknown:
            raise ValueError("; ".join(unknown))
        return self
