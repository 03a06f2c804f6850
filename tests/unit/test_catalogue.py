"""The configuration: every mistake by its place, the environment's values, the embedded default."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from pydantic import BaseModel, ValidationError

from service.catalogue import ConfigError, load
from service.config import Breaker, Config, Endpoint, Key, Modalities, Model, Prices, Provider, Server, Timeouts

GOOD = """
server: { grpc: "0.0.0.0:50051", workers: auto, drain: 5s }
providers:
  openai:
    dialect: openai
    base_url: "${OPENAI_BASE_URL:-https://api.openai.com/v1}"
    api_key: "${OPENAI_API_KEY}"
    query: { api-version: 2026-10-21 }
    timeouts: { connect: 500ms, total: 5m }
  local: { dialect: simulator }
models:
  openai/gpt-5.1:
    prices: { input: 1.25, output: 10 }
    context_length: 400000
    endpoints:
      - { provider: openai, model: gpt-5.1 }
      - { provider: local, model: simulator, weight: 0.5, context_length: 1000 }
keys:
  - { name: dev, sha256: "%s", expires_at: 2027-01-31T00:00:00Z }
""" % ("a" * 64)


IN_A_HEADER = "it goes out in a header, so it is to have no line breaks nor other control characters"


def load_text(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    file = folder / "gateway.yaml"
    file.write_text(text, "utf-8")
    return load(str(file), {"OPENAI_API_KEY": "PLANTED-secret-key"} if environ is None else environ)


def mistakes(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(folder, text, environ)
    assert "PLANTED" not in str(caught.value)
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    return [mistake.replace(str(folder / "gateway.yaml"), "FILE") for mistake in caught.value.mistakes]


def test_a_good_file(tmp_path: Path) -> None:
    config = load_text(tmp_path, GOOD)
    provider = config.providers["openai"]
    assert provider.base_url == "https://api.openai.com/v1"
    assert provider.api_key is not None
    assert provider.api_key.get_secret_value() == "PLANTED-secret-key"
    assert provider.query == {"api-version": "2026-10-21"}
    assert (provider.timeouts.connect, provider.timeouts.total) == (0.5, 300)
    first, second = config.models["openai/gpt-5.1"].endpoints
    assert first.prices is not None
    assert (first.prices.input, first.context_length, second.context_length) == (1.25, 400_000, 1000)
    assert config.keys[0].expires_at is not None


def test_every_mistake_is_told_at_once_by_its_place(tmp_path: Path) -> None:
    text = """
server: { grpc: localhost, workers: some, drian: 5s }
providers:
  openai: { dialect: opnai, base_url: "https://x.example", api_key: "${OPENAI_API_KEY}", timeouts: { idle: 5 minutes } }
  azure: { dialect: openai, base_url: "azure.example", headers: { x: 5 } }
  simulator: { dialect: simulator }
models:
  a/b.c:
    context_length: -1
    endpoints: [{ provider: opnai, model: x, wieght: 2 }, { provider: simulator, model: x, status: beta }]
  empty: { endpoints: [] }
  none: {}
keys:
  - { name: dev, sha256: xyz, expires_at: 2027-01-31T00:00:00 }
  - { name: dev }
