"""Questions nobody answers, and people, workers and the reaper who act on one question at the same moment."""

from __future__ import annotations

import psycopg

from tests.database.kit import Session, Tenant, Worker, World, in_parallel, item, refused, when_it_waited
from tests.database.pauses import (
    KEPT,
    MODEL,
    QUESTION,
    Act,
    answer,
    answering,
    at_once,
    cancelling,
    expiring,
    kept,
    pause,
    paused,
    pausing,
    questions,
    reap,
    run_out,
)

# Nobody answers


def test_a_question_nobody_answers_ends_its_task_and_a_retry_asks_again(tenant: Tenant, worker: Worker) -> None:
    task_id, question = paused(tenant, worker, {"max_attempts": 1}, expires_in_seconds=60)
    reap(worker)
    assert tenant.read(task_id)["status"] == "paused"  # there is time left
    run_out(tenant, question)
    reap(worker)
    task = tenant.read(task_id)
    assert (task["status"], task["error_code"], task["completed_at"] is None) == ("timeout", "input_expired", False)
    assert (task["error_message"], task["error_data"]) == (
        "Nobody answered the question in time.",
        {"input_request_id": question},
    )
    assert (questions(tenant, task_id)[0]["status"], kept(tenant, task_id)) == ("expired", [])
    with refused("PT409", "input_request_closed"):
        answer(tenant.owner, question)
    assert [run["status"] for run in tenant.runs(task_id)] == ["paused"]

    tenant.owner.call("retry_task", task_id=task_id)
    lease = worker.claim_one(tenant)
    assert (lease["attempt"], lease["checkpoint"]) == (2, None)
    assert [told["status"] for told in lease["input"]] == ["expired"]
    assert pause(worker, lease) == "ok"
    answer(tenant.owner, str(questions(tenant, task_id)[-1]["id"]))
    again = worker.claim_one(tenant)
    assert [told["status"] for told in again["input"]] == ["expired", "answered"]
    assert worker.complete(again) == "ok"


def test_a_task_that_can_do_without_goes_on_and_sees_that_nobody_answered(tenant: Tenant, worker: Worker) -> None:
    task_id, question = paused(tenant, worker, expires_in_seconds=60, on_expiry="resume")
    run_out(tenant, question)
    reap(worker)
    task = tenant.read(task_id)
    assert (task["status"], task["error_code"]) == ("pending", None)
    lease = worker.claim_one(tenant)
    assert (lease["attempt"], lease["checkpoint"]) == (1, KEPT)
    (told,) = lease["input"]
    assert (told["status"], told["response"], told["responded_by"]) == ("expired", None, None)
    assert worker.complete(lease) == "ok"


def test_a_question_without_a_task_expires_too(tenant: Tenant, worker: Worker) -> None:
    row = tenant.world.service.insert("input_requests", organization_slug=tenant.slug, prompt="Go?")
    run_out(tenant, str(row["id"]))
    reap(worker)
    query = "select status from public.input_requests where id = %s"
    assert tenant.world.admin.value(query, row["id"]) == "expired"


def test_expiry_is_bounded(tenant: Tenant, worker: Worker) -> None:
    many = """
      insert into public.input_requests (organization_slug, prompt, expires_at)
      select %s, 'Go?', now() - interval '1 second' from generate_series(1, 600)"""
    tenant.world.admin.execute(many, tenant.slug)
    left = []
    for _ in range(2):
        reap(worker)
        query = "select count(*) from public.input_requests where organization_slug = %s and status = 'pending'"
        left.append(tenant.world.admin.value(query, tenant.slug))
    assert left == [100, 0]


def test_the_reaper_waits_for_nobody_who_is_answering(tenant: Tenant, worker: Worker, world: World) -> None:
    task_id, question = paused(tenant, worker, expires_in_seconds=60)
    with tenant.owner.fresh() as person, person.transaction() as connection:
        connection.execute("select public.respond_to_input_request(%s, '\"blue\"')", (question,))
        with world.service.at("2 minutes").fresh() as other:
            other.execute("set statement_timeout = '5s'")
            other.rows("select private.expire_input_requests()")
        assert tenant.read(task_id)["status"] == "paused"
    assert (tenant.read(task_id)["status"], questions(tenant, task_id)[0]["status"]) == ("pending", "answered")
    world.service.at("2 minutes").rows("select private.expire_input_requests()")
    assert tenant.read(task_id)["status"] == "pending"


