"""Workers of customers: a token for one organization in place of a server's key, and what comes with it.

With such a token the database answers `scoped_*` functions and nothing else: each does what the function of servers
without that prefix does, for the tasks of the token's organization. See docs/own-workers.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers import backend
from workers.errors import SettingsError
from workers.redaction import Redactor
from workers.settings import Settings

TOKEN, TOKEN_FILE = "WORKER_TOKEN", "WORKER_TOKEN_FILE"


class WorkerToken:
    """The token of a worker; one in a file is read again when the file changes, so that it can be renewed."""

    def __init__(
        self, text: str | None = None, *, file: Path | None = None, remember: Callable[[str], None] = lambda _: None
    ) -> None:
        if (text is None) == (file is None):
            raise SettingsError(f"Set {TOKEN} or {TOKEN_FILE}, not both.")
        self._file = file
        self._remember = remember
        self._read_at: tuple[int, int, int] | None = None
        self._text = self._checked(text.strip()) if text is not None else ""
        if file is not None:
            self._text = self._read(file)

    @property
    def variable(self) -> str:
        """The setting that names it."""
        return TOKEN if self._file is None else TOKEN_FILE

    @property
    def renewable(self) -> bool:
        """Whether another one may come while the worker runs."""
        return self._file is not None

    @property
    def organization(self) -> str:
        """The organization that it says it is for; the database decides whether that is so."""
        return str(_claims(self._text)["organization_slug"])

    def current(self) -> str:
        """Return the token in force; the last good one while the file is missing, half written, or no token."""
        if self._file is not None:
            try:
                if _state_of(self._file) != self._read_at:
                    self._text = self._read(self._file)
            except (OSError, SettingsError):
                return self._text
        return self._text

    def _read(self, file: Path) -> str:
        try:
            state = _state_of(file)
            text = self._checked(file.read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{TOKEN_FILE} names a file that cannot be read: {error}.") from None
        self._read_at = state
        return text

    def _checked(self, text: str) -> str:
        if "organization_slug" not in _claims(text):
            raise SettingsError(
                f"{self.variable} holds no token of a worker: an operator makes one with "
                "python -m workers token --organization SLUG."
            )
        self._remember(text)
        return text


def _state_of(file: Path) -> tuple[int, int, int]:
    state = file.stat()
    return state.st_mtime_ns, state.st_size, state.st_ino


def _claims(token: str) -> Mapping[str, Any]:
    """Return what a JWT says, unverified; nothing when it is none."""
    try:
        middle = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def connect(
    url: str, anon_key: str, token: str | WorkerToken, *, timeout_seconds: float = 30.0
) -> AbstractAsyncContextManager[backend.Backend]:
    """Connect as an organization's own worker, for `async with`.

    `url` and `anon_key` are the Supabase project's, `token` comes from `python -m workers token`. The methods are those
    of a worker with a server's key, but act on the token's organization only; `call("agents_to_call", …)` calls
    `scoped_agents_to_call`, and so on. Times are in seconds. Reading and calling raise `BackendError`:
    `BackendRefused` once the token is not accepted, or `BackendUnavailable` where a new one may come by file.

    Raises:
        SettingsError: it is no token of a worker.
    """
    held = WorkerToken(token) if isinstance(token, str) else token
    return backend.connect(url, anon_key, key_variable=held.variable, timeout_seconds=timeout_seconds, token=held)


@dataclass(frozen=True, slots=True)
class OwnSecrets:
    """The organization's secrets as its own worker has them: from its environment, never from the database."""

    values: Mapping[str, str]

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        """Answer as `read_organization_secrets`: [{name, value}] of the names in `arguments`."""
        if function != "read_organization_secrets":
            raise ValueError(f"{function} does not read secrets")
        return [{"name": name, "value": self.values[name]} for name in arguments["names"] if name in self.values]


def token_of(settings: Settings, redactor: Redactor) -> WorkerToken | None:
    """Return the token of an organization's own worker; None for a worker with a server's key.

    Raises:
        SettingsError: it is no token of a worker, or --organization names another organization.
    """
    if settings.worker_token is None and settings.worker_token_file is None:
        return None
    token = WorkerToken(settings.worker_token, file=settings.worker_token_file, remember=redactor.remember)
    if set(settings.organizations or ()) - {token.organization}:
        raise SettingsError(f"{token.variable} is for {token.organization} only: leave --organization out.")
    return token
