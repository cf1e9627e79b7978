"""The settings of the A2A server; times are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from workers.errors import SettingsError
from workers.settings import LogFormat, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class A2ASettings:
    """What the server can be told. `public_url` is where clients reach it, None for the address each one calls."""

    supabase_url: str
    anon_key: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 6030
    public_url: str | None = None
    poll_interval: float = 0.5
    blocking_seconds: float = 300.0
    stream_seconds: float = 3600.0
    max_streams: int = 1000
    max_streams_per_user: int = 50
    max_body_bytes: int = 2_621_440
    request_timeout: float = 30.0
    log_format: str = "console"
    log_level: str = "INFO"


def load_a2a_settings(env: Mapping[str, str], *, host: str | None = None, port: int | None = None) -> A2ASettings:
    """Build the settings from `env`; what is given besides wins.

    Raises:
        SettingsError: a variable is missing or unusable; the message names it.
    """
    reader = Reader(env)
    key = reader.text("SUPABASE_ANON_KEY") or reader.text("SUPABASE_PUBLISHABLE_KEY")
    if key is None:
        raise SettingsError(
            "SUPABASE_ANON_KEY (or SUPABASE_PUBLISHABLE_KEY) is not set: it holds the key that browsers use. "
            "Set it in the environment or in .env."
        )
    public = reader.url("A2A_PUBLIC_URL")
    return A2ASettings(
        supabase_url=str(reader.url("SUPABASE_URL", required=True)).rstrip("/"),
        anon_key=key,
        host=host or reader.text("A2A_HOST") or "127.0.0.1",
        port=port if port is not None else reader.number("A2A_PORT", 6030, 0, 65535),
        public_url=public.rstrip("/") if public else None,
        poll_interval=reader.decimal("A2A_POLL_INTERVAL", 0.5, 0.05, 60.0),
        blocking_seconds=reader.decimal("A2A_BLOCKING_SECONDS", 300.0, 0.0, 86400.0),
        stream_seconds=reader.decimal("A2A_STREAM_SECONDS", 3600.0, 1.0, 86400.0),
        max_streams=reader.number("A2A_MAX_STREAMS", 1000, 1, 100_000),
        max_streams_per_user=reader.number("A2A_MAX_STREAMS_PER_USER", 50, 1, 100_000),
        request_timeout=reader.decimal("REQUEST_TIMEOUT", 30.0, 1.0, 300.0),
        log_format=reader.choice("LOG_FORMAT", "console", get_args(LogFormat)),
        log_level=reader.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
    )
