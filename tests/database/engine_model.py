"""The queue as it should be, in plain Python: what each call does to each task, and which claims are right.

`Model` is told every call and what it was answered. `expect_report` says which outcomes are right and makes the
change; `check_claim` judges a choice that the database was free to make, then follows it. Times that the database
draws (back-off with jitter) are kept as bounds until they are read. Everything else is exact.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.database.engine_checks import FINAL
from tests.database.engine_states import Lease, Organization, Question, Run, Task, order, places, same_key
from tests.database.kit import Row

GRACE_SECONDS = 5
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass
class Model:
    """All tasks of all organizations, and the time that every call is made at."""

    now: datetime
    lease_seconds: int = 60
    organizations: dict[str, Organization] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    entries: int = 0
    latest: datetime = LONG_AGO

    def pass_time(self, by: timedelta) -> None:
        self.latest = max(self.latest, self.now)
        self.now += by

    def add(self, task: Task) -> None:
        self.entries += 1
        task.position = self.entries
        self.tasks[task.id] = task

    # What ends or changes a task ------------------------------------------------------------------------------------

    def move(
        self, task: Task, status: str, error_code: str | None = None, run: str = "", reported: bool = False
    ) -> None:
        """Make a move with all that follows from it; `run` is how the run ends, by default as the task does."""
        data: Row = {"from": task.status, "to": status}
        if error_code and status != "in_progress":
            data["error_code"] = error_code
        before, task.error_code = task.attempt, error_code
        if task.status == "in_progress":
            ended = task.runs[-1]
            ended.status, ended.ended_by_report, ended.ended_at = run or status, reported, self.now
        if status == "pending" and (run == "released" or task.status == "paused"):
            task.attempt -= 1
        if status == "pending" and task.status != "in_progress":
            self.entries += 1
            task.came_back = self.entries
        if status in FINAL:
            task.checkpoint = None
            for question in task.questions:
                question.status = "cancelled" if question.status == "pending" else question.status
        task.status, task.progress_message, task.lease_expires_at = status, None, None
        if status in {"completed", "pending", "in_progress"}:
            task.progress = 100 if status == "completed" else 0
        task.trail.append(("status", before, data))

    def cancel(self, task: Task) -> None:
        message, code = task.progress_message, task.error_code
        self.move(task, "cancelled", code)
        task.progress_message = message

    def retry(self, task: Task) -> None:
        self.move(task, "pending")
        task.max_attempts = max(task.max_attempts, task.attempt + 1)
        task.due = (self.now, self.now)

    def wait_after(self, task: Task, at_least: float = 0) -> None:
        """Let the next attempt be due after the back-off of this one, give or take a quarter."""
        base = min(task.backoff_seconds * 2 ** (task.attempt - 1), 3600)
        bounds = [max(base * factor, at_least) for factor in (0.75, 1.25)]
        task.due = (self.now + timedelta(seconds=bounds[0]), self.now + timedelta(seconds=bounds[1]))

    def reap(self) -> None:
        """Take away what is late: the lease has run out, or the attempt took longer than its time and the grace."""
        for task in self.tasks.values():
            if task.status != "in_progress":
                continue
            assert task.lease_expires_at is not None
            assert task.started_at is not None
            alive = task.lease_expires_at > self.now
            if alive and task.started_at + timedelta(seconds=task.timeout_seconds + GRACE_SECONDS) > self.now:
                continue
            again = task.attempt < task.max_attempts
            if again and alive:
                self.wait_after(task)
            elif again:
                task.due = (self.now, self.now)
            code, run = ("timeout", "timeout") if alive else ("worker_lost", "abandoned")
            self.move(task, "pending" if again else "timeout" if alive else "failed", code, run)

    def answer(self, task: Task, response: object) -> None:
        task.questions[-1].status, task.questions[-1].response = "answered", response
        task.due = (self.now, self.now)
        self.move(task, "pending")

    def expire(self) -> None:
        """Close questions whose time is up: their tasks end, or go on without an answer."""
        for task in self.tasks.values():
            question = task.questions[-1] if task.status == "paused" else None
            if question is None or question.expires_at is None or question.expires_at > self.now:
                continue
            question.status = "expired"
            if question.on_expiry == "fail":
                self.move(task, "timeout", "input_expired")
            else:
                task.due = (self.now, self.now)
                self.move(task, "pending")

    # Reports --------------------------------------------------------------------------------------------------------

    def expect_report(self, kind: str, lease: Lease, speaker: str, item: Row, valid: bool = True) -> frozenset[str]:
        """Say which outcomes are right for an item, and make the change when it is taken."""
        task = self.tasks.get(lease.task_id)
        if task is None:
            return frozenset({"lost"})
        run = task.run
        held = run is not None and run.lease == lease and speaker == lease.worker
        if run is None or not held or task.lease_expires_at is None or task.lease_expires_at <= self.now:
            return self.stale(task, kind, lease, speaker)
        if not valid:
            return frozenset({"invalid"})
        run.tokens += sum(u["input_tokens"] + u["output_tokens"] for u in item.get("usage", []))
        getattr(self, f"take_{kind}")(task, item)
        return frozenset({"ok"})

    def stale(self, task: Task, kind: str, lease: Lease, speaker: str) -> frozenset[str]:
        """Judge an item that is not fenced in: never taken; ok only for news that was taken before."""
        run = next((r for r in task.runs if r.lease.token == lease.token), None)
        if run is None:
            return frozenset({"lost"})
        endings = {"completed": {"completed"}, "failed": {"failed", "timeout", "rejected"}, "released": {"released"}}
        endings["paused"] = {"paused"}
        if speaker != run.lease.worker or lease != run.lease:
            return frozenset({"lost", "cancelled", "ok"})  # it is not theirs to say: any answer that changes nothing
        if run.status in endings.get(kind, ()):
            return frozenset({"ok"} if run.ended_by_report else {"ok", "lost"})
        return frozenset({"cancelled"} if run.status == "cancelled" else {"lost"})

    def take_heartbeat(self, task: Task, item: Row) -> None:
        progress = max(task.progress, min(item.get("progress", 0), 99))
        message = item.get("progress_message", task.progress_message)
        task.lease_expires_at = self.now + timedelta(seconds=self.lease_seconds)
        if (progress, message) != (task.progress, task.progress_message):
            task.trail.append(("progress", task.attempt, {"progress": progress}))
        task.progress, task.progress_message = progress, message

    def take_event(self, task: Task, item: Row) -> None:
        task.trail.append((item["type"], task.attempt, item.get("data", {})))

    def take_completed(self, task: Task, item: Row) -> None:
        task.versions += "deliverable" in item
        task.replies += len(item.get("messages", [])) if task.conversation else 0
        self.move(task, "completed", reported=True)

    def take_failed(self, task: Task, item: Row) -> None:
        rejected = item.get("rejected", False)
        if item["retryable"] and not rejected and task.attempt < task.max_attempts:
            self.wait_after(task, item.get("retry_after", 0))
            run = "timeout" if item["error_code"] == "timeout" else "failed"
            self.move(task, "pending", item["error_code"], run, reported=True)
            return
        status = "rejected" if rejected else "timeout" if item["error_code"] == "timeout" else "failed"
        self.move(task, status, item["error_code"], reported=True)

    def take_released(self, task: Task, _item: Row) -> None:
        code = task.error_code
        task.due = (self.now, self.now)
        self.move(task, "pending", code, "released", reported=True)

    def take_paused(self, task: Task, item: Row) -> None:
        question = item["input_request"]
        seconds = question.get("expires_in_seconds")
        expires_at = None if seconds is None else self.now + timedelta(seconds=seconds)
        task.questions.append(Question(expires_at, question.get("on_expiry", "fail")))
        task.checkpoint = item.get("checkpoint")
        self.move(task, "paused", reported=True)

    # Claims ---------------------------------------------------------------------------------------------------------

    def admits(self, task: Task, without: Task | None = None, surely: bool = True) -> bool:
        """Whether a waiting task may start now, `without` this running one; surely=False lets in what is left open."""
        organization = self.organizations[task.organization]
        running = [t for t in self.tasks.values() if t.status == "in_progress" and t is not without]
        bounds = [
            (organization.limit, lambda t: t.organization == task.organization),
            (organization.agent_limits.get(task.agent or ""), lambda t: t.agent == task.agent),
        ]
        if task.key is not None:
            bounds.append((organization.key_limits[task.key], lambda t: same_key(t, task)))
        if any(limit is not None and sum(map(counts, running)) >= limit for limit, counts in bounds):
            return False
        # The clock may have gone back since it was due.
        if not organization.active or task.due[1] > (self.now if surely else max(self.now, self.latest)):
            return False
        if task.key is None:
            return True
        limit = organization.key_limits[task.key]
        # A key of limit 1 is kept in order. Whether a larger one lets a task overtake those that wait is left open.
        return not (surely or limit == 1) or self.standing_before(task, running, surely) < limit

    def standing_before(self, task: Task, running: list[Task], surely: bool) -> int:
        """Count what of the same key runs or stands before a task, surely or possibly.

        A paused one may or may not keep its place, and so may one that a person brought back.
        """
        open_states = {"pending", "in_progress", "paused"} if surely else {"pending", "in_progress"}
        nearer, farther = (min, max) if surely else (max, min)
        mine = [t for t in self.tasks.values() if same_key(t, task) and t is not task and t.status in open_states]
        return len([t for t in mine if t in running or nearer(places(t)) < farther(places(task))])

    def waiting(self, slugs: Collection[str]) -> list[Task]:
        return [task for task in self.tasks.values() if task.status == "pending" and task.organization in slugs]

    def check_claim(self, leases: list[Row], worker: str, max_tasks: int, slugs: Collection[str]) -> None:
        """Judge what a claim gave: only what was free, within limits, in order, and all that there was room for."""
        assert len(leases) <= max_tasks, "more than asked for"
        claimed = [self.tasks[lease["task"]["id"]] for lease in leases]
        assert len({task.id for task in claimed}) == len(claimed), "the same task twice in one claim"
        for task in claimed:
            assert task in self.waiting(slugs), f"{task} was not to be had"
        for task, lease in sorted(zip(claimed, leases, strict=True), key=lambda pair: pair[0].position):
            assert self.admits(task, surely=False), f"{task} may not start now"
            self.start(task, lease, worker)
        for left in self.waiting(slugs):
            assert len(leases) == max_tasks or not self.admits(left), f"{left} was left though there was room"
            for task in claimed:
                if task.organization == left.organization and order(left) < order(task):
                    assert not self.admits(left, without=task), f"{left} goes before {task}"

    def start(self, task: Task, lease: Row, worker: str) -> None:
        task.attempt += 1
        assert lease["attempt"] == lease["task"]["attempt"] == task.attempt
        closed = [q for q in task.questions if q.status in {"answered", "expired"}]
        assert [(i["status"], i["response"]) for i in lease["input"]] == [(q.status, q.response) for q in closed]
        assert lease["checkpoint"] == task.checkpoint
        given = Lease(task.id, task.attempt, lease["lease_token"], worker)
        assert all(run.lease.token != given.token for t in self.tasks.values() for run in t.runs), "a token twice"
        self.move(task, "in_progress")
        task.runs.append(Run(given))
        task.started_at, task.lease_expires_at = self.now, self.now + timedelta(seconds=self.lease_seconds)

    def cancelled_for(self, worker: str, within: timedelta | None) -> set[str]:
        """Tasks that people took from a worker, lately or ever, and that it does not hold again."""
        return {
            task.id
            for task in self.tasks.values()
            for run in task.runs
            if run.lease.worker == worker
            and run.status == "cancelled"
            and not (task.run and task.run.lease.worker == worker)
            and (within is None or run.ended_at is None or run.ended_at > self.now - within)
        }