extra: 1
"""
    assert sorted(mistakes(tmp_path, text)) == [
        "extra: there is no such setting",
        "keys[0].expires_at: a time zone is required, e.g. 2027-01-31T00:00:00Z",
        "keys[0].sha256: String should match pattern '^[0-9a-f]{64}$'",
        "keys[1].name: the same as of keys[0]",
        "keys[1].sha256: is required",
        "models.a/b.c.context_length: Input should be greater than 0",
        "models.a/b.c.endpoints[0].provider: no provider named 'opnai'; did you mean openai?",
        "models.a/b.c.endpoints[0].wieght: there is no such setting; did you mean weight?",
        "models.a/b.c.endpoints[1].status: Input should be 'active', 'alpha' or 'disabled'",
        "models.empty.endpoints: Tuple should have at least 1 item after validation, not 0",
        "models.none.endpoints: is required",
        "providers.azure.headers.x: Input should be a valid string",
        "providers.openai.dialect: Input should be 'openai', 'anthropic', 'google' or 'simulator'",
        "providers.openai.timeouts.idle: a duration is a number of seconds or text such as 500ms, 2s, 5m, 1h",
        "server.drian: there is no such setting; did you mean drain?",
        "server.grpc: an address such as 127.0.0.1:50051 is required",
        "server.workers: Input should be a valid integer, unable to parse string as an integer, "
        "or: Input should be 'auto'",
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            'base_url: "${OPENAI_BASE_URL:-https://api.openai.com/v1}"',
            "base_url: ftp://x",
            ["providers.openai.base_url: an http:// or https:// URL is required"],
        ),
        (
            'base_url: "${OPENAI_BASE_URL:-https://api.openai.com/v1}"',
            "base_url: https://user:pass@x.example/v1",
            ["providers.openai.base_url: credentials belong in api_key or headers, parameters in query"],
        ),
        (
            'base_url: "${OPENAI_BASE_URL:-https://api.openai.com/v1}"',
            "base_url: https://x.example/v1?key=k",
            ["providers.openai.base_url: credentials belong in api_key or headers, parameters in query"],
        ),
        (
            "provider: local",
            "provider: nowhere",
            ["models.openai/gpt-5.1.endpoints[1].provider: no provider named 'nowhere'"],
        ),
        (
            "input: 1.25",
            "input: -1",
            ["models.openai/gpt-5.1.prices.input: Input should be greater than or equal to 0"],
        ),
        (
            "input: 1.25",
            "inptu: 1",
            ["models.openai/gpt-5.1.prices.inptu: there is no such setting; did you mean input?"],
        ),
        (
            "{ dialect: simulator }",
            "5",
            ["providers.local: Input should be a valid dictionary or instance of Provider"],
        ),
        (
            "{ dialect: simulator }",
            "{ dialect: simulator }\n  modèle: { dialect: simulator }",
            ["providers: 'modèle': the name stands in a header, so it is to be printable ASCII"],
        ),
        ("500ms", "0s", ["providers.openai.timeouts.connect: Input should be greater than 0"]),
        ("keys:", "keys: 5\nx:", ["keys: Input should be a valid tuple", "x: there is no such setting"]),
    ],
)
def test_single_mistakes(tmp_path: Path, before: str, after: str, expected: list[str]) -> None:
    assert before in GOOD
    assert sorted(mistakes(tmp_path, GOOD.replace(before, after))) == expected


@pytest.mark.parametrize(
    ("setting", "place", "text"),
    [
        (r'api_key: "PLANTED\nsecret"', "api_key", IN_A_HEADER),
        (r'api_key: "PLANTED\x07"', "api_key", IN_A_HEADER),
        (r'headers: { x-a: "PLANTED\r\nx-b: c" }', "headers.x-a", IN_A_HEADER),
        (r'headers: { x-a: "PLANTED\0" }', "headers.x-a", IN_A_HEADER),
        (r'anthropic_version: "PLANTED\n1"', "anthropic_version", IN_A_HEADER),
        (r'anthropic_beta: [good, "PLANTED\n1"]', "anthropic_beta[1]", IN_A_HEADER),
        ("headers: { x a: b }", "headers.x a", "a header's name has letters, digits and !#$%&'*+-.^_`|~ alone"),
        ("headers: { '': b }", "headers.", "a header's name has letters, digits and !#$%&'*+-.^_`|~ alone"),
        (
            'api_key_header: "x-key:"',
            "api_key_header",
            "a header's name has letters, digits and !#$%&'*+-.^_`|~ alone",
        ),
        ("base_url: https://x.example:abc/v1", "base_url", "the port is to be a number from 1 to 65535"),
        ("base_url: https://x.example:99999/v1", "base_url", "the port is to be a number from 1 to 65535"),
        ("base_url: http://x.example:0", "base_url", "the port is to be a number from 1 to 65535"),
        ("timeouts: { idle: .inf }", "timeouts.idle", "Input should be a finite number"),
        ("timeouts: { idle: .nan }", "timeouts.idle", "Input should be a finite number"),
        (f"timeouts: {{ idle: {'9' * 400}s }}", "timeouts.idle", "Input should be a finite number"),
    ],
)
def test_settings_of_a_provider_that_no_call_could_be_made_with(
    tmp_path: Path, setting: str, place: str, text: str
) -> None:
    base_url = "" if setting.startswith("base_url") else "    base_url: https://x.example\n"
    file = f"providers:\n  p:\n    dialect: openai\n{base_url}    {setting}\nmodels: {{}}\n"
    assert mistakes(tmp_path, file) == [f"providers.p.{place}: {text}"]


@pytest.mark.parametrize("weight", [".inf", "-.inf", ".nan"])
def test_weights_are_finite(tmp_path: Path, weight: str) -> None:
    expected = ["models.openai/gpt-5.1.endpoints[1].weight: Input should be a finite number"]
    assert mistakes(tmp_path, GOOD.replace("weight: 0.5", f"weight: {weight}")) == expected


@pytest.mark.parametrize("workers", [0, -1])
def test_there_is_a_worker(tmp_path: Path, workers: int) -> None:
    expected = ["server.workers: Input should be greater than or equal to 1, or: Input should be 'auto'"]
    assert mistakes(tmp_path, GOOD.replace("workers: auto", f"workers: {workers}")) == expected


def test_there_are_no_more_workers_than_have_a_place(tmp_path: Path) -> None:
    assert load_text(tmp_path, GOOD.replace("workers: auto", "workers: 64")).server.workers == 64
    expected = ["server.workers: Input should be less than or equal to 64, or: Input should be 'auto'"]
    assert mistakes(tmp_path, GOOD.replace("workers: auto", "workers: 65")) == expected


def test_line_breaks_at_the_end_of_a_secret_are_no_part_of_it(tmp_path: Path) -> None:
    text = """
