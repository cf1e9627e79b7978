"""The A2A server's settings, and whose token a request shows."""

from __future__ import annotations

import base64
import json
import uuid

import pytest

from workers.a2a.caller import TokenError, read_identity
from workers.a2a.settings import load_a2a_settings
from workers.errors import SettingsError

NEEDED = {"SUPABASE_URL": "https://x.supabase.co/", "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_x"}


def test_settings_have_defaults_and_the_command_line_wins() -> None:
    settings = load_a2a_settings(NEEDED | {"A2A_PORT": "7000", "A2A_PUBLIC_URL": "https://a.example.com/"}, port=0)
    assert (settings.supabase_url, settings.anon_key) == ("https://x.supabase.co", "sb_publishable_x")
    assert (settings.host, settings.port, settings.public_url) == ("127.0.0.1", 0, "https://a.example.com")
    assert settings.anon_key not in repr(settings)
    assert load_a2a_settings(NEEDED | {"SUPABASE_ANON_KEY": "first"}).anon_key == "first"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SUPABASE_URL": ""}, "SUPABASE_URL"),
        ({"SUPABASE_PUBLISHABLE_KEY": ""}, "SUPABASE_ANON_KEY"),
        ({"A2A_PORT": "70000"}, "A2A_PORT"),
        ({"A2A_PUBLIC_URL": "agents.example.com"}, "A2A_PUBLIC_URL"),
        ({"A2A_POLL_INTERVAL": "0"}, "A2A_POLL_INTERVAL"),
        ({"A2A_MAX_STREAMS": "many"}, "A2A_MAX_STREAMS"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_used_is_named(changes: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_a2a_settings(NEEDED | changes)


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"Bearer e30.{body}.sig"


def test_a_users_token_names_the_user_and_is_not_shown() -> None:
    user = str(uuid.uuid4())
    identity = read_identity(token({"sub": user.upper(), "role": "authenticated"}))
    assert identity.user_id == user
    assert identity.token not in repr(identity)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic eDp5",
        "Bearer",
        "Bearer a.b",
        "Bearer a.b.c d",
        "Bearer e30.W10.x\r\nX: y",
        token([]),
        token("x"),
        token(None),
        token({"sub": 7, "role": "authenticated"}),
        token({"sub": "me", "role": "authenticated"}),
        token({"sub": str(uuid.uuid4())}),
        token({"sub": str(uuid.uuid4()), "role": "service_role"}),
        "Bearer e30." + base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=") + ".x",
        "Bearer e30./w.x",
        "Bearer e30." + "x" * 20_000 + ".x",
    ],
)
def test_what_is_no_users_token_is_refused_with_what_to_send(header: str | None) -> None:
    with pytest.raises(TokenError, match=r"(?i)token"):
        read_identity(header)
