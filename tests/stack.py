"""The stack that the tests run on, as `./scripts/test` exports it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Stack:
    """Where the services are and the keys to them."""

    url: str
    anon_key: str
    service_role_key: str
    publishable_key: str
    secret_key: str
    database_url: str
    jwt_secret: str


VARIABLES = {
    "url": "SUPABASE_URL",
    "anon_key": "SUPABASE_ANON_KEY",
    "service_role_key": "SUPABASE_SERVICE_ROLE_KEY",
    "publishable_key": "SUPABASE_PUBLISHABLE_KEY",
    "secret_key": "SUPABASE_SECRET_KEY",
    "database_url": "DATABASE_URL",
    "jwt_secret": "JWT_SECRET",
}


def from_environment(environment: dict[str, str] | None = None) -> Stack | None:
    """The stack that the variables name; None when one is missing or they name another machine's."""
    values = os.environ if environment is None else environment
    if not all(values.get(name) for name in VARIABLES.values()):
        return None
    stack = Stack(**{field: values[name] for field, name in VARIABLES.items()})
    return stack if stack.url.startswith("http://127.0.0.1:") else None
