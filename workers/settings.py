"""The worker's settings: read once, from the environment and `.env`, and frozen.

Values given on the command line win over the environment, and the environment over `.env`. An empty variable
counts as not set.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from dotenv import dotenv_values

from workers.errors import SettingsError
from workers.keyring import VARIABLE as SECRETS_KEY
from workers.keyring import Keyring, split_keys

Provider = Literal["anthropic", "openai", "google", "ollama"]
LogFormat = Literal["json", "console"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """How to reach one model provider; `key_variable` is what the operator must set, None when no key is needed."""

    base_url: str
    key_variable: str | None
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """Where traces are sent by OTLP over HTTP, with the variables that OpenTelemetry gives a meaning."""

    url: str
    headers: str | None = field(default=None, repr=False)
    service_name: str = "orchestrator-worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a worker can be told; times are in seconds."""

    supabase_url: str
    supabase_key: str = field(repr=False)
    supabase_key_variable: str = "SUPABASE_SERVICE_ROLE_KEY"
    worker_token: str | None = field(default=None, repr=False)
    worker_token_file: Path | None = None
    own_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    supabase_public_url: str | None = None
    supabase_anon_key: str | None = None
    secrets_key: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    worker_id: str
    concurrency: int = 10
    methods: tuple[str, ...] | None = None
    organizations: tuple[str, ...] | None = None
    once: bool = False
    lease_seconds: int = 30
    poll_interval: float = 2.0
    drain_seconds: float = 30.0
    request_timeout: float = 30.0
    offline: bool = False
    offline_delay: float = 1.2
    allow_private_hosts: bool = False
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    log_format: LogFormat = "console"
    log_level: str = "INFO"
    system_log_level: str = "WARNING"
    providers: Mapping[Provider, ProviderSettings] = field(default_factory=dict)
    marketplace: Mapping[str, str] = field(default_factory=dict, repr=False)
    trace: bool = True
    otlp: OtlpSettings | None = None


def read_environment(directory: Path | None = None) -> dict[str, str]:
    """Return the environment laid over the `.env` file of `directory` (default: the working directory).

    The file is read without changing the process's own environment, so nothing else in the process sees it.
    """
    path = (directory or Path.cwd()) / ".env"
    from_file = {name: value for name, value in dotenv_values(path).items() if value is not None}
    return {**from_file, **os.environ}


def load_settings(env: Mapping[str, str], **overrides: object) -> Settings:
    """Build the settings from `env`; an override that is None counts as not given.

    Raises:
        SettingsError: a variable is missing or unusable; the message names it.
    """
    reader = Reader(env)
    values: dict[str, object] = {
        "supabase_url": reader.url("SUPABASE_URL", required=True),
        **_access(reader, env),
        "supabase_public_url": reader.url("SUPABASE_PUBLIC_URL"),
        "supabase_anon_key": reader.text("SUPABASE_ANON_KEY") or reader.text("SUPABASE_PUBLISHABLE_KEY"),
        "secrets_key": reader.fernet_keys(SECRETS_KEY),
        "database_url": reader.text("DATABASE_URL"),
        "worker_id": reader.text("WORKER_ID") or _default_worker_id(),
        "concurrency": reader.number("WORKER_CONCURRENCY", 10, 1, 1000),
        "lease_seconds": reader.number("LEASE_SECONDS", 30, 2, 3600),
        "poll_interval": reader.decimal("POLL_INTERVAL", 2.0, 0.01, 300.0),
        "drain_seconds": reader.decimal("DRAIN_SECONDS", 30.0, 0.0, 3600.0),
        "request_timeout": reader.decimal("REQUEST_TIMEOUT", 30.0, 1.0, 300.0),
        "offline": reader.flag("LLM_OFFLINE"),
        "offline_delay": reader.decimal("LLM_OFFLINE_DELAY", 1.2, 0.0, 60.0),
        "allow_private_hosts": reader.flag("ORCHESTRATOR_ALLOW_PRIVATE_HOSTS"),
        "metrics_host": reader.text("METRICS_HOST") or "127.0.0.1",
        "metrics_port": reader.number("METRICS_PORT", 0, 1, 65535) if reader.text("METRICS_PORT") else None,
        "log_format": reader.choice("LOG_FORMAT", "console", get_args(LogFormat)),
        "log_level": reader.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
        "system_log_level": reader.choice("SYSTEM_LOG_LEVEL", "WARNING", ("DEBUG", "INFO", "WARNING", "ERROR", "OFF")),
        "providers": _providers(reader),
        "marketplace": {name: text for name in env if name.startswith("MARKETPLACE_") and (text := reader.text(name))},
        "trace": reader.flag("WORKER_TRACE", default=True),
        "otlp": _otlp(reader),
    }
    values.update({name: value for name, value in overrides.items() if value is not None})
    return Settings(**values)  # type: ignore[arg-type]  # each value was checked above or by the command line


def service_key(reader: Reader) -> tuple[str, str]:
    """Return the variable that holds the service key, and the key.

    Raises:
        SettingsError: there is none.
    """
    variable = "SUPABASE_SERVICE_ROLE_KEY"
    if reader.text(variable) is None and reader.text("SUPABASE_SECRET_KEY") is not None:
        variable = "SUPABASE_SECRET_KEY"
    return variable, reader.required(variable, "the service key of the Supabase project")


