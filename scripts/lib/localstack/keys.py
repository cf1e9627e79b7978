"""Secrets of one instance: database passwords, the JWT secret and the API keys made from it."""

import secrets
import time
from dataclasses import dataclass

_TEN_YEARS = 10 * 365 * 24 * 3600


@dataclass(frozen=True)
class Keys:
    """What the services share; the four API keys are the ones clients send."""

    jwt_secret: str
    anon_key: str
    service_role_key: str
    publishable_key: str
    secret_key: str
    superuser_password: str
    postgres_password: str
    authenticator_password: str
    auth_password: str


def generate() -> Keys:
    """New random secrets. Passwords are hexadecimal, so that they need no quoting in URLs, SQL or files."""
    jwt_secret = secrets.token_hex(32)
    return Keys(
        jwt_secret=jwt_secret,
        anon_key=_role_token("anon", jwt_secret),
        service_role_key=_role_token("service_role", jwt_secret),
        publishable_key=f"sb_publishable_{secrets.token_hex(11)}_{secrets.token_hex(4)}",
        secret_key=f"sb_secret_{secrets.token_hex(11)}_{secrets.token_hex(4)}",
        superuser_password=secrets.token_hex(16),
        postgres_password=secrets.token_hex(16),
        authenticator_password=secrets.token_hex(16),
        auth_password=secrets.token_hex(16),
    )


def _role_token(role: str, jwt_secret: str) -> str:
    import jwt  # noqa: PLC0415 - slow to load, and needed once in a stack's life

    now = int(time.time())
    claims = {"iss": "supabase", "ref": "local", "role": role, "iat": now, "exp": now + _TEN_YEARS}
    return jwt.encode(claims, jwt_secret, algorithm="HS256")
