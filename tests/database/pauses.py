"""What tests of pauses do over and over: ask, answer, let time run out, and several of it at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, in_parallel, item

Act = Callable[[Session], Any]
QUESTION: Row = {"prompt": "Which colour?", "schema": {"type": "string", "enum": ["blue", "green"]}}
KEPT: Row = {"draft": "The sea is", "step": 2}
MODEL = {"provider": "anthropic", "model": "m", "input_tokens": 10, "output_tokens": 5, "cost": 0.5}


def pause(worker: Worker, lease: Row, **more: Any) -> str:
    """Ask QUESTION and keep KEPT, unless said otherwise; return the outcome."""
    (outcome,) = worker.report("pause_task", item(lease, **{"input_request": QUESTION, "checkpoint": KEPT, **more}))
    return outcome


def paused(tenant: Tenant, worker: Worker, columns: Row | None = None, **asked: Any) -> tuple[str, str]:
    """Let a worker take a task, ask and pause; return the ids of task and question."""
    task_id = tenant.task(**(columns or {}))
    (lease,) = [lease for lease in worker.claim(tenant, 100) if lease["task"]["id"] == task_id]
    assert pause(worker, lease, input_request={**QUESTION, **asked}) == "ok"
    return task_id, str(questions(tenant, task_id)[-1]["id"])


def questions(tenant: Tenant, task_id: str) -> list[Row]:
    return tenant.world.admin.rows(
        "select * from public.input_requests where task_id = %s order by requested_at", task_id
    )


def kept(tenant: Tenant, task_id: str) -> list[Any]:
    rows = tenant.world.admin.rows("select checkpoint from private.task_checkpoints where task_id = %s", task_id)
    return [row["checkpoint"] for row in rows]


def answer(session: Session, question: str, response: Any = "blue") -> Row:
    row: Row = session.call("respond_to_input_request", input_request_id=question, response=Jsonb(response))
    return row


def run_out(tenant: Tenant, *ids: str) -> None:
    """Let the time for these questions be over."""
    query = "update public.input_requests set expires_at = now() - interval '1 second' where id = any (%s::uuid[])"
    tenant.world.admin.execute(query, list(ids))


def reap(worker: Worker) -> None:
    """Run the reaper, which no test may assume to be due."""
    with worker.session.fresh() as session:
        session.connection.execute("update private.maintenance set last_run_at = '-infinity'")
        worker.on(session).exchange()


def answering(question: str, response: Any = "blue") -> Act:
    return lambda own: answer(own, question, response)


def pausing(worker: Worker, lease: Row, **more: Any) -> Act:
    return lambda own: pause(worker.on(own), lease, **more)


def cancelling(task_id: str) -> Act:
    return lambda own: own.call("cancel_task", task_id=task_id)


def expiring(own: Session) -> None:
    own.rows("select private.expire_input_requests()")


def at_once(*deeds: tuple[Session, Act]) -> list[Any]:
    """Do all at the same moment, each caller (told apart by role, user and clock) on its own connection.

    Returns what they gave, or the errors of the database that they met.
    """
    acts = {(session.role, session.id, session.clock_offset): act for session, act in deeds}
    assert len(acts) == len(deeds), "two callers are alike"
    return in_parallel([session for session, _ in deeds], lambda own: acts[own.role, own.id, own.clock_offset](own))
