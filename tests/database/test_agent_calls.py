"""Agents that call agents: the caller waits without a worker, its calls are tasks, and the last one sets it going."""

from __future__ import annotations

from typing import Any

import pytest

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, item, new_name
from tests.database.pauses import KEPT, MODEL, answer, kept, pause, questions, reap


def call(tenant: Tenant, call_id: str = "c1", **more: Any) -> Row:
    return {"call_id": call_id, "agent_slug": tenant.agent, "prompt": "Help.", **more}


def call_agents(worker: Worker, lease: Row, *calls: Row, **more: Any) -> str:
    """Pause with calls in place of a question; return the outcome."""
    (outcome,) = worker.report("pause_task", item(lease, agent_calls=list(calls), checkpoint=KEPT, **more))
    return outcome


def waiting(tenant: Tenant, worker: Worker, *calls: Row, **columns: Any) -> tuple[str, list[Row]]:
    """Let a task call agents; return its id and the leases of the calls."""
    task_id = tenant.task(**columns)
    lease = worker.claim_one(tenant)
    assert call_agents(worker, lease, *(calls or (call(tenant),))) == "ok"
    return task_id, worker.claim(tenant, 100)


def returned(lease: Row) -> list[tuple[Any, ...]]:
    return [(got["call_id"], got["status"], got["response"], got["error_code"]) for got in lease["agent_calls"]]


def settle(worker: Worker) -> None:
    """Let the reaper look at what could not be settled at once."""
    reap(worker)


def left(tenant: Tenant, task_id: str) -> int:
    query = "select count(*) from private.calls_to_settle where parent_task_id = %s"
    return int(tenant.world.admin.value(query, task_id))


def test_a_call_is_a_task_of_the_callers_user_and_its_answer_sets_the_caller_going(
    world: World, worker: Worker
) -> None:
    tenant = world.tenant(max_concurrent_tasks=1)
    helper = tenant.add_agent()
    task_id = tenant.task(priority=7, timeout_seconds=60)
    lease = worker.claim_one(tenant)
    asked = call(tenant, agent_slug=helper, params={"tone": "dry"})
    assert call_agents(worker, lease, asked, usage=[MODEL]) == "ok"
    assert call_agents(worker, lease, asked) == "ok", "said again"
    assert (tenant.read(task_id)["status"], kept(tenant, task_id)) == ("paused", [KEPT])

    child = world.worker().claim_one(tenant)  # The only slot of the organization is free.
    row = tenant.read(child["task"]["id"])
    assert (str(row["parent_task_id"]), str(row["user_id"]), row["agent_slug"]) == (task_id, tenant.owner.id, helper)
    assert (row["method"], row["prompt"], row["params"]) == ("converse", "Help.", {"tone": "dry"})
    assert (row["priority"], row["timeout_seconds"], row["metadata"]) == (7, 60, {"called_by": tenant.agent})
    assert child["call_stack"] == [tenant.agent]
    (run,) = tenant.runs(child["task"]["id"])
    assert (str(run["parent_run_id"]), run["call_stack"]) == (lease["run_id"], [tenant.agent])
    assert world.worker().claim(tenant) == []
    assert worker.on(world.service).report("complete_tasks", item(child, response="x")) == ["lost"]
    assert complete(world, child, response="Helped.", usage=[MODEL]) == "ok"

    again = worker.claim_one(tenant)
    assert (again["task"]["id"], again["attempt"], again["checkpoint"]) == (task_id, 1, KEPT)
    assert returned(again) == [("c1", "completed", "Helped.", None)]
    assert (again["call_stack"], again["agent_calls"][0]["task_id"]) == ([], child["task"]["id"])
    assert worker.complete(again, usage=[MODEL]) == "ok"
    assert (tenant.read(task_id)["status"], kept(tenant, task_id)) == ("completed", [])
    bills = world.admin.rows("select task_id::text from public.usage_events where organization_slug = %s", tenant.slug)
    assert sorted(bill["task_id"] for bill in bills) == sorted([task_id, task_id, child["task"]["id"]])


def complete(world: World, lease: Row, **more: Any) -> str:
    """Complete a lease as the worker that holds it."""
    query = "select worker_id from public.tasks where id = %s"
    holder = Worker(world.service, world.admin.value(query, lease["task"]["id"]))
    return holder.complete(lease, **more)


