"""Whoever means harm to the orchestrator: floods, lies, rows that break its bookkeeping, and who may no more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.database.kit import Row, Tenant, Worker, World, refused
from tests.database.orchestrator_kit import boss, instance, messages, say, tool, turn
from tests.database.pauses import reap


def made(tenant: Tenant, worker: Worker, name: str = "writer") -> Row:
    """Have a turn create an agent, and end; return the agent."""
    lease = turn(tenant, worker)
    tool(tenant, lease, "create_agent", name=name)
    assert worker.complete(lease) == "ok"
    return instance(tenant, name)


@pytest.mark.parametrize(
    "used",
    [
        {"input_tokens": 5 * 10**18, "output_tokens": 0, "cost": 0},
        {"input_tokens": 0, "output_tokens": 5 * 10**18, "cost": 0},
        {"input_tokens": 1, "output_tokens": 1, "cost": 99_999_999},
    ],
)
def test_a_provider_that_lies_about_usage_stops_no_report(tenant: Tenant, worker: Worker, used: Row) -> None:
    writer = made(tenant, worker)
    usage = [{"provider": "p", "model": "m", **used}]
    for _ in range(3):
        say(tenant, "Do it", agent_instance_id=writer["id"])
        innocent = tenant.task()
        leases = worker.claim(tenant, 5)
        report = [
            {"task_id": x["task"]["id"], "attempt": x["attempt"], "lease_token": x["lease_token"], "response": "Yes."}
            | ({} if x["task"]["id"] == innocent else {"usage": usage})
            for x in leases
        ]
        assert worker.report("complete_tasks", *report) == ["ok", "ok"]
    assert instance(tenant)["status"] == "idle"
    for _ in range(3):
        turned = turn(tenant, worker)
        assert worker.complete(turned, usage=usage) == "ok"
    assert boss(tenant)["status"] == "idle"


def spoil(tenant: Tenant, owner: Row, times: int = 1) -> None:
    """Leave a cost that no counter can take."""
    for _ in range(times):
        tenant.world.admin.execute(
            "insert into private.orchestrator_costs"
            " (orchestrator_agent_id, agent_instance_id, input_tokens, output_tokens, cost)"
            " values (%s, %s, -1000000, 0, 0)",
            owner["orchestrator_agent_id"],
            owner["id"],
        )


def work_left(tenant: Tenant, task_id: str) -> int:
    query = "select count(*) from private.orchestrator_work where task_id = %s"
    return int(tenant.world.admin.value(query, task_id))


def test_what_cannot_be_settled_undoes_no_report_and_stops_no_housekeeping(
    tenant: Tenant, worker: Worker, world: World
) -> None:
    other = world.tenant()
    spoilt, healthy = made(tenant, worker), made(other, worker)
    lost = say(tenant, "Do it", agent_instance_id=spoilt["id"])
    kept = say(other, "Do it", agent_instance_id=healthy["id"])
    spoil(tenant, spoilt)
    leases = [worker.claim_one(tenant), worker.claim_one(other)]
    with world.admin.fresh() as holder, holder.transaction() as connection:
        connection.execute("select from public.agent_instances where id = %s for update", [healthy["id"]])
        assert [worker.complete(lease, response="Yes.") for lease in leases] == ["ok", "ok"]
    assert tenant.read(lost["task_id"])["response"] == "Yes."
    assert work_left(tenant, lost["task_id"]) >= 1
    assert work_left(tenant, kept["task_id"]) == 1
    reap(worker)
    assert (instance(other)["status"], messages(other)[-1][2]) == ("idle", "Yes.")
    for _ in range(10):
        reap(worker)
    assert work_left(tenant, lost["task_id"]) == 0
    tenant.world.admin.execute("delete from private.orchestrator_costs where agent_instance_id = %s", spoilt["id"])
    say(tenant, "Again", agent_instance_id=spoilt["id"])
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    assert instance(tenant)["status"] == "idle"


def test_nobody_is_woken_for_who_has_left(tenant: Tenant, worker: Worker, world: World) -> None:
    member = tenant.join("member")
    lease = turn(tenant, worker, user=member)
    tool(tenant, lease, "create_agent", name="writer")
    tool(tenant, lease, "command_agent", name="writer", prompt="Write.")
    assert worker.complete(lease) == "ok"
    command = worker.claim_one(tenant, methods=["command_agent"])
    with world.admin.fresh() as holder, holder.transaction() as connection:
        connection.execute("select from public.orchestrator_agents where id = %s for update", [boss(tenant)["id"]])
        assert worker.complete(command) == "ok"
    world.admin.execute("delete from public.organization_members where user_id = %s", member.id)
    reap(worker)
    assert worker.claim(tenant) == []
    assert [m for m in messages(tenant) if m[0] == "agent"] == [("agent", "orchestrator", "done.")]


def test_a_member_who_floods_it_is_stopped_and_the_others_are_heard(tenant: Tenant) -> None:
    flooder, other = tenant.join("member"), tenant.join("member")
    with refused("PT429", "over_limit"):
        for number in range(200):
            say(tenant, f"Flood {number}", flooder)
    writer = tenant.world.admin.value(
        "insert into public.agent_instances (orchestrator_agent_id, name, model) values (%s, 'w', 'm') returning id",
        boss(tenant)["id"],
    )
    with refused("PT429", "over_limit"):
        say(tenant, "Flood", flooder, agent_instance_id=writer)
    assert say(tenant, "I am here", other)["task_id"]
    flooder.call("interrupt_orchestrator", organization_slug=tenant.slug)
    assert say(tenant, "Again", flooder)["task_id"]


@pytest.mark.parametrize("change", ["viewer", "user", "organization"])
def test_a_call_for_who_may_no_more_is_refused_alone(tenant: Tenant, worker: Worker, world: World, change: str) -> None:
    other = world.tenant()
    member = tenant.join("member")
    lease = turn(tenant, worker, user=member)
    tool(tenant, lease, "create_agent", name="writer")
    other.task()
    innocent = worker.claim_one(other)
    if change == "viewer":
        world.admin.execute("update public.organization_members set role = 'viewer' where user_id = %s", member.id)
    elif change == "user":
        world.admin.execute("update public.users set status = 'suspended' where id = %s", member.id)
    else:
        world.admin.execute("update public.organizations set is_active = false where slug = %s", tenant.slug)
    call = {"call_id": "c", "agent_slug": "writer", "agent_instance": "writer", "prompt": "Write.", "params": {}}
    asked = {"agent_calls": [call], "checkpoint": {"x": 1}}
    fenced = {"task_id": lease["task"]["id"], "attempt": lease["attempt"], "lease_token": lease["lease_token"]}
    done = {"task_id": innocent["task"]["id"], "attempt": 1, "lease_token": innocent["lease_token"], "response": "Yes."}
    report: Any = {"paused": [fenced | asked], "completed": [done]}
    outcomes = {o["task_id"]: o["outcome"] for o in worker.exchange(report=report)["outcomes"]}
    assert outcomes[innocent["task"]["id"]] == "ok"
    query = "select error_code, child_task_id from private.agent_calls where parent_task_id = %s"
    for row in world.admin.rows(query, lease["task"]["id"]):
        assert row == {"error_code": "not_allowed", "child_task_id": None}


def test_a_member_chooses_no_model_that_the_organization_does_not_use(tenant: Tenant, worker: Worker) -> None:
    member, developer = tenant.join("member"), tenant.join("developer")
    lease = turn(tenant, worker, user=member)
    result = tool(tenant, lease, "create_agent", name="dear", model="the-dearest-model")
    assert result["error"]["code"] == "not_allowed"
    assert result["error"]["hint"]
    assert "created" in tool(tenant, lease, "create_agent", name="usual", model="some-model")
    assert worker.complete(lease) == "ok"
    lease = turn(tenant, worker, user=developer)
    assert "created" in tool(tenant, lease, "create_agent", name="dear", model="the-dearest-model")


def test_an_exchange_waits_for_nothing_that_an_instance_names(tenant: Tenant, worker: Worker, world: World) -> None:
    writer = made(tenant, worker)
    for number in range(2):
        say(tenant, f"Do {number}", agent_instance_id=writer["id"])
    lease = worker.claim_one(tenant)
    done = {"task_id": lease["task"]["id"], "attempt": 1, "lease_token": lease["lease_token"], "response": "Yes."}
    with world.admin.fresh() as holder, world.service.fresh() as session, holder.transaction() as connection:
        # As somebody who is just deleting it.
        connection.execute("select from public.orchestrator_agents where id = %s for update", [boss(tenant)["id"]])
        with session.transaction() as waiting:
            waiting.execute("set local statement_timeout = '5s'")
            answer = worker.on(session).exchange(report={"completed": [done]}, max_tasks=1, organizations=[tenant.slug])
    assert [o["outcome"] for o in answer["outcomes"]] == ["ok"]
    for left in worker.claim(tenant):
        assert worker.complete(left) == "ok"
    for left in answer["tasks"]:
        assert worker.complete(left) == "ok"
    reap(worker)
    assert instance(tenant)["status"] == "idle"
    assert sorted(m[2] for m in messages(tenant) if m[0] == "agent") == ["Yes.", "done."]
