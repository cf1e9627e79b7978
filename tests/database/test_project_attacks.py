"""What a hostile or careless plan must not do: end the exchanges of all workers, stand still, or pass over people."""

from __future__ import annotations

from typing import Any

import pytest

from tests.database.kit import Row, Tenant, Worker, World, item, refused
from tests.database.pauses import reap
from tests.database.project_kit import (
    Project,
    agent_step,
    claim_all,
    finish,
    new_project,
    nothing_left,
    play,
    started,
)
from tests.database.workflow_kit import add_workflow

TEXT = "x" * 99_000


def approval(name: str, *dependencies: str, **more: Any) -> Row:
    return {"id": name, "type": "human_approval", "prompt": "Go?", "dependencies": list(dependencies)} | more


def below(tenant: Tenant, *more: Row) -> Row:
    """Give a step that is a subproject of one agent's step."""
    return {"id": "below", "type": "subproject", "plan": {"steps": [agent_step(tenant, "inner"), *more]}}


# Results that grow


@pytest.mark.parametrize(
    "step",
    [
        {"prompt": "{{steps.a.result}}" * 20_000},
        {"prompt": "x", "params": {"list": ["{{steps.a.result}}"] * 20_000}},
        {"prompt": "{{ item }}{{ steps.a.result }}" * 9, "type": "map", "over": "list"},
        {"prompt": "{{ item }}" + "y" * 200_000, "type": "map", "over": "list"},
    ],
    ids=["prompt", "params", "map", "text of a map"],
)
def test_a_short_plan_that_would_write_gigabytes_fails_its_step(tenant: Tenant, worker: Worker, step: Row) -> None:
    mine = agent_step(tenant, "b", "a", "list", **step)
    project = started(tenant, [agent_step(tenant, "a"), agent_step(tenant, "list"), mine])
    leases = claim_all(worker, tenant)
    finish(worker, leases["list"], list(range(1000)))
    with worker.session.transaction() as connection:
        connection.execute("set local statement_timeout = '8s'")
        finish(worker, leases["a"], TEXT)
    assert project.status == "failed"
    assert project.steps()["b"]["error_details"]["error_code"] == "result_too_large"
    assert project.tasks("b") == []


