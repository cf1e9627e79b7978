"""The exchange and the reaper inside it: one tick of a worker, repeatable, and what becomes of lost work."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, item, refused


def expire(tenant: Tenant, task_id: str) -> None:
    """Let the lease run out, as if its worker had been gone for a second."""
    tenant.world.admin.execute(
        "update public.tasks set lease_expires_at = now() - interval '1 second' where id = %s", task_id
    )


def overrun(tenant: Tenant, task_id: str, seconds: int) -> None:
    """Let the attempt have begun so many seconds before its time was up, with its worker alive."""
    tenant.world.admin.execute(
        "update public.tasks set started_at = now() - make_interval(secs => timeout_seconds + %s),"
        " lease_expires_at = now() + interval '1 minute' where id = %s",
        seconds,
        task_id,
    )


def reap(worker: Worker) -> None:
    """Run the reaper, which no test may assume to be due."""
    with worker.session.fresh() as session:
        session.connection.execute("update private.maintenance set last_run_at = '-infinity'")
        worker.on(session).exchange()


def only(tenant: Tenant) -> Row:
    return {"max_tasks": 10, "organizations": [tenant.slug]}


def test_one_exchange_reports_and_claims(tenant: Tenant, worker: Worker) -> None:
    finished, running, waiting = tenant.task(priority=1), tenant.task(priority=2), tenant.task(priority=3)
    first, second = worker.claim(tenant, 2)
    answer = worker.exchange(
        report={
            "events": [item(first, type="partial", data={"text": "last words"})],
            "heartbeats": [item(second, progress=10)],
            "completed": [item(first, response="done.")],
        },
        **only(tenant),
    )
    assert [(o["kind"], o["outcome"], o["task_id"]) for o in answer["outcomes"]] == [
        ("event", "ok", finished),
        ("heartbeat", "ok", running),
        ("completed", "ok", finished),
    ]
    assert [t["task"]["id"] for t in answer["tasks"]] == [waiting]
    assert [e["type"] for e in tenant.events(finished)] == ["status", "status", "partial", "status"]
    assert answer["cancel"] == []


@pytest.mark.parametrize(("max_tasks", "again_at_once"), [(1, True), (2, True), (3, False), (0, False)])
def test_the_next_poll_is_at_once_while_there_is_more(
    tenant: Tenant, worker: Worker, max_tasks: int, again_at_once: bool
) -> None:
    tenant.task()
    tenant.task()
    answer = worker.exchange(max_tasks=max_tasks, organizations=[tenant.slug])
    assert (answer["next_poll_ms"] == 0) == again_at_once


def test_the_worker_is_told_what_was_cancelled(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    tenant.task()
    gone, kept = worker.claim(tenant, 2)
    tenant.owner.call("cancel_task", task_id=gone["task"]["id"])
    answer = worker.exchange(
        report={"heartbeats": [item(gone), item(kept)], "events": [item(gone, type="log", message="m")]}
    )
    assert answer["cancel"] == [gone["task"]["id"]]
    assert sorted(o["outcome"] for o in answer["outcomes"]) == ["cancelled", "cancelled", "ok"]


def test_a_repeated_request_gets_the_same_answer_and_acts_once(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    lease = worker.claim_one(tenant)
    tenant.task()
    tenant.task()
    request_id = str(uuid.uuid4())
    report = {"failed": [item(lease, error_code="e", error_message="m", retryable=False)]}
    first = worker.exchange(request_id, report=report, max_tasks=1, organizations=[tenant.slug])
    again = worker.exchange(request_id, report=report, max_tasks=1, organizations=[tenant.slug])
    assert first == again
    assert len(first["tasks"]) == 1
    running = "select count(*) from public.tasks where organization_slug = %s and status = 'in_progress'"
    assert tenant.world.admin.value(running, tenant.slug) == 1


def test_two_copies_of_a_request_at_once_act_once(tenant: Tenant, worker: Worker) -> None:
    for _ in range(5):
        tenant.task()
    request_id = str(uuid.uuid4())

    def send(session: Session) -> Row:
        return worker.on(session).exchange(request_id, max_tasks=1, organizations=[tenant.slug])

    answers = in_parallel([tenant.world.service] * 4, send)
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]["tasks"]) == 1
    runs = "select count(*) from public.runs where organization_slug = %s"
    assert tenant.world.admin.value(runs, tenant.slug) == 1


def test_the_same_request_id_of_another_worker_is_another_request(tenant: Tenant, world: World) -> None:
    tenant.task()
    tenant.task()
    request_id = str(uuid.uuid4())
    answers = [world.worker().exchange(request_id, max_tasks=1, organizations=[tenant.slug]) for _ in range(2)]
    assert answers[0]["tasks"][0]["task"]["id"] != answers[1]["tasks"][0]["task"]["id"]


def test_two_exchanges_of_one_worker_do_not_wait_for_each_other(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    worker.exchange()
    with tenant.world.service.fresh() as one, tenant.world.service.fresh() as two, one.transaction():
        worker.on(one).exchange(**only(tenant))
        with two.transaction() as connection:
            connection.execute("set local lock_timeout = '2s'")
            worker.on(two).exchange(**only(tenant))


def test_answers_kept_for_repetition_do_not_outlive_their_worker(tenant: Tenant, worker: Worker) -> None:
    gone = tenant.world.worker()
    tenant.task()
    gone.exchange(**only(tenant))
    tenant.world.admin.execute(
        "update private.worker_requests set created_at = now() - interval '1 hour' where worker_id = %s", gone.id
    )
    tenant.task()
    reap(worker)
    worker.exchange(**only(tenant))
    assert tenant.world.admin.value("select count(*) from private.worker_requests where worker_id = %s", gone.id) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"worker_id": None}, "worker_id_invalid"),
        ({"worker_id": ""}, "worker_id_invalid"),
        ({"request_id": None}, "request_id_missing"),
        ({"report": None}, "report_not_an_object"),
        ({"report": {"completed": {}}}, "items_not_a_list"),
        ({"report": {"events": "x"}}, "items_not_a_list"),
        ({"report": {"heartbeats": [None] * 1001}}, "items_not_a_list"),
        ({"max_tasks": -1}, "argument_out_of_range"),
        ({"max_tasks": 1001}, "argument_out_of_range"),
        ({"max_tasks": 1, "lease_seconds": 0}, "argument_out_of_range"),
        ({"max_tasks": 0, "lease_seconds": 0}, "argument_out_of_range"),
        ({"max_tasks": 0, "lease_seconds": 100_000}, "argument_out_of_range"),
        ({"max_tasks": 0, "lease_seconds": None}, "argument_out_of_range"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_argument_refuses_the_whole_call(tenant: Tenant, worker: Worker, arguments: Row, message: str) -> None:
    tenant.task()
    lease = worker.claim_one(tenant)
    good: dict[str, Any] = {
        "worker_id": worker.id,
        "request_id": uuid.uuid4(),
        "report": {"completed": [item(lease, response="x")]},
        "organizations": [tenant.slug],
    }
    with refused("22023", message):
        tenant.world.service.call("exchange_work", **{**good, **arguments})
    assert tenant.read(lease["task"]["id"])["status"] == "in_progress"


# The reaper


def test_work_of_a_lost_worker_goes_to_another(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task()
    lease = worker.claim_one(tenant)
    expire(tenant, task_id)
    reap(worker)
    task = tenant.read(task_id)
    assert (task["status"], task["attempt"], task["error_code"]) == ("pending", 1, "worker_lost")
    other = tenant.world.worker()
    second = other.claim_one(tenant)
    assert second["attempt"] == 2
    assert worker.complete(lease) == "lost"
    assert other.complete(second) == "ok"
    assert [r["status"] for r in tenant.runs(task_id)] == ["abandoned", "completed"]


def test_a_late_worker_hears_lost_and_may_claim_the_task_anew(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task()
    lease = worker.claim_one(tenant)
    expire(tenant, task_id)
    tenant.world.admin.execute("update private.maintenance set last_run_at = '-infinity'")
    answer = worker.exchange(report={"heartbeats": [item(lease)]}, **only(tenant))
    assert [o["outcome"] for o in answer["outcomes"]] == ["lost"]
    assert [(t["task"]["id"], t["attempt"]) for t in answer["tasks"]] == [(task_id, 2)]


def test_a_task_whose_workers_are_always_lost_fails(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task(max_attempts=2)
    for status in ("pending", "failed"):
        worker.claim_one(tenant)
        expire(tenant, task_id)
        reap(worker)
        assert tenant.read(task_id)["status"] == status
    task = tenant.read(task_id)
    assert task["error_code"] == "worker_lost"
    assert task["error_message"]
    assert [r["status"] for r in tenant.runs(task_id)] == ["abandoned", "abandoned"]


@pytest.mark.parametrize(("max_attempts", "status"), [(2, "pending"), (1, "timeout")])
def test_an_attempt_that_takes_too_long_is_stopped(
    tenant: Tenant, worker: Worker, max_attempts: int, status: str
) -> None:
    task_id = tenant.task(timeout_seconds=60, max_attempts=max_attempts)
    lease = worker.claim_one(tenant)
    overrun(tenant, task_id, 6)
    reap(worker)
    task = tenant.read(task_id)
    assert (task["status"], task["error_code"]) == (status, "timeout")
    assert "60 seconds" in task["error_message"]
    assert [r["status"] for r in tenant.runs(task_id)] == ["timeout"]
    assert worker.report("heartbeat_tasks", item(lease)) == ["lost"]


def test_a_living_worker_has_five_seconds_to_say_itself_that_the_time_is_up(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task(timeout_seconds=60)
    lease = worker.claim_one(tenant)
    overrun(tenant, task_id, 1)
    reap(worker)
    assert tenant.read(task_id)["status"] == "in_progress"
    assert worker.fail(lease, error_code="timeout") == "ok"
    assert tenant.read(task_id)["status"] == "timeout"


def test_what_is_alive_or_not_running_is_left_alone(tenant: Tenant, worker: Worker) -> None:
    tenant.task(priority=1)
    worker.claim_one(tenant)
    tenant.task()
    before = tenant.world.admin.rows("select * from public.tasks where organization_slug = %s order by id", tenant.slug)
    reap(worker)
    after = tenant.world.admin.rows("select * from public.tasks where organization_slug = %s order by id", tenant.slug)
    assert after == before


def test_the_reaper_runs_at_most_once_a_second(tenant: Tenant, worker: Worker, world: World) -> None:
    task_id = tenant.task()
    worker.claim_one(tenant)
    tenant.world.admin.execute(
        "update public.tasks set lease_expires_at = now() - interval '1 minute' where id = %s", task_id
    )
    world.admin.execute("update private.maintenance set last_run_at = now()")
    worker.on(world.service.at("-10 seconds")).exchange()
    assert tenant.read(task_id)["status"] == "in_progress"
    worker.on(world.service.at("2 seconds")).exchange()
    assert tenant.read(task_id)["status"] == "pending"


def test_many_reapers_at_once_take_a_task_once(tenant: Tenant, worker: Worker) -> None:
    tasks = [tenant.task() for _ in range(5)]
    worker.claim(tenant, 5)
    for task_id in tasks:
        expire(tenant, task_id)
    tenant.world.admin.execute("update private.maintenance set last_run_at = '-infinity'")
    answers = in_parallel([tenant.world.service] * 6, lambda s: tenant.world.worker().on(s).exchange())
    assert not [a for a in answers if isinstance(a, Exception)]
    for task_id in tasks:
        assert [e["data"].get("error_code") for e in tenant.events(task_id)].count("worker_lost") == 1


# The trail


def until_taken(report: Callable[[], list[str]]) -> list[str]:
    """Say it again while somebody else holds the task, as a worker does."""
    for _ in range(1000):
        outcomes = report()
        if "busy" not in outcomes:
            return outcomes
    raise AssertionError("busy for ever")


def test_the_trail_has_no_gaps_when_many_write_at_once(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task(tenant.owner)
    lease = worker.claim_one(tenant)

    def write(session: Session) -> None:
        mine = worker.on(session)
        for n in range(4):
            log = [item(lease, type="log", message=message) for message in ("a", "b")]
            assert until_taken(lambda: mine.report("add_task_events", *log)) == ["ok", "ok"]  # noqa: B023
            assert until_taken(lambda: mine.report("heartbeat_tasks", item(lease, progress=n * 20))) == ["ok"]  # noqa: B023
            assert until_taken(lambda: mine.report("add_task_events", item(lease, type="nonsense"))) == ["invalid"]

    assert in_parallel([tenant.world.service] * 6, write) == [None] * 6
    assert worker.complete(lease) == "ok"
    events = tenant.events(task_id)
    assert [e["sequence"] for e in events] == list(range(1, len(events) + 1))
    assert [e["type"] for e in events].count("log") == 48
    assert events[-1]["data"] == {"from": "in_progress", "to": "completed"}


def test_a_cancellation_and_a_completion_at_once_leave_one_of_them(tenant: Tenant, worker: Worker) -> None:
    for _ in range(5):
        task_id = tenant.task()
        lease = worker.claim_one(tenant)

        def act(session: Session, task_id: str = task_id, lease: Row = lease) -> str:
            if session.role == "authenticated":
                return str(session.call("cancel_task", task_id=task_id)["status"])
            return until_taken(lambda: [worker.on(session).complete(lease)])[0]

        cancelled, completed = in_parallel([tenant.owner, tenant.world.service], act)
        if tenant.read(task_id)["status"] == "cancelled":
            assert (cancelled, completed) == ("cancelled", "cancelled")
        else:
            assert completed == "ok"
            assert cancelled.diag.message_primary == "task_finished"
        assert len([e for e in tenant.events(task_id) if "from" in e["data"]]) == 2
