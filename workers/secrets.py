"""An organization's secrets, as its agents use them: `${NAME}` in an endpoint, and its own provider keys.

They come from the database when an attempt needs them and from nowhere else: never from this process's environment,
which holds the operator's. An organization's own worker has them in `workers.scoped.OwnSecrets` instead.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol
from weakref import WeakValueDictionary

from workers.errors import BackendError, TaskFailure
from workers.keyring import VARIABLE, Keyring, split_keys
from workers.redaction import Redactor

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_PLACEHOLDER = re.compile(r"(\$?)\$\{([^}]*)\}")
_MAX_NAMES = 100  # What the database gives at once.
_MAX_USED_CHARS = 262_144  # Of all secrets of an agent: each is looked for in all it says, in many forms.
_KEPT_SECONDS, _MISSING_SECONDS = 10.0, 2.0


class SecretSource(Protocol):
    """Where the values of `${NAME}` come from."""

    async def fill(self, organization: str, value: Any) -> Any:
        """Return JSON with each `${NAME}` in its strings replaced."""


class SecretReader(Protocol):
    """Who answers `read_organization_secrets`."""

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        """Return [{name, value or ciphertext}]."""


class Secrets:
    """Reads secrets of organizations, keeps them for some seconds, and hides them in texts; for one event loop.

    `key` is the setting ORCHESTRATOR_SECRETS_KEY; without it only secrets in Supabase Vault can be read.
    """

    def __init__(
        self,
        database: SecretReader,
        *,
        key: str | None = None,
        redactor: Redactor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._keyring = Keyring(split_keys(key)) if key else None
        self._redactor = redactor or Redactor()
        self._kept = _Kept(clock)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, organization: str, name: str) -> str | None:
        """Return a secret; None when the organization has none of that name.

        Raises:
            TaskFailure: agent_misconfigured when it cannot be decrypted; secrets_unavailable.
        """
        if not _NAME.fullmatch(name):
            return None
        return (await self._values(organization, [name]))[name]

    async def fill(self, organization: str, value: Any) -> Any:
        """Return JSON with each `${NAME}` in its strings replaced by that secret; `$${NAME}` stands for `${NAME}`.

        What a secret holds is not looked at for further names, and names of keys are left as they are.

        Raises:
            TaskFailure: agent_misconfigured, naming what is missing or cannot be decrypted; secrets_unavailable.
        """
        names = names_in(value)
        for name in sorted(names):
            if not _NAME.fullmatch(name):
                raise _misconfigured(
                    f"The agent refers to ${{{name[:63]}}}, which cannot be a secret: names are like STRIPE_KEY. "
                    "Write $${…} where the text itself is meant.",
                    [name[:63]],
                )
        values = await self._values(organization, names)
        if missing := sorted(name for name, secret in values.items() if secret is None):
            raise _misconfigured(
                f"The agent refers to {', '.join(missing)}, but the organization has no such secret: an admin sets it "
                "with set_organization_secret.",
                missing,
            )
        return filled(value, values)

    def decrypt(self, ciphertext: str, organization: str) -> str | None:
        """Return what was encrypted with the workers' key, hidden from now on; None when it cannot be read here."""
        value = self._keyring.decrypt(ciphertext) if self._keyring is not None else None
        if value is not None:
            self._redactor.remember(value, organization)
        return value

    def redact(self, text: str, organization: str) -> str:
        """Return an organization's text in which the secrets that it was handed so far, and ours, read [redacted]."""
        return self._redactor.text(text, organization)

    async def _values(self, organization: str, names: Iterable[str]) -> dict[str, str | None]:
        wanted = sorted(set(names))
        if len(wanted) > _MAX_NAMES:
            raise _misconfigured(f"The agent refers to more than {_MAX_NAMES} secrets.", [])
        values, unknown = self._kept.find(organization, wanted)
        if unknown:
            # One asks, and the others of the organization find what it got.
            async with self._locks.setdefault(organization, asyncio.Lock()):
                values, unknown = self._kept.find(organization, wanted)
                if unknown:
                    values |= await self._read(organization, unknown)
        if sum(len(value) for value in values.values() if value is not None) > _MAX_USED_CHARS:
            raise _misconfigured(f"The agent's secrets have more than {_MAX_USED_CHARS} characters in all.", wanted)
        for value in values.values():
            if value is not None:
                self._redactor.remember(value, organization)
        return values

    async def _read(self, organization: str, names: list[str]) -> dict[str, str | None]:
        arguments = {"organization_slug": organization, "names": names}
        try:
            rows = await self._database.call("read_organization_secrets", arguments)
            found = {row["name"]: row for row in rows}
        except (BackendError, ValueError, TypeError, KeyError) as error:
            raise TaskFailure(
                "secrets_unavailable",
                "The organization's secrets could not be read from the database just now.",
                retryable=True,
            ) from error
        values = {name: self._open(found[name]) if name in found else None for name in names}
        for name, value in values.items():
            self._kept.keep(organization, name, value)
        return values

    def _open(self, row: Mapping[str, Any]) -> str:
        name, value, ciphertext = row["name"], row.get("value"), row.get("ciphertext")
        if isinstance(value, str):
            return value
        if not isinstance(ciphertext, str):
            problem = "is gone from Supabase Vault: an admin sets it again with set_organization_secret."
        elif self._keyring is None:
            problem = f"is encrypted, but this worker has no key: its operator must set {VARIABLE}."
        elif (opened := self._keyring.decrypt(ciphertext)) is None:
            problem = (
                f"cannot be decrypted with the worker's {VARIABLE}: encrypt it with the key in use (python -m workers "
                "secrets encrypt) and set it again, or have the operator add the key that it was made with."
            )
        else:
            return opened
        raise _misconfigured(f"The organization's secret {name} {problem}", [name])


