"""Executions of code workflows: one task of the internal method run_workflow, which the execution follows."""

from __future__ import annotations

import uuid

import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, item, refused
from tests.database.pauses import reap
from tests.database.workflow_kit import add_code, code_task, execution

QUESTION = {"prompt": "Which colour?", "required_role": "member"}


def begin(session: Session, tenant: Tenant, **arguments: object) -> Row:
    workflow = add_code(tenant.owner, tenant, name=uuid.uuid4().hex)
    started: Row = session.call("start_workflow", workflow_id=workflow["id"], **arguments)
    return started


def test_it_is_one_task_that_a_worker_claims(tenant: Tenant, worker: Worker) -> None:
    member = tenant.join("member")
    row = begin(member, tenant, input={"topic": "tides"}, timeout_seconds=600)
    assert (row["status"], row["status_message"], row["started_at"]) == ("pending", "Waits for a worker.", None)
    task = code_task(tenant, row["id"])
    assert (task["agent_slug"], str(task["user_id"]), task["timeout_seconds"]) == (tenant.agent, member.id, 600)
    assert task["params"] == {"input": {"topic": "tides"}}
    assert member.rows("select from public.tasks") == []  # internal
    lease = worker.claim_one(tenant)
    assert (lease["task"]["method"], lease["task"]["params"]) == ("run_workflow", {"input": {"topic": "tides"}})
    assert execution(member, row["id"])["status"] == "running"
    assert [str(run["execution_id"]) for run in tenant.runs(task["id"])] == [row["id"]]


@pytest.mark.parametrize(
    ("response", "output"), [('{"n": [1]}', {"n": [1]}), ("Done.", "Done."), ("[" * 70 + "]" * 70, "[" * 70 + "]" * 70)]
)
def test_the_tasks_result_is_the_executions(tenant: Tenant, worker: Worker, response: str, output: object) -> None:
    row = begin(tenant.owner, tenant, input=Jsonb([1]))
    usage = [{"provider": "p", "model": "m", "input_tokens": 3, "output_tokens": 4, "cost": 0.5}]
    assert worker.complete(worker.claim_one(tenant), response=response, usage=usage) == "ok"
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["execution_data"]) == ("completed", {"input": [1], "output": output})
    assert (row["resource_usage"]["tokens"], row["resource_usage"]["cost"]) == (7, 0.5)
    assert row["resource_usage"]["duration"] > 0
    metrics = row["performance_metrics"]
    assert (metrics["attempts"], "steps" in metrics) == (1, False)
    assert metrics["queued_seconds"] > 0


def test_attempts_that_fail_are_the_queues_business(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant)
    assert worker.fail(worker.claim_one(tenant), retryable=True) == "ok"
    assert execution(tenant.owner, row["id"])["status"] == "running"
    tenant.world.service.execute("update public.tasks set scheduled_at = now() where execution_id = %s", row["id"])
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["performance_metrics"]["attempts"], row["retry_count"]) == ("completed", 2, 0)


def test_a_failed_one_is_retried_with_the_same_task_up_to_max_retries(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant, max_retries=1)
    assert worker.fail(worker.claim_one(tenant), error_code="agent_refused", error_message="No.") == "ok"
    failed = execution(tenant.owner, row["id"])
    assert (failed["status"], failed["error_code"], failed["status_message"]) == (
        "failed",
        "agent_refused",
        "Failed: No.",
    )
    task = code_task(tenant, row["id"])
    again = tenant.owner.call("retry_execution", execution_id=row["id"])
    assert (again["status"], again["retry_count"], again["error_code"]) == ("pending", 1, None)
    assert tenant.owner.call("retry_execution", execution_id=row["id"])["retry_count"] == 1
    assert code_task(tenant, row["id"])["id"] == task["id"]
    assert worker.fail(worker.claim_one(tenant)) == "ok"
    with refused("PT409", "retries_used_up"):
        tenant.owner.call("retry_execution", execution_id=row["id"])
    assert code_task(tenant, row["id"])["status"] == "failed"


def test_an_attempt_that_takes_too_long_times_out(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant)
    tenant.world.service.execute("update public.tasks set max_attempts = 1 where execution_id = %s", row["id"])
    worker.claim_one(tenant)
    late = "update public.tasks set started_at = now() - interval '2 hours' where execution_id = %s"
    tenant.world.service.execute(late, row["id"])
    reap(worker)
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["error_code"]) == ("timeout", "timeout")


