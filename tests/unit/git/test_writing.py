"""What a sync says to the database of a repository full of bad files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from workers.backend import Backend
from workers.contract import ClaimedTask, TaskRow
from workers.git.writing import Database, Known, Repository, Writing
from workers.job import Job
from workers.reports import ReportQueue


class Listener:
    """Notes how the sync ended."""

    def __init__(self) -> None:
        self.problems: list[dict[str, str]] = []

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        if function == "apply_git_files":
            return []
        assert function == "finish_repository_sync"
        self.problems = arguments["problems"]
        return {"is_done": True}


async def test_of_very_many_problems_a_thousand_are_kept_errors_first() -> None:
    listener = Listener()
    claimed = ClaimedTask(TaskRow("t", "org", "sync_repository", "Sync", 1), None, 1, "token")
    job = Job(claimed, ReportQueue(lambda: None))
    repository = Repository(
        id="r", git_url="https://a.example/a.git", branch="main", agent_directory="", last_commit=None, is_settled=False
    )
    writing = Writing(
        Database(cast(Backend, listener), claimed), repository, "c" * 40, Known(files={}, problems=[]), job
    )
    paths = [f"{number}.md" for number in range(3000)]
    links = [{"path": f"l{n}", "level": "warning", "code": "symlink", "message": "A link."} for n in range(900)]
    await writing.take({"paths": paths, "problems": links})
    for start in range(0, 3000, 200):
        bad = {"hash": "h", "problem": {"code": "not_text", "message": "It is not UTF-8."}}
        await writing.take({"files": [{"path": path, **bad} for path in paths[start : start + 200]]})
    done = await writing.finish()
    assert len(writing._problems) == 1900
    assert {problem["level"] for problem in listener.problems} == {"error"}
    assert len(listener.problems) == 1000
    assert (done.response_metadata or {})["problems"] == 3900
