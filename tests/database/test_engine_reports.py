"""Reports: what a worker may still say about a task, and what each report does, once and as a whole."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Tenant, Worker, World, item, refused

REPORTS: dict[str, tuple[str, Row]] = {
    "heartbeat": ("heartbeat_tasks", {"progress": 50}),
    "event": ("add_task_events", {"type": "log", "message": "hello"}),
    "completed": (
        "complete_tasks",
        {"response": "done.", "deliverable": {"title": "T", "type": "text", "format": "text", "content": "c"}},
    ),
    "failed": ("fail_tasks", {"error_code": "some_error", "error_message": "m", "retryable": True}),
    "released": ("release_tasks", {}),
}
DELIVERABLE = {"title": "Tide pools", "type": "document", "format": "markdown", "content": "# Tide pools"}
USAGE = [
    {"provider": "anthropic", "model": "m", "input_tokens": 10, "output_tokens": 5, "cached_tokens": 2, "cost": 0.25},
    {"provider": "anthropic", "model": "n", "input_tokens": 1, "output_tokens": 2, "cost": None, "price_version": "7"},
]


@pytest.fixture
def lease(tenant: Tenant, worker: Worker) -> Row:
    """Give a claimed task of a conversation."""
    tenant.task(agent_conversation_id=tenant.conversation())
    return worker.claim_one(tenant)


def whole_state(tenant: Tenant) -> Row:
    """Read all that a report could change."""
    return tenant.world.admin.row(
        "with t as (select * from public.tasks where organization_slug = %s),"
        " r as (select * from public.runs where task_id in (select id from t)),"
        " d as (select * from public.deliverables where task_id in (select id from t))"
        " select (select jsonb_agg(to_jsonb(t) order by id) from t) as tasks,"
        " (select jsonb_agg(to_jsonb(r) order by id) from r) as runs,"
        " (select jsonb_agg(to_jsonb(d) order by id) from d) as deliverables,"
        " (select count(*) from public.task_events where task_id in (select id from t)) as events,"
        " (select count(*) from public.messages where task_id in (select id from t)) as messages,"
        " (select count(*) from public.deliverable_versions where task_id in (select id from t)) as versions,"
        " (select count(*) from public.usage_events where task_id in (select id from t)) as usage",
        tenant.slug,
    )


def expire(tenant: Tenant, task_id: str) -> None:
    tenant.world.admin.execute(
        "update public.tasks set lease_expires_at = now() - interval '1 second' where id = %s", task_id
    )


@pytest.mark.parametrize(
    "wrong", ["token", "attempt", "worker", "expired", "failed", "released", "reclaimed", "unknown task", "no fence"]
)
@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_without_the_lease_is_lost_and_changes_nothing(
    tenant: Tenant, worker: Worker, lease: Row, kind: str, wrong: str
) -> None:
    function, content = REPORTS[kind]
    report = item(lease, **content)
    speaker = worker
    match wrong:
        case "token":
            report["lease_token"] = str(uuid.uuid4())
        case "attempt":
            report["attempt"] = 2
        case "worker":
            speaker = tenant.world.worker()
        case "expired":
            expire(tenant, report["task_id"])
        case "failed":
            worker.fail(lease)
        case "released":
            worker.report("release_tasks", item(lease))
        case "reclaimed":
            worker.report("release_tasks", item(lease))
            worker.claim_one(tenant)
        case "unknown task":
            report["task_id"] = str(uuid.uuid4())
        case "no fence":
            report = dict(content)
    before = whole_state(tenant)
    # The same news twice is no loss: what it says is so.
    expected = "ok" if kind == wrong or (kind == "released" and wrong == "reclaimed") else "lost"
    assert speaker.report(function, report) == [expected]
    assert whole_state(tenant) == before


@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_on_a_cancelled_task_answers_cancelled_and_changes_nothing(
    tenant: Tenant, worker: Worker, lease: Row, kind: str
) -> None:
    function, content = REPORTS[kind]
    tenant.owner.call("cancel_task", task_id=lease["task"]["id"])
    before = whole_state(tenant)
    assert worker.report(function, item(lease, **content)) == ["cancelled"]
    assert whole_state(tenant) == before


@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_on_a_completed_task_changes_nothing(tenant: Tenant, worker: Worker, lease: Row, kind: str) -> None:
    function, content = REPORTS[kind]
    assert worker.complete(lease, deliverable=DELIVERABLE, messages=[{"content": "m"}], usage=USAGE) == "ok"
    before = whole_state(tenant)
    assert worker.report(function, item(lease, **content)) == ["ok" if kind == "completed" else "lost"]
    assert whole_state(tenant) == before


@pytest.mark.parametrize("kind", REPORTS)
@pytest.mark.parametrize(
    "broken", [{"task_id": "x"}, {"attempt": "x"}, {"attempt": 10**12}, {"lease_token": "x"}, {"lease_token": 7}]
)
def test_a_malformed_item_is_invalid_and_spoils_nothing(worker: Worker, lease: Row, kind: str, broken: Row) -> None:
    function, content = REPORTS[kind]
    good, bad = item(lease, **content), item(lease, **content) | broken
    assert sorted(worker.report(function, bad, bad, good)) == ["invalid", "invalid", "ok"]


@pytest.mark.parametrize("kind", REPORTS)
@pytest.mark.parametrize("scalar", [None, 7, "x", []])
def test_an_item_that_is_no_object_is_not_taken(worker: Worker, kind: str, scalar: Any) -> None:
    assert worker.report(REPORTS[kind][0], scalar)[0] in {"lost", "invalid"}


@pytest.mark.parametrize("kind", REPORTS)
@pytest.mark.parametrize("items", [{}, 7, "x", [None] * 1001], ids=["object", "number", "string", "1001 items"])
def test_items_must_be_a_list_of_at_most_a_thousand(world: World, kind: str, items: Any) -> None:
    with refused("22023", "items_not_a_list"):
        world.service.call(REPORTS[kind][0], worker_id="w", items=Jsonb(items))


@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_names_its_worker(world: World, kind: str) -> None:
    with refused("22023", "worker_id_invalid"):
        world.service.call(REPORTS[kind][0], worker_id=" ", items=Jsonb([]))


def test_a_heartbeat_extends_the_lease_and_tells_progress(tenant: Tenant, worker: Worker, lease: Row) -> None:
    task_id = lease["task"]["id"]
    reported = item(lease, progress=42.4, progress_message="Reading")
    assert worker.report("heartbeat_tasks", reported, lease_seconds=600) == ["ok"]
    task = tenant.read(task_id)
    assert (task["progress"], task["progress_message"]) == (42, "Reading")
    assert (task["lease_expires_at"] - datetime.fromisoformat(lease["lease_expires_at"])).total_seconds() > 560
    assert tenant.events(task_id)[-1]["data"] == {"progress": 42}


@pytest.mark.parametrize(
    ("progress", "kept"), [(-5, 0), (0, 0), (99, 99), (100, 99), (250, 99), (None, 0), ("NaN", 99), (1e300, 99)]
)
def test_progress_of_a_heartbeat_stays_between_0_and_99(
    tenant: Tenant, worker: Worker, lease: Row, progress: Any, kept: int
) -> None:
    assert worker.report("heartbeat_tasks", item(lease, progress=progress)) == ["ok"]
    assert tenant.read(lease["task"]["id"])["progress"] == kept


def test_a_heartbeat_without_news_writes_no_event(tenant: Tenant, worker: Worker, lease: Row) -> None:
    before = len(tenant.events(lease["task"]["id"]))
    worker.report("heartbeat_tasks", item(lease), item(lease))
    assert len(tenant.events(lease["task"]["id"])) == before


@pytest.mark.parametrize("lease_seconds", [0, -1, 3601, None])
def test_a_heartbeat_asks_for_a_lease_of_a_second_to_an_hour(worker: Worker, lease: Row, lease_seconds: int) -> None:
    with refused("22023", "argument_out_of_range"):
        worker.report("heartbeat_tasks", item(lease), lease_seconds=lease_seconds)


def test_events_are_kept_in_order_with_their_attempt(tenant: Tenant, worker: Worker, lease: Row) -> None:
    kinds = ["progress", "message", "partial", "tool", "log"]
    items = [item(lease, type=kind, message=kind, data={"text": kind}) for kind in kinds]
    assert worker.report("add_task_events", *items) == ["ok"] * 5
    events = tenant.events(lease["task"]["id"])
    assert [e["sequence"] for e in events] == list(range(1, 8))
    assert [(e["type"], e["message"], e["data"], e["attempt"]) for e in events[2:]] == [
        (kind, kind, {"text": kind}, 1) for kind in kinds
    ]


@pytest.mark.parametrize("data", [{}, {"data": None}])
def test_an_event_needs_no_data(tenant: Tenant, worker: Worker, lease: Row, data: Row) -> None:
    assert worker.report("add_task_events", item(lease, type="log", message="m", **data)) == ["ok"]
    assert tenant.events(lease["task"]["id"])[-1]["data"] == {}


@pytest.mark.parametrize(
    "content", [{"type": "status"}, {"type": "x"}, {}, {"type": "log", "data": [1]}, {"type": "log", "data": "x"}]
)
def test_a_bad_event_is_invalid(tenant: Tenant, worker: Worker, lease: Row, content: Row) -> None:
    before = whole_state(tenant)
    assert worker.report("add_task_events", item(lease, **content)) == ["invalid"]
    assert whole_state(tenant) == before


def test_events_are_written_once(tenant: Tenant) -> None:
    task_id = tenant.task()
    for session in (tenant.world.service, tenant.world.admin):
        with refused("42501" if session.role == "service_role" else "PT409"):
            session.update("task_events", {"task_id": task_id}, message="changed")


def test_a_task_given_back_waits_at_no_cost_of_an_attempt(tenant: Tenant, worker: Worker, lease: Row) -> None:
    assert worker.report("release_tasks", item(lease)) == ["ok"]
    task = tenant.read(lease["task"]["id"])
    assert (task["status"], task["attempt"], task["error_code"]) == ("pending", 0, None)
    again = worker.claim_one(tenant)
    assert (again["attempt"], again["task"]["id"]) == (1, lease["task"]["id"])
    assert again["lease_token"] != lease["lease_token"]
    assert [r["status"] for r in tenant.runs(task["id"])] == ["released", "running"]
