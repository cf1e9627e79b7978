"""How attempts end: a result written whole or not at all, failures that are retried, and the runs that tell of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.database.kit import Row, Tenant, Worker, World, item

DELIVERABLE = {"title": "Tide pools", "type": "document", "format": "markdown", "content": "# Tide pools"}
USAGE = [
    {"provider": "anthropic", "model": "m", "input_tokens": 10, "output_tokens": 5, "cached_tokens": 2, "cost": 0.25},
    {"provider": "anthropic", "model": "n", "input_tokens": 1, "output_tokens": 2, "cost": None, "price_version": "7"},
]
RESULT: Row = {
    "response_metadata": {"kind": "post"},
    "llm_metadata": {"provider": "anthropic", "model": "m"},
    "deliverable": DELIVERABLE,
    "messages": [{"content": "Here it is."}, {"content": "Enjoy.", "metadata": {"n": 2}}],
    "usage": USAGE,
}


@pytest.fixture
def lease(tenant: Tenant, worker: Worker) -> Row:
    """Give a claimed task of a conversation."""
    tenant.task(agent_conversation_id=tenant.conversation())
    return worker.claim_one(tenant)


def written(tenant: Tenant, task_id: str) -> Row:
    """Read what completions write, by table."""
    return tenant.world.admin.row(
        "with t as (select %s::uuid as id) select"
        " (select coalesce(jsonb_agg(d), '[]') from public.deliverables d where d.task_id = t.id) as deliverables,"
        " (select coalesce(jsonb_agg(v order by v.version_number), '[]') from public.deliverable_versions v"
        "  where v.task_id = t.id) as versions,"
        " (select coalesce(jsonb_agg(m order by m.created_at), '[]') from public.messages m"
        "  where m.task_id = t.id and m.sender_type = 'agent') as messages,"
        " (select coalesce(jsonb_agg(u order by u.id), '[]') from public.usage_events u"
        "  where u.task_id = t.id) as usage"
        " from t",
        task_id,
    )


def test_a_completion_writes_everything_together(tenant: Tenant, worker: Worker, lease: Row) -> None:
    task_id = lease["task"]["id"]
    assert worker.complete(lease, **RESULT) == "ok"
    task, (run,), what = tenant.read(task_id), tenant.runs(task_id), written(tenant, task_id)
    (deliverable,), (version,) = what["deliverables"], what["versions"]
    assert (task["status"], task["response"], task["progress"]) == ("completed", "done.", 100)
    assert task["llm_metadata"] == RESULT["llm_metadata"]
    assert task["response_metadata"] == {
        "kind": "post",
        "deliverable": {"id": deliverable["id"], "version_id": version["id"], "version_number": 1},
    }
    assert (run["status"], run["total_tokens"], run["total_cost"]) == ("completed", 18, Decimal("0.25"))
    assert (deliverable["title"], deliverable["user_id"]) == ("Tide pools", tenant.owner.id)
    assert (deliverable["organization_slug"], deliverable["conversation_id"], deliverable["agent_name"]) == (
        tenant.slug,
        lease["task"]["agent_conversation_id"],
        "Writer",
    )
    assert (version["content"], version["format"], version["is_current_version"], version["created_by_type"]) == (
        "# Tide pools",
        "markdown",
        True,
        "ai_response",
    )
    assert [(m["content"], m["sender_agent_slug"]) for m in what["messages"]] == [
        ("Here it is.", tenant.agent),
        ("Enjoy.", tenant.agent),
    ]
    assert [(u["model"], u["input_tokens"], u["cached_tokens"], u["cost"]) for u in what["usage"]] == [
        ("m", 10, 2, 0.25),
        ("n", 1, 0, None),
    ]
    assert {u["run_id"] for u in what["usage"]} == {str(run["id"])}


def test_a_completion_may_be_only_a_response(tenant: Tenant, worker: Worker, lease: Row) -> None:
    nothing = dict.fromkeys(("deliverable", "messages", "usage", "response_metadata", "llm_metadata"))
    assert worker.complete(lease, response="", **nothing) == "ok"
    task = tenant.read(lease["task"]["id"])
    assert (task["response"], task["response_metadata"], task["llm_metadata"]) == ("", {}, {})
    assert set(map(len, written(tenant, lease["task"]["id"]).values())) == {0}


@pytest.mark.parametrize(
    "bad",
    [
        {"response": None},
        {"response": 7},
        {"deliverable": {**DELIVERABLE, "title": None}},
        {"deliverable": {k: v for k, v in DELIVERABLE.items() if k != "title"}},
        {"deliverable": {**DELIVERABLE, "title": "  "}},
        {"deliverable": {**DELIVERABLE, "type": ""}},
        {"deliverable": {**DELIVERABLE, "metadata": [1]}},
        {"deliverable": {**DELIVERABLE, "deliverable_id": "x"}},
        {"deliverable": {**DELIVERABLE, "deliverable_id": "00000000-0000-0000-0000-000000000000"}},
        {"deliverable": {**DELIVERABLE, "format": "f" * 101}},
        {"deliverable": {**DELIVERABLE, "file_attachments": 7}},
        {"deliverable": "text"},
        {"messages": [{"content": None}]},
        {"messages": {"content": "x"}},
        {"messages": ["x"]},
        {"usage": [{**USAGE[0], "input_tokens": -1}]},
        {"usage": [{**USAGE[0], "cost": -0.1}]},
        {"usage": [{**USAGE[0], "cost": 1e12}]},
        {"usage": [{**USAGE[0], "output_tokens": "many"}]},
        {"usage": [{**USAGE[0], "provider": None}]},
        {"usage": {"provider": "x"}},
        {"usage": "x"},
        {"response_metadata": [1]},
        {"response_metadata": 7},
        {"llm_metadata": "x"},
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_result_writes_nothing_at_all(tenant: Tenant, worker: Worker, lease: Row, bad: Row) -> None:
    task_id = lease["task"]["id"]
    before = (tenant.read(task_id), tenant.events(task_id), tenant.runs(task_id), written(tenant, task_id))
    assert worker.complete(lease, **{**RESULT, **bad}) == "invalid"
    assert (tenant.read(task_id), tenant.events(task_id), tenant.runs(task_id), written(tenant, task_id)) == before


def test_a_bad_result_says_why_and_can_be_failed(tenant: Tenant, worker: Worker, lease: Row) -> None:
    answer = worker.exchange(report={"completed": [item(lease, response="x", deliverable={"content": "no title"})]})
    (outcome,) = answer["outcomes"]
    assert (outcome["kind"], outcome["outcome"], outcome["task_id"]) == ("completed", "invalid", lease["task"]["id"])
    assert "title" in outcome["detail"]
    assert worker.fail(lease, error_code="result_invalid") == "ok"
    assert tenant.read(lease["task"]["id"])["error_code"] == "result_invalid"


@pytest.mark.parametrize("optional", ["metadata", "file_attachments", "deliverable_id", "format", "type"])
def test_null_is_as_good_as_leaving_out_of_a_deliverable(worker: Worker, lease: Row, optional: str) -> None:
    assert worker.complete(lease, deliverable={**DELIVERABLE, optional: None}) == "ok"


def test_a_repeated_completion_acts_once(tenant: Tenant, worker: Worker, lease: Row) -> None:
    assert worker.complete(lease, **RESULT) == "ok"
    before = written(tenant, lease["task"]["id"])
    again = item(lease, **{**RESULT, "response": "other"})
    assert worker.report("complete_tasks", again, again) == ["ok", "ok"]
    assert written(tenant, lease["task"]["id"]) == before
    assert tenant.read(lease["task"]["id"])["response"] == "done."


def test_good_items_are_kept_beside_bad_ones(tenant: Tenant, worker: Worker) -> None:
    for _ in range(3):
        tenant.task()
    first, second, third = worker.claim(tenant, 3)
    bad = item(second, response="x", deliverable={})
    outcomes = worker.report("complete_tasks", item(first, response="x"), bad, item(third, response="x"))
    assert sorted(outcomes) == ["invalid", "ok", "ok"]
    states = [tenant.read(lease["task"]["id"])["status"] for lease in (first, second, third)]
    assert states == ["completed", "in_progress", "completed"]


def test_results_of_many_conversations_are_taken_in_one_report(tenant: Tenant, worker: Worker) -> None:
    for _ in range(3):
        tenant.task(agent_conversation_id=tenant.conversation())
    leases = worker.claim(tenant, 3)
    items = [item(lease, response="x", messages=[{"content": "m"}]) for lease in leases]
    assert worker.report("complete_tasks", *items) == ["ok"] * 3


# Failures


def wait_seconds(tenant: Tenant, task_id: str) -> float:
    return float(
        tenant.world.admin.value(
            "select extract(epoch from scheduled_at - updated_at) from public.tasks where id = %s", task_id
        )
    )


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 8), (2, 16), (3, 32), (4, 64), (30, 3600)])
def test_the_wait_before_another_attempt_doubles_up_to_an_hour(
    tenant: Tenant, worker: Worker, attempt: int, seconds: float
) -> None:
    task_id = tenant.task(backoff="8 seconds", max_attempts=50)
    tenant.world.admin.update("tasks", {"id": task_id}, attempt=attempt - 1)
    assert worker.fail(worker.claim_one(tenant), retryable=True) == "ok"
    assert seconds * 0.75 <= wait_seconds(tenant, task_id) <= seconds * 1.25


@pytest.mark.parametrize(
    ("retry_after", "between"), [(90, (90, 90)), (0.5, (3, 7)), (-5, (3, 7)), (None, (3, 7)), (10**9, (86400, 86400))]
)
def test_a_provider_that_says_when_is_believed_up_to_a_day(
    tenant: Tenant, worker: Worker, lease: Row, retry_after: float, between: tuple[float, float]
) -> None:
    assert worker.fail(lease, retryable=True, retry_after=retry_after) == "ok"
    assert between[0] <= wait_seconds(tenant, lease["task"]["id"]) <= between[1]


def test_a_failed_attempt_waits_and_then_goes_on(tenant: Tenant, worker: Worker, lease: Row, world: World) -> None:
    task_id = lease["task"]["id"]
    reason = {"error_code": "provider_overloaded", "error_message": "Busy.", "error_data": {"status": 529}}
    assert worker.fail(lease, retryable=True, usage=USAGE, **reason) == "ok"
    task = tenant.read(task_id)
    assert (task["status"], task["attempt"]) == ("pending", 1)
    assert {key: task[key] for key in reason} == reason
    assert worker.claim(tenant) == []
    second = worker.on(world.service.at("1 minute")).claim_one(tenant)
    assert second["attempt"] == 2
    assert worker.complete(second) == "ok"
    assert tenant.read(task_id)["error_code"] is None
    runs = [(r["status"], r["error_code"], r["total_tokens"]) for r in tenant.runs(task_id)]
    assert runs == [("failed", "provider_overloaded", 18), ("completed", None, 0)]


@pytest.mark.parametrize("ending", ["released", "cancelled"])
def test_an_attempt_does_not_carry_the_error_of_the_one_before(
    tenant: Tenant, worker: Worker, world: World, ending: str
) -> None:
    task_id = tenant.task(backoff="0")
    worker.fail(worker.claim_one(tenant), retryable=True)
    second = worker.on(world.service.at("1 second")).claim_one(tenant)
    assert tenant.events(task_id)[-1]["data"] == {"from": "pending", "to": "in_progress"}
    assert tenant.events(task_id)[-1]["message"] is None
    if ending == "released":
        worker.report("release_tasks", item(second))
    else:
        tenant.owner.call("cancel_task", task_id=task_id)
    run = tenant.runs(task_id)[-1]
    assert (run["status"], run["error_code"], run["error_message"]) == (ending, None, None)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ({"retryable": False}, "failed"),
        ({"retryable": None}, "failed"),
        ({"error_code": "timeout"}, "timeout"),
        ({"rejected": True}, "rejected"),
        ({"rejected": True, "retryable": True}, "rejected"),
        ({"rejected": True, "error_code": "timeout"}, "rejected"),
    ],
)
def test_a_failure_that_is_not_retried_is_final(
    tenant: Tenant, worker: Worker, lease: Row, reason: Row, status: str
) -> None:
    assert worker.fail(lease, **reason) == "ok"
    task, (run,) = tenant.read(lease["task"]["id"]), tenant.runs(lease["task"]["id"])
    assert (task["status"], run["status"], run["error_code"]) == (status, status, task["error_code"])
    assert (task["error_message"], run["error_message"]) == ("It broke.", "It broke.")


@pytest.mark.parametrize(("error_code", "status"), [("internal_error", "failed"), ("timeout", "timeout")])
def test_the_last_attempt_ends_the_task(tenant: Tenant, worker: Worker, error_code: str, status: str) -> None:
    task_id = tenant.task(max_attempts=2, backoff="0")
    for expected in ("pending", status):
        assert worker.fail(worker.claim_one(tenant), retryable=True, error_code=error_code) == "ok"
        assert tenant.read(task_id)["status"] == expected
    assert [r["status"] for r in tenant.runs(task_id)] == [status, status]


def test_a_repeated_failure_acts_once(tenant: Tenant, worker: Worker, lease: Row) -> None:
    assert worker.fail(lease, retryable=True, usage=USAGE) == "ok"
    before = (tenant.read(lease["task"]["id"]), written(tenant, lease["task"]["id"]))
    assert worker.fail(lease, retryable=True, usage=USAGE) == "ok"
    assert (tenant.read(lease["task"]["id"]), written(tenant, lease["task"]["id"])) == before


@pytest.mark.parametrize(
    "bad",
    [
        {"error_code": None},
        {"error_code": "Not Snake"},
        {"error_code": ""},
        {"retryable": "perhaps"},
        {"retryable": True, "retry_after": "soon"},
        {"usage": [{"provider": "p", "model": "m", "input_tokens": -1}]},
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_failure_is_invalid(tenant: Tenant, worker: Worker, lease: Row, bad: dict[str, Any]) -> None:
    before = tenant.read(lease["task"]["id"])
    assert worker.fail(lease, **bad) == "invalid"
    assert tenant.read(lease["task"]["id"]) == before


@pytest.mark.parametrize(
    ("ending", "status"), [("cancel", "cancelled"), ("pause", "paused"), ("delete conversation", "completed")]
)
def test_a_run_ends_with_its_task_by_whatever_hand(
    tenant: Tenant, worker: Worker, lease: Row, ending: str, status: str
) -> None:
    task_id = lease["task"]["id"]
    match ending:
        case "cancel":
            tenant.owner.call("cancel_task", task_id=task_id)
        case "pause":
            tenant.world.service.update("tasks", {"id": task_id}, status="paused")
        case _:
            tenant.owner.execute("delete from public.agent_conversations where organization_slug = %s", tenant.slug)
            assert worker.complete(lease, **RESULT) == "ok"
    (run,) = tenant.runs(task_id)
    assert (run["status"], run["completed_at"] is not None) == (status, True)


def test_a_retried_task_goes_on_with_the_deliverable_it_made(tenant: Tenant, worker: Worker, world: World) -> None:
    task_id = tenant.task()
    deliverable_id = world.admin.insert(
        "deliverables", organization_slug=tenant.slug, user_id=tenant.owner.id, task_id=task_id, title="T", type="text"
    )["id"]
    assert worker.complete(worker.claim_one(tenant), deliverable=DELIVERABLE) == "ok"
    assert tenant.read(task_id)["response_metadata"]["deliverable"]["id"] == str(deliverable_id)


def test_what_happened_to_a_task_goes_with_it(tenant: Tenant, worker: Worker) -> None:
    kept, *gone = (tenant.task() for _ in range(3))
    leases = worker.claim(tenant, 3)
    done = next(lease for lease in leases if lease["task"]["id"] == gone[0])
    assert worker.report("complete_tasks", item(done, response="Done.")) == ["ok"]
    written = (len(tenant.events(kept)), len(tenant.runs(kept)))
    assert written == (2, 1)
    assert tenant.world.admin.execute("delete from public.tasks where id = any (%s)", gone) == 2
    assert [(tenant.events(task_id), tenant.runs(task_id)) for task_id in gone] == [([], [])] * 2
    assert (len(tenant.events(kept)), len(tenant.runs(kept))) == written


def test_every_change_of_a_task_is_dated(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task()
    dates = [tenant.read(task_id)["updated_at"]]
    lease = worker.claim_one(tenant)
    dates.append(tenant.read(task_id)["updated_at"])
    assert worker.report("heartbeat_tasks", item(lease, progress=10)) == ["ok"]
    dates.append(tenant.read(task_id)["updated_at"])
    tenant.world.admin.execute("update public.tasks set priority = 7 where id = %s", task_id)
    dates.append(tenant.read(task_id)["updated_at"])
    assert worker.report("complete_tasks", item(lease, response="Done.")) == ["ok"]
    dates.append(tenant.read(task_id)["updated_at"])
    assert dates == sorted(set(dates))
    (run,) = tenant.runs(task_id)
    assert run["updated_at"] == dates[-1] > run["created_at"]
