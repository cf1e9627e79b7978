"""Who calls: the user of an access token, and the agent the address names."""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from dataclasses import dataclass, field

from a2a.server.context import ServerCallContext

_BEARER = re.compile(r"[Bb]earer +([A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+) *")
_LONGEST_TOKEN = 16_384


@dataclass(frozen=True, slots=True)
class Identity:
    """A user's access token and the user it names. PostgREST checks the signature with each use."""

    token: str = field(repr=False)
    user_id: str


@dataclass(frozen=True, slots=True)
class Caller:
    """A user and the agent that the user calls; both were found to exist for this user."""

    identity: Identity
    organization: str
    agent: str

    @property
    def user_id(self) -> str:
        """The user."""
        return self.identity.user_id


class TokenError(Exception):
    """The request carries no access token of a user; the message says what to send."""


def read_identity(authorization: str | None) -> Identity:
    """Return whose token an Authorization header holds.

    Only what the token says is read here: a forged one is refused by PostgREST, which gets it before anything is done.

    Raises:
        TokenError: there is none, or it is not that of a signed-in user.
    """
    if not authorization:
        raise TokenError("Send the access token of a signed-in user: Authorization: Bearer <token>.")
    match = _BEARER.fullmatch(authorization) if len(authorization) <= _LONGEST_TOKEN else None
    if match is None:
        raise TokenError("The Authorization header is not 'Bearer' with an access token (a JWT).")
    try:
        claims = json.loads(base64.urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4)))
        user_id = str(uuid.UUID(claims["sub"])) if claims["role"] == "authenticated" else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error):
        user_id = None
    if user_id is None:
        raise TokenError("The token is not that of a signed-in user; keys of servers and of browsers are not taken.")
    return Identity(match[1], user_id)


def caller_of(context: ServerCallContext) -> Caller:
    """Return who makes a call, as the gate found out."""
    caller = context.state["caller"]
    assert isinstance(caller, Caller)
    return caller