def test_the_caller_waits_for_all_of_its_calls(tenant: Tenant, worker: Worker) -> None:
    task_id, leases = waiting(tenant, worker, *(call(tenant, f"c{number}") for number in range(3)))
    for lease in leases[:2]:
        assert worker.complete(lease) == "ok"
        settle(worker)
        assert tenant.read(task_id)["status"] == "paused"
    assert left(tenant, task_id) == 0, "nothing is looked at again and again"
    assert worker.fail(leases[2], error_code="output_invalid") == "ok"
    outcomes = [(status, error) for _, status, _, error in returned(worker.claim_one(tenant))]
    assert sorted(outcomes) == [("completed", None), ("completed", None), ("failed", "output_invalid")]


def test_a_call_that_is_tried_again_is_not_over(tenant: Tenant, worker: Worker) -> None:
    task_id, (lease,) = waiting(tenant, worker)
    assert worker.fail(lease, retryable=True) == "ok"
    assert tenant.read(task_id)["status"] == "paused"
    tenant.world.admin.execute("update public.tasks set scheduled_at = now() where parent_task_id = %s", task_id)
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    assert tenant.read(task_id)["status"] == "pending"


def test_a_caller_that_fails_after_the_answers_is_given_them_again(tenant: Tenant, worker: Worker) -> None:
    task_id, (lease,) = waiting(tenant, worker, backoff="0")
    assert worker.complete(lease, response="Helped.") == "ok"
    first = worker.claim_one(tenant)
    assert worker.fail(first, retryable=True) == "ok"
    again = worker.claim_one(tenant)
    assert (again["attempt"], again["checkpoint"], again["agent_calls"]) == (2, KEPT, first["agent_calls"])
    children = tenant.world.admin.value("select count(*) from public.tasks where parent_task_id = %s", task_id)
    assert children == 1, "nobody is called twice"


def test_a_second_round_of_calls_returns_only_its_own(tenant: Tenant, worker: Worker) -> None:
    _, (lease,) = waiting(tenant, worker)
    assert worker.complete(lease, response="First.") == "ok"
    assert call_agents(worker, worker.claim_one(tenant), call(tenant)) == "ok"
    assert worker.complete(worker.claim_one(tenant), response="Second.") == "ok"
    assert returned(worker.claim_one(tenant)) == [("c1", "completed", "Second.", None)]


def test_a_question_after_the_calls_waits_for_its_answer_alone(tenant: Tenant, worker: Worker) -> None:
    task_id, (lease,) = waiting(tenant, worker)
    assert worker.fail(lease) == "ok"
    assert pause(worker, worker.claim_one(tenant)) == "ok"
    tenant.owner.call("retry_task", task_id=lease["task"]["id"])
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    settle(worker)
    assert tenant.read(task_id)["status"] == "paused"
    answer(tenant.owner, str(questions(tenant, task_id)[-1]["id"]))
    assert len(worker.claim_one(tenant)["input"]) == 1


# What is refused


def test_calls_that_cannot_begin_are_results_and_the_caller_goes_on_at_once(tenant: Tenant, worker: Worker) -> None:
    other = tenant.world.tenant()
    resting = tenant.add_agent(status="inactive")
    calls = [
        call(tenant, "c1", agent_slug=other.agent),
        call(tenant, "c2", agent_slug=resting),
        call(tenant, "c3", prompt=" "),
        call(tenant, "c4", params=[1]),
        call(tenant, "c5", agent_slug=new_name("nobody")),
    ]
    task_id, leases = waiting(tenant, worker, *calls)
    (again,) = leases
    assert (again["task"]["id"], tenant.read(task_id)["attempt"]) == (task_id, 1)
    codes = [error for _, _, _, error in returned(again)]
    assert codes == ["agent_not_found", "agent_inactive", "prompt_empty", "params_not_an_object", "agent_not_found"]
    assert all(got["error_message"] and got["status"] == "rejected" for got in again["agent_calls"])
    assert tenant.world.admin.value("select count(*) from public.tasks where parent_task_id = %s", task_id) == 0
    a, b = again["agent_calls"][0]["error_message"], again["agent_calls"][4]["error_message"]
    assert a.replace(other.agent, "x") == b.replace(calls[4]["agent_slug"], "x"), "a stranger's agent is no agent"