def test_time_runs_out_for_the_whole_of_it(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant, timeout_seconds=60)
    lease = worker.claim_one(tenant)
    tenant.world.service.execute("update public.workflow_executions set timeout_at = now() where id = %s", row["id"])
    reap(worker)
    assert execution(tenant.owner, row["id"])["status"] == "timeout"
    assert worker.complete(lease) == "cancelled"
    assert lease["task"]["id"] in worker.exchange()["cancel"]
    assert tenant.owner.call("retry_execution", execution_id=row["id"])["status"] == "pending"


def test_its_questions_are_asked_of_whoever_started_it(tenant: Tenant, worker: Worker) -> None:
    member, colleague = tenant.join("member"), tenant.join("member")
    row = begin(member, tenant)
    lease = worker.claim_one(tenant)
    assert worker.report("pause_task", item(lease, input_request=QUESTION)) == ["ok"]
    paused = execution(member, row["id"])
    assert (paused["status"], paused["status_message"]) == ("paused", "Waits for an answer.")
    question = member.row("select * from public.input_requests")
    assert (str(question["execution_id"]), question["prompt"]) == (row["id"], "Which colour?")
    assert colleague.rows("select from public.input_requests") == []
    with refused("PT409", "illegal_move") as refusal:
        member.call("resume_execution", execution_id=row["id"])
    assert "respond_to_input_request" in refusal.hint
    with refused("PT404", "input_request_not_found"):
        colleague.call("respond_to_input_request", input_request_id=question["id"], response=Jsonb("red"))
    member.call("respond_to_input_request", input_request_id=question["id"], response=Jsonb("blue"))
    assert execution(member, row["id"])["status"] == "running"
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    done = execution(member, row["id"])
    assert (done["status"], done["performance_metrics"]["paused_seconds"] > 0) == ("completed", True)


def test_what_a_framework_has_begun_is_not_paused_from_here(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant)
    worker.claim_one(tenant)
    with refused("PT409", "illegal_move") as refusal:
        tenant.owner.call("pause_execution", execution_id=row["id"])
    assert "Cancel it" in refusal.hint


@pytest.mark.parametrize("is_claimed", [False, True])
def test_a_cancelled_one_takes_its_task_along(tenant: Tenant, worker: Worker, is_claimed: bool) -> None:
    row = begin(tenant.owner, tenant)
    lease = worker.claim_one(tenant) if is_claimed else None
    assert tenant.owner.call("cancel_execution", execution_id=row["id"])["status"] == "cancelled"
    assert code_task(tenant, row["id"])["status"] == "cancelled"
    if lease:
        assert worker.complete(lease) == "cancelled"


def test_one_whose_task_was_cancelled_or_deleted_is_cancelled(tenant: Tenant) -> None:
    for statement in ("update public.tasks set status = 'cancelled'", "delete from public.tasks"):
        row = begin(tenant.owner, tenant)
        tenant.world.service.execute(f"{statement} where execution_id = %s", row["id"])
        assert execution(tenant.owner, row["id"])["status"] == "cancelled"


def test_a_rejected_one_has_failed(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant)
    assert worker.fail(worker.claim_one(tenant), error_code="input_invalid", rejected=True) == "ok"
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["error_code"]) == ("failed", "input_invalid")
    assert code_task(tenant, row["id"])["status"] == "rejected"
    assert tenant.owner.call("retry_execution", execution_id=row["id"])["status"] == "pending"


def test_one_that_was_locked_when_its_task_moved_follows_by_the_reaper(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant)
    with tenant.world.admin.fresh() as other, other.transaction() as connection:
        connection.execute("select from public.workflow_executions where id = %s for no key update", [row["id"]])
        assert worker.complete(worker.claim_one(tenant)) == "ok"
        assert execution(tenant.owner, row["id"])["status"] == "pending"
    reap(worker)
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["started_at"] is not None) == ("completed", True)


def test_a_lost_worker_loses_nothing(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant)
    lease = worker.claim_one(tenant)
    gone = "update public.tasks set lease_expires_at = now() - interval '1 second' where execution_id = %s"
    tenant.world.service.execute(gone, row["id"])
    reap(worker)
    assert execution(tenant.owner, row["id"])["status"] == "running"
    assert worker.complete(lease) == "lost"
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    assert execution(tenant.owner, row["id"])["status"] == "completed"


def test_nobody_makes_its_tasks_but_the_database(tenant: Tenant) -> None:
    for session in (tenant.owner, tenant.world.service):
        with refused("22023", "unknown_method"):
            tenant.task(session, method="run_workflow", user_id=tenant.owner.id)
