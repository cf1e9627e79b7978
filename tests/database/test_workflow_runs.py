"""Executions of visual workflows: they become projects, follow them whatever happens, and are steered by people.

Over 400 lines: beginning, ending, steering, time and following are all told of the same small graph.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, refused
from tests.database.pauses import reap
from tests.database.workflow_kit import add_workflow, diamond, edge, execution, node, project, run_all, steps

MODEL = {"provider": "anthropic", "model": "some-model", "input_tokens": 5, "output_tokens": 6, "cost": 0.25}


def begin(session: Session, tenant: Tenant, data: Row | None = None, **arguments: object) -> Row:
    """Add a workflow as the owner and start it as this session."""
    workflow = add_workflow(tenant.owner, tenant, data, name=uuid.uuid4().hex)
    started: Row = session.call("start_workflow", workflow_id=workflow["id"], **arguments)
    return started


def fail_one(worker: Worker, tenant: Tenant) -> None:
    assert worker.fail(worker.claim_one(tenant), error_code="agent_refused", error_message="No.") == "ok"


def run_out(tenant: Tenant, execution_id: str) -> None:
    """Let the time that an execution was given be over."""
    query = (
        "update public.workflow_executions set queued_at = now() - interval '1 hour', timeout_at = now() where id = %s"
    )
    tenant.world.service.execute(query, execution_id)


def time_out(tenant: Tenant, worker: Worker, execution_id: str) -> None:
    run_out(tenant, execution_id)
    reap(worker)


# Beginning


def test_an_inserted_execution_begins_in_the_same_statement(tenant: Tenant, worker: Worker) -> None:
    member = tenant.join("member")
    workflow = add_workflow(tenant.owner, tenant)
    inserted = member.insert(
        "workflow_executions", workflow_id=workflow["id"], execution_data={"input": {"topic": "tides"}}
    )
    assert (inserted["status"], inserted["status_message"]) == ("queued", "Waits to begin.")
    row = execution(member, inserted["id"])
    assert (row["status"], row["execution_data"]) == ("running", {"input": {"topic": "tides"}})
    made = project(tenant, row["id"])
    assert (made["status"], str(made["user_id"]), made["name"]) == ("running", member.id, "Publish")
    assert made["conversation_id"] == row["conversation_id"]
    assert member.row("select * from public.agent_conversations")["title"] == "Publish"
    lease = worker.claim_one(tenant)
    task = tenant.read(lease["task"]["id"])
    assert (task["execution_id"], task["prompt"]) == (row["id"], "Do a.")
    assert [run["execution_id"] for run in tenant.runs(task["id"])] == [row["id"]]


def test_a_workflow_is_started_by_name(tenant: Tenant) -> None:
    member = tenant.join("member")
    old = add_workflow(tenant.owner, tenant)
    new = add_workflow(tenant.owner, tenant, version="1.1.0")
    assert member.call("start_workflow", name="Publish", organization_slug=tenant.slug)["workflow_id"] == str(new["id"])
    with refused("PT409", "workflow_inactive"):
        member.call("start_workflow", workflow_id=old["id"])
    with refused("PT404", "workflow_not_found"):
        member.call("start_workflow", name="No such", organization_slug=tenant.slug)
    other = tenant.add_agent()
    second = add_workflow(tenant.owner, tenant, agent_slug=other)
    with refused("22023", "workflow_ambiguous"):
        member.call("start_workflow", name="Publish", organization_slug=tenant.slug)
    named = member.call("start_workflow", name="Publish", agent_slug=other, organization_slug=tenant.slug)
    assert (named["workflow_id"], named["execution_data"]) == (str(second["id"]), {"input": {}})


def test_a_conversation_that_is_given_is_used(tenant: Tenant) -> None:
    member = tenant.join("member")
    own = tenant.conversation(member)
    row = begin(member, tenant, conversation_id=own)
    assert row["conversation_id"] == own == str(project(tenant, row["id"])["conversation_id"])
    with refused("PT404", "conversation_not_found"):
        begin(member, tenant, conversation_id=tenant.conversation())


def test_what_cannot_begin_is_refused_whole(tenant: Tenant) -> None:
    member = tenant.join("member")
    workflow = add_workflow(tenant.owner, tenant)
    tenant.owner.update("agents", {"slug": tenant.agent}, status="inactive")
    with refused("PT409", "agent_inactive"):
        member.call("start_workflow", workflow_id=workflow["id"])
    for table in ("workflow_executions", "projects", "agent_conversations", "tasks"):
        assert tenant.owner.rows(f"select from public.{table}") == [], table


def test_a_servers_execution_begins_by_the_reaper(tenant: Tenant, worker: Worker) -> None:
    member = tenant.join("member")
    workflow = add_workflow(tenant.owner, tenant)
    row = tenant.world.service.insert("workflow_executions", workflow_id=workflow["id"], created_by=member.id)
    assert execution(member, row["id"])["status"] == "queued"
    reap(worker)
    assert execution(member, row["id"])["status"] == "running"
    assert str(project(tenant, row["id"])["user_id"]) == member.id


def test_a_servers_execution_that_cannot_begin_fails_and_says_why(tenant: Tenant, worker: Worker) -> None:
    workflow = add_workflow(tenant.world.service, tenant)
    nobodys = tenant.world.service.insert("workflow_executions", workflow_id=workflow["id"])
    theirs = tenant.world.service.insert(
        "workflow_executions", workflow_id=workflow["id"], created_by=tenant.owner.id, max_retries=1
    )
    tenant.owner.update("agents", {"slug": tenant.agent}, status="inactive")
    reap(worker)
    row = execution(tenant.world.service, nobodys["id"])
    assert (row["status"], row["error_code"]) == ("failed", "execution_without_user")
    row = execution(tenant.owner, theirs["id"])
    assert (row["status"], row["error_code"]) == ("failed", "agent_inactive")
    assert row["error_message"] in row["status_message"]
    tenant.owner.update("agents", {"slug": tenant.agent}, status="active")
    assert tenant.owner.call("retry_execution", execution_id=row["id"])["status"] == "running"


def test_without_budget_a_servers_execution_waits(tenant: Tenant, worker: Worker) -> None:
    workflow = add_workflow(tenant.owner, tenant)
    row = tenant.world.service.insert("workflow_executions", workflow_id=workflow["id"], created_by=tenant.owner.id)
    tenant.world.service.execute(
        "insert into private.spent_budgets (organization_slug, until) values (%s, now() + interval '1 day')",
        tenant.slug,
    )
    reap(worker)
    assert execution(tenant.owner, row["id"])["status"] == "queued"
    with refused("PT429", "budget_spent"):
        tenant.owner.call("start_workflow", workflow_id=workflow["id"])


# Ends


def test_an_execution_ends_with_what_came_of_it(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant, input={"topic": "tides"})
    lease = worker.claim_one(tenant)
    assert worker.complete(lease, response="first", usage=[MODEL]) == "ok"
    assert sorted(run_all(worker, tenant, d='{"text": "done"}')) == ["Do b.", "Do c.", "Do d."]
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["status_message"], row["error_code"]) == ("completed", "Completed.", None)
    data = row["execution_data"]
    assert data["input"] == {"topic": "tides"}
    assert data["output"] == {"text": "done"}
    assert [(s["id"], s["status"]) for s in data["steps"]] == [(s, "completed") for s in ("start", *"abcd")]
    usage, metrics = row["resource_usage"], row["performance_metrics"]
    assert (usage["tokens"], usage["cost"]) == (11, 0.25)
    assert usage["duration"] > 0
    assert (metrics["steps"], metrics["attempts"], metrics["retries"]) == ({"total": 5, "completed": 5}, 4, 0)
    ran = (row["completed_at"] - row["started_at"]).total_seconds()
    assert metrics["running_seconds"] == pytest.approx(ran, abs=0.002)
    lines = [(line["level"], line.get("step"), line["message"]) for line in row["execution_logs"]]
    assert lines[0] == ("info", None, "Waits to begin.")
    assert sorted(step for _, step, _ in lines if step) == ["a", "b", "c", "d"]
    assert lines[-1] == ("info", None, "Completed.")
    assert [line["at"] for line in row["execution_logs"]] == sorted(line["at"] for line in row["execution_logs"])


def test_the_input_is_for_every_step(tenant: Tenant, worker: Worker) -> None:
    start = {"id": "start", "type": "start"}
    nodes = [
        start,
        node(tenant, "a", prompt="Of {{ input.topic }}: {{ input.list }}.", params={"l": "{{ input.list }}"}),
    ]
    row = begin(tenant.owner, tenant, {"nodes": nodes}, input={"topic": "{{ steps.a.result }}", "list": [1]})
    lease = worker.claim_one(tenant)
    assert lease["task"]["prompt"] == "Of {{ steps.a.result }}: [1]."
    assert lease["task"]["params"] == {"l": [1]}
    stored = tenant.world.admin.row(
        "select plan_json::text as plan from public.projects where execution_id = %s", row["id"]
    )
    assert "topic" in stored["plan"]
    assert "[1]" not in stored["plan"]  # the organization reads plans; the input is for who started it


def test_several_last_steps_give_their_results_by_name(tenant: Tenant, worker: Worker) -> None:
    data = {"nodes": [node(tenant, name) for name in "abc"], "edges": [edge("a", "b"), edge("a", "c")]}
    row = begin(tenant.owner, tenant, data)
    run_all(worker, tenant, b="[1]", c="text")
    assert execution(tenant.owner, row["id"])["execution_data"]["output"] == {"b": [1], "c": "text"}


def test_a_result_too_large_is_named_in_place(tenant: Tenant, worker: Worker) -> None:
    data = {"nodes": [node(tenant, name) for name in "ab"]}
    row = begin(tenant.owner, tenant, data)
    run_all(worker, tenant, a="x" * 1_000_000, b="y" * 100_000)
    output = execution(tenant.owner, row["id"])["execution_data"]["output"]
    assert output["a"] == "x" * 1_000_000
    assert output["b"]["bytes"] == 100_000
    assert output["b"].keys() == {"bytes", "project_step_id"}


def test_a_failed_step_fails_the_execution_and_a_retry_runs_only_what_did_not_finish(
    tenant: Tenant, worker: Worker
) -> None:
    row = begin(tenant.owner, tenant, max_retries=1)
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    first, second = sorted(worker.claim(tenant, 2), key=lambda lease: str(lease["task"]["prompt"]))
    assert worker.complete(first) == "ok"
    assert worker.fail(second, error_code="agent_refused", error_message="No.") == "ok"
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["error_code"], row["error_message"]) == ("failed", "agent_refused", "No.")
    assert row["status_message"] == 'Failed in step "c": No.'
    assert "output" not in row["execution_data"]
    assert row["performance_metrics"]["steps"]["failed"] == 1
    again = tenant.owner.call("retry_execution", execution_id=row["id"])
    assert (again["status"], again["retry_count"], again["error_code"]) == ("running", 1, None)
    assert run_all(worker, tenant) == ["Do c.", "Do d."]
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["performance_metrics"]["attempts"]) == ("completed", 5)
    assert row["performance_metrics"]["retries"] == 1


def test_retries_are_counted_however_they_come(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant, max_retries=1)
    fail_one(worker, tenant)
    tenant.owner.call("resume_project", project_id=project(tenant, row["id"])["id"])
    assert execution(tenant.owner, row["id"])["retry_count"] == 1
    assert execution(tenant.owner, row["id"])["status"] == "running"
    fail_one(worker, tenant)
    with refused("PT409", "retries_used_up"):
        tenant.owner.call("retry_execution", execution_id=row["id"])
    with refused("PT409", "retries_used_up"):
        tenant.owner.call("resume_project", project_id=project(tenant, row["id"])["id"])
    assert project(tenant, row["id"])["status"] == "failed"
    assert execution(tenant.owner, row["id"])["status"] == "failed"


# Steering


def test_a_paused_execution_starts_nothing_new_and_goes_on(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant)
    lease = worker.claim_one(tenant)
    for _ in range(2):
        paused = tenant.owner.call("pause_execution", execution_id=row["id"])
        assert (paused["status"], paused["status_message"]) == ("paused", "Paused: nothing new starts.")
    assert worker.complete(lease) == "ok"
    assert worker.claim(tenant) == []
    assert steps(tenant, row["id"]) == {
        "start": "completed",
        "a": "completed",
        "b": "ready",
        "c": "ready",
        "d": "pending",
    }
    for _ in range(2):
        resumed = tenant.owner.call("resume_execution", execution_id=row["id"])
        assert (resumed["status"], resumed["status_message"]) == ("running", "Goes on.")
    run_all(worker, tenant)
    metrics = execution(tenant.owner, row["id"])["performance_metrics"]
    assert metrics["paused_seconds"] > 0


def test_a_cancelled_execution_ends_with_all_it_became(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant)
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    running, _ = worker.claim(tenant, 2)
    for _ in range(2):
        assert tenant.owner.call("cancel_execution", execution_id=row["id"])["status"] == "cancelled"
    assert worker.complete(running) == "cancelled"
    assert project(tenant, row["id"])["status"] == "cancelled"
    assert steps(tenant, row["id"]) == {
        "start": "completed",
        "a": "completed",
        "b": "cancelled",
        "c": "cancelled",
        "d": "cancelled",
    }
    row = execution(tenant.owner, row["id"])
    assert [s["status"] for s in row["execution_data"]["steps"]][:3] == ["completed", "completed", "cancelled"]
    assert row["resource_usage"]["duration"] > 0


RUNNING, PAUSED, FAILED, TIMEOUT, CANCELLED, COMPLETED, QUEUED = (
    "running",
    "paused",
    "failed",
    "timeout",
    "cancelled",
    "completed",
    "queued",
)
STEERED = {
    "pause_execution": {RUNNING: PAUSED, PAUSED: PAUSED},
    "resume_execution": {PAUSED: RUNNING, RUNNING: RUNNING},
    "cancel_execution": {QUEUED: CANCELLED, RUNNING: CANCELLED, PAUSED: CANCELLED, CANCELLED: CANCELLED},
    "retry_execution": {FAILED: RUNNING, TIMEOUT: RUNNING, QUEUED: QUEUED},
}


def bring(tenant: Tenant, worker: Worker, status: str) -> str:
    """Bring a new execution of one step into a status by what leads there, and return its id."""
    data = {"nodes": [node(tenant, "a")]}
    if status == QUEUED:
        workflow = add_workflow(tenant.owner, tenant, data, name=uuid.uuid4().hex)
        row = tenant.world.service.insert("workflow_executions", workflow_id=workflow["id"], created_by=tenant.owner.id)
        return str(row["id"])
    key = str(begin(tenant.owner, tenant, data)["id"])
    act: dict[str, Callable[[], object]] = {
        RUNNING: lambda: None,
        PAUSED: lambda: tenant.owner.call("pause_execution", execution_id=key),
        CANCELLED: lambda: tenant.owner.call("cancel_execution", execution_id=key),
        FAILED: lambda: fail_one(worker, tenant),
        COMPLETED: lambda: run_all(worker, tenant),
        TIMEOUT: lambda: time_out(tenant, worker, key),
    }
    act[status]()
    assert execution(tenant.owner, key)["status"] == status
    return key


@pytest.mark.parametrize("function", STEERED)
def test_each_way_of_steering_is_for_some_states(tenant: Tenant, worker: Worker, function: str) -> None:
    for status in (QUEUED, RUNNING, PAUSED, FAILED, TIMEOUT, CANCELLED, COMPLETED):
        key = bring(tenant, worker, status)
        before = execution(tenant.owner, key)
        after = STEERED[function].get(status)
        if after:
            assert tenant.owner.call(function, execution_id=key)["status"] == after, status
        else:
            with refused("PT409", "illegal_move"):
                tenant.owner.call(function, execution_id=key)
            assert execution(tenant.owner, key) == before
        tenant.world.admin.execute("delete from public.tasks where organization_slug = %s", tenant.slug)


@pytest.mark.parametrize("function", STEERED)
def test_only_whoever_started_it_and_admins_steer(tenant: Tenant, function: str) -> None:
    member = tenant.join("member")
    row = begin(member, tenant)
    sessions = [tenant.join("member"), tenant.join("developer"), tenant.join("viewer"), tenant.world.tenant().owner]
    for session in sessions:
        with refused("PT404", "execution_not_found"):
            session.call(function, execution_id=row["id"])
    with refused("42501"):
        tenant.world.anon.call(function, execution_id=row["id"])
    assert execution(member, row["id"])["status"] == "running"
    assert tenant.join("admin").call("cancel_execution", execution_id=row["id"])["status"] == "cancelled"


def test_an_admins_retry_begins_by_the_reaper(tenant: Tenant, worker: Worker) -> None:
    member = tenant.join("member")
    row = begin(member, tenant)
    fail_one(worker, tenant)
    admin = tenant.join("admin")
    for _ in range(2):
        assert admin.call("retry_execution", execution_id=row["id"])["status"] == "queued"
    reap(worker)
    row = execution(member, row["id"])
    assert (row["status"], row["retry_count"]) == ("running", 1)
    assert len(run_all(worker, tenant)) == 4
    assert execution(member, row["id"])["status"] == "completed"


# Time


def test_what_runs_out_of_time_stops_and_can_be_retried(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant, timeout_seconds=60)
    seconds = datetime.fromisoformat(row["timeout_at"]) - datetime.fromisoformat(row["queued_at"])
    assert seconds == timedelta(seconds=60)
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    lease = worker.claim_one(tenant)
    run_out(tenant, row["id"])
    reap(worker)
    late = execution(tenant.owner, row["id"])
    assert (late["status"], late["error_code"]) == ("timeout", "timeout")
    assert late["status_message"].startswith("Ran out of time")
    assert worker.complete(lease) in {"cancelled", "lost"}
    assert worker.claim(tenant) == []
    assert [s["status"] for s in late["execution_data"]["steps"]][:2] == ["completed"] * 2
    again = tenant.owner.call("retry_execution", execution_id=row["id"])
    assert (again["status"], again["retry_count"]) == ("running", 1)
    given = datetime.fromisoformat(again["timeout_at"]) - datetime.fromisoformat(again["queued_at"])
    assert given == timedelta(hours=1)
    assert sorted(run_all(worker, tenant)) == ["Do b.", "Do c.", "Do d."]
    assert execution(tenant.owner, row["id"])["status"] == "completed"


def test_time_stops_maps_and_subprojects_where_they_are(tenant: Tenant, worker: Worker) -> None:
    inner = {"id": "part", "type": "subproject", "on_failure": "continue", "nodes": [node(tenant, "x")]}
    each = node(tenant, "each", type="map", over="list", on_failure="continue", prompt="Do {{ item }}.")
    after = [edge("list", "each"), edge("each", "last"), edge("part", "last")]
    data = {"nodes": [node(tenant, "list"), each, inner, node(tenant, "last")], "edges": after}
    row = begin(tenant.owner, tenant, data)
    leases = {lease["task"]["prompt"]: lease for lease in worker.claim(tenant, 10)}
    assert worker.complete(leases["Do list."], response='["one", "two"]') == "ok"
    one = worker.claim_one(tenant)
    assert worker.complete(one, response="first") == "ok"
    run_out(tenant, row["id"])
    reap(worker)
    assert execution(tenant.owner, row["id"])["status"] == "timeout"
    assert worker.complete(leases["Do x."]) == "cancelled"
    assert worker.claim(tenant) == []
    tenant.owner.call("retry_execution", execution_id=row["id"])
    assert sorted(run_all(worker, tenant, two="second", x="part", last="end")) == ["Do last.", "Do two.", "Do x."]
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["execution_data"]["output"]) == ("completed", "end")
    assert [s["status"] for s in row["execution_data"]["steps"]] == ["completed"] * 4


def test_what_never_began_and_what_is_paused_run_out_of_time_too(tenant: Tenant, worker: Worker) -> None:
    for status in (QUEUED, PAUSED):
        key = bring(tenant, worker, status)
        run_out(tenant, key)
        reap(worker)
        row = execution(tenant.owner, key)
        assert row["status"] == "timeout", status
        assert row["completed_at"] is not None


def test_a_time_out_waits_for_nobody(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant)
    run_out(tenant, row["id"])
    with tenant.world.admin.fresh() as other, other.transaction() as connection:
        connection.execute("select from public.projects where execution_id = %s for update", [row["id"]])
        reap(worker)
        assert execution(tenant.owner, row["id"])["status"] == "running"
    reap(worker)
    assert execution(tenant.owner, row["id"])["status"] == "timeout"


# Following


def test_an_execution_follows_its_project_whoever_moves_it(tenant: Tenant) -> None:
    row = begin(tenant.owner, tenant)
    key = project(tenant, row["id"])["id"]
    for function, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        tenant.owner.call(f"{function}_project", project_id=key)
        assert execution(tenant.owner, row["id"])["status"] == status


@pytest.mark.parametrize("table", ["projects", "agent_conversations"])
def test_without_its_project_an_execution_is_cancelled(tenant: Tenant, table: str) -> None:
    row = begin(tenant.owner, tenant)
    assert tenant.owner.execute(f"delete from public.{table}") == 1
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["status_message"]) == ("cancelled", "Cancelled: its project was deleted.")


def test_an_execution_that_was_locked_when_its_project_ended_follows_by_the_reaper(
    tenant: Tenant, worker: Worker
) -> None:
    row = begin(tenant.owner, tenant)
    with tenant.world.admin.fresh() as other, other.transaction() as connection:
        connection.execute("select from public.workflow_executions where id = %s for no key update", [row["id"]])
        assert len(run_all(worker, tenant)) == 4
        assert project(tenant, row["id"])["status"] == "completed"
        assert execution(tenant.owner, row["id"])["status"] == "running"
    reap(worker)
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["execution_data"]["output"]) == ("completed", "done.")
    assert tenant.world.admin.value("select count(*) from private.executions_to_settle") == 0


def test_whoever_leaves_takes_what_runs_along(tenant: Tenant, worker: Worker) -> None:
    member = tenant.join("member")
    running, paused = begin(member, tenant), begin(member, tenant)
    member.call("pause_execution", execution_id=paused["id"])
    others = begin(tenant.owner, tenant)
    tenant.owner.call("remove_member", organization_slug=tenant.slug, user_id=member.id)
    admin = tenant.world.service
    assert [execution(admin, row["id"])["status"] for row in (running, paused)] == ["cancelled"] * 2
    assert execution(admin, running["id"])["status_message"] == "Cancelled: its user left the organization."
    assert execution(admin, others["id"])["status"] == "running"
    assert sorted(run_all(worker, tenant)) == ["Do a.", "Do b.", "Do c.", "Do d."]


def test_an_account_that_is_deleted_leaves_its_executions_cancelled(tenant: Tenant) -> None:
    member = tenant.join("member")
    row = begin(member, tenant)
    tenant.world.admin.execute("delete from auth.users where id = %s", member.id)
    row = execution(tenant.world.service, row["id"])
    assert (row["status"], row["created_by"]) == ("cancelled", None)


def test_the_log_keeps_its_last_500_lines(tenant: Tenant) -> None:
    data = {"nodes": [{"id": f"n{n}", **{k: v for k, v in node(tenant, "x").items() if k != "id"}} for n in range(510)]}
    row = begin(tenant.owner, tenant, data)
    key = project(tenant, row["id"])["id"]
    tenant.world.service.execute("update public.project_steps set status = 'completed' where project_id = %s", key)
    row = execution(tenant.owner, row["id"])
    assert row["status"] == "completed"
    assert len(row["execution_logs"]) == 500
    assert row["execution_logs"][-1]["message"] == "Completed."
    assert len({line["step"] for line in row["execution_logs"][:-1]}) == 499
    assert len(row["execution_data"]["steps"]) == 510
    assert (
        tenant.world.admin.value("select count(*) from private.execution_lines where execution_id = %s", row["id"]) == 0
    )


def test_lines_of_steps_come_while_it_runs(tenant: Tenant, worker: Worker) -> None:
    row = begin(tenant.owner, tenant, diamond(tenant))
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    reap(worker)
    last = execution(tenant.owner, row["id"])["execution_logs"][-1]
    assert (last["step"], last["level"], last["message"]) == ("a", "info", "a is completed.")


def test_json_that_cannot_be_kept_is_kept_as_text(tenant: Tenant, worker: Worker) -> None:
    deep = "[" * 70 + "]" * 70
    row = begin(tenant.owner, tenant, {"nodes": [node(tenant, "a")]}, input=Jsonb({"n": 1}))
    run_all(worker, tenant, a=deep)
    output = execution(tenant.owner, row["id"])["execution_data"]["output"]
    assert isinstance(output, str)
    assert output.count("[") == 70
