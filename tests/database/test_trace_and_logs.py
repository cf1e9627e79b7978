"""What is kept beside tasks: the trace of runs, the orchestrator and its logs, schedules, assignments, comments."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, World, in_parallel, refused


@pytest.fixture(scope="module")
def place(scene: World) -> Tenant:
    return scene.tenant()


def check(caught: pytest.ExceptionInfo[psycopg.errors.CheckViolation]) -> str:
    return caught.value.diag.constraint_name or ""


# The trace of a run


def run(tenant: Tenant, user: Session | None = None) -> str:
    row = {"organization_slug": tenant.slug, "created_by": (user or tenant.owner).id}
    return str(tenant.world.service.insert("runs", **row)["id"])


def add_step(tenant: Tenant, run_id: str, number: int, **columns: Any) -> Row:
    row = {"run_id": run_id, "sequence_number": number, "type": "llm_call"}
    return tenant.world.service.insert("run_steps", **{**row, **columns})


def test_steps_of_a_run_have_numbers_of_their_own(place: Tenant) -> None:
    first, second = run(place), run(place)
    step = add_step(place, first, 1)
    add_step(place, second, 1)
    with refused("23505"):
        add_step(place, first, 1)
    ended = {"status": "completed", "completed_at": "now", "output": {"text": "x"}}
    assert place.world.service.update("run_steps", {"id": step["id"]}, **ended) == 1


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"type": "thought"}, "type_is_known"),
        ({"status": "paused", "completed_at": "2026-01-01"}, "status_is_known"),
        ({"status": "completed"}, "running_means_not_completed"),
        ({"completed_at": "2026-01-01"}, "running_means_not_completed"),
        ({"metadata": Jsonb([])}, "metadata_is_an_object"),
    ],
    ids=str,
)
def test_an_impossible_step_is_refused(place: Tenant, columns: Row, constraint: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        add_step(place, run(place), 1, **columns)
    assert check(caught) == constraint


def test_of_the_data_of_a_run_the_latest_counts_and_none_changes(tenant: Tenant) -> None:
    service, run_id = tenant.world.service, run(tenant)
    with service.transaction() as connection:  # also within one transaction
        for value in (1, 2, 3):
            connection.execute(
                "insert into public.workflow_data (run_id, key, value) values (%s, 'draft', %s)",
                [run_id, Jsonb(value)],
            )
    latest = "select value from public.workflow_data where run_id = %s and key = %s order by created_at desc limit 1"
    assert tenant.owner.value(latest, run_id, "draft") == 3
    with refused("PT409", "append_only"):
        tenant.world.admin.update("workflow_data", {"run_id": run_id}, value={})
    for session in (service, tenant.owner):
        with refused("42501"):
            session.update("workflow_data", {"run_id": run_id}, value={})
    with refused("23514"):
        service.insert("workflow_data", run_id=run_id, key=" ", value={})
    with refused("42501"):
        tenant.owner.insert("workflow_data", run_id=run_id, key="k", value={})


def test_the_trace_is_seen_by_whoever_sees_the_run_and_goes_with_it(tenant: Tenant) -> None:
    member, colleague = tenant.join("member"), tenant.join("developer")
    run_id = run(tenant, member)
    step = add_step(tenant, run_id, 1)
    tenant.world.service.insert("workflow_data", run_id=run_id, step_id=step["id"], key="k", value={"a": 1})
    seen = {
        name: tuple(len(s.rows(f"select from public.{table}")) for table in ("run_steps", "workflow_data"))
        for name, s in {
            "user": member,
            "admin": tenant.owner,
            "colleague": colleague,
            "stranger": tenant.world.tenant().owner,
        }.items()
    }
    assert seen == {"user": (1, 1), "admin": (1, 1), "colleague": (0, 0), "stranger": (0, 0)}
    tenant.world.service.execute("delete from public.runs where id = %s", run_id)
    assert member.rows("select from public.run_steps") == member.rows("select from public.workflow_data") == []


# The orchestrator


def orchestrator(tenant: Tenant, **columns: Any) -> str:
    return str(tenant.world.service.insert("orchestrator_agents", organization_slug=tenant.slug, **columns)["id"])


def instance(tenant: Tenant, above: str, name: str = "builder", **columns: Any) -> Row:
    row = {"orchestrator_agent_id": above, "name": name, "model": "some-model"}
    return tenant.world.service.insert("agent_instances", **row, **columns)


def test_an_organization_has_one_live_orchestrator(tenant: Tenant) -> None:
    first = orchestrator(tenant)
    with refused("23505"):
        orchestrator(tenant)
    orchestrator(tenant, archived=True)
    tenant.world.service.update("orchestrator_agents", {"id": first}, archived=True)
    results = in_parallel(
        [tenant.world.service] * 10, lambda s: s.insert("orchestrator_agents", organization_slug=tenant.slug)
    )
    assert len([r for r in results if isinstance(r, psycopg.Error)]) == 9
    assert tenant.owner.value("select count(*) from public.orchestrator_agents where not archived") == 1


def test_names_of_instances_are_unique_among_the_unarchived(tenant: Tenant) -> None:
    above = orchestrator(tenant)
    first = instance(tenant, above)
    with refused("23505"):
        instance(tenant, above)
    instance(tenant, above, archived=True)
    instance(tenant, above, archived=True)
    tenant.world.service.update("agent_instances", {"id": first["id"]}, archived=True)
    second = instance(tenant, above)
    with refused("23505"):
        tenant.world.service.update("agent_instances", {"id": first["id"]}, archived=False)
    assert tenant.owner.value("select id from public.agent_instances where not archived") == second["id"]


BAD_LOGS: list[tuple[str, Row, str]] = [
    ("orchestrator_agents", {"status": "asleep"}, "status_is_known"),
    ("orchestrator_agents", {"input_tokens": -1}, "counters_are_not_negative"),
    ("orchestrator_agents", {"total_cost": -1}, "counters_are_not_negative"),
    ("agent_instances", {"status": "asleep"}, "status_is_known"),
    ("agent_instances", {"name": " "}, "name_is_not_blank"),
    ("agent_instances", {"output_tokens": -1}, "counters_are_not_negative"),
    ("prompts", {"author": "agent"}, "author_is_known"),
    ("agent_logs", {"event_category": "other"}, "event_category_is_known"),
    ("system_logs", {"level": "info"}, "level_is_known"),
]


def rows_of_c(tenant: Tenant) -> dict[str, Row]:
    """Give a sound row of each table, below a live orchestrator and an instance."""
    above = orchestrator(tenant)
    below = instance(tenant, above)["id"]
    return {
        "orchestrator_agents": {"organization_slug": tenant.slug, "archived": True},
        "agent_instances": {"orchestrator_agent_id": above, "name": "tester", "model": "m"},
        "prompts": {"orchestrator_agent_id": above, "agent_id": below, "author": "engineer", "prompt_text": "Go."},
        "agent_logs": {"agent_id": below, "event_category": "hook", "event_type": "PreToolUse"},
        "system_logs": {"organization_slug": tenant.slug, "level": "INFO", "message": "Up."},
    }


@pytest.mark.parametrize(("table", "columns", "constraint"), BAD_LOGS, ids=str)
def test_a_word_outside_the_vocabulary_is_refused(scene: World, table: str, columns: Row, constraint: str) -> None:
    sound = rows_of_c(scene.tenant())[table]
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        scene.service.insert(table, **{**sound, **columns})
    assert check(caught) == constraint


def test_members_read_the_orchestrators_rows_and_admins_the_system_log(tenant: Tenant) -> None:
    rows = rows_of_c(tenant)
    for table, row in rows.items():
        tenant.world.service.insert(table, **row)
        with refused("42501"):
            tenant.owner.insert(table, **row)
    tenant.world.service.insert("system_logs", level="ERROR", message="The platform's.")
    sessions = {role: tenant.join(role) for role in ("viewer", "member", "developer", "admin")}
    sessions["stranger"] = tenant.world.tenant().owner
    seen = {name: {t for t in rows if s.rows(f"select from public.{t}")} for name, s in sessions.items()}
    members = set(rows) - {"system_logs"}
    assert seen == {"viewer": set(), "member": members, "developer": members, "admin": set(rows), "stranger": set()}
    messages = sessions["admin"].rows("select message from public.system_logs")
    assert messages == [{"message": "Up."}]
    tenant.world.admin.execute("delete from public.system_logs where message = %s", "The platform's.")


# Schedules


def schedule(tenant: Tenant, session: Session | None = None, **columns: Any) -> Row:
    row = {"organization_slug": tenant.slug, "name": uuid.uuid4().hex, "cron": "0 6 * * *", "method": "process"}
    row |= {"prompt": "Write.", "agent_slug": tenant.agent}
    return (session or tenant.owner).insert("schedules", **{**row, **columns})


@pytest.mark.parametrize("cron", ["* * * * *", "*/5 0-6 1,15 * MON-FRI", " 0 6 * * * ", "0 0 6 * * *"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna", "America/Argentina/Ushuaia"])
def test_a_sound_schedule_is_taken(place: Tenant, cron: str, zone: str) -> None:
    row = schedule(place, cron=cron, time_zone=zone)
    assert (row["next_run_at"], row["enabled"], row["overlap_policy"], row["catch_up_policy"]) == (
        None,
        True,
        "skip",
        "one",
    )


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "+02:00", "europe vienna", "../UTC", "CEST6"])
def test_an_unknown_time_zone_is_refused(place: Tenant, zone: str) -> None:
    with refused("22023", "unknown_time_zone"):
        schedule(place, time_zone=zone)


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        *(({"cron": cron}, "cron_has_five_or_six_fields") for cron in ("", "* * * *", "@daily", "* " * 7, "* " * 120)),
        ({"overlap_policy": "other"}, "overlap_policy_is_known"),
        ({"catch_up_policy": "two"}, "catch_up_policy_is_known"),
        ({"prompt": " "}, "prompt_is_neither_empty_nor_huge"),
        ({"params": Jsonb([])}, "params_is_an_object"),
        ({"name": ""}, "name_is_not_blank"),
    ],
    ids=str,
)
def test_an_impossible_schedule_is_refused(place: Tenant, columns: Row, constraint: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        schedule(place, **columns)
    assert check(caught) == constraint


def test_a_schedule_names_a_known_method_and_a_usable_agent(place: Tenant) -> None:
    with refused("22023", "unknown_method"):
        schedule(place, method="no_such_method")
    for agent in (place.world.tenant().agent, "no-such-agent"):
        with refused("PT404", "agent_not_found"):
            schedule(place, agent_slug=agent)
    with refused("PT409", "agent_inactive"):
        schedule(place, agent_slug=place.add_agent(status="draft"))
    row = schedule(place)
    with refused("23505"):
        schedule(place, name=row["name"])


@pytest.mark.parametrize(
    ("columns", "computed_anew"),
    [
        ({"cron": "0 7 * * *"}, True),
        ({"time_zone": "Europe/Vienna"}, True),
        ({"enabled": False}, True),
        ({"cron": "0 6 * * *", "time_zone": "UTC", "enabled": True}, False),
        ({"prompt": "Write more."}, False),
    ],
    ids=str,
)
def test_a_changed_rhythm_is_computed_anew(place: Tenant, columns: Row, computed_anew: bool) -> None:
    row = schedule(place)
    place.world.service.update("schedules", {"id": row["id"]}, next_run_at="2030-01-01")
    assert place.owner.update("schedules", {"id": row["id"]}, **columns) == 1
    found = place.owner.value("select next_run_at from public.schedules where id = %s", row["id"])
    assert (found is None) == computed_anew


def test_a_schedule_runs_in_the_name_of_whoever_wrote_it_last(tenant: Tenant) -> None:
    row, admin = schedule(tenant), tenant.join("admin")
    assert admin.update("schedules", {"id": row["id"]}, prompt="Write in the owner's name.") == 1
    assert str(tenant.owner.value("select user_id from public.schedules where id = %s", row["id"])) == admin.id


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [("viewer", 0, 0), ("member", 0, 0), ("developer", 1, 0), ("admin", 1, 1)],
)
def test_admins_write_schedules_and_developers_read_them(tenant: Tenant, role: str, reads: int, writes: int) -> None:
    row = schedule(tenant)
    session = tenant.join(role)
    assert len(session.rows("select from public.schedules")) == reads
    assert session.update("schedules", {"id": row["id"]}, enabled=False) == writes
    if writes:
        assert str(schedule(tenant, session)["user_id"]) == session.id
    else:
        with refused("42501"):
            schedule(tenant, session)
    assert session.execute("delete from public.schedules where id = %s", row["id"]) == writes


# People around a task


def assign(session: Session, task_id: str, user: Session, **columns: Any) -> Row:
    return session.insert("task_assignments", task_id=task_id, user_id=user.id, **columns)


def test_a_task_is_assigned_by_its_user_or_an_admin_to_members(tenant: Tenant) -> None:
    user, friend, other = (tenant.join("member") for _ in range(3))
    task_id = tenant.task(user)
    assert str(assign(user, task_id, friend, note="Please.")["assigned_by"]) == user.id
    assert str(assign(tenant.owner, task_id, other)["assigned_by"]) == tenant.owner.id
    with refused("23505"):
        assign(user, task_id, friend)
    for session, whom in ((friend, friend), (user, tenant.world.user()), (tenant.world.tenant().owner, friend)):
        with pytest.raises(psycopg.Error) as caught:
            assign(session, task_id, whom)
        assert caught.value.sqlstate in {"42501", "PT404"}
    assert len(friend.rows("select from public.task_assignments")) == 1
    assert friend.rows("select from public.tasks") == []  # asked, but the task stays its user's
    with refused("42501"):
        assign(user, task_id, tenant.join("member"), assigned_by=tenant.owner.id)


def test_the_assigned_step_down_and_whoever_assigned_takes_it_back(tenant: Tenant) -> None:
    user, friend, other = (tenant.join("member") for _ in range(3))
    task_id = tenant.task(user)
    delete = "delete from public.task_assignments where task_id = %s"
    assign(user, task_id, friend)
    assert other.execute(delete, task_id) == 0
    assert friend.execute(delete, task_id) == 1
    assign(user, task_id, friend)
    assert user.execute(delete, task_id) == 1


def test_whoever_reads_a_task_comments_on_it_and_changes_only_their_own(tenant: Tenant) -> None:
    user, colleague = tenant.join("member"), tenant.join("member")
    task_id = tenant.task(user)
    own = user.insert("task_comments", task_id=task_id, content="Mine.")
    theirs = tenant.owner.insert("task_comments", task_id=task_id, content="Ours.")
    assert len(user.rows("select from public.task_comments")) == 2
    assert user.update("task_comments", {"id": own["id"]}, content="Changed.") == 1
    assert user.update("task_comments", {"id": theirs["id"]}, content="Changed.") == 0
    assert tenant.owner.execute("delete from public.task_comments where id = %s", own["id"]) == 0
    assert colleague.rows("select from public.task_comments") == []
    with refused("42501"):
        colleague.insert("task_comments", task_id=task_id, content="Hello?")
    for content in (" ", "x" * 65_537):
        with refused("23514"):
            user.insert("task_comments", task_id=task_id, content=content)
    tenant.owner.call("set_member_role", organization_slug=tenant.slug, user_id=user.id, role="viewer")
    with refused("42501"):
        user.insert("task_comments", task_id=task_id, content="Still here.")
