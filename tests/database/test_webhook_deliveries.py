"""Deliveries of webhooks in the database: how each follows the task that sends it, to the end and back."""

from __future__ import annotations

from tests.database import webhook_kit as hooks
from tests.database.kit import Tenant, Worker, in_parallel, item, refused
from tests.database.pauses import reap


def test_a_delivery_says_how_its_last_attempt_went(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    hooks.finish(tenant, worker)
    row = hooks.answer(tenant, worker, 503, retry_after=7200)
    assert (row["status"], row["attempts"], row["last_response_code"]) == ("failed", 1, 503)
    assert row["last_error"] == "webhook_failed: No."
    assert row["next_attempt_at"] == tenant.read(row["task_id"])["scheduled_at"]
    hooks.due(tenant)
    (lease,) = hooks.take(tenant, worker)
    assert worker.report("release_tasks", item(lease)) == ["ok"]
    assert hooks.delivery(tenant)["attempts"] == 1
    row = hooks.answer(tenant, worker, 200)
    assert (row["status"], row["attempts"], row["last_response_code"], row["last_error"]) == ("delivered", 2, 200, None)
    assert row["completed_at"]


def test_after_the_last_attempt_it_is_dead_and_a_replay_gives_it_all_attempts(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    hooks.finish(tenant, worker)
    first = hooks.delivery(tenant)
    for _ in range(8):
        hooks.due(tenant)
        row = hooks.answer(tenant, worker, 500)
    assert (row["status"], row["attempts"], row["next_attempt_at"]) == ("dead", 8, None)
    assert hooks.take(tenant, worker) == []
    in_parallel([tenant.owner] * 3, lambda session: session.call("replay_webhook_delivery", delivery_id=str(row["id"])))
    again = hooks.delivery(tenant)
    assert (again["id"], again["payload"], again["status"]) == (first["id"], first["payload"], "pending")
    assert hooks.answer(tenant, worker, 500)["status"] == "failed"
    tenant.owner.call("replay_webhook_delivery", delivery_id=str(row["id"]))  # one that waits is tried at once
    assert hooks.answer(tenant, worker, 200)["attempts"] == 10
    assert hooks.take(tenant, worker) == []


def test_a_redriven_or_cancelled_task_takes_its_delivery_along(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    hooks.finish(tenant, worker)
    assert hooks.answer(tenant, worker, 500, retryable=False)["status"] == "dead"
    assert tenant.owner.call("redrive_tasks", organization_slug=tenant.slug)["redriven"] == 1
    assert hooks.delivery(tenant)["status"] == "failed"
    tenant.owner.call("cancel_tasks", organization_slug=tenant.slug, method="deliver_webhook")
    assert hooks.delivery(tenant)["status"] == "dead"
    assert hooks.delivery(tenant)["last_error"].startswith("cancelled: ")


def test_a_receiver_that_is_gone_is_disabled_at_once(tenant: Tenant, worker: Worker) -> None:
    webhook = hooks.add(tenant)
    hooks.finish(tenant, worker)
    assert hooks.answer(tenant, worker, 410, retryable=False)["status"] == "dead"
    row = hooks.read(tenant, webhook)
    assert (row["enabled"], row["disabled_reason"]) == (False, "The receiver answered 410 Gone.")
    hooks.finish(tenant, worker)
    assert len(hooks.deliveries(tenant)) == 1
    for function, key in (("send_test_webhook", "webhook_id"), ("replay_webhook_delivery", "delivery_id")):
        target = webhook["id"] if key == "webhook_id" else str(hooks.delivery(tenant)["id"])
        with refused("PT409", "webhook_disabled"):
            tenant.owner.call(function, **{key: target})
    tenant.owner.update("webhooks", {"id": webhook["id"]}, enabled=True)
    row = hooks.read(tenant, webhook)
    assert (row["disabled_reason"], row["failing_since"]) == (None, None)


def test_a_receiver_that_fails_for_three_days_is_disabled(tenant: Tenant, worker: Worker) -> None:
    webhook = hooks.add(tenant)
    hooks.finish(tenant, worker)
    hooks.answer(tenant, worker, 500)
    assert hooks.read(tenant, webhook)["failing_since"]
    hooks.due(tenant)
    hooks.answer(tenant, worker, 200)
    assert hooks.read(tenant, webhook)["failing_since"] is None
    hooks.finish(tenant, worker)
    hooks.answer(tenant, worker, 500)
    tenant.world.admin.execute("update public.webhooks set failing_since = now() - interval '73 hours'")
    hooks.due(tenant)
    hooks.answer(tenant, worker, 500)
    row = hooks.read(tenant, webhook)
    assert (row["enabled"], row["disabled_reason"]) == (False, "Nothing was delivered for three days.")


def test_what_is_left_when_a_webhook_is_disabled_is_dead_once_it_is_looked_at(tenant: Tenant, worker: Worker) -> None:
    webhook = hooks.add(tenant)
    hooks.finish(tenant, worker)
    tenant.owner.update("webhooks", {"id": webhook["id"]}, enabled=False)
    (lease,) = hooks.take(tenant, worker)
    assert worker.complete(lease) == "ok"
    row = hooks.delivery(tenant)
    assert (row["status"], row["last_error"].split(":")[0]) == ("dead", "webhook_disabled")


def test_a_lost_worker_leaves_the_delivery_to_the_next(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    hooks.finish(tenant, worker)
    (lease,) = hooks.take(tenant, worker)
    task_id = lease["task"]["id"]
    tenant.world.admin.execute(
        "update public.tasks set lease_expires_at = now() - interval '1 second' where id = %s", task_id
    )
    reap(worker)
    assert hooks.delivery(tenant)["last_error"].startswith("worker_lost")
    assert worker.complete(lease, response_metadata={"status": 200}) == "lost"
    assert hooks.answer(tenant, worker, 200)["status"] == "delivered"


def test_deleting_a_webhook_takes_its_deliveries_and_its_tasks_end(tenant: Tenant, worker: Worker) -> None:
    webhook = hooks.add(tenant)
    hooks.finish(tenant, worker)
    (lease,) = hooks.take(tenant, worker)
    tenant.owner.execute("delete from public.webhooks where id = %s", webhook["id"])
    assert hooks.deliveries(tenant) == []
    assert worker.complete(lease) == "ok"


def test_tasks_of_deliveries_go_after_ten_minutes_and_deliveries_after_thirty_days(
    tenant: Tenant, worker: Worker
) -> None:
    hooks.add(tenant)
    hooks.finish(tenant, worker)
    task_id = hooks.answer(tenant, worker, 200)["task_id"]
    hooks.finish(tenant, worker)
    service = tenant.world.service
    service.at("9 minutes").execute("select private.purge_webhook_deliveries()")
    assert tenant.world.admin.rows("select from public.tasks where id = %s", task_id)
    service.at("11 minutes").execute("select private.purge_webhook_deliveries()")
    assert tenant.world.admin.rows("select from public.tasks where id = %s", task_id) == []
    assert [row["status"] for row in hooks.deliveries(tenant)] == ["delivered", "pending"]
    service.at("31 days").execute("select private.purge_webhook_deliveries()")
    assert [row["status"] for row in hooks.deliveries(tenant)] == ["pending"]


def test_who_is_no_admin_any_more_does_not_stop_what_is_sent_for_them(tenant: Tenant) -> None:
    once = tenant.join("admin")
    hooks.add(tenant, "task.cancelled", session=once)
    tenant.owner.call("cancel_task", task_id=tenant.task())
    sent = hooks.delivery(tenant)["task_id"]
    query = "update public.organization_members set role = 'member' where organization_slug = %s and user_id = %s"
    tenant.world.admin.execute(query, tenant.slug, once.id)
    with refused("PT404", "task_not_found"):
        once.call("cancel_task", task_id=sent)
    told = once.call("cancel_tasks", organization_slug=tenant.slug, method="deliver_webhook")
    assert (told["cancelled"], told["remaining"]) == (0, 0)
    assert hooks.delivery(tenant)["status"] == "pending"
    tenant.owner.call("cancel_task", task_id=sent)
    assert hooks.delivery(tenant)["status"] == "dead"
