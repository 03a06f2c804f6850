"""What the use case works with."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from service.config import Config
from service.limits import Limiter
from service.providers.dialect import Dialect
from service.routing import HealthBoard
from service.telemetry import Masker
from service.tools import ServerTool
from service.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Deps:
    """One configuration, and the parts that serve it. `tools`: server tools by their field of gateway.v1.Tool."""

    config: Config
    dialects: Mapping[str, Dialect]
    upstream: Upstream
    health: HealthBoard
    limiter: Limiter
    tools: Mapping[str, ServerTool]
    masker: Masker
    rng: random.Random
