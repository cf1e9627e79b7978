"""Webhooks in the database: who manages them, what is recorded, and how a delivery follows the task that sends it."""

from __future__ import annotations

import re
import uuid

import pytest
from psycopg.types.json import Jsonb

from tests.database import webhook_kit as hooks
from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, item, refused
from tests.database.pauses import QUESTION

ROLES = ("viewer", "member", "developer", "admin", "owner")
NOBODY = str(uuid.uuid4())


def person(tenant: Tenant, role: str) -> Session:
    return tenant.owner if role == "owner" else tenant.join(role)


# Who manages them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_admins_manage_webhooks_and_others_see_none(tenant: Tenant, role: str) -> None:
    caller = person(tenant, role)
    webhook = hooks.add(tenant)
    tenant.owner.call("send_test_webhook", webhook_id=webhook["id"])
    delivery = str(hooks.delivery(tenant)["id"])
    calls: dict[str, tuple[str, Row]] = {
        "create_webhook": (
            "not_allowed",
            {"organization_slug": tenant.slug, "url": hooks.URL, "events": ["project.*"]},
        ),
        "rotate_webhook_secret": ("webhook_not_found", {"webhook_id": webhook["id"]}),
        "send_test_webhook": ("webhook_not_found", {"webhook_id": webhook["id"]}),
        "replay_webhook_delivery": ("webhook_delivery_not_found", {"delivery_id": delivery}),
    }
    allowed = role in {"admin", "owner"}
    assert len(caller.rows("select * from public.webhooks")) == allowed
    assert len(caller.rows("select * from public.webhook_deliveries")) == allowed
    for function, (token, arguments) in calls.items():
        if allowed:
            assert caller.call(function, **arguments)
        else:
            with refused("42501" if token == "not_allowed" else "PT404", token):
                caller.call(function, **arguments)
    assert caller.update("webhooks", {"id": webhook["id"]}, enabled=False) == allowed
    assert caller.execute("delete from public.webhooks where id = %s", webhook["id"]) == allowed


def test_another_organizations_owner_finds_nothing_and_changes_nothing(world: World, tenant: Tenant) -> None:
    stranger = world.tenant().owner
    webhook = hooks.add(tenant)
    assert stranger.rows("select * from public.webhooks") == []
    assert stranger.update("webhooks", {"id": webhook["id"]}, url="https://evil.example.com/") == 0
    with refused("42501", "not_allowed"):
        hooks.add(tenant, session=stranger)
    answers = []
    for webhook_id in (webhook["id"], NOBODY):
        for function in ("rotate_webhook_secret", "send_test_webhook"):
            with refused("PT404", "webhook_not_found") as refusal:
                stranger.call(function, webhook_id=webhook_id)
            answers.append(refusal.detail.replace(webhook_id, "x"))
    assert len(set(answers)) == 1


@pytest.mark.parametrize(
    ("url", "events"),
    [
        ("ftp://example.com/", ["project.*"]),
        ("https://user:secret@example.com/", ["project.*"]),
        ("https://example.com/a b", ["project.*"]),
        ("https://", ["project.*"]),
        (hooks.URL + "x" * 3000, ["project.*"]),
        (None, ["project.*"]),
        (hooks.URL, []),
        (hooks.URL, None),
        (hooks.URL, ["task.*"]),
        (hooks.URL, ["webhook.test"]),
        (hooks.URL, ["project.*", None]),
    ],
)
def test_a_webhook_that_cannot_work_is_refused(tenant: Tenant, url: str | None, events: list[str] | None) -> None:
    with refused("22023", "value_refused"):
        tenant.owner.call("create_webhook", organization_slug=tenant.slug, url=url, events=events)
    assert tenant.owner.rows("select * from public.webhooks") == []


def test_an_organization_has_at_most_twenty(tenant: Tenant) -> None:
    for _ in range(20):
        hooks.add(tenant)
    with refused("PT429", "over_limit"):
        hooks.add(tenant)


# Secrets --------------------------------------------------------------------------------------------------------------