providers:
  a: { dialect: openai, base_url: "https://a", api_key: "${KEY}", headers: { authorization: "Token ${KEY}" } }
  b:
    dialect: openai
    base_url: https://b
    api_key: |
      sk-b
models: {}
"""
    providers = load_text(tmp_path, text, {"KEY": "sk-a\r\n\n"}).providers
    keys = [provider.api_key.get_secret_value() for provider in providers.values() if provider.api_key]
    assert keys == ["sk-a", "sk-b"]
    assert providers["a"].headers == {"authorization": "Token sk-a"}


def test_a_variable_that_holds_a_line_break_alone_is_empty(tmp_path: Path) -> None:
    assert list(load(None, {"OPENAI_API_KEY": "\n"}).providers) == ["local"]
    text = 'providers: { a: { dialect: openai, base_url: "https://a", api_key: "${KEY}" } }\nmodels: {}'
    assert mistakes(tmp_path, text, {"KEY": "\n"}) == ["providers.a.api_key: the environment variable KEY is not set"]


def with_certificates(file: Path) -> str:
    """Return a configuration with a `ca_file`, and a mistake elsewhere."""
    return GOOD.replace("dialect: simulator", f'dialect: simulator, ca_file: "{file}", drian: 1')


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("missing.pem", None, "No such file or directory"),
        ("", None, "Is a directory"),
        ("empty.pem", "", "not a PEM file of certificates"),
        ("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n", "not a PEM file of certificates"),
    ],
)
def test_certificates_that_cannot_be_loaded_are_a_mistake(
    tmp_path: Path, name: str, content: str | None, text: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    assert mistakes(tmp_path, with_certificates(file)) == [
        f"providers.local.ca_file: {file}: {text}",
        "providers.local.drian: there is no such setting",
    ]


def test_certificates_that_can_be_loaded_are_none(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert mistakes(tmp_path, with_certificates(tmp_path / "ca.pem")) == [
        "providers.local.drian: there is no such setting"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["providers: is required", "models: is required"]),
        ("providers:\nmodels:\n", ["providers: is required", "models: is required"]),
        ("just text", ["FILE: sections such as providers, models and keys are required"]),
        ("[1, 2]", ["FILE: sections such as providers, models and keys are required"]),
        ("providers:\n  a: [1\nmodels: {}\n", ["FILE, line 3: did not find expected ',' or ']'"]),
        ("providers: {}\nmodels: {a: *nowhere}", ["FILE, line 2: found undefined alias"]),
        ("providers: !!python/name:os.system {}", None),
        ("providers: {}\nmodels: {}\n---\nx: 1", ["FILE, line 3: but found another document"]),
        ("a: &a [*a]", ["FILE, line 1: an anchor contains itself"]),
        ("a: \x07", ["FILE: not valid YAML"]),
        ("a: !!int x", ["FILE: not valid YAML"]),
        ("a: !!float x", ["FILE: not valid YAML"]),
        ("a: !!bool x", ["FILE: not valid YAML"]),
        ("a: " + "9" * 5000, ["FILE: not valid YAML"]),
        ("a: " + "[" * 3000 + "]" * 3000, ["FILE: nested too deep"]),
        (
            "server: {workers: []}\nproviders: {}\nmodels: {}\n",
            ["server.workers: Input should be a valid integer, or: Input should be 'auto'"],
        ),
        (
            "providers: {}\nmodels: {}\nkeys:\n  - name: a\n    name: b\nproviders: {}\n",
            [
                "FILE, line 5: name stands twice, here and in line 4",
                "FILE, line 6: providers stands twice, here and in line 1",
            ],
        ),
    ],
)
def test_text_that_is_no_configuration(tmp_path: Path, text: str, expected: list[str] | None) -> None:
    found = mistakes(tmp_path, text)
    assert found == expected or expected is None


def test_anchors_and_merge_keys_are_fine(tmp_path: Path) -> None:
    text = """