def test_a_project_that_breaks_breaks_nobody_elses_report(world: World, tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a"), agent_step(tenant, "b", "a", prompt="{{ steps.a.result }}")])
    other = tenant.task()
    leases = {lease["task"]["id"]: lease for lease in worker.claim(tenant, 10)}
    mine = leases.pop(str(project.tasks("a")[0]["id"]))
    # What cannot happen as far as anybody knows: an edge that leads too far.
    world.admin.execute(
        "update private.step_links set unmet = 0 where project_step_id = %s", project.steps()["b"]["id"]
    )
    report = {"completed": [item(mine, response="x"), item(leases[other], response="y")]}
    assert [o["outcome"] for o in worker.exchange(report=report)["outcomes"]] == ["ok", "ok"]
    assert tenant.read(other)["status"] == "completed"
    worker.exchange(max_tasks=1, organizations=[tenant.slug])
    assert (project.status, project.read()["error_details"]["error_code"]) == ("failed", "internal_error")
    assert nothing_left(world, tenant)


# Plans that fan out


@pytest.mark.parametrize(
    "steps",
    [
        [{"type": "subproject"}] * 60,
        [{"type": "human_approval", "prompt": "?"}] * 700,
        [{"type": "map", "over": "a", "prompt": "{{ item }}"}] * 3,
        [{"prompt": "{{ steps.a.result }}"}] * 900,
    ],
    ids=["subprojects", "questions", "maps", "large prompts"],
)
def test_what_starts_at_once_is_spread_over_exchanges(
    world: World, tenant: Tenant, worker: Worker, steps: list[Row]
) -> None:
    plan = [agent_step(tenant, "a")]
    for n, step in enumerate(steps):
        kind = step.get("type", "agent")
        more = {"plan": {"steps": [agent_step(tenant, "x")]}} if kind == "subproject" else {}
        agent = {"agent": tenant.agent} if kind in {"agent", "map"} else {}
        plan.append({"id": f"s{n}", "dependencies": ["a"]} | agent | more | step)
    project = started(tenant, plan)
    lease = worker.claim_one(tenant)
    finish(worker, lease, [*["z" * 200] * 99] if steps[0].get("over") is None else list(range(1000)))
    first = len([s for s in project.steps().values() if s["status"] == "ready" and s["task_id"] is None])
    assert 0 < first < len(steps), "some have begun, and some wait for the next exchange"
    for _ in range(10):
        worker.exchange(max_tasks=1, organizations=["nobody"])
        if not world.admin.value("select count(*) from private.project_work where project_id = %s", project.id):
            break
    rest = [s for s in project.steps().values() if s["status"] == "ready" and s["task_id"] is None]
    assert rest == []
    project.do("cancel")
    worker.exchange(max_tasks=1, organizations=["nobody"])
    assert nothing_left(world, tenant)


def test_a_project_with_very_many_below_it_is_cancelled_by_and_by(tenant: Tenant, worker: Worker) -> None:
    steps = [{"id": f"s{n}", "type": "human_input", "prompt": "?"} for n in range(60)]
    plan = [{"id": step["id"], "type": "subproject", "plan": {"steps": [step]}} for step in steps]
    project = started(tenant, plan)
    worker.exchange(max_tasks=1, organizations=["nobody"])
    assert project.do("cancel")["status"] == "cancelled"
    worker.exchange(max_tasks=1, organizations=["nobody"])
    assert {(p.status, *p.states().values()) for p in project.children()} == {("cancelled", "cancelled")}


def test_organizations_take_turns_with_what_is_left(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    many = [started(tenant, [agent_step(tenant, "a")]) for _ in range(3)]
    one = started(other, [agent_step(other, "a")])
    for project in [*many, one]:
        world.admin.execute("insert into private.project_work (project_id) values (%s)", project.id)
    note = """
create function private.note_turn() returns trigger language plpgsql as $$
begin
  insert into private.turns (project_id) values (old.project_id);
  return null;
end $$"""
    with world.admin.transaction(keep=False) as connection:
        connection.execute("create table private.turns (place bigint generated always as identity, project_id uuid)")
        connection.execute(note)
        connection.execute(
            "create trigger turns after delete on private.project_work"
            " for each row execute function private.note_turn()"
        )
        connection.execute("select private.advance_forgotten_projects()")
        rows = connection.execute("select project_id from private.turns order by place").fetchall()
    mine = [str(row["project_id"]) for row in rows]
    assert mine.index(one.id) <= 1, "the other organization does not wait for all of the first one's"


# States in which nothing would happen any more


def test_passing_over_the_only_failure_completes_the_project(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a")])
    worker.fail(worker.claim_one(tenant))
    assert project.status == "failed"
    assert project.do_step("skip", "a")["status"] == "completed"


def test_a_subproject_that_is_deleted_fails_its_step(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [below(tenant), agent_step(tenant, "after", "below")])
    (child,) = project.children()
    assert tenant.owner.execute("delete from public.projects where id = %s", child.id) == 1
    reap(worker)
    assert project.status == "failed"
    assert project.steps()["below"]["error_details"]["error_code"] == "subproject_cancelled"
    project.do_step("retry", "below")
    play(worker, project)
    assert project.status == "completed"


@pytest.mark.parametrize("act", ["retry", "skip"])
def test_a_failed_subproject_goes_on_with_its_step_only(tenant: Tenant, worker: Worker, act: str) -> None:
    project = started(tenant, [below(tenant), agent_step(tenant, "after", "below")])
    (child,) = project.children()
    worker.fail(worker.claim_one(tenant))
    if act == "retry":
        with refused("PT409", "illegal_move") as refusal:
            child.do_step("retry", "inner")
        assert str(project.steps()["below"]["id"]) in refusal.hint
    else:
        assert child.do_step("skip", "inner")["status"] == "failed"
    project.do_step("retry", "below")
    play(worker, project)
    assert (project.status, [c.status for c in project.children()]) == ("completed", ["completed"])


def test_a_failed_subproject_that_somebody_writes_to_is_not_made_twice(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [below(tenant)])
    (child,) = project.children()
    worker.fail(worker.claim_one(tenant))
    with tenant.owner.fresh() as other, other.transaction() as connection:
        connection.execute("update public.projects set name = 'x' where id = %s", [child.id])
        project.do_step("retry", "below")
    worker.exchange(max_tasks=0)
    reap(worker)
    play(worker, project)
    assert (project.status, len(project.children())) == ("completed", 1)


def test_what_a_user_puts_below_an_execution_runs_on_when_that_has_no_time_left(
    world: World, tenant: Tenant, worker: Worker
) -> None:
    flow = add_workflow(tenant.owner, tenant)
    execution = tenant.owner.call("start_workflow", workflow_id=flow["id"], timeout_seconds=1)
    above = world.admin.value("select id from public.projects where execution_id = %s", execution["id"])
    mine = started(tenant, [agent_step(tenant, "x")], parent_project_id=above)
    reap(Worker(worker.session.at("10 seconds"), worker.id))
    query = "select status from public.workflow_executions where id = %s"
    assert world.admin.value(query, execution["id"]) == "timeout"
    assert (mine.status, mine.states(), len(mine.tasks("x"))) == ("running", {"x": "ready"}, 1)
    assert mine.tasks("x")[0]["status"] == "pending"


# People


def test_nobody_puts_projects_below_those_of_others(tenant: Tenant) -> None:
    project = new_project(tenant, [agent_step(tenant, "a")])
    for user in (tenant.join("member"), tenant.join("admin")):
        with refused("PT404", "project_not_found"):
            new_project(tenant, [agent_step(tenant, "a")], user, parent_project_id=project.id)
    assert project.read()["subproject_count"] == 0


def test_whoever_may_not_answer_does_not_pass_over_the_question(tenant: Tenant) -> None:
    member = tenant.join("member")
    nested = below(tenant, approval("deep", required_role="admin"))
    project = started(tenant, [approval("check", required_role="developer"), nested, approval("own")], member)
    for name in ("check", "below"):
        with refused("42501", "not_allowed"):
            project.do_step("skip", name)
    with refused("42501", "not_allowed"):
        project.on(tenant.join("admin")).children()[0].on(member).do_step("skip", "deep")
    assert project.do_step("skip", "own")["status"] == "running"
    assert project.on(tenant.join("admin")).do_step("skip", "check")["status"] == "running"


def test_nothing_begins_in_the_name_of_somebody_who_has_left(tenant: Tenant, worker: Worker, world: World) -> None:
    user = tenant.join("member")
    projects: list[Project] = [
        started(tenant, [approval("check", required_role="admin"), agent_step(tenant, "after", "check")], user),
        started(tenant, [below(tenant)], user),
        new_project(tenant, [agent_step(tenant, "a")], user),
    ]
    failed = started(tenant, [agent_step(tenant, "a")], user)
    failed.do("pause")
    world.admin.execute("delete from public.organization_members where user_id = %s", user.id)
    assert {p.status for p in [*projects, failed, *projects[1].children()]} == {"cancelled"}
    with refused("PT409", "input_request_closed"):
        projects[0].answer("check", {"approved": True}, tenant.owner)
    for project in (projects[2], failed):
        with refused("PT409", "illegal_move"):
            project.on(tenant.owner).do("start" if project is projects[2] else "resume")
    assert worker.claim(tenant, 10) == []
    assert nothing_left(world, tenant)
