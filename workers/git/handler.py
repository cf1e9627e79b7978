"""The method `sync_repository`: reads what changed in a repository, and says it to the database in batches.

What the database has taken stays when a later batch fails; the next attempt finds it unchanged and goes on.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.backend import Backend
from workers.contract import Completion
from workers.door import Door
from workers.errors import TaskFailure
from workers.git.place import MAX_PACK_BYTES, Place
from workers.git.reading import ReadingLimits, read_pack
from workers.git.writing import Database, Repository, Writing
from workers.job import Job
from workers.secrets import Secrets

if TYPE_CHECKING:
    from workers.git.remote import Remote

_AT_ONCE = 3  # How many packs a worker unpacks at a time, one of them for an organization.
_FETCH_SECONDS = 300.0


class _Credential(BaseModel):
    """What read_git_credential answers."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    git_url: str
    username: str | None = None
    encrypted_token: str
    expires_at: dt.datetime | None = None


class RepositorySyncs:
    """Runs syncs; `limits` bound what unpacking a repository takes."""

    def __init__(  # noqa: PLR0913 - each is a part or a limit of its own
        self,
        door: Door,
        secrets: Secrets,
        database: Backend,
        *,
        limits: ReadingLimits | None = None,
        max_pack_bytes: int = MAX_PACK_BYTES,
        timeout: float = 60.0,
    ) -> None:
        self._door = door
        self._secrets = secrets
        self._database = database
        self._limits = limits or ReadingLimits()
        self._max_pack_bytes = max_pack_bytes
        self._timeout = timeout
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._turn_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def sync(self, job: Job) -> Completion:
        """Bring the agents of a repository in step with its branch.

        Raises:
            TaskFailure: any of repository_*, those of the door, internal_error; the agents stay as they were.
        """
        database = Database(self._database, job.claimed)
        repository = await database.repository()
        if repository is None:
            return Completion(response="There is nothing to sync: the repository is gone.")
        place = await self._place(job, database, repository)
        force = job.claimed.task.params.get("force") is True
        known = repository.last_commit if repository.is_settled and not force else None
        with tempfile.NamedTemporaryFile(prefix="orchestrator-pack-") as pack:
            async with self._remote(job, place) as remote:
                job.progress(5, "Asking for the branch")
                with job.step("http_request", "git fetch", {"branch": repository.branch, "known": known}) as record:
                    head = await remote.fetch(known, pack.file)
                    record.output = {"head": head}
                    record.metadata = {"bytes": pack.file.tell()}
            if head == known:
                return Completion(
                    response=f"Nothing has changed since {head[:12]}.", response_metadata={"commit": head}
                )
            pack.flush()
            writing = Writing(database, repository, head, await database.begin(), job)
            files = {} if force else writing.known
            own_turn = self._turn_of.setdefault(job.claimed.task.organization_slug, asyncio.Semaphore())
            async with (
                own_turn,
                self._turns,
                read_pack(pack.name, head, repository.agent_directory, files, self._limits) as messages,
            ):
                async for message in messages:
                    await writing.take(message)
        return await writing.finish()

    @asynccontextmanager
    async def _remote(self, job: Job, place: Place) -> AsyncIterator[Remote]:
        # Loaded when the first repository needs it, so that a worker starts without it.
        module = await asyncio.to_thread(importlib.import_module, "workers.git.remote")
        http = self._door.client(
            job.claimed.allowed_hosts,
            timeout=self._timeout,
            max_bytes=self._max_pack_bytes,
            max_redirects=3,
            whole_seconds=_FETCH_SECONDS,
            organization=job.claimed.task.organization_slug,
        )
        async with http, module.Remote(place, http, max_pack_bytes=self._max_pack_bytes) as remote:
            yield remote

    async def _place(self, job: Job, database: Database, repository: Repository) -> Place:
        answer = await database.call("read_git_credential", {"repository_id": repository.id})
        if answer is None:
            return Place(repository.git_url, repository.branch)
        try:
            credential = _Credential.model_validate(answer)
        except ValidationError as error:
            raise TaskFailure("internal_error", "The credential could not be read.", retryable=True) from error
        if credential.git_url != repository.git_url:
            # It is sent nowhere but where it was set for.
            raise TaskFailure("internal_error", "The repository's address has just been changed.", retryable=True)
        if credential.expires_at is not None and credential.expires_at <= dt.datetime.now(dt.UTC):
            raise TaskFailure(
                "repository_auth_failed",
                f"The repository's credential expired on {credential.expires_at:%Y-%m-%d}: an admin sets a new one "
                "with set_git_credential. The agents stay as they were.",
            )
        token = self._secrets.decrypt(credential.encrypted_token, job.claimed.task.organization_slug)
        if token is None:
            raise TaskFailure(
                "repository_auth_failed",
                "The repository's credential cannot be decrypted with the worker's ORCHESTRATOR_SECRETS_KEY: an admin "
                "sets it again, encrypted with the key in use, or the operator adds the key it was made with.",
            )
        return Place(repository.git_url, repository.branch, credential.username, token)