@pytest.mark.parametrize(
    "calls",
    [[], {}, "x", [1], [{"agent_slug": "a"}], [{"call_id": "", "agent_slug": "a"}], [{"call_id": "c"}],
     [{"call_id": "c" * 256, "agent_slug": "a"}], [{"call_id": str(n), "agent_slug": "a"} for n in range(21)]],
)  # fmt: skip
def test_calls_that_cannot_be_read_change_nothing(tenant: Tenant, worker: Worker, calls: Any) -> None:
    task_id = tenant.task()
    lease = worker.claim_one(tenant)
    assert worker.report("pause_task", item(lease, agent_calls=calls)) == ["invalid"]
    assert tenant.read(task_id)["status"] == "in_progress"
    assert worker.complete(lease) == "ok"


def test_agents_call_each_other_at_most_five_deep(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    for depth in range(5):
        lease = worker.claim_one(tenant)
        assert lease["call_stack"] == [tenant.agent] * depth
        assert call_agents(worker, lease, call(tenant)) == "ok"
    lease = worker.claim_one(tenant)
    assert lease["call_stack"] == [tenant.agent] * 5
    assert call_agents(worker, lease, call(tenant)) == "ok"
    again = worker.claim_one(tenant)
    assert (again["task"]["id"], returned(again)[0][3]) == (lease["task"]["id"], "calls_too_deep")


def test_a_tree_of_calls_ends_at_a_hundred(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task()
    for _ in range(5):
        lease = worker.claim_one(tenant)
        assert call_agents(worker, lease, *(call(tenant, f"c{number}") for number in range(20))) == "ok"
        for child in worker.claim(tenant, 100):
            assert worker.complete(child) == "ok"
    lease = worker.claim_one(tenant)
    assert call_agents(worker, lease, call(tenant)) == "ok"
    again = worker.claim_one(tenant)
    assert (again["task"]["id"], returned(again)[0][3]) == (task_id, "too_many_calls")


# The end of a caller


def test_with_a_cancelled_caller_go_all_its_calls_and_theirs(tenant: Tenant, worker: Worker) -> None:
    task_id, leases = waiting(tenant, worker, call(tenant, "c1"), call(tenant, "c2"))
    assert call_agents(worker, leases[0], call(tenant)) == "ok"
    grandchild = worker.claim_one(tenant)
    tenant.owner.call("cancel_task", task_id=task_id)
    ids = [task_id, leases[0]["task"]["id"], leases[1]["task"]["id"], grandchild["task"]["id"]]
    assert [tenant.read(id_)["status"] for id_ in ids] == ["cancelled"] * 4
    assert worker.complete(leases[1]) == "cancelled"
    told = worker.exchange()["cancel"]
    assert {leases[1]["task"]["id"], grandchild["task"]["id"]} <= set(told), "the workers hear of it"
    tenant.owner.call("retry_task", task_id=task_id)
    again = worker.claim_one(tenant)
    assert again["checkpoint"] is None, "it begins anew"


def test_a_cancelled_call_is_an_answer_too(tenant: Tenant, worker: Worker) -> None:
    _, (lease,) = waiting(tenant, worker)
    tenant.owner.call("cancel_task", task_id=lease["task"]["id"])
    assert returned(worker.claim_one(tenant)) == [("c1", "cancelled", None, None)]


def test_members_who_leave_take_callers_and_calls_along(tenant: Tenant, worker: Worker) -> None:
    member = tenant.join("member")
    task_id = tenant.task(member)
    assert call_agents(worker, worker.claim_one(tenant), call(tenant)) == "ok"
    tenant.owner.call("remove_member", organization_slug=tenant.slug, user_id=member.id)
    statuses = tenant.world.admin.rows(
        "select status from public.tasks where id = %s or parent_task_id = %s", task_id, task_id
    )
    assert [row["status"] for row in statuses] == ["cancelled"] * 2


# Races


def test_calls_that_end_at_the_same_moment_set_the_caller_going_once(tenant: Tenant, worker: Worker) -> None:
    for _ in range(5):
        task_id, leases = waiting(tenant, worker, *(call(tenant, f"c{number}") for number in range(4)))
        sessions = [worker.session] * 4
        left_over = list(leases)
        outcomes = in_parallel(sessions, lambda own: worker.on(own).complete(left_over.pop()))  # noqa: B023
        assert outcomes == ["ok"] * 4
        settle(worker)
        assert tenant.read(task_id)["status"] == "pending"
        lease = worker.claim_one(tenant)
        assert [status for _, status, _, _ in returned(lease)] == ["completed"] * 4
        assert worker.complete(lease) == "ok"
        assert left(tenant, task_id) == 0


def test_a_caller_that_is_cancelled_while_its_call_ends_is_waited_for_by_nobody(tenant: Tenant, worker: Worker) -> None:
    task_id, (lease,) = waiting(tenant, worker)
    with tenant.owner.fresh() as owner, owner.transaction() as connection:
        connection.execute("select public.cancel_task(%s)", [task_id])
        with worker.session.fresh() as own:
            # The cancelling holds both rows; the end of the call does not wait for it.
            assert worker.on(own).complete(lease) in {"busy", "cancelled"}
    assert tenant.read(lease["task"]["id"])["status"] == "cancelled"


def test_a_call_that_ends_while_its_caller_is_locked_is_settled_later(tenant: Tenant, worker: Worker) -> None:
    task_id, (lease,) = waiting(tenant, worker)
    with tenant.world.service.fresh() as other, other.transaction() as connection:
        connection.execute("select from public.tasks where id = %s for update", [task_id])
        assert worker.complete(lease) == "ok"
        assert (tenant.read(task_id)["status"], left(tenant, task_id)) == ("paused", 1)
    settle(worker)
    assert (tenant.read(task_id)["status"], left(tenant, task_id)) == ("pending", 0)


def test_a_call_that_is_locked_while_its_caller_is_cancelled_is_cancelled_later(tenant: Tenant, worker: Worker) -> None:
    task_id, (lease,) = waiting(tenant, worker)
    with tenant.world.service.fresh() as other, other.transaction() as connection:
        connection.execute("select from public.tasks where id = %s for update", [lease["task"]["id"]])
        tenant.owner.call("cancel_task", task_id=task_id)
    assert tenant.read(lease["task"]["id"])["status"] == "in_progress"
    settle(worker)
    assert tenant.read(lease["task"]["id"])["status"] == "cancelled"


# Who sees it


def test_claims_of_tasks_that_call_nobody_look_at_no_calls(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    query = (
        "select coalesce(sum(seq_scan + idx_scan), 0) as n from pg_stat_xact_all_tables where relname = 'agent_calls'"
    )
    with worker.session.transaction() as connection:
        before = connection.execute(query).fetchone()
        connection.execute("select public.claim_tasks(%s, 100, 30, null, array[%s])", (worker.id, tenant.slug))
        assert connection.execute(query).fetchone() == before


def test_only_servers_see_calls_and_ask_for_agents(tenant: Tenant, worker: Worker) -> None:
    task_id, _ = waiting(tenant, worker)
    other = tenant.world.tenant()
    resting = tenant.add_agent(status="inactive")
    slugs = [tenant.agent, other.agent, resting]
    found = worker.session.call("agents_to_call", task_id=task_id, slugs=slugs)
    assert [agent["slug"] for agent in found] == [tenant.agent]
    assert set(found[0]) == {"slug", "name", "description", "input"}
    callers: list[Session] = [tenant.owner, tenant.world.anon]
    for caller in callers:
        with pytest.raises(Exception, match="permission denied"):
            caller.call("agents_to_call", task_id=task_id, slugs=slugs)
        for table in ("agent_calls", "calls_to_settle"):
            with pytest.raises(Exception, match="permission denied"):
                caller.rows(f"select * from private.{table}")


def test_an_agent_that_is_being_deleted_is_not_waited_for(tenant: Tenant, worker: Worker) -> None:
    doomed = tenant.add_agent()
    lease_of = tenant.task()
    lease = worker.claim_one(tenant)
    with tenant.world.admin.fresh() as other, other.transaction() as connection:
        connection.execute("delete from public.agents where slug = %s", [doomed])
        assert call_agents(worker, lease, call(tenant, agent_slug=doomed)) == "ok"
    again = worker.claim_one(tenant)
    assert (again["task"]["id"], returned(again)[0][3]) == (lease_of, "agent_busy")


def test_a_call_whose_worker_is_lost_is_made_by_another(tenant: Tenant, worker: Worker) -> None:
    task_id, (lease,) = waiting(tenant, worker)
    query = "update public.tasks set lease_expires_at = now() - interval '1 second' where id = %s"
    tenant.world.admin.execute(query, lease["task"]["id"])
    tenant.world.admin.execute("update private.live_tasks set look_at = now() where task_id = %s", lease["task"]["id"])
    settle(worker)
    again = worker.claim_one(tenant)
    assert (again["task"]["id"], again["attempt"], again["call_stack"]) == (lease["task"]["id"], 2, [tenant.agent])
    assert worker.complete(again) == "ok"
    assert tenant.read(task_id)["status"] == "pending"