def test_a_secret_is_shown_once_and_never_again(world: World, tenant: Tenant) -> None:
    webhook = hooks.add(tenant)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", webhook["secret"])
    for caller in (tenant.owner, world.service):
        seen = str(caller.rows("select * from public.webhooks where organization_slug = %s", tenant.slug))
        assert webhook["secret"] not in seen
        with refused("42501"):
            caller.rows("select * from private.webhook_secrets")
    logged = str(world.admin.rows("select * from public.audit_logs where organization_slug = %s", tenant.slug))
    assert "webhooks" in logged
    assert webhook["secret"] not in logged
    with refused("42501"):
        tenant.owner.call("read_webhook_delivery", delivery_id=NOBODY, lease_token=NOBODY)


def test_both_secrets_sign_during_a_rotation_and_then_only_the_new_one(tenant: Tenant, worker: Worker) -> None:
    webhook = hooks.add(tenant)
    rotated = tenant.owner.call("rotate_webhook_secret", webhook_id=webhook["id"], overlap_seconds=3600)
    hooks.finish(tenant, worker)
    (lease,) = hooks.take(tenant, worker)
    key = {"delivery_id": str(hooks.lease_delivery(lease)), "lease_token": lease["lease_token"]}
    service = tenant.world.service
    tenant.world.admin.execute(
        "update public.tasks set lease_expires_at = now() + interval '3 hours' where id = %s", lease["task"]["id"]
    )
    assert service.call("read_webhook_delivery", **key)["secrets"] == [rotated["secret"], webhook["secret"]]
    assert service.at("2 hours").call("read_webhook_delivery", **key)["secrets"] == [rotated["secret"]]
    last = tenant.owner.call("rotate_webhook_secret", webhook_id=webhook["id"], overlap_seconds=0)
    assert last["secret"] in service.call("read_webhook_delivery", **key)["secrets"]
    assert rotated["secret"] not in service.call("read_webhook_delivery", **key)["secrets"]
    with refused("22023", "argument_out_of_range"):
        tenant.owner.call("rotate_webhook_secret", webhook_id=webhook["id"], overlap_seconds=-1)


