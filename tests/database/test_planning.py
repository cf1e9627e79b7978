"""Planning: asking for a plan, writing it by a lease, refining and approving it.

Over 400 lines, because what one of these does is seen by another.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, new_name, refused
from tests.database.pauses import reap
from tests.database.project_kit import Project, agent_step, new_project, play


def planner(tenant: Tenant) -> str:
    """Give the tenant's context agent, which plans."""
    return tenant.add_agent(agent_type="context")


def ask(tenant: Tenant, user: Session | None = None, **arguments: Any) -> Project:
    """Ask for a plan as a user does, by the function."""
    session = user or tenant.owner
    given = {"conversation_id": tenant.conversation(session), "agent_slug": planner(tenant), "prompt": "Plan it."}
    row = session.call("plan_project", **given | arguments)
    return Project(tenant, str(row["id"]), session)


def insert(tenant: Tenant, user: Session | None = None, params: Any = None, **columns: Any) -> Row:
    """Insert a task that plans, as a user."""
    session = user or tenant.owner
    given = {
        "method": "plan_project",
        "agent_slug": planner(tenant),
        "prompt": "Plan it.",
        "params": Jsonb(params or {}),
    }
    return session.insert("tasks", **given | columns)


def fence(lease: Row) -> Row:
    return {"task_id": lease["task"]["id"], "attempt": lease["attempt"], "lease_token": lease["lease_token"]}


def write(tenant: Tenant, lease: Row, *steps: Any, **more: Any) -> Row:
    """Write a plan as a worker does."""
    given = fence(lease) | {"plan": Jsonb({"steps": list(steps)})} | more
    return dict(tenant.world.service.call("write_plan", **given))


def planned(tenant: Tenant, worker: Worker, *steps: Row, **arguments: Any) -> Project:
    """Ask for a plan, and let a worker write this one."""
    project = ask(tenant, **arguments)
    lease = worker.claim_one(tenant)
    assert "problem" not in write(tenant, lease, *(steps or [agent_step(tenant, "a")]))
    assert worker.complete(lease) == "ok"
    return project


def refine(project: Project, user: Session | None = None, **more: Any) -> Row:
    row: Row = (user or project.session).call("refine_project", project_id=project.id, prompt="Better.", **more)
    return row


def log(project: Project) -> list[Row]:
    query = "select * from public.audit_logs where table_name = 'projects' and row_key = %s order by id"
    return project.tenant.owner.rows(query, project.id)


def test_a_plan_is_asked_for_written_approved_and_run(tenant: Tenant, worker: Worker) -> None:
    project = ask(tenant, max_steps=3, name="Tides")
    row = project.read()
    assert (row["status"], row["name"], row["plan_version"]) == ("planning", "Tides", 0)
    task = tenant.read(str(row["planning_task_id"]))
    assert (task["method"], task["params"]) == ("plan_project", {"start": False, "max_steps": 3, "name": "Tides"})
    lease = worker.claim_one(tenant)
    request = tenant.world.service.call("read_plan_request", **fence(lease))
    assert request["project"] == {"id": project.id, "name": "Tides", "plan": None}
    assert (request["max_steps"], request["written"]) == (3, None)
    assert {agent["slug"] for agent in request["agents"]} == {tenant.agent, task["agent_slug"]}
    told = write(tenant, lease, agent_step(tenant, "a"), agent_step(tenant, "b", "a"), name="Another name")
    assert (told["status"], told["plan_version"], told["name"]) == ("awaiting_approval", 1, "Tides")
    assert worker.complete(lease) == "ok"
    assert (project.status, sorted(project.steps())) == ("awaiting_approval", ["a", "b"])
    assert worker.claim(tenant) == []
    approved = project.session.call("approve_plan", project_id=project.id, plan_version=1)
    assert approved["status"] == "running"
    assert play(worker, project) == [["a"], ["b"]]
    assert project.status == "completed"
    (entry,) = log(project)
    assert (str(entry["actor_user_id"]), entry["actor_role"]) == (tenant.owner.id, "authenticated")
    assert entry["changes"] == {
        "status": ["awaiting_approval", "running"],
        "decision": [None, "approved"],
        "project_id": [project.id, project.id],
        "plan_version": [1, 1],
    }


def test_a_plan_starts_at_once_when_that_is_asked_for(tenant: Tenant, worker: Worker) -> None:
    project = planned(tenant, worker, start=True)
    assert (project.status, project.states()) == ("running", {"a": "ready"})
    assert play(worker, project) == [["a"]]
    assert log(project) == [], "nobody was asked"


