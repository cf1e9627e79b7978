"""What outlives an attempt: the remote task that works for ours, kept in the database by its functions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.backend import Backend
from workers.backoff import Backoff
from workers.contract import ClaimedTask
from workers.errors import BackendError, BackendUnavailable, TaskFailure

_TRIES = 8


@dataclass(frozen=True, slots=True)
class Link:
    """A message and what the server made of it; `remote_task_id` is None until the server has taken the message.

    `context_id` is the one in which the conversation goes on, if it has one.
    """

    message_id: str
    remote_task_id: str | None = None
    context_id: str | None = None


class Links:
    """Reads and writes links; fenced by the lease, so that an attempt that lost it changes nothing."""

    def __init__(self, database: Backend) -> None:
        self._database = database

    async def begin(self, claimed: ClaimedTask, server: str) -> Link:
        """Return the task's link; a new one when there is none yet with this server.

        Raises:
            TaskFailure: internal_error, when the database cannot be asked.
        """
        told = await self._call("begin_remote_task", claimed, {"server": server})
        return Link(told["message_id"], told["remote_task_id"], told["context_id"])

    async def keep(self, claimed: ClaimedTask, link: Link) -> None:
        """Keep a link once the server has taken its message."""
        ids = {
            "message_id": link.message_id,
            "remote_task_id": link.remote_task_id,
            "context_id": link.context_id,
        }
        await self._call("keep_remote_task", claimed, ids)

    async def forget(self, claimed: ClaimedTask) -> None:
        """Let the next attempt begin anew."""
        await self._call("forget_remote_task", claimed, {})

    async def _call(self, function: str, claimed: ClaimedTask, arguments: Mapping[str, Any]) -> Any:
        lease = {"task_id": claimed.task.id, "attempt": claimed.attempt, "lease_token": claimed.lease_token}
        waits = Backoff()
        for tries in range(1, _TRIES + 1):
            try:
                return await self._database.call(function, {**lease, **arguments})
            except BackendUnavailable:
                if tries < _TRIES:
                    await asyncio.sleep(waits.next())
            except BackendError:
                break
        # A lost lease ends here too; then nobody hears it.
        raise TaskFailure("internal_error", "The worker could not keep the remote task's id.", retryable=True)