providers: { a: &a { dialect: openai, base_url: "https://a.example" }, b: { <<: *a, base_url: "https://b.example" } }
models: {}
"""
    assert load_text(tmp_path, text).providers["b"].base_url == "https://b.example"


@pytest.mark.parametrize("path", ["nowhere.yaml", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match=r"No such file|Is a directory"):
        load(str(tmp_path / path), {})


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("keys: ü".encode("latin-1"))
    with pytest.raises(ConfigError, match="not in UTF-8"):
        load(str(tmp_path / "latin.yaml"), {})


@pytest.mark.parametrize(
    ("value", "environ", "url"),
    [
        ("${URL}", {"URL": "https://a.example"}, "https://a.example"),
        ("https://${HOST}:${PORT:-443}/v1", {"HOST": "a"}, "https://a:443/v1"),
        ("https://${HOST:-b}/${PATH_:-}", {"HOST": ""}, "https://b/"),
        ("https://a/${X}", {"X": "${HOME} $& \\1"}, "https://a/${HOME} $& \\1"),
        ("https://a/$X", {"X": "1"}, "https://a/$X"),
    ],
)
def test_values_of_the_environment(tmp_path: Path, value: str, environ: Mapping[str, str], url: str) -> None:
    text = f'providers: {{ a: {{ dialect: openai, base_url: "{value}" }} }}\nmodels: {{}}'
    assert load_text(tmp_path, text, environ).providers["a"].base_url == url


def test_numbers_come_from_the_environment_too(tmp_path: Path) -> None:
    text = 'server: { workers: "${WORKERS:-3}" }\nproviders: {}\nmodels: {}'
    assert load_text(tmp_path, text, {}).server.workers == 3
    assert load_text(tmp_path, text, {"WORKERS": "auto"}).server.workers == "auto"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("${NOT_THERE}", "the environment variable NOT_THERE is not set"),
        ("${EMPTY}", "the environment variable EMPTY is not set"),
        ("${lower case}", "an environment variable is written ${NAME} or ${NAME:-default}"),
        ("${OPEN", "an environment variable is written ${NAME} or ${NAME:-default}"),
    ],
)
def test_an_unset_variable_is_a_mistake_with_the_place_of_its_use(tmp_path: Path, value: str, text: str) -> None:
    good = 'providers: { a: { dialect: openai, base_url: "https://a", headers: { x: "VALUE" } } }\nmodels: {}'
    assert mistakes(tmp_path, good.replace("VALUE", value), {"EMPTY": ""}) == [f"providers.a.headers.x: {text}"]


def test_an_empty_api_key_is_none(tmp_path: Path) -> None:
    text = 'providers: { a: { dialect: openai, base_url: "https://a", api_key: "${KEY:-}" } }\nmodels: {}'
    assert load_text(tmp_path, text, {}).providers["a"].api_key is None


@pytest.mark.parametrize("path", [None, ""])
def test_the_embedded_default_needs_nothing(path: str | None) -> None:
    config = load(path, {"OPENAI_API_KEY": ""})
    assert list(config.providers) == ["local"]
    assert "local/simulator" in config.models
    assert all(model_id.startswith("local/") for model_id in config.models)
    (key,) = config.keys
    assert key.sha256 == hashlib.sha256(b"sk-local").hexdigest()
    assert key.local_only


@pytest.mark.parametrize(
    ("environ", "provider", "base_url", "model"),
    [
        ({"OPENAI_API_KEY": "k"}, "openai", "https://api.openai.com/v1", "openai/gpt-5-nano"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://x/v1"}, "openai", "http://x/v1", "openai/gpt-4o-mini"),
        ({"ANTHROPIC_API_KEY": "k"}, "anthropic", "https://api.anthropic.com", "anthropic/claude-sonnet-4-5"),
        (
            {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://x"},
            "anthropic",
            "http://x",
            "anthropic/claude-opus-5-5",
        ),
        (
            {"GEMINI_API_KEY": "k"},
            "google",
            "https://generativelanguage.googleapis.com/v1beta",
            "google/gemini-2.5-flash",
        ),
        ({"GEMINI_API_KEY": "k", "GEMINI_BASE_URL": "http://x"}, "google", "http://x", "google/gemini-2.5-pro"),
    ],
)
def test_a_vendor_s_key_brings_its_models(environ: dict[str, str], provider: str, base_url: str, model: str) -> None:
    config = load(None, environ)
    assert set(config.providers) == {"local", provider}
    assert config.providers[provider].base_url == base_url
    (endpoint,) = config.models[model].endpoints
    assert endpoint.provider == provider
    assert endpoint.model == model.partition("/")[2]


def test_every_vendor_model_of_the_embedded_default_is_described() -> None:
    config = load(None, {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "GEMINI_API_KEY": "k"})
    vendors = {model_id: model for model_id, model in config.models.items() if not model_id.startswith("local/")}
    assert len(vendors) > 20
    for model_id, model in vendors.items():
        (endpoint,) = model.endpoints
        assert endpoint.context_length, model_id
        assert endpoint.max_output_tokens, model_id
        assert endpoint.modalities, model_id
        assert endpoint.supported_parameters, model_id
        assert endpoint.reasoning, model_id
        assert 1_600_000_000 < model.created < 1_800_000_000, model_id
        assert endpoint.prices or "image" in model_id or "audio" in model_id, model_id


def test_with_a_file_only_the_file_counts(tmp_path: Path) -> None:
    config = load_text(tmp_path, "providers: { local: { dialect: simulator } }\nmodels: {}", {"GEMINI_API_KEY": "k"})
    assert list(config.providers) == ["local"]
    assert config.keys == ()


def test_gateway_key_adds_a_key_with_full_access(tmp_path: Path) -> None:
    secret = "0123456789abcdef"
    for config in (
        load(None, {"GATEWAY_KEY": secret}),
        load_text(tmp_path, "providers: {}\nmodels: {}", {"GATEWAY_KEY": f" {secret}\n"}),
    ):
        key = config.keys[-1]
        assert (key.name, key.sha256) == ("env", hashlib.sha256(secret.encode()).hexdigest())
        assert (key.local_only, key.models, key.providers) == (False, ("*",), ("*",))


def test_a_short_gateway_key_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"GATEWAY_KEY": "PLANTED"})
    assert caught.value.mistakes == ("GATEWAY_KEY: at least 16 characters are required",)


SECTIONS = (Server, Breaker, Provider, Timeouts, Model, Endpoint, Prices, Modalities, Key)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_documented(section: type[BaseModel]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
    prefix = {Breaker: "breaker.", Timeouts: "timeouts."}.get(section, "")
    names = [name for name in section.model_fields if name not in ("breaker", "timeouts")]
    assert [
        name
        for name in names
        if f"`{prefix}{name}`" not in page and f"{{{name}:" not in page and f", {name}:" not in page
    ] == []


@pytest.mark.parametrize("url", ["redis://host:here/0", "redis://:pass/word@host:6379/0"])
def test_a_redis_url_that_is_none_is_a_mistake_that_tells_no_password(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Server.model_validate({"redis": url})
    assert "percent-encoded" in str(caught.value)
    assert "pass" not in str(caught.value).replace("a password", "")
