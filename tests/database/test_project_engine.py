"""Projects that run: steps become tasks when what they depend on is over, and people start, stop and mend them.

Over 400 lines, because every way to start, stop and mend a project is one subject.
"""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.database.kit import Tenant, Worker, World, refused
from tests.database.project_kit import (
    Project,
    agent_step,
    claim_all,
    exchange_one,
    finish,
    new_project,
    nothing_left,
    play,
    started,
)


def diamond(tenant: Tenant) -> list[dict[str, Any]]:
    a, b, c, d = (agent_step(tenant, n, *deps) for n, deps in (("a", ""), ("b", "a"), ("c", "a"), ("d", "bc")))
    return [a, b, c, d]


# Running


def test_steps_run_in_order_and_in_parallel_where_they_may(tenant: Tenant, worker: Worker, world: World) -> None:
    project = started(tenant, diamond(tenant))
    row = project.read()
    assert (row["total_steps"], row["progress"], row["started_at"] is not None) == (4, 0, True)
    assert project.states() == {"a": "ready", "b": "pending", "c": "pending", "d": "pending"}
    lease = worker.claim_one(tenant)
    assert project.states()["a"] == "in_progress"
    assert project.read()["current_step_id"] == "a"
    assert exchange_one(worker, lease, tenant, 0) == []
    assert project.read()["progress"] == 25
    assert play(worker, project) == [["b", "c"], ["d"]]
    row = project.read()
    assert (row["status"], row["progress"], row["completed_steps"], row["finished_steps"]) == ("completed", 100, 4, 4)
    assert row["completed_at"] is not None
    assert nothing_left(world, tenant)


def test_a_steps_task_is_the_projects_users(tenant: Tenant, worker: Worker) -> None:
    user = tenant.join("member")
    step = agent_step(tenant, "a", params={"tone": "dry"}, timeout_seconds=60, max_attempts=2)
    project = started(tenant, [step], user)
    (task,) = project.tasks("a")
    assert (task["method"], task["agent_slug"], task["agent_name"], task["prompt"]) == (
        "converse",
        tenant.agent,
        "Writer",
        "a",
    )
    assert (task["params"], task["timeout_seconds"], task["max_attempts"]) == ({"tone": "dry"}, 60, 2)
    assert (str(task["user_id"]), task["agent_conversation_id"]) == (user.id, None)
    assert task["metadata"] == {"project_id": project.id, "step_id": "a"}
    assert task["id"] == project.steps()["a"]["task_id"]
    play(worker, project, {"a": {"words": 3}})
    assert project.result("a") == {"words": 3}
    assert project.steps()["a"]["result"] == {"task_id": str(task["id"]), "bytes": 12}


def test_an_exchange_that_reports_a_step_brings_the_next(tenant: Tenant, worker: Worker) -> None:
    steps = [agent_step(tenant, f"s{n}", *([f"s{n - 1}"] if n else [])) for n in range(4)]
    project = started(tenant, steps)
    lease = worker.claim_one(tenant)
    for n in range(1, 4):
        answer = worker.exchange(
            report={
                "completed": [
                    {"task_id": lease["task"]["id"], "attempt": 1, "lease_token": lease["lease_token"], "response": ""}
                ]
            },
            max_tasks=5,
            organizations=[tenant.slug],
        )
        (lease,) = answer["tasks"]
        assert lease["task"]["metadata"]["step_id"] == f"s{n}"
    finish(worker, lease)
    assert project.status == "completed"


def test_a_thousand_steps_fan_out_and_in(tenant: Tenant, worker: Worker) -> None:
    middle = [f"m{n}" for n in range(1000)]
    steps = [
        agent_step(tenant, "first"),
        *(agent_step(tenant, m, "first") for m in middle),
        agent_step(tenant, "last", *middle),
    ]
    project = started(tenant, steps)
    finish(worker, worker.claim_one(tenant))
    leases = worker.claim(tenant, 1000)
    assert len(leases) == 1000
    items = [
        {"task_id": x["task"]["id"], "attempt": 1, "lease_token": x["lease_token"], "response": "x"} for x in leases
    ]
    assert set(worker.report("complete_tasks", *items[:-1])) == {"ok"}
    assert (project.states()["last"], project.read()["finished_steps"]) == ("pending", 1000)
    assert worker.report("complete_tasks", items[-1]) == ["ok"]
    assert play(worker, project) == [["last"]]
    assert project.status == "completed"