def _access(reader: Reader, env: Mapping[str, str]) -> dict[str, object]:
    """Return what the worker shows the database: a server's key, or the token of an organization's own worker."""
    token, file = reader.text("WORKER_TOKEN"), reader.text("WORKER_TOKEN_FILE")
    if token is None and file is None:
        variable, key = service_key(reader)
        return {"supabase_key": key, "supabase_key_variable": variable}
    chosen = "WORKER_TOKEN" if token is not None else "WORKER_TOKEN_FILE"
    for other in ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SECRET_KEY", "WORKER_TOKEN_FILE"):
        if other != chosen and reader.text(other) is not None:
            raise SettingsError(f"{chosen} and {other} are both set: take one of them out.")
    anon_variable = "SUPABASE_ANON_KEY" if reader.text("SUPABASE_ANON_KEY") else "SUPABASE_PUBLISHABLE_KEY"
    prefix = "ORGANIZATION_SECRET_"
    return {
        "supabase_key": reader.required(anon_variable, "the anonymous key of the Supabase project"),
        "supabase_key_variable": chosen,
        "worker_token": token,
        "worker_token_file": Path(file) if file is not None else None,
        "own_secrets": {name.removeprefix(prefix): text for name, text in env.items() if name.startswith(prefix)},
    }


def load_secrets_key(env: Mapping[str, str]) -> str:
    """Return the keys that secrets are encrypted with.

    Raises:
        SettingsError: there is none, or one is unusable.
    """
    reader = Reader(env)
    reader.required(SECRETS_KEY, "the Fernet keys of the workers; python -m workers secrets new-key makes one")
    return reader.fernet_keys(SECRETS_KEY) or ""


def _providers(reader: Reader) -> dict[Provider, ProviderSettings]:
    # Where the operator lends no keys, agents have only those of their organizations.
    lent = reader if reader.flag("ORCHESTRATOR_PLATFORM_KEYS", default=True) else Reader({})
    return {
        "anthropic": ProviderSettings(
            base_url=reader.url("ANTHROPIC_BASE_URL") or "https://api.anthropic.com",
            key_variable="ANTHROPIC_API_KEY",
            api_key=lent.text("ANTHROPIC_API_KEY"),
        ),
        "openai": ProviderSettings(
            base_url=reader.url("OPENAI_BASE_URL") or "https://api.openai.com/v1",
            key_variable="OPENAI_API_KEY",
            api_key=lent.text("OPENAI_API_KEY"),
        ),
        "google": ProviderSettings(
            base_url=reader.url("GOOGLE_BASE_URL") or "https://generativelanguage.googleapis.com",
            key_variable="GOOGLE_API_KEY",
            api_key=lent.text("GOOGLE_API_KEY") or lent.text("GEMINI_API_KEY"),
        ),
        "ollama": ProviderSettings(
            base_url=reader.url("OLLAMA_BASE_URL") or "http://127.0.0.1:11434/v1",
            key_variable=None,
            api_key=reader.text("OLLAMA_API_KEY"),
        ),
    }


def _otlp(reader: Reader) -> OtlpSettings | None:
    base = reader.url("OTEL_EXPORTER_OTLP_ENDPOINT")
    url = reader.url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (base and f"{base.rstrip('/')}/v1/traces")
    if url is None:
        return None
    return OtlpSettings(
        url=url,
        headers=reader.text("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or reader.text("OTEL_EXPORTER_OTLP_HEADERS"),
        service_name=reader.text("OTEL_SERVICE_NAME") or "orchestrator-worker",
    )


def _default_worker_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


class Reader:
    """Reads single variables and names the one that is wrong."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, name: str) -> str | None:
        """Return the value without blanks around it; None when there is none."""
        return self._env.get(name, "").strip() or None

    def required(self, name: str, meaning: str) -> str:
        """Return the value; `meaning` says what it holds, for who has not set it."""
        value = self.text(name)
        if value is None:
            raise SettingsError(f"{name} is not set: it holds {meaning}. Set it in the environment or in .env.")
        return value

    def url(self, name: str, *, required: bool = False) -> str | None:
        """Return an http or https address."""
        value = self.required(name, "the address to call") if required else self.text(name)
        if value is not None and not value.startswith(("http://", "https://")):
            raise SettingsError(f"{name} must begin with http:// or https://.")
        return value

    def decimal(self, name: str, default: float, low: float, high: float) -> float:
        """Return a number from `low` to `high`."""
        raw = self.text(name)
        try:
            value = default if raw is None else float(raw)
        except ValueError:
            raise SettingsError(f"{name} must be a number, not {raw!r}.") from None
        if not low <= value <= high:
            raise SettingsError(f"{name} must be between {low:g} and {high:g}, not {value:g}.")
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = self.decimal(name, default, low, high)
        if value != int(value):
            raise SettingsError(f"{name} must be a whole number, not {value:g}.")
        return int(value)

    def fernet_keys(self, name: str) -> str | None:
        """Return Fernet keys separated by commas, checked."""
        value = self.text(name)
        try:
            if value is not None:
                Keyring(split_keys(value))
        except ValueError as error:
            hint = "python -m workers secrets new-key makes one"
            raise SettingsError(f"{name} must hold Fernet keys, separated by commas: {error}; {hint}.") from None
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return whether it is 1, true, yes or on."""
        raw = (self.text(name) or str(int(default))).lower()
        if raw not in _TRUE | _FALSE:
            raise SettingsError(f"{name} must be 1 or 0, not {raw!r}.")
        return raw in _TRUE

    def choice(self, name: str, default: str, options: tuple[str, ...]) -> str:
        """Return one of `options`."""
        value = self.text(name) or default
        if value not in options:
            raise SettingsError(f"{name} must be one of {', '.join(options)}, not {value!r}.")
        return value