def test_who_answers_while_the_question_expires_hears_that_it_is_too_late(
    tenant: Tenant, worker: Worker, world: World
) -> None:
    task_id, question = paused(tenant, worker, expires_in_seconds=60, on_expiry="resume")

    def expire(session: Session) -> None:
        # Within the holder's open transaction.
        session.connection.execute("select set_config('orchestrator.clock_offset', '2 minutes', true)")
        session.connection.execute("select private.expire_input_requests()")

    result = when_it_waited(world.service, expire, tenant.owner, lambda session: answer(session, question))
    assert isinstance(result, psycopg.Error)
    assert (result.sqlstate, result.diag.message_primary) == ("PT409", "input_request_closed")
    assert (tenant.read(task_id)["status"], questions(tenant, task_id)[0]["status"]) == ("pending", "expired")


# Several at once


def test_an_answer_and_the_end_of_its_time_at_once_leave_one_of_both(
    tenant: Tenant, worker: Worker, world: World
) -> None:
    for policy, otherwise in [("fail", "timeout"), ("resume", "pending")] * 5:
        task_id, question = paused(tenant, worker, expires_in_seconds=60, on_expiry=policy)
        results = at_once(
            (tenant.owner.at("59 seconds"), answering(question)),
            (world.service.at("61 seconds"), expiring),
            (world.service.at("62 seconds"), expiring),
        )
        assert {r.sqlstate for r in results if isinstance(r, psycopg.Error)} <= {"PT409"}
        (row,), status = questions(tenant, task_id), tenant.read(task_id)["status"]
        answered = not isinstance(results[0], psycopg.Error)
        assert (row["status"], status) == (("answered", "pending") if answered else ("expired", otherwise))
        assert kept(tenant, task_id) == ([] if status == "timeout" else [KEPT])
        tenant.world.admin.execute("delete from public.tasks where id = %s", task_id)


def test_a_pause_and_a_cancellation_at_once_end_cancelled_with_nothing_left(
    tenant: Tenant, worker: Worker, world: World
) -> None:
    for _ in range(10):
        task_id = tenant.task()
        lease = worker.claim_one(tenant)
        outcome, cancelled = at_once((world.service, pausing(worker, lease)), (tenant.owner, cancelling(task_id)))
        assert outcome in {"ok", "cancelled", "busy"}
        assert cancelled["status"] == tenant.read(task_id)["status"] == "cancelled"
        assert [row["status"] for row in questions(tenant, task_id)] == ["cancelled"] * (outcome == "ok")
        assert kept(tenant, task_id) == []


def test_the_same_pause_ten_times_at_once_is_one_pause(tenant: Tenant, worker: Worker, world: World) -> None:
    task_id = tenant.task()
    lease = worker.claim_one(tenant)
    results = in_parallel([world.service] * 10, pausing(worker, lease, usage=[MODEL]))
    assert "ok" in results
    assert set(results) <= {"ok", "busy"}
    assert pause(worker, lease) == "ok"
    assert (len(questions(tenant, task_id)), tenant.runs(task_id)[0]["total_tokens"]) == (1, 15)
    assert kept(tenant, task_id) == [KEPT]


def succeeded(own: Session, act: Act) -> bool:
    """Act; being too late is no failure of the test, anything else is."""
    try:
        act(own)
    except psycopg.Error as error:
        if error.sqlstate != "PT409":
            raise
        return False
    return True


def test_pausing_answering_cancelling_and_expiring_in_a_crowd_never_deadlock(
    tenant: Tenant, worker: Worker, world: World
) -> None:
    asked = [paused(tenant, worker, expires_in_seconds=60, on_expiry="resume") for _ in range(30)]
    running = [tenant.task() for _ in range(30)]
    leases = worker.claim(tenant, 30)

    def report_all(own: Session) -> int:
        return len(worker.on(own).report("pause_task", *(item(lease, input_request=QUESTION) for lease in leases)))

    def in_turn(acts: list[Act]) -> Act:
        return lambda own: sum(succeeded(own, act) for act in acts)

    results = at_once(
        (tenant.owner.at("1 second"), in_turn([answering(question) for _, question in asked])),
        (tenant.owner.at("2 seconds"), in_turn([answering(question, "green") for _, question in reversed(asked)])),
        (tenant.owner.at("3 seconds"), in_turn([cancelling(task_id) for task_id in [*running[::-2], asked[0][0]]])),
        (world.service, in_turn([pausing(worker, lease) for lease in leases])),
        (world.service.at("1 second"), report_all),
        (world.service.at("2 minutes"), in_turn([expiring] * 20)),
    )
    assert [result for result in results if isinstance(result, BaseException)] == []
    assert results[0] + results[1] <= len(asked)
    for task_id in [*running, *(task_id for task_id, _ in asked)]:
        status = tenant.read(task_id)["status"]
        open_questions = [q for q in questions(tenant, task_id) if q["status"] == "pending"]
        assert len(open_questions) == (status == "paused")
        assert (kept(tenant, task_id) == []) or status in {"pending", "paused"}