class _Kept:
    """The secrets read last, for some seconds; bounded in number and size."""

    def __init__(self, clock: Callable[[], float], max_entries: int = 2000, max_chars: int = 8_000_000) -> None:
        self._clock = clock
        self._max_entries, self._max_chars = max_entries, max_chars
        self._entries: OrderedDict[tuple[str, str], tuple[float, str | None]] = OrderedDict()
        self._chars = 0

    def find(self, organization: str, names: list[str]) -> tuple[dict[str, str | None], list[str]]:
        """Return what is known, None for what is known to be missing, and the names of which nothing is known."""
        now = self._clock()
        known: dict[str, str | None] = {}
        for name in names:
            until, value = self._entries.get((organization, name), (now, None))
            if until > now:
                known[name] = value
        return known, [name for name in names if name not in known]

    def keep(self, organization: str, name: str, value: str | None) -> None:
        self._drop((organization, name))
        seconds = _MISSING_SECONDS if value is None else _KEPT_SECONDS
        self._entries[organization, name] = (self._clock() + seconds, value)
        self._chars += len(value or "")
        while len(self._entries) > self._max_entries or self._chars > self._max_chars:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: tuple[str, str]) -> None:
        _, value = self._entries.pop(key, (0.0, None))
        self._chars -= len(value or "")


def names_in(value: Any) -> set[str]:
    """Return the names of the secrets that JSON refers to."""
    return {name for text in _strings(value) for escape, name in _PLACEHOLDER.findall(text) if not escape}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(entry)


def filled(value: Any, secrets: Mapping[str, str | None]) -> Any:
    """Return JSON with the secrets put in; `secrets` has every name that it refers to."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: _replacement(found, secrets), value)
    if isinstance(value, Mapping):
        return {key: filled(entry, secrets) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [filled(entry, secrets) for entry in value]
    return value


def _replacement(found: re.Match[str], secrets: Mapping[str, str | None]) -> str:
    escape, name = found.groups()
    return found[0][1:] if escape else secrets[name] or ""


def _misconfigured(message: str, names: list[str]) -> TaskFailure:
    return TaskFailure("agent_misconfigured", message, data={"secrets": names})
