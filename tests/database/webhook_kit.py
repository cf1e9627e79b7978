"""Webhooks in tests: adding one, reading its deliveries, and being the worker that sends them."""

from __future__ import annotations

import uuid
from typing import Any

from tests.database.kit import Row, Session, Tenant, Worker, item

URL = "https://example.com/hook"
EVENTS = ["task.completed", "task.failed", "task.cancelled", "input_request.created", "project.*"]


def add(tenant: Tenant, *events: str, session: Session | None = None, url: str = URL) -> Row:
    """Add a webhook as the owner; return its row with the secret."""
    caller = session or tenant.owner
    row: Row = caller.call("create_webhook", organization_slug=tenant.slug, url=url, events=list(events or EVENTS))
    return row


def read(tenant: Tenant, webhook: Row) -> Row:
    return tenant.world.admin.row("select * from public.webhooks where id = %s", webhook["id"])


def deliveries(tenant: Tenant, webhook: Row | None = None) -> list[Row]:
    """Read the deliveries of the organization, or of one webhook, the oldest first."""
    query = (
        "select * from public.webhook_deliveries where organization_slug = %s and webhook_id = coalesce(%s, webhook_id)"
    )
    return tenant.world.admin.rows(query + " order by id", tenant.slug, webhook and webhook["id"])


def delivery(tenant: Tenant) -> Row:
    """Read the only delivery there is."""
    (row,) = deliveries(tenant)
    return row


def events(tenant: Tenant) -> list[tuple[str, str]]:
    """Return what there is to tell: (event type, status in the payload)."""
    return [(row["event_type"], row["payload"]["data"]["status"]) for row in deliveries(tenant)]


def take(tenant: Tenant, worker: Worker, max_tasks: int = 1) -> list[Row]:
    """Claim tasks that send deliveries."""
    return worker.claim(tenant, max_tasks, methods=["deliver_webhook"])


def due(tenant: Tenant) -> None:
    """Let what waits for its next attempt wait no longer."""
    query = "update public.tasks set scheduled_at = now() where organization_slug = %s and status = 'pending'"
    tenant.world.admin.execute(query, tenant.slug)


def answer(tenant: Tenant, worker: Worker, status: int, **failure: Any) -> Row:
    """Take the one delivery that is due and report how the receiver answered; return the delivery."""
    (lease,) = take(tenant, worker)
    if status < 300:
        assert worker.complete(lease, response="", response_metadata={"status": status}) == "ok"
    else:
        code = "webhook_gone" if status == 410 else "webhook_failed"
        report = {"error_code": code, "error_message": "No.", "error_data": {"status": status}, "retryable": True}
        (outcome,) = worker.report("fail_tasks", item(lease, **{**report, **failure}))
        assert outcome == "ok"
    (row,) = [row for row in deliveries(tenant) if row["id"] == lease_delivery(lease)]
    return row


def lease_delivery(lease: Row) -> Any:
    """Return the id of the delivery that a claimed task sends."""
    return uuid.UUID(lease["task"]["params"]["delivery_id"])


def finish(tenant: Tenant, worker: Worker, **columns: Any) -> str:
    """Let a task be completed; return its id."""
    task_id = tenant.task(**columns)
    assert worker.complete(worker.claim_one(tenant, methods=["process"])) == "ok"
    return task_id
