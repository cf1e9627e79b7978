"""An organization's secrets, as its agents use them: `${NAME}` in an endpoint, and its own provider keys."""

from __future__ import annotations

from typing import Any

from workers.backend import Backend


class Secrets:
    """Reads secrets of organizations from the database when an attempt needs them, and hides them in texts."""

    def __init__(self, database: Backend, *, key: str | None = None) -> None:
        self._database = database
        self._key = key

    async def get(self, organization: str, name: str) -> str | None:
        """Return a secret; None when the organization has none of that name."""
        raise NotImplementedError

    async def fill(self, organization: str, value: Any) -> Any:
        """Return JSON with each `${NAME}` in its strings replaced by that secret.

        Raises:
            TaskFailure: agent_misconfigured, naming what is missing.
        """
        return value

    def redact(self, text: str) -> str:
        """Return text in which every secret that was handed out so far reads [redacted]."""
        return text