def test_only_who_holds_the_task_of_a_delivery_reads_it(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    for _ in range(2):
        hooks.finish(tenant, worker)
    first, second = hooks.take(tenant, worker, 2)
    service = tenant.world.service

    def read(of: Row, by: Row) -> Row | None:
        key = {"delivery_id": str(hooks.lease_delivery(of)), "lease_token": by["lease_token"]}
        row: Row | None = service.call("read_webhook_delivery", **key)
        return row

    assert (read(first, first) or {})["url"] == hooks.URL
    assert read(first, second) is None
    late = {"delivery_id": str(hooks.lease_delivery(first)), "lease_token": first["lease_token"]}
    assert service.at("1 hour").call("read_webhook_delivery", **late) is None
    assert worker.complete(first, response_metadata={"status": 200}) == "ok"
    assert read(first, first) is None
    tenant.owner.execute("update public.webhooks set enabled = false")
    assert read(second, second) is None


# What is recorded -----------------------------------------------------------------------------------------------------


def test_the_ends_of_tasks_are_events(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    task_id = hooks.finish(tenant, worker, prompt="p" * 2000, metadata={"order": 7})
    tenant.task()
    assert worker.fail(worker.claim_one(tenant, methods=["process"])) == "ok"
    tenant.task()
    assert worker.fail(worker.claim_one(tenant, methods=["process"]), error_code="timeout") == "ok"
    tenant.owner.call("cancel_task", task_id=tenant.task())
    assert hooks.events(tenant) == [
        ("task.completed", "completed"),
        ("task.failed", "failed"),
        ("task.failed", "timeout"),
        ("task.cancelled", "cancelled"),
    ]
    payload = hooks.deliveries(tenant)[0]["payload"]
    assert (payload["type"], payload["data"]["id"], payload["data"]["metadata"]) == (
        "task.completed",
        task_id,
        {"order": 7},
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", payload["timestamp"])
    assert len(payload["data"]["prompt"]) == 500
    assert "response" not in payload["data"]


def test_a_huge_result_makes_a_small_event(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    tenant.task(prompt="p" * 1_000_000, metadata={"m": "x" * 100_000})
    huge = {"output": "x" * 200_000, "deliverable": {"id": "d"}}
    assert worker.complete(worker.claim_one(tenant), response="r" * 1_000_000, response_metadata=huge) == "ok"
    data = hooks.delivery(tenant)["payload"]["data"]
    assert (data["response_metadata"], data["metadata"]) == ({"deliverable": {"id": "d"}}, None)


def test_a_retry_is_no_event_and_each_end_is_one(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    task_id = tenant.task()
    assert worker.fail(worker.claim_one(tenant), retryable=True) == "ok"
    assert hooks.events(tenant) == []
    hooks.due(tenant)
    assert worker.fail(worker.claim_one(tenant)) == "ok"
    tenant.owner.call("retry_task", task_id=task_id)
    assert worker.complete(worker.claim_one(tenant, methods=["process"])) == "ok"
    assert hooks.events(tenant) == [("task.failed", "failed"), ("task.completed", "completed")]


def test_questions_and_projects_are_events(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    tenant.task()
    assert worker.report("pause_task", item(worker.claim_one(tenant), input_request=QUESTION)) == ["ok"]
    project = tenant.owner.insert("projects", conversation_id=tenant.conversation(), name="Tides")
    for status in ("running", "completed"):
        tenant.world.service.update("projects", {"id": project["id"]}, status=status, current_step_id="one")
        tenant.world.service.update("projects", {"id": project["id"]}, current_step_id="two")
    assert hooks.events(tenant) == [
        ("input_request.created", "pending"),
        ("project.created", "planning"),
        ("project.running", "running"),
        ("project.completed", "completed"),
    ]


def test_each_webhook_is_told_what_it_wants(world: World, tenant: Tenant, worker: Worker) -> None:
    wanted, other, off = hooks.add(tenant, "task.completed"), hooks.add(tenant, "project.*"), hooks.add(tenant)
    tenant.owner.update("webhooks", {"id": off["id"]}, enabled=False)
    stranger = world.tenant()
    hooks.add(stranger)
    hooks.finish(tenant, worker)
    assert len(hooks.deliveries(tenant, wanted)) == 1
    assert hooks.deliveries(tenant, other) == hooks.deliveries(tenant, off) == hooks.deliveries(stranger) == []


def test_many_tasks_that_end_in_one_statement_make_one_delivery_each(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    ids = {tenant.task() for _ in range(20)}
    leases = worker.claim(tenant, 20)
    assert worker.report("complete_tasks", *[item(lease, response="x") for lease in leases]) == ["ok"] * 20
    assert sorted(row["payload"]["data"]["id"] for row in hooks.deliveries(tenant)) == sorted(ids)


def test_who_comes_second_makes_no_second_event(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    tenant.task()
    lease = worker.claim_one(tenant)
    sessions = [tenant.world.service] * 4

    def act(session: Session) -> list[str]:
        return worker.on(session).report("complete_tasks", item(lease, response="x"))

    in_parallel(sessions, act)
    in_parallel([tenant.owner] * 4, lambda session: session.call("cancel_task", task_id=lease["task"]["id"]))
    assert hooks.events(tenant) == [("task.completed", "completed")]


def test_what_is_undone_is_no_event(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    tenant.task()
    lease = worker.claim_one(tenant)
    with tenant.world.service.transaction(keep=False) as connection:
        connection.execute("select public.complete_tasks(%s, %s)", (worker.id, Jsonb([item(lease, response="x")])))
    assert hooks.deliveries(tenant) == []


@pytest.mark.parametrize("table", ["organizations", "webhooks"])
def test_a_report_does_not_wait_for_what_is_just_being_deleted(tenant: Tenant, worker: Worker, table: str) -> None:
    hooks.add(tenant)
    tenant.task()
    lease = worker.claim_one(tenant)
    query = f"select from public.{table} o where o::text like '%%' || %s || '%%' for update"
    with tenant.world.admin.fresh() as deleter, deleter.transaction() as connection:
        assert connection.execute(query, [tenant.slug]).rowcount == 1
        with tenant.world.service.fresh() as session:
            session.connection.execute("set statement_timeout = '5s'")
            assert worker.on(session).complete(lease) == "ok"
    assert hooks.deliveries(tenant) == []


def test_a_task_cancelled_by_a_member_is_told_for_the_owner(tenant: Tenant) -> None:
    hooks.add(tenant)
    member = tenant.join("member")
    member.call("cancel_task", task_id=tenant.task(member))
    row = hooks.delivery(tenant)
    assert str(tenant.read(row["task_id"])["user_id"]) == tenant.owner.id


# Tasks of the database's own ------------------------------------------------------------------------------------------


def test_nobody_inserts_tasks_of_an_internal_method(world: World, tenant: Tenant) -> None:
    for caller in (tenant.owner, world.service):
        with refused("22023", "unknown_method") as refusal:
            tenant.task(caller, method="deliver_webhook", user_id=tenant.owner.id, params={"delivery_id": NOBODY})
        assert "deliver_webhook" not in refusal.hint
        with refused("22023", "unknown_method"):
            caller.insert(
                "schedules", organization_slug=tenant.slug, name="s", cron="0 6 * * *", method="deliver_webhook",
                prompt="x", **({"user_id": tenant.owner.id} if caller is not tenant.owner else {}),
            )  # fmt: skip


def test_they_are_hidden_from_lists_and_make_no_events(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    hooks.finish(tenant, worker)
    hooks.answer(tenant, worker, 200)
    hooks.finish(tenant, worker)
    hooks.answer(tenant, worker, 500, retryable=False)
    assert [row["status"] for row in hooks.deliveries(tenant)] == ["delivered", "dead"]
    for query in (
        "select distinct method from public.tasks",
        "select distinct method from public.organization_tasks('{}')",
        "select distinct t.method from public.task_events e join public.tasks t on t.id = e.task_id",
    ):
        assert tenant.owner.rows(query.format(tenant.slug)) == [{"method": "process"}]
    assert tenant.owner.rows("select * from public.dead_letters") == []


def test_they_are_free_of_the_limit_on_tasks_and_take_none_of_it(world: World, worker: Worker) -> None:
    tenant = world.tenant(max_concurrent_tasks=1)
    hooks.add(tenant)
    hooks.finish(tenant, worker)
    tenant.task()
    (running,) = worker.claim(tenant, methods=["process"])
    assert len(hooks.take(tenant, worker)) == 1
    assert worker.complete(running) == "ok"
    tenant.task()
    assert len(worker.claim(tenant, 5, methods=["process"])) == 1


def test_one_webhook_has_at_most_five_on_their_way(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    for _ in range(7):
        hooks.finish(tenant, worker)
    leases = hooks.take(tenant, worker, 10)
    assert len(leases) == 5
    assert worker.complete(leases[0], response_metadata={"status": 204}) == "ok"
    assert len(hooks.take(tenant, worker, 10)) == 1


def test_deliveries_outlive_the_membership_of_who_made_the_webhook(tenant: Tenant, worker: Worker) -> None:
    maker = tenant.join("admin")
    hooks.add(tenant, session=maker)
    hooks.finish(tenant, worker)
    tenant.owner.call("remove_member", organization_slug=tenant.slug, user_id=maker.id)
    hooks.finish(tenant, worker)
    assert {row["status"] for row in hooks.deliveries(tenant)} == {"pending"}
    users = [str(tenant.read(row["task_id"])["user_id"]) for row in hooks.deliveries(tenant)]
    assert users == [maker.id, tenant.owner.id]


def test_a_delivery_whose_user_is_deleted_is_dead_and_can_be_replayed(
    world: World, tenant: Tenant, worker: Worker
) -> None:
    maker = tenant.join("admin")
    hooks.add(tenant, session=maker)
    hooks.finish(tenant, worker)
    world.admin.execute("delete from auth.users where id = %s", maker.id)
    row = hooks.delivery(tenant)
    assert (row["status"], row["task_id"]) == ("dead", None)
    tenant.owner.call("replay_webhook_delivery", delivery_id=str(row["id"]))
    assert hooks.answer(tenant, worker, 200)["status"] == "delivered"
