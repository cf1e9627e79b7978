"""What must be true of the queue at every moment, whoever did what before: read everything, name what is broken.

`read_queue` takes one consistent picture of some organizations; `broken_promises` judges it alone, without knowing
what was done. Limits are judged as they stand now, so a caller that lowers one leaves it out while tasks still run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from tests.database.kit import Row, Session

FINAL = frozenset({"completed", "failed", "cancelled", "timeout", "rejected"})
MOVES: dict[str | None, frozenset[str]] = {
    None: frozenset({"pending"}),
    "pending": frozenset({"in_progress", "cancelled"}),
    "in_progress": frozenset({"pending", "paused"}) | FINAL,
    "paused": frozenset({"pending", "cancelled", "timeout"}),
    "failed": frozenset({"pending"}),
    "timeout": frozenset({"pending"}),
    "cancelled": frozenset({"pending"}),
}
TABLES = {
    "tasks": "select * from public.tasks where organization_slug = any (%(slugs)s)",
    "runs": "select * from public.runs where organization_slug = any (%(slugs)s) order by created_at",
    "events": "select e.* from public.task_events e join public.tasks t on t.id = e.task_id"
    " where t.organization_slug = any (%(slugs)s) order by e.task_id, e.sequence",
    "versions": "select v.*, d.organization_slug from public.deliverable_versions v"
    " join public.deliverables d on d.id = v.deliverable_id where d.organization_slug = any (%(slugs)s)",
    "messages": "select m.* from public.messages m join public.agent_conversations c on c.id = m.conversation_id"
    " where c.organization_slug = any (%(slugs)s)",
    "usage": "select * from public.usage_events where organization_slug = any (%(slugs)s)",
    "live": "select * from private.live_tasks where organization_slug = any (%(slugs)s)",
    "questions": "select * from public.input_requests where organization_slug = any (%(slugs)s) order by requested_at",
}


@dataclass(frozen=True)
class Queue:
    """One consistent picture: the rows of some organizations, tasks by id and the rest by task id, in order."""

    tasks: dict[str, Row]
    runs: dict[str, list[Row]]
    events: dict[str, list[Row]]
    versions: dict[str, list[Row]]
    messages: dict[str, list[Row]]
    usage: dict[str, list[Row]]
    live: dict[str, list[Row]]
    questions: dict[str, list[Row]]


def read_queue(session: Session, slugs: Collection[str]) -> Queue:
    """Read the picture in one statement, so that no writer comes between its parts."""
    query = "select " + ", ".join(
        f"(select coalesce(jsonb_agg(to_jsonb(x)), '[]') from ({select}) x) as {name}"
        for name, select in TABLES.items()
    )
    with session.transaction() as connection:
        row = connection.execute(query, {"slugs": list(slugs)}).fetchone()
    assert row is not None
    tasks = {task["id"]: task for task in row.pop("tasks")}
    return Queue(tasks, **{name: by_task(rows) for name, rows in row.items()})


def by_task(rows: list[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[str(row["task_id"])].append(row)
    return grouped


def broken_promises(queue: Queue) -> list[str]:
    """Name every promise that this picture breaks, each with the task it is about."""
    ids = list(dict.fromkeys([*queue.tasks, *queue.live]))
    return [f"task {task_id}: {fault}" for task_id in ids for fault in faults_of_task(queue, task_id)]


def faults_of_task(queue: Queue, task_id: str) -> Iterator[str]:
    if task_id not in queue.tasks:
        yield "is in the queue though it is deleted"
        return
    task = queue.tasks[task_id]
    yield from faults_of_entry(task, queue.live[task_id])
    yield from faults_of_questions(task, queue.questions[task_id])
    yield from faults_of_lease(task)
    yield from faults_of_runs(task, queue.runs[task_id])
    yield from faults_of_trail(task, queue.events[task_id])
    yield from faults_of_results(task, queue, task_id)


def faults_of_lease(task: Row) -> Iterator[str]:
    running = task["status"] == "in_progress"
    if running != (task["lease_token"] is not None) or running != (task["lease_expires_at"] is not None):
        yield f"is {task['status']} with lease {task['lease_token']} until {task['lease_expires_at']}"
    if running and not (task["worker_id"] and task["started_at"]):
        yield "runs without a worker or a start"
    if not 0 <= task["attempt"] <= task["max_attempts"]:
        yield f"is at attempt {task['attempt']} of {task['max_attempts']}"
    if (task["status"] in FINAL) != (task["completed_at"] is not None):
        yield f"is {task['status']} with completed_at {task['completed_at']}"


def faults_of_entry(task: Row, entries: list[Row]) -> Iterator[str]:
    """Judge the narrow row that claims read: there for what is unfinished, and saying the same."""
    if len(entries) != (task["status"] not in FINAL):
        yield f"is {task['status']} with {len(entries)} entries in live_tasks"
    for entry in entries:
        same = ("organization_slug", "method", "concurrency_key", "concurrency_limit", "attempt")
        waits = ("priority", "scheduled_at", "agent_slug") if task["status"] == "pending" else ()
        for name in (*same, *waits):
            if entry[name] != task[name]:
                yield f"has {name} {task[name]}, its entry {entry[name]}"
        if {"running": "in_progress", "paused": "paused"}.get(entry["state"], "pending") != task["status"]:
            yield f"is {task['status']}, its entry {entry['state']}"
        if task["lease_expires_at"] is not None and (entry["look_at"] or "9") > task["lease_expires_at"]:
            yield f"is looked at only at {entry['look_at']}, its lease ends at {task['lease_expires_at']}"


def faults_of_questions(task: Row, questions: list[Row]) -> Iterator[str]:
    asked = [question for question in questions if question["status"] == "pending"]
    if len(asked) != (task["status"] == "paused"):
        yield f"is {task['status']} with {len(asked)} open questions"


def faults_of_runs(task: Row, runs: list[Row]) -> Iterator[str]:
    running = [run for run in runs if run["status"] == "running"]
    expected = [(task["lease_token"], task["attempt"])] if task["status"] == "in_progress" else []
    if [(run["id"], run["attempt"]) for run in running] != expected:
        yield f"is {task['status']} with running runs {[run['id'] for run in running]}"
    completed = [run for run in runs if run["status"] == "completed"]
    if len(completed) != (task["status"] == "completed"):
        yield f"is {task['status']} with {len(completed)} completed runs"
    # A release or a pause goes on under the same number; everything else ends an attempt for good.
    ended = Counter(run["attempt"] for run in runs if run["status"] not in {"released", "paused", "running"})
    if any(count > 1 for count in ended.values()):
        yield f"ended an attempt twice: {ended}"


def faults_of_trail(task: Row, events: list[Row]) -> Iterator[str]:
    if [event["sequence"] for event in events] != list(range(1, len(events) + 1)):
        yield f"has a gap in its events: {[event['sequence'] for event in events]}"
    status = None
    for event in events:
        if event["type"] == "status":
            old, new = event["data"].get("from"), event["data"]["to"]
            if old != status or new not in MOVES.get(old, frozenset()):
                yield f"went from {status} by an event {old} to {new}"
            status = new
        elif status != "in_progress":
            yield f"has a {event['type']} event while {status}"
    if status != task["status"]:
        yield f"is {task['status']}, its last event says {status}"


def faults_of_results(task: Row, queue: Queue, task_id: str) -> Iterator[str]:
    named = (task["response_metadata"].get("deliverable") or {}).get("version_id")
    versions = queue.versions[task_id]
    kept = [version["id"] for version in versions]
    if kept not in ([named], []) or (named is None and kept):
        yield f"is {task['status']} and names version {named}, has versions {kept}"
    if task["status"] != "completed" and (kept or [m for m in queue.messages[task_id] if m["sender_type"] == "agent"]):
        yield f"is {task['status']} and has results"
    spent: dict[Any, list[Row]] = defaultdict(list)
    for usage in queue.usage[task_id]:
        spent[usage["run_id"]].append(usage)
    for run in queue.runs[task_id]:
        rows = spent.pop(run["id"], [])
        tokens = sum(row["input_tokens"] + row["output_tokens"] for row in rows)
        cost = sum(row["cost"] or 0 for row in rows)
        if (tokens, round(cost, 6)) != (run["total_tokens"], round(run["total_cost"], 6)):
            yield f"run {run['id']} totals {run['total_tokens']}, its usage {tokens}"
    if spent:
        yield f"has usage of no run of its own: {list(spent)}"
