"""What one tenant, or one careless worker, did to the others when told to: each of these worked once."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Session, Tenant, Worker, item, refused

HUGE_IN_PRINT = {"a": [1e308] * 4000}  # 16 bytes each in jsonb, 309 in text.
QUESTION = {"input_request": {"prompt": "Which?"}}


def claimed(leases: list[dict[str, Any]]) -> set[str]:
    return {lease["task"]["id"] for lease in leases}


# Size -------------------------------------------------------------------------------------------------------------


def test_numbers_count_as_long_as_they_print(tenant: Tenant) -> None:
    with refused("PT413", "params_too_large"):
        tenant.task(params=HUGE_IN_PRINT)
    with pytest.raises(psycopg.errors.CheckViolation):
        tenant.task(metadata=HUGE_IN_PRINT)


def test_an_answer_has_a_size_that_can_be_sent(tenant: Tenant, worker: Worker) -> None:
    tasks = {tenant.task(prompt="x" * 1048576) for _ in range(20)}
    answer = worker.exchange(max_tasks=20, organizations=[tenant.slug])
    first = claimed(answer["tasks"])
    assert 0 < len(first) < 20
    assert answer["next_poll_ms"] == 100, "the rest is to be asked for soon"
    assert first | claimed(worker.claim(tenant, 20)) == tasks


# Turns ------------------------------------------------------------------------------------------------------------


def test_a_flood_that_becomes_due_does_not_hold_back_anothers_task(tenant: Tenant, worker: Worker) -> None:
    tenant.world.admin.execute(
        "insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt, scheduled_at)"
        " select %s, %s, %s, 'process', 'x', now() + interval '1 minute' from generate_series(1, 1500)",
        *(tenant.slug, tenant.owner.id, tenant.agent),
    )
    victim = tenant.world.tenant()
    task_id = victim.task()
    victim.world.admin.execute(
        "update public.tasks set scheduled_at = now() + interval '2 minutes' where id = %s", task_id
    )
    assert claimed(worker.on(worker.session.at("3 minutes")).claim(victim)) == {task_id}


def test_organizations_without_room_take_no_place_in_the_walk(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task()
    with tenant.world.admin.transaction(keep=False) as connection:
        connection.execute("update private.queue_walk set organization_slug = '', method = ''")
        connection.execute(
            "insert into public.organizations (slug, name, settings)"
            " select '0full-' || n, 'Full', %s from generate_series(1, 150) n",
            [Jsonb({"limits": {"max_concurrent_tasks": 0}})],
        )
        connection.execute(
            "insert into public.task_methods (name, description, needs_agent) values ('attack', 'x', false)"
        )
        connection.execute(
            "insert into public.tasks (organization_slug, user_id, method, prompt)"
            " select '0full-' || n, %s, 'attack', 'x' from generate_series(1, 150) n",
            [tenant.owner.id],
        )
        row = connection.execute("select public.claim_tasks(%s, 50) as leases", [worker.id]).fetchone()
        assert row
        assert task_id in claimed(row["leases"])


def test_an_agent_that_two_organizations_share_is_not_held_by_one(tenant: Tenant, worker: Worker) -> None:
    victim = tenant.world.tenant()
    shared = tenant.add_agent(max_concurrent_tasks=1, organization_slug=[tenant.slug, victim.slug])
    for _ in range(3):
        tenant.task(agent_slug=shared, priority=-2_000_000_000)
    (running,) = worker.claim(tenant, 3)
    task_id = victim.task(agent_slug=shared)
    assert worker.claim(victim) == []
    tenant.owner.call("pause_queue", organization_slug=tenant.slug)
    assert worker.complete(running) == "ok"
    assert claimed(worker.claim(victim)) == {task_id}


# Keys -------------------------------------------------------------------------------------------------------------


def test_a_task_that_waits_for_a_person_does_not_hold_its_key(tenant: Tenant, worker: Worker) -> None:
    tenant.task(concurrency_key="k")
    assert worker.report("pause_task", item(worker.claim_one(tenant), **QUESTION)) == ["ok"]
    second = tenant.task(concurrency_key="k")
    assert claimed(worker.claim(tenant)) == {second}


def test_tasks_of_a_key_that_are_scheduled_for_later_cost_a_claim_nothing(tenant: Tenant, worker: Worker) -> None:
    with tenant.world.admin.transaction() as connection:
        connection.execute(
            "insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt, concurrency_key,"
            " concurrency_limit, scheduled_at)"
            " select %s, %s, %s, 'process', 'x', 'k', 1000, '2999-01-01' from generate_series(1, 300)",
            [tenant.slug, tenant.owner.id, tenant.agent],
        )
        connection.execute("set local enable_seqscan = off")
        plan = connection.execute(
            "explain select from private.live_tasks a where a.organization_slug = %s and a.concurrency_key = 'k'"
            " and a.ticket < 9223372036854775807 and (a.state in ('pending', 'waiting_for_key', 'waiting_for_agent')"
            " or a.state = 'delayed' and a.attempt > 0 and 1 = 1)",
            [tenant.slug],
        ).fetchall()
    assert "live_tasks_key_idx" in str(plan), "the index without them serves what private.key_has_room asks"
    task_id = tenant.task(concurrency_key="k", concurrency_limit=1000)
    assert claimed(worker.claim(tenant)) == {task_id}


def test_what_is_changed_by_hand_while_a_task_runs_counts(tenant: Tenant, worker: Worker) -> None:
    tenant.task(concurrency_key="a")
    running = worker.claim_one(tenant)
    tenant.world.service.update("tasks", {"id": running["task"]["id"]}, concurrency_key="b")
    tenant.task(concurrency_key="b")
    assert worker.claim(tenant) == []
    assert worker.complete(running) == "ok"
    assert len(worker.claim(tenant)) == 1


# Reports ----------------------------------------------------------------------------------------------------------


def test_the_same_token_in_other_letters_is_the_same_attempt(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task()
    result = {
        "response": "r",
        "deliverable": {"title": "t", "type": "text", "format": "text", "content": "c"},
        "usage": [{"provider": "p", "model": "m", "input_tokens": 1, "output_tokens": 1, "cost": 1}],
    }
    first = item(worker.claim_one(tenant), **result)
    again = {**first, "lease_token": first["lease_token"].upper()}
    assert worker.report("complete_tasks", first, again) == ["ok", "ok"]
    count = "select count(*) from public.{} where task_id = %s"
    for table in ("deliverables", "deliverable_versions", "usage_events"):
        assert tenant.world.admin.value(count.format(table), task_id) == 1


def test_a_cost_that_is_no_number_is_refused(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    usage = [{"provider": "p", "model": "m", "input_tokens": 1, "output_tokens": 1, "cost": "NaN"}]
    lease = worker.claim_one(tenant)
    assert worker.complete(lease, usage=usage) == "invalid"
    assert worker.complete(lease) == "ok"


# Looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["active_tasks", "dead_letters", "queue_health"])
def test_a_filter_is_never_tried_on_rows_of_strangers(tenant: Tenant, worker: Worker, view: str) -> None:
    tenant.task()
    dead = tenant.task(max_attempts=1)
    for lease in worker.claim(tenant, 2):
        if lease["task"]["id"] == dead:
            assert worker.fail(lease) == "ok"
    stranger: Session = tenant.world.tenant().owner
    tried: list[str] = []
    with tenant.world.admin.fresh() as admin, admin.transaction(keep=False) as connection:
        # A function that tells what it sees stands for one whose time tells it.
        connection.execute(
            "create function public.peek(seen text) returns boolean language plpgsql stable cost 0.0001 as"
            " $$ begin raise notice '%', seen; return true; end $$"
        )
        connection.execute("grant execute on function public.peek(text) to authenticated")
        connection.add_notice_handler(lambda notice: tried.append(str(notice.message_primary)))
        claims = Jsonb({"role": "authenticated", "sub": stranger.id})
        connection.execute("select set_config('request.jwt.claims', %s::text, true)", [claims])
        connection.execute("set local role authenticated")
        query = f"select count(*) as count from public.{view} where public.peek(organization_slug)"
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    assert tenant.slug not in tried
