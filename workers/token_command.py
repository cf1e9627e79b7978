"""The command `python -m workers token`: makes the token of an organization's own worker, and prints it."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt

from workers.backend import connect
from workers.errors import SettingsError
from workers.settings import Reader, service_key

ROLE = "organization_worker"
JWT_SECRET = "SUPABASE_JWT_SECRET"  # noqa: S105 - the name of a variable

_EPILOG = f"""\
settings come from the environment and from .env:
  SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY (or SUPABASE_SECRET_KEY)   the database, where the token is registered
  {JWT_SECRET} (or JWT_SECRET)                                what PostgREST checks tokens with, to sign it

Who holds the token can run workers for that organization until it expires or is revoked: revoke_worker_token.
"""


def add_parser(commands: Any) -> None:
    """Add the command to argparse's commands."""
    parser = commands.add_parser(
        "token",
        help="make a token for an organization's own worker",
        description="Register, sign and print a token with which an organization runs a worker of its own.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--organization", required=True, metavar="SLUG", help="whose tasks the worker may run")
    parser.add_argument("--minutes", type=int, default=60, metavar="N", help="how long it is good, 1 to 1440 (60)")
    parser.add_argument("--name", default="worker", help="what it is called where admins list tokens (worker)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="replace this file instead of printing it")


async def run(arguments: argparse.Namespace, env: Mapping[str, str]) -> None:
    """Make a token and print it, or replace a file with it in one step.

    Raises:
        SettingsError: a setting is missing, or the file cannot be written.
        BackendError: the database refuses to register it: unknown organization, minutes out of range, wrong key.
    """
    reader = Reader(env)
    url = reader.url("SUPABASE_URL", required=True) or ""
    key_variable, key = service_key(reader)
    secret = (
        reader.text(JWT_SECRET)
        or reader.text("JWT_SECRET")
        or reader.required(JWT_SECRET, "the secret that the project's tokens are signed with")
    )
    if len(secret) < 32:
        raise SettingsError(f"{JWT_SECRET} has less than 32 characters: that is not the project's JWT secret.")
    async with connect(url, key, key_variable=key_variable, timeout_seconds=30.0) as database:
        row = await database.call(
            "create_worker_token",
            {"organization_slug": arguments.organization, "name": arguments.name, "minutes": arguments.minutes},
        )
    token = sign(row, secret)
    if arguments.output is None:
        print(token)
    else:
        _replace(arguments.output, token)


def sign(row: Mapping[str, Any], secret: str) -> str:
    """Return the token for a row of worker_tokens, signed with HS256."""
    claims = {
        "role": ROLE,
        "organization_slug": row["organization_slug"],
        "jti": row["id"],
        "iat": int(time.time()),
        "exp": int(datetime.fromisoformat(row["expires_at"]).timestamp()),
    }
    return jwt.encode(claims, secret, algorithm="HS256")


def _replace(path: Path, token: str) -> None:
    """Replace a file in one step, so that no worker reads half a token; only its owner may read it."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            file.write(f"{token}\n")
        Path(file.name).replace(path)
    except OSError as error:
        raise SettingsError(f"--output cannot be written: {error}.") from None
