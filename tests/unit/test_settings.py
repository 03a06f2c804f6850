"""What the environment says."""

from __future__ import annotations

import pytest

from service.config import Config, Server
from service.settings import StartError, settings_from, worker_count


@pytest.mark.parametrize(
    ("variable", "setting", "cpus", "count"),
    [
        ("", "auto", 1, 1),
        ("", "auto", 64, 64),
        ("", "auto", 65, 64),
        ("auto", "auto", 256, 64),
        ("", 3, 256, 3),
        ("2", "auto", 256, 2),
        ("64", 3, 1, 64),
    ],
)
def test_how_many_workers_there_are(variable: str, setting: int | str, cpus: int, count: int) -> None:
    server = Server.model_validate({"workers": setting})
    config = Config(server=server, providers={}, models={})
    assert worker_count(settings_from({"GATEWAY_WORKERS": variable}), config, cpus) == count


def test_more_workers_than_there_may_be_are_refused() -> None:
    with pytest.raises(StartError, match="GATEWAY_WORKERS: a whole number from 1 to 64 is required, not '65'"):
        settings_from({"GATEWAY_WORKERS": "65"})


def test_what_envoy_may_fill() -> None:
    assert settings_from({}).max_heap_bytes is None
    assert settings_from({"ENVOY_MAX_HEAP_BYTES": "1000000000"}).max_heap_bytes == 1_000_000_000
    with pytest.raises(StartError, match="ENVOY_MAX_HEAP_BYTES: a whole number from 1"):
        settings_from({"ENVOY_MAX_HEAP_BYTES": "1GiB"})


def test_levels_and_origins_that_are_none_are_refused() -> None:
    origins = ["https://a.example", "http://localhost:3000", "capacitor://localhost", "chrome-extension://abc", "null"]
    assert settings_from({"GATEWAY_LOG": "Warning", "CORS_ORIGINS": ", ".join(origins)}).cors_origins == origins
    with pytest.raises(StartError) as caught:
        settings_from({"GATEWAY_LOG": "verbose", "CORS_ORIGINS": "* a.example https://b.example/"})
    assert str(caught.value).splitlines() == [
        "GATEWAY_LOG: one of debug, info, warning, error is required, not 'verbose'",
        "CORS_ORIGINS: an origin such as https://chat.example.com is required, not '*'",
        "CORS_ORIGINS: an origin such as https://chat.example.com is required, not 'a.example'",
        "CORS_ORIGINS: an origin such as https://chat.example.com is required, not 'https://b.example/'",
    ]
