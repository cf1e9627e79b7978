"""Pauses of queues, their health, dead letters and redriving them, cancelling and enqueueing many tasks.

Over 400 lines, because it mirrors the migration of queue controls part by part.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, new_name, refused


@pytest.fixture
def method(world: World) -> Iterator[str]:
    """Give a method that no other test uses; it takes its pauses with it."""
    name = new_name("method").replace("-", "_")
    world.admin.insert("task_methods", name=name, description="For a test.")
    yield name
    world.admin.execute("delete from public.task_methods where name = %s", name)


def ids(leases: list[Row]) -> set[str]:
    return {lease["task"]["id"] for lease in leases}


def health(session: Session, tenant: Tenant, method: str = "process") -> Row:
    return session.row(
        "select * from public.queue_health where organization_slug = %s and method = %s", tenant.slug, method
    )


def dead(tenant: Tenant, worker: Worker, number: int, code: str = "internal_error", **columns: Any) -> list[str]:
    """Make so many dead letters, each older than the next."""
    made = [tenant.task(**columns) for _ in range(number)]
    for lease in worker.claim(tenant, number):
        worker.fail(lease, error_code=code)
    return made


def statuses(tenant: Tenant, task_ids: list[str]) -> list[str]:
    return [tenant.read(task_id)["status"] for task_id in task_ids]


# Pauses


def test_a_paused_queue_takes_tasks_and_lets_running_ones_end_but_gives_none(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    running = worker.claim_one(tenant)
    pause = tenant.owner.call("pause_queue", organization_slug=tenant.slug, method="process", reason="An incident.")
    waiting, other = tenant.task(), tenant.task(method="converse")
    assert ids(worker.claim(tenant, 10)) == {other}
    assert worker.complete(running) == "ok"
    assert (pause["organization_slug"], pause["method"], pause["reason"]) == (tenant.slug, "process", "An incident.")
    assert pause["paused_by"] == tenant.owner.id
    assert tenant.owner.rows("select * from public.resume_queue(%s, 'process')", tenant.slug) == []
    assert ids(worker.claim(tenant, 10)) == {waiting}


def test_a_pause_without_a_method_stops_all_of_one_organization_only(
    world: World, tenant: Tenant, worker: Worker
) -> None:
    other = world.tenant()
    for place in (tenant, other):
        place.task()
        place.task(method="converse")
    tenant.owner.call("pause_queue", organization_slug=tenant.slug)
    assert worker.claim(tenant, 10) == []
    assert len(worker.claim(other, 10)) == 2


def test_a_server_pauses_a_method_of_every_organization(
    world: World, tenant: Tenant, worker: Worker, method: str
) -> None:
    other = world.tenant()
    world.service.call("pause_queue", method=method)
    for place in (tenant, other):
        place.task(method=method)
        going_on = place.task()
        assert ids(worker.claim(place, 10)) == {going_on}
    world.service.rows("select * from public.resume_queue(method => %s)", method)
    assert len(worker.claim(tenant, 10)) == len(worker.claim(other, 10)) == 1


def test_a_server_pauses_the_whole_platform(world: World, tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    with world.service.transaction(keep=False) as connection:  # nobody else is to feel it
        connection.execute("select public.pause_queue()")
        claimed = connection.execute(
            "select public.claim_tasks(%s, 10, organizations => %s) as tasks", [worker.id, [tenant.slug]]
        ).fetchone()
    assert claimed == {"tasks": []}
    assert len(worker.claim(tenant, 10)) == 1


def test_tasks_behind_those_that_others_are_taking_stay_paused_too(tenant: Tenant, worker: Worker) -> None:
    first, paused = tenant.task(), tenant.task(method="converse")
    tenant.owner.call("pause_queue", organization_slug=tenant.slug, method="converse")
    with worker.session.fresh() as holder, holder.transaction() as connection:
        connection.execute("select from public.tasks where id = %s for update", [first])
        assert worker.claim(tenant, 10) == []
    assert tenant.read(paused)["status"] == "pending"


def test_pausing_again_also_at_the_same_moment_gives_the_same_row(tenant: Tenant) -> None:
    answers = in_parallel([tenant.owner] * 6, lambda own: own.call("pause_queue", organization_slug=tenant.slug))
    assert len({answer["id"] for answer in answers}) == 1
    again = tenant.owner.call("pause_queue", organization_slug=tenant.slug, reason="Another one.")
    assert again == answers[0]


def test_resuming_tells_what_still_holds_work_back(world: World, tenant: Tenant, method: str) -> None:
    world.service.call("pause_queue", method=method)
    whole = tenant.owner.call("pause_queue", organization_slug=tenant.slug)
    one = tenant.owner.call("pause_queue", organization_slug=tenant.slug, method=method)
    left = tenant.owner.rows("select * from public.resume_queue(%s, %s)", tenant.slug, method)
    assert [(row["organization_slug"], row["method"]) for row in left] == [(None, method), (tenant.slug, None)]
    assert one["id"] not in {str(row["id"]) for row in left}
    left = tenant.owner.rows("select * from public.resume_queue(%s)", tenant.slug)
    assert whole["id"] not in {str(row["id"]) for row in left}
    assert method in {row["method"] for row in left}


def test_only_admins_pause_and_only_their_own(world: World, tenant: Tenant) -> None:
    for role in ("viewer", "member", "developer"):
        for function in ("pause_queue", "resume_queue"):
            with refused("42501", "not_allowed"):
                tenant.join(role).call(function, organization_slug=tenant.slug)
    with refused("42501", "not_allowed"):
        world.tenant().owner.call("pause_queue", organization_slug=tenant.slug)
    with refused("42501", "not_allowed"):
        tenant.owner.call("pause_queue", method="process")
    assert tenant.join("admin").call("pause_queue", organization_slug=tenant.slug)["organization_slug"] == tenant.slug


def test_a_pause_needs_names_that_exist_and_a_reason_that_says_something(world: World, tenant: Tenant) -> None:
    with refused("PT404", "organization_not_found"):
        world.service.call("pause_queue", organization_slug=new_name("org"))
    with refused("22023", "unknown_method"):
        tenant.owner.call("pause_queue", organization_slug=tenant.slug, method="juggle")
    with refused("22023", "value_refused"):
        tenant.owner.call("pause_queue", organization_slug=tenant.slug, reason=" ")


def test_members_read_their_pauses_and_those_of_the_platform(world: World, tenant: Tenant, method: str) -> None:
    world.service.call("pause_queue", method=method)
    tenant.owner.call("pause_queue", organization_slug=tenant.slug, method=method)
    query = "select organization_slug from public.queue_pauses where method = %s order by 1"
    mine, everybodys = {"organization_slug": tenant.slug}, {"organization_slug": None}
    assert tenant.join("viewer").rows(query, method) == [mine, everybodys]
    assert world.tenant().owner.rows(query, method) == [everybodys]
    assert world.user().rows(query, method) == []


def test_pauses_are_in_the_audit_log(tenant: Tenant) -> None:
    admin = tenant.join("admin")
    pause = admin.call("pause_queue", organization_slug=tenant.slug, method="process", reason="An incident.")
    admin.call("pause_queue", organization_slug=tenant.slug, method="process", reason="Not kept.")
    tenant.owner.rows("select * from public.resume_queue(%s, 'process')", tenant.slug)
    entries = tenant.owner.rows(
        "select * from public.audit_logs where organization_slug = %s and table_name = 'queue_pauses' order by id",
        tenant.slug,
    )
    done = [(entry["action"], str(entry["actor_user_id"]), entry["row_key"]) for entry in entries]
    assert done == [("insert", admin.id, pause["id"]), ("delete", tenant.owner.id, pause["id"])]
    assert entries[0]["changes"]["reason"] == [None, "An incident."]


# Health


def test_health_counts_what_a_queue_holds(tenant: Tenant, worker: Worker) -> None:
    dead(tenant, worker, 2)
    for _ in range(2):
        tenant.task()
    running, paused = worker.claim(tenant, 2)
    tenant.world.admin.update("tasks", {"id": paused["task"]["id"]}, status="paused")
    for _ in range(3):
        tenant.task()
    tenant.task(scheduled_at="2999-01-01")
    row = health(tenant.owner, tenant)
    numbers = {key: row[key] for key in ("pending", "running", "paused", "scheduled", "stuck", "dead", "is_paused")}
    counts = {"pending": 3, "running": 1, "paused": 1, "scheduled": 1, "stuck": 0, "dead": 2}
    assert numbers == {**counts, "is_paused": False}
    assert 0 <= row["oldest_pending_seconds"] < 60
    worker.complete(running)
    assert health(tenant.owner, tenant)["running"] == 0


def test_a_queue_without_anything_unfinished_or_dead_has_no_row(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    worker.complete(worker.claim_one(tenant))
    assert tenant.owner.rows("select * from public.queue_health where organization_slug = %s", tenant.slug) == []


def test_running_past_the_lease_or_the_timeout_is_stuck(tenant: Tenant, worker: Worker) -> None:
    tenant.task(timeout_seconds=100)
    worker.claim_one(tenant, lease_seconds=200)
    tenant.task(timeout_seconds=300)
    worker.claim_one(tenant, lease_seconds=150)
    later = {seconds: health(tenant.owner.at(f"{seconds} seconds"), tenant)["stuck"] for seconds in (90, 110, 160)}
    assert later == {90: 0, 110: 1, 160: 2}


def test_due_for_ten_minutes_is_stuck_unless_the_queue_is_paused(tenant: Tenant) -> None:
    tenant.task()
    tenant.task(scheduled_at="2999-01-01")
    assert health(tenant.owner.at("9 minutes"), tenant)["stuck"] == 0
    row = health(tenant.owner.at("11 minutes"), tenant)
    assert (row["stuck"], row["pending"], row["scheduled"]) == (1, 1, 1)
    assert 650 < row["oldest_pending_seconds"] < 720
    tenant.owner.call("pause_queue", organization_slug=tenant.slug)
    row = health(tenant.owner.at("11 minutes"), tenant)
    assert (row["stuck"], row["is_paused"]) == (0, True)


def test_dead_letters_count_for_thirty_days(tenant: Tenant, worker: Worker) -> None:
    dead(tenant, worker, 1)
    tenant.task()
    assert [health(tenant.owner.at(f"{days} days"), tenant)["dead"] for days in (29, 31)] == [1, 0]


def test_health_is_of_the_tasks_that_one_may_see(world: World, tenant: Tenant) -> None:
    member = tenant.join("member")
    tenant.task()
    tenant.task(member)
    assert [health(s, tenant)["pending"] for s in (member, tenant.join("admin"), world.service)] == [1, 2, 2]
    query = "select * from public.queue_health where organization_slug = %s"
    assert world.tenant().owner.rows(query, tenant.slug) == []


# Dead letters


def test_a_dead_letter_tells_the_errors_of_all_its_attempts(world: World, tenant: Tenant, worker: Worker) -> None:
    task_id, second = tenant.task(max_attempts=2), world.worker()
    worker.fail(worker.claim_one(tenant), error_code="provider_overloaded", error_message="Busy.", retryable=True)
    query = "select * from public.dead_letters where organization_slug = %s"
    assert tenant.owner.rows(query, tenant.slug) == []
    later = second.on(second.session.at("1 minute"))
    later.fail(later.claim_one(tenant), error_code="timeout", error_message="Slow.", retryable=True)
    (letter,) = tenant.owner.rows(query, tenant.slug)
    assert (str(letter["task_id"]), letter["status"], letter["error_code"]) == (task_id, "timeout", "timeout")
    attempts = letter["attempts"]
    keys = {"attempt", "status", "error_code", "error_message", "worker_id", "started_at", "completed_at"}
    assert all(set(attempt) == keys and attempt["completed_at"] for attempt in attempts)
    told = [(a["attempt"], a["status"], a["error_code"], a["error_message"], a["worker_id"]) for a in attempts]
    assert told == [
        (1, "failed", "provider_overloaded", "Busy.", worker.id),
        (2, "timeout", "timeout", "Slow.", second.id),
    ]


def test_what_ended_otherwise_is_no_dead_letter(world: World, tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    tenant.task()
    done, rejected = worker.claim(tenant, 2)
    worker.complete(done)
    worker.fail(rejected, rejected=True)
    tenant.owner.call("cancel_task", task_id=tenant.task())
    assert world.service.rows("select * from public.dead_letters where organization_slug = %s", tenant.slug) == []


def test_dead_letters_of_an_organization_are_read_in_their_order(tenant: Tenant) -> None:
    with tenant.world.service.transaction() as connection:
        # A small table would be read whole, and sorted.
        connection.execute("set local enable_seqscan = off")
        connection.execute("set local enable_sort = off")
        plan = connection.execute(
            "explain select task_id from public.dead_letters where organization_slug = %s"
            " order by completed_at desc limit 20",
            [tenant.slug],
        ).fetchall()
    text = "\n".join(str(row["QUERY PLAN"]) for row in plan)
    assert "Sort" not in text, text


# Redriving


def test_redriving_by_error_code_is_as_retrying_each(tenant: Tenant, worker: Worker) -> None:
    chosen, others = dead(tenant, worker, 3), dead(tenant, worker, 2, "provider_refused")
    answer = tenant.owner.call("redrive_tasks", organization_slug=tenant.slug, error_code="internal_error")
    assert answer == {"redriven": 3, "remaining": 0, "task_ids": sorted(chosen)}
    assert statuses(tenant, chosen + others) == ["pending"] * 3 + ["failed"] * 2
    task = tenant.read(chosen[0])
    assert (task["error_code"], task["error_message"], task["completed_at"], task["attempt"]) == (None, None, None, 1)
    assert ids(worker.claim(tenant, 10)) == set(chosen)


def test_redriving_is_bounded_and_begins_with_the_oldest(tenant: Tenant, worker: Worker) -> None:
    oldest, newer = dead(tenant, worker, 2), dead(tenant, worker, 3)
    answer = tenant.owner.call("redrive_tasks", organization_slug=tenant.slug, max_tasks=2)
    assert answer == {"redriven": 2, "remaining": 3, "task_ids": sorted(oldest)}
    assert statuses(tenant, newer) == ["failed"] * 3
    for number in (0, 1001):
        with refused("22023", "argument_out_of_range"):
            tenant.owner.call("redrive_tasks", organization_slug=tenant.slug, max_tasks=number)


def test_redriving_by_list_leaves_alone_what_is_not_dead_or_not_theirs(
    world: World, tenant: Tenant, worker: Worker
) -> None:
    other = world.tenant()
    (mine, left), (foreign,) = dead(tenant, worker, 2), dead(other, worker, 1)
    waiting = tenant.task()
    answer = tenant.owner.call("redrive_tasks", organization_slug=tenant.slug, task_ids=[mine, foreign, waiting])
    assert answer == {"redriven": 1, "remaining": 0, "task_ids": [mine]}
    assert statuses(tenant, [mine, left, foreign]) == ["pending", "failed", "failed"]
    nothing = {"redriven": 0, "remaining": 0, "task_ids": []}
    assert world.service.call("redrive_tasks", organization_slug=tenant.slug, task_ids=[waiting]) == nothing


def test_a_task_out_of_attempts_gets_one_more(tenant: Tenant, worker: Worker) -> None:
    (task_id,) = dead(tenant, worker, 1, max_attempts=1)
    tenant.owner.call("redrive_tasks", organization_slug=tenant.slug)
    lease = worker.claim_one(tenant)
    assert (lease["task"]["id"], lease["attempt"], lease["task"]["max_attempts"]) == (task_id, 2, 2)


def test_admins_who_redrive_at_the_same_moment_redrive_each_task_once(tenant: Tenant, worker: Worker) -> None:
    made = dead(tenant, worker, 12)
    admins = [tenant.owner, tenant.join("admin"), tenant.world.service] * 2
    answers = in_parallel(admins, lambda own: own.call("redrive_tasks", organization_slug=tenant.slug))
    redriven = [task_id for answer in answers for task_id in answer["task_ids"]]
    assert sorted(redriven) == sorted(made)
    trail = [e["data"] for e in tenant.events(made[0]) if e["type"] == "status"]
    assert [t["to"] for t in trail] == ["pending", "in_progress", "failed", "pending"]


def test_redriving_passes_over_what_somebody_holds(tenant: Tenant, worker: Worker) -> None:
    held, free = dead(tenant, worker, 2)
    with tenant.world.service.fresh() as holder, holder.transaction() as connection:
        connection.execute("select from public.tasks where id = %s for update", [held])
        answer = tenant.owner.call("redrive_tasks", organization_slug=tenant.slug)
    assert answer == {"redriven": 1, "remaining": 1, "task_ids": [free]}


@pytest.mark.parametrize("role", ["viewer", "member", "developer"])
def test_only_admins_redrive(tenant: Tenant, role: str) -> None:
    with refused("42501", "not_allowed"):
        tenant.join(role).call("redrive_tasks", organization_slug=tenant.slug)


# Cancelling


def test_members_cancel_their_own_and_admins_everybodys(tenant: Tenant) -> None:
    member = tenant.join("member")
    mine, owners = sorted(tenant.task(member) for _ in range(2)), tenant.task()
    answer = member.call("cancel_tasks", organization_slug=tenant.slug, task_ids=[owners, *mine])
    assert answer == {"cancelled": 2, "remaining": 0, "task_ids": mine}
    late = tenant.task(member)
    answer = tenant.join("admin").call("cancel_tasks", organization_slug=tenant.slug, status="pending")
    assert answer == {"cancelled": 2, "remaining": 0, "task_ids": sorted([owners, late])}
    with refused("42501", "not_allowed"):
        tenant.join("viewer").call("cancel_tasks", organization_slug=tenant.slug, status="pending")
    with refused("42501", "not_allowed"):
        tenant.world.tenant().owner.call("cancel_tasks", organization_slug=tenant.slug, task_ids=[late])


def test_cancelling_fits_every_filter(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    running = worker.claim_one(tenant)
    agent = tenant.add_agent()
    one, two, three = tenant.task(), tenant.task(agent_slug=agent), tenant.task(agent_slug=agent, method="converse")

    def cancel(**filters: Any) -> list[str]:
        answer: Row = tenant.owner.call("cancel_tasks", organization_slug=tenant.slug, **filters)
        return list(answer["task_ids"])

    assert cancel(agent_slug=agent, method="converse") == [three]
    assert cancel(agent_slug=agent) == [two]
    assert cancel(status="in_progress") == [running["task"]["id"]]
    assert worker.complete(running) == "cancelled"
    assert cancel(method="process") == [one]
    assert cancel(task_ids=[one, two]) == []


def test_cancelling_is_bounded(tenant: Tenant) -> None:
    made = sorted(tenant.task() for _ in range(5))
    answer = tenant.owner.call("cancel_tasks", organization_slug=tenant.slug, status="pending", max_tasks=3)
    assert answer == {"cancelled": 3, "remaining": 2, "task_ids": made[:3]}
    with refused("22023", "argument_out_of_range"):
        tenant.owner.call("cancel_tasks", organization_slug=tenant.slug, status="pending", max_tasks=1001)


def test_cancelling_everything_by_accident_is_refused(tenant: Tenant) -> None:
    task_id = tenant.task()
    with refused("22023", "filter_missing"):
        tenant.owner.call("cancel_tasks", organization_slug=tenant.slug)
    with refused("22023", "status_not_cancellable"):
        tenant.owner.call("cancel_tasks", organization_slug=tenant.slug, status="completed")
    none = tenant.owner.row(
        "select public.cancel_tasks(%s, task_ids => %s::uuid[]) as answer", tenant.slug, list[str]()
    )
    assert none["answer"] == {"cancelled": 0, "remaining": 0, "task_ids": []}
    assert tenant.read(task_id)["status"] == "pending"


def test_cancelling_waits_for_a_worker_and_passes_over_what_it_ended(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    lease = worker.claim_one(tenant)
    other = tenant.task()
    with worker.session.fresh() as session, tenant.owner.fresh() as owner, ThreadPoolExecutor(1) as pool:
        with session.transaction():
            assert worker.on(session).complete(lease) == "ok"
            future = pool.submit(owner.call, "cancel_tasks", organization_slug=tenant.slug, method="process")
            with pytest.raises(TimeoutError):
                future.result(timeout=0.3)
        answer = future.result(timeout=20)
    assert answer == {"cancelled": 1, "remaining": 0, "task_ids": [other]}
    assert tenant.read(lease["task"]["id"])["status"] == "completed"


def test_cancelling_gives_up_on_what_others_hold_and_says_so(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    lease = worker.claim_one(tenant)
    other = tenant.task()
    with worker.session.fresh() as session, session.transaction():
        assert worker.on(session).complete(lease) == "ok"
        answer = tenant.owner.call("cancel_tasks", organization_slug=tenant.slug, method="process")
    assert answer == {"cancelled": 1, "remaining": 1, "task_ids": [other]}


def test_cancelling_the_same_tasks_from_two_sides_ends(tenant: Tenant) -> None:
    made = [tenant.task() for _ in range(40)]
    orders = iter([made, made[::-1]] * 3)
    lists = [next(orders) for _ in range(6)]
    answers = in_parallel(
        [tenant.owner] * 6,
        lambda own: own.call("cancel_tasks", organization_slug=tenant.slug, task_ids=lists.pop()),
    )
    assert sorted(task_id for answer in answers for task_id in answer["task_ids"]) == sorted(made)


# Enqueueing


def enqueue(session: Session, *tasks: Row) -> list[Row]:
    return session.rows("select * from public.enqueue_tasks(%s)", Jsonb(list(tasks)))


def plain(tenant: Tenant, **columns: Any) -> Row:
    return {
        "organization_slug": tenant.slug,
        "agent_slug": tenant.agent,
        "method": "process",
        "prompt": "Write.",
        **columns,
    }


def test_enqueued_tasks_come_back_in_order_with_defaults(tenant: Tenant) -> None:
    first, second = enqueue(tenant.owner, plain(tenant, prompt="One."), plain(tenant, prompt="Two."))
    assert (first["prompt"], second["prompt"]) == ("One.", "Two.")
    assert (first["status"], first["priority"], first["max_attempts"]) == ("pending", 100, 3)
    assert first["user_id"] == uuid.UUID(tenant.owner.id)
    assert tenant.events(str(first["id"]))[0]["data"] == {"to": "pending"}
    assert enqueue(tenant.owner) == []


def test_a_key_enqueued_again_gives_the_same_row_whatever_has_become_of_it(tenant: Tenant, worker: Worker) -> None:
    (task,) = enqueue(tenant.owner, plain(tenant, idempotency_key="one"))
    worker.complete(worker.claim_one(tenant))
    tenant.world.admin.update("agents", {"slug": tenant.agent}, status="inactive")
    (again,) = enqueue(tenant.owner, plain(tenant, idempotency_key="one", prompt="Something else."))
    assert (again["id"], again["prompt"], again["status"]) == (task["id"], "Write.", "completed")


def test_a_list_may_hold_a_key_twice_and_tasks_without_one(tenant: Tenant) -> None:
    keys = ["b", None, "a", "b", None]
    rows = enqueue(tenant.owner, *(plain(tenant, idempotency_key=key) for key in keys))
    assert [row["idempotency_key"] for row in rows] == keys
    assert rows[0]["id"] == rows[3]["id"]
    assert len({row["id"] for row in rows}) == 4


def test_the_same_keys_in_other_orders_at_the_same_moment_are_one_task_each(tenant: Tenant) -> None:
    keys = [f"key-{number}" for number in range(30)]
    orders = [keys, keys[::-1], keys[15:] + keys[:15]] * 2

    def act(own: Session) -> Any:
        order = orders.pop()
        rows = enqueue(own, *(plain(tenant, idempotency_key=key) for key in order))
        return dict(zip(order, (row["id"] for row in rows), strict=True))

    answers = in_parallel([tenant.owner] * 6, act)
    assert all(answer == answers[0] for answer in answers)
    assert len(set(answers[0].values())) == 30


def test_the_organization_may_come_from_the_conversation_or_the_profile(tenant: Tenant) -> None:
    asked = {"method": "converse", "prompt": "Hello", "idempotency_key": "hello"}
    conversation = tenant.conversation()
    (task,) = enqueue(tenant.owner, {**asked, "agent_conversation_id": conversation})
    assert (task["organization_slug"], task["agent_slug"]) == (tenant.slug, tenant.agent)
    tenant.owner.update("users", {"id": tenant.owner.id}, organization_slug=tenant.slug)
    (again,) = enqueue(tenant.owner, {**asked, "agent_slug": tenant.agent})
    assert again["id"] == task["id"]


def test_enqueueing_is_bound_by_what_the_caller_may_insert(world: World, tenant: Tenant) -> None:
    with refused("42501", "not_allowed"):
        enqueue(tenant.join("viewer"), plain(tenant))
    with refused("42501", "not_allowed"):
        enqueue(world.tenant().owner, plain(tenant))
    with refused("42501", "user_id_is_not_yours"):
        enqueue(tenant.owner, plain(tenant, user_id=tenant.join("member").id))
    with refused("42501") as refusal:
        enqueue(tenant.owner, plain(tenant, worker_id="mine"))
    assert "permission denied" in refusal.message
    with refused("42703"):
        enqueue(tenant.owner, plain(tenant, colour="red"))


def test_a_colleagues_key_is_refused_and_not_shown(tenant: Tenant) -> None:
    enqueue(tenant.owner, plain(tenant, idempotency_key="taken", prompt="A secret."))
    member = tenant.join("member")
    with refused("PT409", "idempotency_key_taken") as refusal:
        enqueue(member, plain(tenant, idempotency_key="free"), plain(tenant, idempotency_key="taken"))
    assert "secret" not in refusal.detail
    assert member.rows("select * from public.tasks where organization_slug = %s", tenant.slug) == []


@pytest.mark.parametrize("value", [{}, "x", ["x"], [[]], [{"prompt": "a"}, {"method": "b"}], [{}] * 1001, None])
def test_only_lists_of_objects_of_one_form_are_enqueued(tenant: Tenant, value: Any) -> None:
    with refused("22023", "tasks_not_a_list"):
        tenant.owner.rows("select * from public.enqueue_tasks(%s)", Jsonb(value))


def test_one_bad_task_enqueues_none(tenant: Tenant) -> None:
    with pytest.raises(psycopg.Error, match="unknown_method"):
        enqueue(tenant.owner, plain(tenant), plain(tenant, method="juggle"))
    assert tenant.owner.rows("select * from public.tasks where organization_slug = %s", tenant.slug) == []
