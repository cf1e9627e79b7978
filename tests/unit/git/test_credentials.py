"""The credential of a repository: to which address it goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from workers.backend import Backend
from workers.contract import ClaimedTask, TaskRow
from workers.door import Door
from workers.errors import TaskFailure
from workers.git import RepositorySyncs
from workers.job import Job
from workers.reports import ReportQueue
from workers.secrets import Secrets


class Database:
    """Answers as the database does when the address is changed between two calls; nothing else is to be asked."""

    async def call(self, function: str, _arguments: Mapping[str, Any]) -> Any:
        return {
            "read_repository_sync": {
                **{"id": "r", "git_url": "https://evil.example/a.git", "branch": "main", "agent_directory": "agents"},
                **{"last_commit": None, "is_settled": False},
            },
            "read_git_credential": {
                "git_url": "https://git.example/a.git",
                "encrypted_token": "gAAAA",
                "username": "b",
            },
        }[function]


async def test_a_credential_for_another_address_than_was_read_goes_nowhere() -> None:
    database = cast(Backend, Database())
    syncs = RepositorySyncs(cast(Door, None), Secrets(database), database)
    claimed = ClaimedTask(TaskRow("t", "org", "sync_repository", "Sync", 1), None, 1, "token")
    with pytest.raises(TaskFailure, match="address has just been changed") as failure:
        await syncs.sync(Job(claimed, ReportQueue(lambda: None)))
    assert failure.value.retryable
