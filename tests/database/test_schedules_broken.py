"""Schedules that cannot make their task, schedules run by hand, and what a client may write."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from datetime import datetime
from typing import Any

import psycopg
import pytest
from cronsim import CronSim, CronSimError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.database.kit import Tenant, Worker, World, refused
from tests.database.schedule_kit import HOUR, MINUTE, add, claim, fire, fire_one, firing, now, read, tasks

# Broken schedules -----------------------------------------------------------------------------------------------------


def deactivate_agent(tenant: Tenant) -> None:
    tenant.world.admin.update("agents", {"slug": tenant.agent}, status="inactive")


def delete_agent(tenant: Tenant) -> None:
    tenant.world.admin.execute("delete from public.agents where slug = %s", tenant.agent)


def remove_user(tenant: Tenant) -> None:
    tenant.join("owner")
    tenant.world.service.call("remove_member", organization_slug=tenant.slug, user_id=tenant.owner.id)


def make_user_a_viewer(tenant: Tenant) -> None:
    tenant.join("owner")
    tenant.world.service.call("set_member_role", organization_slug=tenant.slug, user_id=tenant.owner.id, role="viewer")


def suspend_user(tenant: Tenant) -> None:
    tenant.world.admin.update("users", {"id": tenant.owner.id}, status="suspended")


def deactivate_organization(tenant: Tenant) -> None:
    tenant.world.admin.update("organizations", {"slug": tenant.slug}, is_active=False)


@pytest.mark.parametrize(
    ("break_it", "token"),
    [
        (deactivate_agent, "agent_inactive"),
        (delete_agent, "agent_missing"),
        (remove_user, "schedule_without_user"),
        (make_user_a_viewer, "schedule_without_user"),
        (suspend_user, "schedule_without_user"),
        (deactivate_organization, "organization_inactive"),
    ],
)
def test_what_keeps_a_schedule_from_its_task_is_recorded_and_stops_no_other(
    tenant: Tenant, world: World, worker: Worker, break_it: Any, token: str
) -> None:
    at, neighbour = now(), world.tenant()
    broken, good = add(tenant, at), add(neighbour, at)
    break_it(tenant)
    claim(worker, broken, good)
    outcomes = {row["schedule_id"]: row for row in fire(world.service, firing(broken, at, at), firing(good, at, at))}
    assert (outcomes[good]["outcome"], len(outcomes[good]["task_ids"])) == ("ok", 1)
    assert (outcomes[broken]["outcome"], outcomes[broken]["task_ids"]) == ("ok", [])
    row = read(tenant, broken)
    assert row["last_error"] == outcomes[broken]["detail"]
    assert row["last_error"].startswith(f"{token}: ")
    assert (row["last_error_at"] is not None, row["last_run_at"]) == (True, None)
    assert row["next_run_at"] > now(), "it is tried again at its next time, and not before"
    assert claim(worker, broken) == []
    assert tasks(tenant, broken) == []


def test_an_error_is_gone_with_the_next_task_and_not_with_a_time_that_makes_none(tenant: Tenant) -> None:
    first, second, third = (now() - n * MINUTE for n in (2, 1, 0))
    schedule = add(tenant, first)
    deactivate_agent(tenant)
    fire_one(tenant, schedule, first, first, then=second)
    tenant.world.service.update("schedules", {"id": schedule}, catch_up_policy="none")
    fire_one(tenant, schedule, second, second, then=third, session=tenant.world.service.at("1 hour"))
    assert read(tenant, schedule)["last_error"].startswith("agent_inactive: ")
    tenant.world.admin.update("agents", {"slug": tenant.agent}, status="active")
    fire_one(tenant, schedule, third, third)
    row = read(tenant, schedule)
    assert (row["last_error"], row["last_error_at"], row["last_run_at"]) == (None, None, third)


def test_one_that_cannot_be_computed_rests_until_it_is_changed(tenant: Tenant, worker: Worker) -> None:
    for expected in (None, now()):
        schedule = add(tenant, expected, cron="0 0 30 2 *")
        claim(worker, schedule)
        item = {**firing(schedule, expected), "next_run_at": None, "error": "cron_invalid: No such day."}
        assert fire(tenant.world.service, item)[0]["outcome"] == "ok"
        row = read(tenant, schedule)
        assert (row["next_run_at"], row["last_error"]) == (None, "cron_invalid: No such day.")
        much_later = worker.on(tenant.world.service.at("100 days"))
        assert claim(much_later, schedule) == []
        tenant.owner.update("schedules", {"id": schedule}, cron="0 0 28 2 *")
        (row,) = claim(worker, schedule)
        assert row["cron"] == "0 0 28 2 *"
        assert read(tenant, schedule)["last_error"] is None


def test_developers_read_why_a_schedule_is_broken(tenant: Tenant) -> None:
    at = now()
    schedule = add(tenant, at)
    deactivate_agent(tenant)
    fire_one(tenant, schedule, at, at)
    developer = tenant.join("developer")
    assert developer.value("select last_error from public.schedules where id = %s", schedule).startswith(
        "agent_inactive"
    )


def test_an_agent_that_a_developer_deletes_leaves_the_schedule_its_user(tenant: Tenant) -> None:
    schedule = add(tenant, now() + HOUR)
    developer = tenant.join("developer")
    assert developer.execute("delete from public.agents where slug = %s", tenant.agent) == 1
    row = read(tenant, schedule)
    assert (row["agent_slug"], str(row["user_id"])) == (None, tenant.owner.id)


def test_a_schedule_whose_agent_is_inactive_can_be_switched_off_but_not_taken_over(tenant: Tenant) -> None:
    schedule, admin = add(tenant), tenant.join("admin")
    deactivate_agent(tenant)
    assert tenant.owner.update("schedules", {"id": schedule}, prompt="Write more.") == 1
    with refused("PT409", "agent_inactive"):
        admin.update("schedules", {"id": schedule}, prompt="Write less.")
    assert admin.update("schedules", {"id": schedule}, enabled=False) == 1


# By hand --------------------------------------------------------------------------------------------------------------


def test_an_admin_runs_a_schedule_by_hand_in_their_own_name(tenant: Tenant) -> None:
    at = now() + HOUR
    schedule, admin = add(tenant, at, enabled=False, overlap_policy="queue"), tenant.join("admin")
    tenant.world.service.update("schedules", {"id": schedule}, next_run_at=at)
    made = [admin.call("run_schedule", schedule_id=schedule) for _ in range(2)]
    assert [task["user_id"] for task in made] == [admin.id] * 2
    assert {task["idempotency_key"] for task in made} == {None}
    assert made[0]["metadata"]["schedule_id"] == schedule
    row = read(tenant, schedule)
    assert (row["next_run_at"], str(row["last_task_id"])) == (at, made[1]["id"])
    server = tenant.world.service.call("run_schedule", schedule_id=schedule)
    assert server["user_id"] == tenant.owner.id


@pytest.mark.parametrize("role", ["developer", "member", "viewer", "stranger"])
def test_only_admins_run_a_schedule_by_hand(tenant: Tenant, role: str) -> None:
    schedule = add(tenant)
    session = tenant.world.user() if role == "stranger" else tenant.join(role)
    with refused("PT404", "schedule_not_found"):
        session.call("run_schedule", schedule_id=schedule)
    with refused("PT404", "schedule_not_found"):
        tenant.owner.call("run_schedule", schedule_id=str(uuid.uuid4()))


def test_by_hand_the_overlap_policy_holds(tenant: Tenant) -> None:
    schedule = add(tenant)
    first = tenant.owner.call("run_schedule", schedule_id=schedule)
    with refused("PT409", "previous_task_unfinished"):
        tenant.owner.call("run_schedule", schedule_id=schedule)
    tenant.owner.update("schedules", {"id": schedule}, overlap_policy="cancel_previous")
    second = tenant.owner.call("run_schedule", schedule_id=schedule)
    assert [tenant.read(task["id"])["status"] for task in (first, second)] == ["cancelled", "pending"]


def test_a_server_does_not_run_the_schedule_of_an_inactive_organization(tenant: Tenant) -> None:
    schedule = add(tenant)
    deactivate_organization(tenant)
    with refused("PT409", "organization_inactive"):
        tenant.world.service.call("run_schedule", schedule_id=schedule)
    with refused("PT404", "schedule_not_found"):
        tenant.owner.call("run_schedule", schedule_id=schedule)


def test_a_private_agent_of_the_schedule_s_user_is_not_lent_to_another_admin(tenant: Tenant) -> None:
    agent = tenant.add_agent(organization_slug=[], owner_user_id=tenant.owner.id)
    schedule, admin = add(tenant, agent_slug=agent), tenant.join("admin")
    with refused("PT404", "agent_not_found"):
        admin.call("run_schedule", schedule_id=schedule)
    assert tenant.owner.call("run_schedule", schedule_id=schedule)["agent_slug"] == agent


# What a client may write --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "detail"),
    [
        ("60 * * * *", '"60" is no minute.'),
        ("* 24 * * *", '"24" is no hour.'),
        ("0 6 0 * *", '"0" is no day of month.'),
        ("0 6 * 13 *", '"13" is no month.'),
        ("0 6 * * 8", '"8" is no day of week.'),
        ("0 6 * * FRI-SUN", '"FRI-SUN" is no day of week.'),
        ("0 5-1 * * *", '"5-1" is no hour.'),
        ("*/0 * * * *", '"*/0" is no minute.'),
        ("0,,1 * * * *", '"" is no minute.'),
        ("61 0 6 * * *", '"61" is no second.'),
        ("0 6 * * MON#6", '"MON#6" is no day of week.'),
        ("0 6 15W * *", '"15W" is no day of month.'),
        ("0 6 ? * *", '"?" is no day of month.'),
    ],
)
def test_a_cron_that_cannot_be_read_is_refused_with_its_field(tenant: Tenant, cron: str, detail: str) -> None:
    row = {"organization_slug": tenant.slug, "name": "s", "method": "process", "prompt": "x"}
    with refused("22023", "cron_invalid") as refusal:
        tenant.owner.insert("schedules", cron=cron, **row)
    assert refusal.detail == detail
    schedule = add(tenant)
    with refused("22023", "cron_invalid"):
        tenant.owner.update("schedules", {"id": schedule}, cron=cron)


TERMS = (
    "* 0 00 1 5 7 8 12 13 23 24 31 32 59 60 MON SUN sat JAN dec FRI L LW LWW 5L 8L MONL MON#2 2#6 1#0 */5 */0 1-5 5-1"
    " MON-FRI FRI-SUN JAN-MAR 1-5/2 5/10 */5/2 1,2 1,,2 1, ,1 , - -1 1- a ? 1-5,7 L/2 L,5 5L/2 *-5 1-* 1-2-3 *,1 LW/0"
    " 15W L-3 01-05 99999999999999999999 #1 /5 \u00b2"
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TERMS.split()), min_size=5, max_size=6))
def test_sql_refuses_exactly_the_fields_that_workers_cannot_read(connection: Any, fields: list[str]) -> None:
    cron = " ".join(fields)
    try:
        CronSim(cron, datetime(2025, 1, 1))
        readable = True
    except CronSimError as error:
        # A day that no month has is for workers to find out.
        readable = str(error) == "Bad day-of-month" and _days_are_fine(fields)
    with nullcontext() if readable else refused("22023", "cron_invalid"):
        connection.execute("select private.check_cron(%s)", [cron])


def _days_are_fine(fields: list[str]) -> bool:
    """Say whether the day of month alone can be read."""
    try:
        CronSim(f"0 0 {fields[-3]} * *", datetime(2025, 1, 1))
    except CronSimError:
        return False
    return True


@pytest.mark.parametrize("at", ["infinity", "-infinity", "1999-12-31", "2300-01-01"])
def test_a_next_time_is_in_this_age(tenant: Tenant, at: str) -> None:
    schedule = add(tenant)
    with pytest.raises(psycopg.errors.CheckViolation):
        tenant.world.service.update("schedules", {"id": schedule}, next_run_at=at)


def test_holds_and_firings_are_not_audited(tenant: Tenant, worker: Worker) -> None:
    at = now()
    schedule = add(tenant, at)
    deactivate_agent(tenant)
    query = "select count(*) from public.audit_logs where table_name = 'schedules' and organization_slug = %s"
    before = tenant.world.admin.value(query, tenant.slug)
    claim(worker, schedule)
    fire_one(tenant, schedule, at, at)
    assert tenant.world.admin.value(query, tenant.slug) == before