def test_a_task_plans_as_well_as_the_function(tenant: Tenant, worker: Worker) -> None:
    conversation = tenant.conversation()
    task = insert(tenant, params={"start": None}, agent_conversation_id=conversation)
    row = tenant.owner.row("select * from public.projects where planning_task_id = %s", task["id"])
    assert (str(row["conversation_id"]), row["status"], str(row["user_id"])) == (
        conversation,
        "planning",
        tenant.owner.id,
    )
    lease = worker.claim_one(tenant)
    assert write(tenant, lease, agent_step(tenant, "a"), name="  From the plan  ")["name"] == "From the plan"
    mine = new_project(tenant, [agent_step(tenant, "x")])
    insert(tenant, params={"project_id": mine.id})
    assert mine.status == "planning"


def test_servers_plan_for_the_user_of_the_conversation(tenant: Tenant) -> None:
    user = tenant.join("member")
    given = {"conversation_id": tenant.conversation(user), "agent_slug": planner(tenant), "prompt": "Plan it."}
    row = tenant.world.service.call("plan_project", **given)
    assert (row["user_id"], row["status"]) == (user.id, "planning")


def test_inserting_the_same_request_twice_makes_one_project(tenant: Tenant) -> None:
    conversation = tenant.conversation()
    key = new_name("key")
    insert(tenant, agent_conversation_id=conversation, idempotency_key=key)
    with refused("23505"):
        insert(tenant, agent_conversation_id=conversation, idempotency_key=key)
    query = "select count(*) from public.projects where conversation_id = %s"
    assert tenant.world.admin.value(query, conversation) == 1


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"colour": "red"}, "colour"),
        ({"start": "yes"}, "start"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": 10001}, "max_steps"),
        ({"max_steps": 1.5}, "max_steps"),
        ({"name": ""}, "name"),
        ({"agents": []}, "agents"),
        ({"agents": ["a", 1]}, "agents"),
        ({"agents": "a"}, "agents"),
        ({"project_id": "x"}, "project_id"),
        ({}, "conversation"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(tenant: Tenant, params: Any, told: str) -> None:
    with refused("22023", "plan_request_invalid") as refusal:
        insert(tenant, params=params)
    assert told in refusal.detail
    assert (
        tenant.world.admin.value("select count(*) from public.projects where organization_slug = %s", tenant.slug) == 0
    )


def test_who_plans_and_with_whom(tenant: Tenant, world: World) -> None:
    api = tenant.add_agent(agent_type="api", llm_config=None, endpoint=Jsonb({"url": "https://example.com/"}))
    with refused("22023", "plan_request_invalid") as refusal:
        ask(tenant, agent_slug=api)
    assert "context" in refusal.detail
    other = world.tenant()
    for strange in ("no-such-agent", other.add_agent(agent_type="context")):
        with refused("PT404", "agent_not_found"):
            ask(tenant, agents=[tenant.agent, strange])
        with refused("PT404", "agent_not_found"):
            ask(tenant, agent_slug=strange)
    with refused("PT404", "conversation_not_found"):
        ask(tenant, conversation_id=other.conversation())


def test_only_the_projects_user_has_it_planned_and_approves(tenant: Tenant, worker: Worker, world: World) -> None:
    user = tenant.join("member")
    project = planned(tenant, worker, user=user)
    for other in (tenant.join("member"), tenant.join("admin")):
        with refused("PT404", "project_not_found"):
            refine(project, other)
        with refused("PT404", "project_not_found"):
            insert(tenant, other, {"project_id": project.id})
        with refused("PT404", "project_not_found"):
            other.call("approve_plan", project_id=project.id)
    for other in (tenant.join("viewer"), world.tenant().owner):
        with pytest.raises(psycopg.Error):
            refine(project, other)
        with refused("PT404", "project_not_found"):
            other.call("approve_plan", project_id=project.id)
    assert (project.status, project.read()["plan_version"]) == ("awaiting_approval", 1)
    refine(project)
    assert project.status == "planning"


def test_a_plan_that_cannot_be_carried_out_is_told_and_nothing_is_written(
    tenant: Tenant, worker: Worker, world: World
) -> None:
    project = ask(tenant, max_steps=2, agents=[tenant.agent])
    lease = worker.claim_one(tenant)
    other = tenant.add_agent()
    bad: list[tuple[list[Any], str, str]] = [
        ([agent_step(tenant, "a", "a")], "plan_invalid", "circle"),
        ([agent_step(tenant, "a", "b")], "plan_invalid", '"b"'),
        ([], "plan_invalid", "10000"),
        ([agent_step(tenant, f"s{n}") for n in range(10_001)], "plan_invalid", "10000"),
        ([agent_step(tenant, f"s{n}") for n in range(3)], "plan_invalid", "at most 2"),
        ([agent_step(tenant, "a", agent="nobody")], "agent_not_found", "nobody"),
        ([agent_step(tenant, "a", agent=world.tenant().agent)], "agent_not_found", "no agent"),
        ([agent_step(tenant, "a", agent=other)], "plan_invalid", other),
        (
            [{"id": "s", "type": "subproject", "plan": {"steps": [agent_step(tenant, "a", agent=other)]}}],
            "plan_invalid",
            other,
        ),
        ([agent_step(tenant, "a", prompt="{{ steps.z.result }}")], "plan_invalid", "not in the plan"),
        ([1], "plan_invalid", "no id"),
        ([None], "plan_invalid", "no id"),
        ([agent_step(tenant, "a", prompt=5)], "plan_invalid", "prompt"),
        ([agent_step(tenant, "a", dependencies=[{"b": 1}])], "plan_invalid", "not in the plan"),
        ([agent_step(tenant, "a") | {"name": "x" * 501}], "plan_invalid", "name"),
        ([{"id": "s", "type": "subproject", "plan": {"steps": 5}}], "plan_invalid", "10000"),
    ]
    for steps, code, told in bad:
        problem = write(tenant, lease, *steps)["problem"]
        assert problem["error_code"] == code, problem
        assert told in problem["error_message"], problem
        assert problem["hint"]
    assert (project.read()["plan_json"], project.status, project.steps()) == (None, "planning", {})
    assert write(tenant, lease, agent_step(tenant, "a"))["plan_version"] == 1


def test_a_plan_is_written_once_by_the_attempt_in_force(tenant: Tenant, worker: Worker) -> None:
    project = ask(tenant, start=True)
    stale = worker.claim_one(tenant)
    tenant.world.admin.execute(
        "update public.tasks set lease_expires_at = now() - interval '1 minute' where id = %s", stale["task"]["id"]
    )
    reap(worker)
    tenant.world.admin.execute("update public.tasks set scheduled_at = now() where id = %s", stale["task"]["id"])
    lease = worker.claim_one(tenant)
    assert lease["attempt"] == 2
    for wrong in (stale, lease | {"attempt": 1}, lease | {"lease_token": str(uuid.uuid4())}):
        with refused("PT409", "lease_lost"):
            write(tenant, wrong, agent_step(tenant, "stale"))
        with refused("PT409", "lease_lost"):
            tenant.world.service.call("read_plan_request", **fence(wrong))
    first = write(tenant, lease, agent_step(tenant, "a"))
    assert write(tenant, lease, agent_step(tenant, "b")) == first, "said again"
    assert tenant.world.service.call("read_plan_request", **fence(lease))["written"] == first
    assert (project.read()["plan_version"], list(project.steps()), len(project.tasks("a"))) == (1, ["a"], 1)
    assert worker.complete(lease) == "ok"
    with refused("PT409", "lease_lost"):
        write(tenant, lease, agent_step(tenant, "b"))


def test_a_worker_whose_lease_has_run_out_writes_no_plan_although_nobody_took_it(
    tenant: Tenant, worker: Worker
) -> None:
    project = ask(tenant)
    lease = worker.claim_one(tenant, lease_seconds=30)
    late = tenant.world.service.at("31 seconds")
    with refused("PT409", "lease_lost"):
        late.call("write_plan", **fence(lease), plan={"steps": [agent_step(tenant, "a")]})
    with refused("PT409", "lease_lost"):
        late.call("read_plan_request", **fence(lease))
    assert (project.read()["plan_json"], project.status) == (None, "planning")
    assert write(tenant, lease, agent_step(tenant, "a"))["plan_version"] == 1


def test_an_attempt_after_one_that_wrote_and_died_finds_the_plan(tenant: Tenant, worker: Worker) -> None:
    project = ask(tenant, start=True)
    killed = worker.claim_one(tenant)
    first = write(tenant, killed, agent_step(tenant, "a"))
    tenant.world.admin.execute(
        "update public.tasks set lease_expires_at = now() - interval '1 minute' where id = %s", killed["task"]["id"]
    )
    reap(worker)
    assert project.status == "running", "what is written stays"
    tenant.world.admin.execute("update public.tasks set scheduled_at = now() where id = %s", killed["task"]["id"])
    leases = {lease["task"]["method"]: lease for lease in worker.claim(tenant, 10)}
    assert leases["converse"]["task"]["metadata"]["step_id"] == "a"
    again = leases["plan_project"]
    assert tenant.world.service.call("read_plan_request", **fence(again))["written"] == first
    assert write(tenant, again, agent_step(tenant, "b")) == first
    assert worker.complete(again) == "ok"
    assert worker.complete(leases["converse"]) == "ok"
    assert project.status == "completed"


def test_only_workers_write_plans(tenant: Tenant, worker: Worker) -> None:
    ask(tenant)
    lease = worker.claim_one(tenant)
    for function, more in (("write_plan", {"plan": Jsonb({"steps": []})}), ("read_plan_request", {})):
        with refused("42501"):
            tenant.owner.call(function, **fence(lease), **more)
    other = tenant.task()
    converse = worker.claim_one(tenant)
    assert converse["task"]["id"] == other
    with refused("PT409", "lease_lost"):
        write(tenant, converse, agent_step(tenant, "a"))


def test_planning_that_fails_fails_the_project_and_may_be_retried(tenant: Tenant, worker: Worker) -> None:
    project = ask(tenant)
    worker.fail(worker.claim_one(tenant), error_code="plan_invalid", error_message="A circle.", retryable=False)
    row = project.read()
    task_id = str(row["planning_task_id"])
    assert (row["status"], row["started_at"]) == ("failed", None)
    assert row["error_details"] == {
        "step_id": None,
        "task_id": task_id,
        "error_code": "plan_invalid",
        "error_message": "A circle.",
    }
    with refused("PT409", "plan_missing"):
        project.do("resume")
    tenant.owner.call("retry_task", task_id=task_id)
    assert (project.status, project.read()["error_details"]) == ("planning", None)
    worker.fail(worker.claim_one(tenant), retryable=False)
    assert project.status == "failed"
    refine(project, agent_slug=planner(tenant))
    lease = worker.claim_one(tenant)
    assert write(tenant, lease, agent_step(tenant, "a"))["status"] == "awaiting_approval"
    assert project.read()["error_details"] is None


def test_a_project_that_ran_and_failed_is_not_planned_again(tenant: Tenant, worker: Worker) -> None:
    project = planned(tenant, worker, start=True)
    worker.fail(worker.claim_one(tenant), retryable=False)
    assert project.status == "failed"
    with refused("PT409", "plan_has_started"):
        refine(project)
    for status in ("planning", "awaiting_approval"):
        with refused("PT409", "illegal_move"):
            tenant.world.service.update("projects", {"id": project.id}, status=status)


def test_refining_makes_a_next_version_and_keeps_the_limits(tenant: Tenant, worker: Worker) -> None:
    project = planned(tenant, worker, start=False, max_steps=2, agents=[tenant.agent])
    row = refine(project)
    assert (row["status"], row["plan_version"]) == ("planning", 1)
    with refused("PT409", "planning_in_progress"):
        refine(project)
    lease = worker.claim_one(tenant)
    params = tenant.read(lease["task"]["id"])["params"]
    assert params == {"project_id": project.id, "max_steps": 2, "agents": [tenant.agent]}
    request = tenant.world.service.call("read_plan_request", **fence(lease))
    assert request["project"]["plan"] == {"steps": [agent_step(tenant, "a")]}
    assert [agent["slug"] for agent in request["agents"]] == [tenant.agent]
    assert write(tenant, lease, agent_step(tenant, "b"))["plan_version"] == 2
    worker.complete(lease)
    assert (list(project.steps()), project.status) == (["b"], "awaiting_approval")
    kept = project.session.row("select * from public.project_plan_versions where project_id = %s", project.id)
    assert (kept["version"], kept["plan_json"]["steps"][0]["id"]) == (1, "a")


def test_a_refinement_that_fails_leaves_the_plan_as_it_was(tenant: Tenant, worker: Worker) -> None:
    project = planned(tenant, worker)
    for end in ("fail", "cancel"):
        task_id = refine(project)["planning_task_id"]
        if end == "fail":
            worker.fail(worker.claim_one(tenant), error_code="plan_invalid", retryable=False)
        else:
            tenant.owner.call("cancel_task", task_id=task_id)
        row = project.read()
        assert (row["status"], row["plan_version"], list(project.steps())) == ("awaiting_approval", 1, ["a"])
        assert row["error_details"]["task_id"] == str(task_id)
    project.do("start")
    assert project.read()["error_details"] is None
    with refused("PT409", "plan_has_started"):
        refine(project)


def test_a_plan_that_somebody_else_wrote_meanwhile_stays(tenant: Tenant, worker: Worker) -> None:
    project = planned(tenant, worker)
    refine(project)
    lease = worker.claim_one(tenant)
    project.session.update("projects", {"id": project.id}, plan_json=Jsonb({"steps": [agent_step(tenant, "mine")]}))
    with refused("PT409", "plan_changed"):
        write(tenant, lease, agent_step(tenant, "theirs"))
    worker.fail(lease, error_code="plan_changed", retryable=False)
    assert (project.status, list(project.steps())) == ("awaiting_approval", ["mine"])
    refine(project)
    lease = worker.claim_one(tenant)
    project.do("start")
    with refused("PT409", "plan_has_started"):
        write(tenant, lease, agent_step(tenant, "late"))
    worker.fail(lease, retryable=False)
    assert project.status == "running"


def test_cancelling_or_deleting_a_project_stops_its_planning(tenant: Tenant, worker: Worker) -> None:
    project = ask(tenant)
    task_id = str(project.read()["planning_task_id"])
    project.do("cancel")
    assert (project.status, tenant.read(task_id)["status"]) == ("cancelled", "cancelled")
    assert worker.claim(tenant) == []
    project = ask(tenant)
    task_id = str(project.read()["planning_task_id"])
    lease = worker.claim_one(tenant)
    tenant.owner.execute("delete from public.projects where id = %s", project.id)
    assert tenant.read(task_id)["status"] == "cancelled"
    with refused("PT409", "lease_lost"):
        write(tenant, lease, agent_step(tenant, "a"))


def test_approving(tenant: Tenant, worker: Worker) -> None:
    project = planned(tenant, worker)
    owner = project.session
    with refused("PT409", "plan_changed"):
        owner.call("approve_plan", project_id=project.id, plan_version=2)
    bad = Jsonb({"steps": [agent_step(tenant, "a", "a")]})
    with refused("22023", "plan_invalid"):
        owner.call("approve_plan", project_id=project.id, plan_json=bad)
    assert (project.status, project.read()["plan_version"]) == ("awaiting_approval", 1)
    edited = Jsonb({"steps": [agent_step(tenant, "edited")]})
    row = owner.call("approve_plan", project_id=project.id, plan_version=1, plan_json=edited)
    assert (row["status"], row["plan_version"], list(project.steps())) == ("running", 2, ["edited"])
    assert log(project)[0]["changes"]["plan_version"] == [2, 2]
    with refused("PT409", "illegal_move"):
        owner.call("approve_plan", project_id=project.id)


def test_a_plan_is_approved_once(tenant: Tenant, worker: Worker) -> None:
    project = planned(tenant, worker)
    answers = in_parallel([project.session] * 2, lambda s: s.call("approve_plan", project_id=project.id))
    assert sorted(str(a).splitlines()[0] if isinstance(a, psycopg.Error) else a["status"] for a in answers) == [
        "illegal_move",
        "running",
    ]
    assert len(project.tasks("a")) == 1
    assert len(log(project)) == 1


def test_a_project_somebody_holds_follows_its_planning_a_moment_later(tenant: Tenant, worker: Worker) -> None:
    project = ask(tenant)
    lease = worker.claim_one(tenant)
    with tenant.world.admin.fresh() as holder, holder.transaction(keep=False) as connection:
        connection.execute("select from public.projects where id = %s for update", [project.id])
        assert worker.fail(lease, retryable=False) == "ok", "it does not wait"
        assert project.status == "planning"
    reap(worker)
    assert project.status == "failed"


def test_the_page_on_projects_shows_plans_and_results_as_they_are(tenant: Tenant, worker: Worker) -> None:
    page = (Path(__file__).parents[2] / "docs/projects.md").read_text()
    plan, result = (json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    for step in plan["steps"]:
        if "agent" in step:
            step["agent"] = tenant.agent
    project = new_project(tenant, plan["steps"])
    project.do("start")
    play(worker, project, {"draft": result["value"]})
    project.answer("check", {"approved": True})
    assert project.result("check") == result
    assert project.tasks("send")[0]["prompt"] == f"Send: {result['value']}"
    for function in ("plan_project", "refine_project", "approve_plan"):
        (told,) = re.findall(rf"^\| `{function}\(([^)]*)\)`", page, re.MULTILINE)
        arguments = tenant.world.admin.value("select proargnames from pg_proc where proname = %s", function)
        assert [name.strip("?") for name in told.split(", ")] == arguments
