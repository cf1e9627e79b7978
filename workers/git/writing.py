"""What a sync says to the database, and what the database has said: every call is fenced by the lease."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.backend import Backend
from workers.contract import ClaimedTask, Completion
from workers.errors import BackendError, BackendRejected, TaskFailure
from workers.git.agent_file import is_agent, read_agent
from workers.git.mcp import FileProblem
from workers.job import Job

_MAX_REMOVED = 10_000  # in one call
_MAX_PROBLEMS = 1_000
_MAX_LATER = 1_000

Problem = dict[str, str]


class Repository(BaseModel):
    """What read_repository_sync answers."""

    model_config = ConfigDict(frozen=True)

    id: str
    git_url: str
    branch: str
    agent_directory: str
    last_commit: str | None
    is_settled: bool


class Known(BaseModel):
    """What begin_repository_sync answers: the hash of each file, and what the last sync noted."""

    model_config = ConfigDict(frozen=True)

    files: dict[str, str]
    problems: list[dict[str, str]]


class Database:
    """The functions that a sync calls, for one attempt."""

    def __init__(self, backend: Backend, claimed: ClaimedTask) -> None:
        self._backend = backend
        self._fence = {"task_id": claimed.task.id, "attempt": claimed.attempt, "lease_token": claimed.lease_token}

    async def repository(self) -> Repository | None:
        """Return what is to be synced; None when it is gone."""
        try:
            answer = await self._backend.call("read_repository_sync", self._fence)
            return Repository.model_validate(answer)
        except BackendRejected as error:
            if error.token == "repository_not_found":  # noqa: S105 - no password
                return None
            raise _unusable(error) from error
        except (BackendError, ValidationError) as error:
            raise _unusable(error) from error

    async def begin(self) -> Known:
        """Say that the repository is being read, and return what is known of it."""
        try:
            return Known.model_validate(await self.call("begin_repository_sync", self._fence))
        except ValidationError as error:
            raise _unusable(error) from error

    async def apply(self, files: Sequence[Mapping[str, Any]], removed: Sequence[str] = ()) -> list[Problem]:
        """Write files, after taking others away; return what was wrong with which."""
        arguments = {**self._fence, "files": list(files), "removed": list(removed)}
        problems: list[Problem] = await self.call("apply_git_files", arguments)
        return problems

    async def finish(self, commit: str, problems: Sequence[Problem]) -> None:
        """Say that everything is said."""
        arguments = {**self._fence, "commit_hash": commit, "problems": list(problems)}
        while not (await self.call("finish_repository_sync", arguments))["is_done"]:
            pass

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        """Call a function.

        Raises:
            TaskFailure: internal_error.
        """
        try:
            return await self._backend.call(function, arguments)
        except BackendError as error:
            raise _unusable(error) from error


class Writing:
    """Brings the database in step with the messages of `pack_child`."""

    def __init__(self, database: Database, repository: Repository, commit: str, known: Known, job: Job) -> None:
        self._database = database
        self._repository = repository
        self._commit = commit
        self._known = known
        self._job = job
        self._gone: set[str] = set()
        self._paths: set[str] = set()
        self._read: set[str] = set()
        self._later: list[Mapping[str, Any]] = []
        self._problems: list[Problem] = []
        self._found: Counter[str] = Counter()  # of problems, by level
        self._written = 0
        self._removed = 0

    @property
    def known(self) -> dict[str, str]:
        """The hash of each file that is an agent already."""
        return self._known.files

    async def take(self, message: Mapping[str, Any]) -> None:
        """Write what a message says."""
        if "paths" in message:
            self._paths = set(message["paths"])
            self._keep(message["problems"])
            # Before anything is written, so that a file that was moved finds its agent free.
            await self._remove(sorted(self._known.files.keys() - self._paths))
            return
        rows, none = [], []
        for about in message["files"]:
            self._read.add(about["path"])
            if about.get("is_none") or ("front" in about and not is_agent(about["front"])):
                none.append(about["path"])
            elif (row := self._row(about)) is not None:
                rows.append(row)
        await self._remove([path for path in none if path in self._known.files])
        await self._write(rows)
        share = len(self._read) / max(1, len(self._paths))
        self._job.progress(10 + 80 * share, f"{len(self._read)} files read")

    async def finish(self) -> Completion:
        """Write what another file was in the way of, and end the sync."""
        later, self._later = self._later, []
        if later:
            await self._write(later, is_last=True)
        # What is wrong with a file stays true while the file stays as it is.
        kept = [
            problem
            for problem in self._known.problems
            if problem.get("path") in self._paths - self._read and problem.get("code") not in {"symlink", "submodule"}
        ]
        problems = sorted(
            [*self._problems, *kept], key=lambda found: (found.get("level") != "error", found.get("path", ""))
        )
        await self._database.finish(self._commit, problems[:_MAX_PROBLEMS])
        found = self._found.total() + len(kept)
        counts = {"written": self._written, "removed": self._removed, "problems": found}
        return Completion(
            response=f"Synced {self._commit[:12]}: {self._written} agents added or changed, {self._removed} taken away"
            + (f", {found} things to look at (last_sync_errors)." if found else "."),
            response_metadata={"commit": self._commit, **counts},
        )

    def _row(self, about: Mapping[str, Any]) -> Mapping[str, Any] | None:
        try:
            if "problem" in about:
                raise FileProblem(about["problem"]["code"], about["problem"]["message"])
            file = read_agent(self._job.claimed.task.organization_slug, about, self._commit)
        except FileProblem as problem:
            self._note(about["path"], problem.code, problem.message)
            return None
        self._keep(file.warnings)
        return file.row

    async def _write(self, rows: Sequence[Mapping[str, Any]], *, is_last: bool = False) -> None:
        if not rows:
            return
        refused = {problem["path"]: problem for problem in await self._database.apply(rows)}
        self._written += len(rows) - len(refused)
        for row in rows:
            if (problem := refused.get(row["path"])) is None:
                continue
            if problem["code"] == "name_repeated" and not is_last and len(self._later) < _MAX_LATER:
                self._later.append(row)
            else:
                self._note(row["path"], problem["code"], problem["message"])

    async def _remove(self, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), _MAX_REMOVED):
            await self._database.apply([], paths[start : start + _MAX_REMOVED])
        self._removed += len(paths)

    def _note(self, path: str, code: str, message: str) -> None:
        self._keep([{"path": path, "level": "error", "code": code, "message": message[:500]}])

    def _keep(self, problems: Iterable[Problem]) -> None:
        """Take note of problems; of a hundred thousand bad files no more are kept than are told."""
        for problem in problems:
            self._found[problem["level"]] += 1
            if self._found[problem["level"]] <= _MAX_PROBLEMS:
                self._problems.append(problem)


def _unusable(error: Exception) -> TaskFailure:
    reason = error.token if isinstance(error, BackendRejected) else type(error).__name__
    return TaskFailure(
        "internal_error", f"The database could not be asked about the repository ({reason}).", retryable=True
    )