def test_a_task_that_is_tried_again_belongs_to_the_same_step(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a")])
    assert worker.fail(worker.claim_one(tenant), retryable=True, retry_after=0) == "ok"
    assert project.states() == {"a": "ready"}
    tenant.world.admin.execute("update public.tasks set scheduled_at = now() where organization_slug = %s", tenant.slug)
    assert worker.report("release_tasks", claim_item(worker, tenant)) == ["ok"]
    assert project.states() == {"a": "ready"}
    finish(worker, worker.claim_one(tenant))
    assert (project.states(), len(project.tasks("a"))) == ({"a": "completed"}, 1)


def claim_item(worker: Worker, tenant: Tenant) -> dict[str, Any]:
    lease = worker.claim_one(tenant)
    return {"task_id": lease["task"]["id"], "attempt": lease["attempt"], "lease_token": lease["lease_token"]}


def test_a_task_that_asks_a_person_lets_its_step_wait(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, diamond(tenant))
    asked = claim_item(worker, tenant) | {"input_request": {"prompt": "Which?"}}
    assert worker.report("pause_task", asked) == ["ok"]
    assert (project.states()["a"], project.status) == ("awaiting_input", "running")
    project.do("pause")
    project.answer("a", "this")
    assert project.states()["a"] == "ready"
    assert play(worker, project) == [["a"]]
    assert project.states() == {"a": "completed", "b": "ready", "c": "ready", "d": "pending"}


# Failing


def test_a_failed_step_stops_the_project_and_what_runs_beside_it_ends(tenant: Tenant, worker: Worker) -> None:
    steps = [*diamond(tenant), agent_step(tenant, "e", "c"), agent_step(tenant, "x"), agent_step(tenant, "y")]
    project = started(tenant, steps)
    finish(worker, claim_all(worker, tenant)["a"])
    leases = claim_all(worker, tenant)
    assert sorted(leases) == ["b", "c"], "x and y are held by the first claim"
    assert worker.fail(leases["b"], error_code="provider_refused", error_message="No.") == "ok"
    row = project.read()
    task = str(project.steps()["b"]["task_id"])
    assert (row["status"], row["failed_steps"]) == ("failed", 1)
    assert row["error_details"] == {
        "step_id": "b",
        "task_id": task,
        "error_code": "provider_refused",
        "error_message": "No.",
    }
    finish(worker, leases["c"])
    assert project.states() == {
        "a": "completed",
        "b": "failed",
        "c": "completed",
        "d": "pending",
        "e": "ready",
        "x": "in_progress",
        "y": "in_progress",
    }
    assert worker.claim(tenant, 10) == []


def test_what_waits_in_the_queue_is_withdrawn_when_a_step_fails(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a"), agent_step(tenant, "b")])
    worker.fail(worker.claim(tenant, 1)[0])
    states = project.states()
    assert sorted(states.values()) == ["failed", "ready"]
    (withdrawn,) = [name for name, status in states.items() if status == "ready"]
    (task,) = project.tasks(withdrawn)
    assert (task["status"], task["error_code"], project.steps()[withdrawn]["task_id"]) == (
        "cancelled",
        "withdrawn",
        None,
    )
    assert worker.claim(tenant) == []


def test_resume_runs_only_what_did_not_finish(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, diamond(tenant))
    assert play(worker, project, {"b": ValueError("No.")}) == [["a"], ["b", "c"]]
    before = project.read()
    assert (before["status"], before["completed_at"] is not None) == ("failed", True)
    row = project.do("resume")
    assert (row["status"], row["error_details"], row["completed_at"], row["failed_steps"]) == ("running", None, None, 0)
    assert row["started_at"] == before["started_at"]
    assert play(worker, project) == [["b"], ["d"]]
    assert project.status == "completed"
    assert {name: len(project.tasks(name)) for name in "abcd"} == {"a": 1, "b": 2, "c": 1, "d": 1}


def test_a_step_that_may_fail_does_not_stop_the_others(tenant: Tenant, worker: Worker) -> None:
    a, b, c, d = diamond(tenant)
    project = started(tenant, [a, b | {"on_failure": "continue"}, c, d | {"prompt": "b said: {{ steps.b.result }}."}])
    assert play(worker, project, {"b": ValueError("No.")}) == [["a"], ["b", "c"], ["d"]]
    row = project.read()
    assert (row["status"], row["progress"], row["completed_steps"], row["failed_steps"]) == ("completed", 100, 3, 0)
    assert project.tasks("d")[0]["prompt"] == "b said: ."
    assert project.steps()["b"]["error_details"]["error_message"] == "No."
    with refused("PT409", "illegal_move"):
        project.do_step("retry", "b")


def test_what_was_passed_over_is_not_retried_while_the_project_runs(tenant: Tenant, worker: Worker) -> None:
    steps = [
        agent_step(tenant, "a", on_failure="continue"),
        agent_step(tenant, "b", "a"),
        agent_step(tenant, "c", on_failure="continue"),
    ]
    project = started(tenant, steps)
    leases = claim_all(worker, tenant)
    worker.fail(leases["a"])
    worker.fail(leases["c"])
    with refused("PT409", "step_was_passed"):
        project.do_step("retry", "a")
    project.do_step("retry", "c")  # Nothing depends on it.
    assert play(worker, project) == [["b", "c"]]
    assert (project.status, project.read()["completed_steps"]) == ("completed", 2)


def test_an_agent_that_is_gone_fails_its_step(tenant: Tenant, worker: Worker) -> None:
    gone, asleep = tenant.add_agent(), tenant.add_agent()
    steps = [
        agent_step(tenant, "a"),
        agent_step(tenant, "b", "a", agent=gone, on_failure="continue"),
        agent_step(tenant, "c", "b", agent=asleep),
    ]
    project = started(tenant, steps)
    tenant.world.admin.execute("delete from public.agents where slug = %s", gone)
    tenant.world.admin.update("agents", {"slug": asleep}, status="inactive")
    assert play(worker, project) == [["a"]]
    steps_now = project.steps()
    assert steps_now["b"]["error_details"]["error_code"] == "agent_not_found"
    assert gone in steps_now["b"]["error_details"]["error_message"]
    assert (project.status, project.read()["error_details"]["error_code"]) == ("failed", "agent_inactive")
    tenant.world.admin.update("agents", {"slug": asleep}, status="active")
    project.do("resume")
    assert play(worker, project) == [["c"]]
    assert project.status == "completed"


def test_a_task_that_is_cancelled_by_hand_fails_its_step(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, diamond(tenant))
    (task,) = project.tasks("a")
    tenant.owner.call("cancel_task", task_id=task["id"])
    assert (project.status, project.read()["error_details"]["error_code"]) == ("failed", "task_cancelled")
    with refused("PT409", "task_of_a_step") as refusal:
        tenant.owner.call("retry_task", task_id=task["id"])
    assert "retry_project_step" in refusal.hint
    project.do_step("retry", "a")
    assert play(worker, project)[-1] == ["d"]


def test_dead_letters_of_steps_are_not_redriven(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a")])
    play(worker, project, {"a": ValueError("No.")})
    answer = tenant.owner.call("redrive_tasks", organization_slug=tenant.slug)
    assert (answer["redriven"], answer["remaining"]) == (0, 0)


def test_a_worker_that_is_lost_too_often_fails_the_step(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a", max_attempts=1)])
    lease = worker.claim_one(tenant)
    tenant.world.admin.execute(
        "update public.tasks set lease_expires_at = now() - interval '1 second' where id = %s", lease["task"]["id"]
    )
    tenant.world.service.value("select private.reap_late_tasks()")
    assert project.read()["error_details"]["error_code"] == "worker_lost"
    assert project.states() == {"a": "failed"}


# Steering


def test_pause_withdraws_what_waits_and_lets_what_runs_end(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [*diamond(tenant), agent_step(tenant, "x")])
    (lease,) = worker.claim(tenant, 1)
    assert project.do("pause")["status"] == "paused"
    assert project.do("pause")["status"] == "paused", "said again"
    assert worker.claim(tenant, 10) == []
    finish(worker, lease)
    assert project.states()[lease["task"]["prompt"]] == "completed"
    assert "in_progress" not in project.states().values()
    assert worker.claim(tenant, 10) == []
    assert project.do("resume")["status"] == "running"
    play(worker, project)
    assert project.status == "completed"
    ended = [t for name in project.steps() for t in project.tasks(name) if t["status"] == "completed"]
    assert len(ended) == 5, "nothing ran twice"


def test_a_project_whose_last_step_ends_while_it_is_paused_is_completed(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a")])
    lease = worker.claim_one(tenant)
    project.do("pause")
    finish(worker, lease)
    assert project.status == "completed"


def test_cancel_takes_everything_along(tenant: Tenant, worker: Worker, world: World) -> None:
    steps = [*diamond(tenant), {"id": "q", "type": "human_input", "prompt": "Which?"}, agent_step(tenant, "x")]
    project = started(tenant, steps)
    leases = claim_all(worker, tenant)
    finish(worker, leases["a"])
    assert project.do("cancel")["status"] == "cancelled"
    assert project.states() == {"a": "completed"} | dict.fromkeys("bcdqx", "cancelled")
    assert worker.complete(leases["x"]) == "cancelled"
    assert project.question("q")["status"] == "cancelled"
    assert nothing_left(world, tenant)
    assert project.do("cancel")["status"] == "cancelled", "said again"
    for action in ("start", "pause", "resume"):
        with refused("PT409", "illegal_move"):
            project.do(action)
    with refused("PT409", "illegal_move"):
        project.do_step("skip", "b")


def test_what_is_finished_is_not_moved(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a")])
    with refused("PT409", "illegal_move"):
        project.do_step("retry", "a")
    play(worker, project)
    for action in ("pause", "resume", "cancel", "start"):
        with refused("PT409", "illegal_move") as refusal:
            project.do(action)
        assert "completed" in refusal.detail


def test_a_project_without_a_plan_does_not_start(tenant: Tenant) -> None:
    row = tenant.owner.insert("projects", conversation_id=tenant.conversation())
    project = Project(tenant, str(row["id"]), tenant.owner)
    with refused("PT409", "plan_missing"):
        project.do("start")
    with refused("PT409", "illegal_move"):
        project.do("pause")


@pytest.mark.parametrize("state", ["pending", "ready", "in_progress", "failed"])
def test_a_step_is_skipped_and_its_dependents_go_on(tenant: Tenant, worker: Worker, state: str) -> None:
    a, b, c, d = diamond(tenant)
    project = started(
        tenant, [a, b, c, d | {"prompt": "[{{ steps.b.result }}]", "params": {"b": "{{ steps.b.result }}"}}]
    )
    if state == "pending":
        project.do_step("skip", "b")
        assert play(worker, project) == [["a"], ["c"], ["d"]]
    else:
        finish(worker, worker.claim_one(tenant))
        leases = claim_all(worker, tenant) if state != "ready" else {}
        if state == "failed":
            worker.fail(leases["b"])
        assert project.do_step("skip", "b")["status"] == "running"
        if leases:
            assert worker.complete(leases["b"]) == ("cancelled" if state == "in_progress" else "lost")
            finish(worker, leases["c"])
        assert play(worker, project)[-1] == ["d"]
    assert (project.status, project.states()["b"], project.read()["progress"]) == ("completed", "skipped", 100)
    (task,) = project.tasks("d")
    assert (task["prompt"], task["params"]) == ("[]", {"b": None})
    assert project.result("b") is None


def test_skipping_twice_is_skipping_once_and_what_is_completed_is_not_skipped(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, diamond(tenant))
    project.do_step("skip", "a")
    project.do_step("skip", "a")
    finish(worker, claim_all(worker, tenant)["b"])
    with refused("PT409", "illegal_move"):
        project.do_step("skip", "b")
    project.do_step("skip", "c")
    assert play(worker, project) == [["d"]]


def test_skipping_everything_completes_the_project(tenant: Tenant, world: World) -> None:
    project = started(tenant, diamond(tenant))
    for name in "dcba":
        project.do_step("skip", name)
    assert (project.status, project.read()["completed_steps"]) == ("completed", 0)
    assert nothing_left(world, tenant)


def test_retry_and_skip_of_one_of_two_failures_leave_the_project_failed(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a"), agent_step(tenant, "b"), agent_step(tenant, "c", "a", "b")])
    leases = claim_all(worker, tenant)
    worker.fail(leases["a"])
    worker.fail(leases["b"])
    assert project.do_step("retry", "a")["status"] == "failed"
    assert worker.claim(tenant) == []
    assert project.do_step("skip", "b")["status"] == "running"
    assert play(worker, project) == [["a"], ["c"]]
    assert project.status == "completed"


# Plans


def test_a_plan_is_written_anew_until_it_starts(tenant: Tenant, worker: Worker) -> None:
    user = tenant.join("member")
    project = new_project(tenant, diamond(tenant), user)
    assert project.read()["plan_version"] == 1
    for n in (2, 3):
        plan = {"steps": [agent_step(tenant, f"v{n}")]}
        assert user.update("projects", {"id": project.id}, plan_json=plan) == 1
    assert user.update("projects", {"id": project.id}, plan_json=plan) == 1, "the same again is no new version"
    assert (project.read()["plan_version"], list(project.states()), project.read()["total_steps"]) == (3, ["v3"], 1)
    kept = user.rows(
        "select version, plan_json from public.project_plan_versions where project_id = %s order by version", project.id
    )
    assert [(k["version"], [s["id"] for s in k["plan_json"]["steps"]]) for k in kept] == [
        (1, ["a", "b", "c", "d"]),
        (2, ["v2"]),
    ]
    assert (
        tenant.world.tenant().owner.rows("select from public.project_plan_versions where project_id = %s", project.id)
        == []
    )
    project.do("start")
    for _ in range(2):
        with refused("PT409", "plan_has_started"):
            user.update("projects", {"id": project.id}, plan_json={"steps": diamond(tenant)})
        play(worker, project)
    assert list(project.states()) == ["v3"]


# Whose


@pytest.mark.parametrize("action", ["start", "pause", "resume", "cancel"])
def test_only_the_user_and_admins_steer(tenant: Tenant, action: str) -> None:
    user, developer, admin = tenant.join("member"), tenant.join("developer"), tenant.join("admin")
    stranger = tenant.world.tenant().owner
    project = new_project(tenant, diamond(tenant), user)
    if action in {"pause", "resume"}:
        project.do("start")
    if action == "resume":
        project.do("pause")
    for other in (developer, stranger):
        with refused("PT404", "project_not_found"):
            project.on(other).do(action)
    assert project.on(admin).do(action)["id"] == uuid.UUID(project.id)
    if action == "start":
        (task,) = project.tasks("a")
        assert str(task["user_id"]) == user.id, "it runs for the project's user, whoever starts it"
    tenant.owner.call("set_member_role", organization_slug=tenant.slug, user_id=user.id, role="viewer")
    with refused("PT404", "project_not_found"):
        project.do(action)


@pytest.mark.parametrize("action", ["retry", "skip"])
def test_steps_of_others_are_not_there(tenant: Tenant, action: str) -> None:
    project = started(tenant, diamond(tenant))
    step = project.steps()["a"]["id"]
    for session in (tenant.world.tenant().owner, tenant.join("developer"), tenant.join("viewer")):
        for key in (step, uuid.uuid4()):
            with refused("PT404", "project_step_not_found"):
                session.call(f"{action}_project_step", project_step_id=key)
    with refused("42501"):
        tenant.world.anon.call(f"{action}_project_step", project_step_id=step)


def test_results_are_for_those_who_read_the_tasks(tenant: Tenant, worker: Worker) -> None:
    user = tenant.join("member")
    project = started(tenant, [agent_step(tenant, "a")], user)
    play(worker, project, {"a": "secret words"})
    step = project.steps()["a"]["id"]
    assert project.result("a") == "secret words"
    assert project.on(tenant.join("admin")).result("a") == "secret words"
    for other in (tenant.join("developer"), tenant.join("viewer"), tenant.world.tenant().owner):
        with refused("PT404", "project_step_not_found"):
            other.call("project_step_result", project_step_id=step)
    shown = tenant.join("viewer").rows("select * from public.project_steps where project_id = %s", project.id)
    assert "secret" not in str(shown)


def test_nothing_dangles_when_the_project_the_user_or_the_organization_goes(world: World, worker: Worker) -> None:
    for what in ("project", "conversation", "user", "membership", "organization"):
        tenant = world.tenant()
        user = tenant.join("member")
        steps = [*diamond(tenant), {"id": "q", "type": "human_input", "prompt": "?"}, agent_step(tenant, "x")]
        project = started(tenant, steps, user)
        (lease,) = worker.claim(tenant, 1)
        if what == "project":
            assert user.execute("delete from public.projects where id = %s", project.id) == 1
        elif what == "conversation":
            user.execute("delete from public.agent_conversations where id = %s", project.read()["conversation_id"])
        elif what == "user":
            world.admin.execute("delete from auth.users where id = %s", user.id)
        elif what == "membership":
            world.admin.execute("delete from public.organization_members where user_id = %s", user.id)
        else:
            world.admin.execute("delete from public.organizations where slug = %s", tenant.slug)
        assert worker.complete(lease) in {"cancelled", "lost"}, what
        assert nothing_left(world, tenant), what
        if what == "membership":
            assert project.status == "cancelled"
        else:
            assert world.admin.rows("select from public.project_steps where project_id = %s", project.id) == []
            assert (
                world.admin.rows(
                    "select from public.input_requests where project_step_id is not null and organization_slug = %s",
                    tenant.slug,
                )
                == []
            )
