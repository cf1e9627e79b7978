"""The views' numbers against rows counted by hand, and that each caller's view is of the caller's own rows."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from tests.database.kit import Row, Session, Tenant, World, refused

VIEWS = (
    "recent_conversations",
    "active_tasks",
    "agent_activity",
    "project_progress",
    "agent_metrics",
    "performance_logs",
    "organization_usage",
    "queue_health",
    "dead_letters",
)


@dataclass(frozen=True)
class Place:
    """An organization with a member whose conversation, tasks, runs and usage are known."""

    tenant: Tenant
    member: Session
    conversation: str
    tasks: dict[str, str]  # by status

    def run(self, task: str, created: str, **columns: Any) -> Row:
        row = {"organization_slug": self.tenant.slug, "created_by": self.member.id, "task_id": self.tasks[task]}
        row |= {"agent_slug": self.tenant.agent, "created_at": created}
        return self.tenant.world.service.insert("runs", **{**row, **columns})

    def usage(self, created: str, tokens: tuple[int, int], cost: str | None, **columns: Any) -> None:
        row: Row = {"organization_slug": self.tenant.slug, "user_id": self.member.id, "agent_slug": self.tenant.agent}
        row |= {"provider": "anthropic", "model": "m", "created_at": created, "cost": cost}
        row |= {"input_tokens": tokens[0], "output_tokens": tokens[1], "cached_tokens": tokens[0]}
        self.tenant.world.service.insert("usage_events", **{**row, **columns})


@pytest.fixture(scope="module")
def place(scene: World) -> Place:
    tenant = scene.tenant()
    member = tenant.join("member")
    conversation = tenant.conversation(member)
    scene.service.update("agent_conversations", {"id": conversation}, title="Tides")
    tasks: dict[str, str] = {}
    worker = scene.worker()
    for status in ("completed", "failed", "in_progress", "cancelled", "pending"):
        tasks[status] = tenant.task(member, agent_conversation_id=conversation)
        if status in {"completed", "failed", "in_progress"}:
            lease = worker.claim_one(tenant)
            assert status != "completed" or worker.complete(lease, messages=[{"content": "Done."}]) == "ok"
            assert status != "failed" or worker.fail(lease) == "ok"
        if status == "cancelled":
            member.call("cancel_task", task_id=tasks[status])
    scene.admin.execute("delete from public.runs where organization_slug = %s", tenant.slug)
    # They stay counted; here they never were.
    scene.admin.execute("delete from private.usage_totals where organization_slug = %s", tenant.slug)
    made = Place(tenant, member, conversation, tasks)
    fill(made)
    return made


def fill(place: Place) -> None:
    """Write runs and usage around the ends of two months, in UTC."""
    place.run("completed", "2026-01-31T23:59:59.999Z", completed_at="2026-02-01T00:00:09.999Z", status="completed")
    place.run(
        "completed",
        "2026-02-01T00:00:00Z",
        completed_at="2026-02-01T00:00:30Z",
        status="failed",
        error_code="x",
        total_tokens=10,
        total_cost="0.5",
    )
    place.run(
        "failed",
        "2026-02-01T12:00:00Z",
        completed_at="2026-02-01T12:00:10Z",
        status="completed",
        total_tokens=30,
        total_cost="0.25",
    )
    place.run("in_progress", "2026-02-28T23:59:59Z")
    place.usage("2026-01-31T23:59:59Z", (1, 2), "0.1")
    place.usage("2026-02-01T00:00:00Z", (10, 20), "0.2")
    place.usage("2026-02-10T00:00:00Z", (100, 200), None)
    place.usage("2026-02-28T23:59:59Z", (1000, 2000), "0.3", provider="openai", model="o", agent_slug=None)
    place.usage("2026-03-01T00:00:00Z", (5, 5), "0.4")


def test_recent_conversations_count_their_messages(place: Place) -> None:
    ended = place.tenant.conversation(place.member)
    place.member.update("agent_conversations", {"id": ended}, status="ended")
    quiet = place.tenant.conversation(place.member)
    rows = place.member.rows("select * from public.recent_conversations order by last_message_at desc nulls last")
    assert [(str(r["id"]), r["message_count"]) for r in rows] == [(place.conversation, 6), (quiet, 0)]


def test_active_tasks_are_the_unfinished_with_their_conversation(place: Place) -> None:
    rows = place.member.rows("select * from public.active_tasks order by created_at")
    assert [(str(r["id"]), r["conversation_title"]) for r in rows] == [
        (place.tasks["in_progress"], "Tides"),
        (place.tasks["pending"], "Tides"),
    ]


def test_agent_activity_counts_the_last_seven_days(place: Place) -> None:
    row = place.member.row("select * from public.agent_activity")
    assert (row["agent_slug"], row["task_count"], row["completed_count"], row["failed_count"]) == (
        place.tenant.agent,
        5,
        1,
        1,
    )
    old = place.tenant.world.service.insert(
        "tasks",
        organization_slug=place.tenant.slug,
        user_id=place.member.id,
        agent_slug=place.tenant.agent,
        method="process",
        prompt="Old.",
        created_at="2026-01-01",
    )
    assert place.member.value("select task_count from public.agent_activity") == 5
    place.tenant.world.service.execute("delete from public.tasks where id = %s", old["id"])


def test_agent_metrics_are_of_one_day(place: Place) -> None:
    rows = place.tenant.owner.rows("select * from public.agent_metrics order by day")
    numbers = ["run_count", "completed_count", "failed_count", "total_tokens", "total_cost", "average_seconds"]
    assert [[r["day"].isoformat()[:10], *(r[n] for n in numbers)] for r in rows] == [
        ["2026-01-31", 1, 1, 0, 0, 0, 10],
        ["2026-02-01", 2, 1, 1, 40, Decimal("0.75"), 20],
        ["2026-02-28", 1, 0, 0, 0, 0, None],
    ]


def test_performance_logs_are_one_row_a_run(place: Place) -> None:
    rows = place.member.rows("select * from public.performance_logs order by created_at")
    assert [(r["seconds_running"], r["total_tokens"], r["status"]) for r in rows] == [
        (10, 0, "completed"),
        (30, 10, "failed"),
        (10, 30, "completed"),
        (None, 0, "running"),
    ]
    created = place.tenant.read(place.tasks["completed"])["created_at"]
    assert float(rows[0]["seconds_until_claimed"]) == (rows[0]["created_at"] - created).total_seconds()


USAGE = {
    "2026-01-01": (1, Decimal("0.1"), 3, {"completed": 1}),
    "2026-02-01": (3, Decimal("0.5"), 3330, {"completed": 1, "failed": 1, "running": 1}),
    "2026-03-01": (0, Decimal("0.4"), 10, {}),
}


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_usage_is_the_ledger_by_month_in_utc(place: Place, zone: str) -> None:
    with place.tenant.owner.transaction() as connection:
        connection.execute("select set_config('timezone', %s, true)", [zone])
        rows = connection.execute(
            "select *, to_char(period_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') as first,"
            " to_char(period_end at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') as last"
            " from public.organization_usage where organization_slug = %s order by period_start",
            [place.tenant.slug],
        ).fetchall()
    numbers = ("total_runs", "total_cost", "total_tokens", "runs_by_status")
    assert {r["first"][:10]: tuple(r[n] for n in numbers) for r in rows} == USAGE
    assert [r["first"] for r in rows][1:] == [r["last"] for r in rows][:-1]
    assert {r["first"][8:] for r in rows} == {"01 00:00:00"}
    assert len({r["id"] for r in rows}) == 3


def test_usage_tells_agents_and_models_apart(place: Place) -> None:
    details = place.tenant.owner.value(
        "select usage_details from public.organization_usage where period_start = '2026-02-01T00:00:00Z'"
    )
    assert details == {
        f"{place.tenant.agent}/anthropic/m": {"tokens": 330, "cost": 0.2},
        "-/openai/o": {"tokens": 3000, "cost": 0.3},
    }


def test_usage_equals_the_sums_of_the_tables(place: Place) -> None:
    total = place.tenant.owner.row(
        "select sum(total_runs) as runs, sum(total_cost) as cost, sum(total_tokens) as tokens"
        " from public.organization_usage where organization_slug = %s",
        place.tenant.slug,
    )
    admin = place.tenant.world.admin
    events = admin.row(
        "select sum(cost) as cost, sum(input_tokens + output_tokens) as tokens"
        " from public.usage_events where organization_slug = %s",
        place.tenant.slug,
    )
    runs = admin.value("select count(*) from public.runs where organization_slug = %s", place.tenant.slug)
    assert total == {"runs": runs, **events}


@pytest.mark.parametrize(("role", "months"), [("viewer", 0), ("member", 0), ("developer", 0), ("admin", 3)])
def test_usage_is_for_admins(place: Place, role: str, months: int) -> None:
    assert len(place.tenant.join(role).rows("select from public.organization_usage")) == months
    assert len(place.member.rows("select from public.organization_usage")) == 0


def test_a_server_sees_everybodys_usage(place: Place) -> None:
    query = "select from public.organization_usage where organization_slug = %s"
    assert len(place.tenant.world.service.rows(query, place.tenant.slug)) == 3


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_nobody_more_than_the_tables_do(place: Place, view: str) -> None:
    stranger, colleague = place.tenant.world.tenant().owner, place.tenant.join("developer")
    assert stranger.rows(f"select from public.{view}") == []
    assert colleague.rows(f"select from public.{view}") == []
    with refused("42501"):
        place.tenant.world.anon.rows(f"select from public.{view}")
    invoker = place.tenant.world.admin.value(
        "select 'security_invoker=true' = any (reloptions) from pg_class "
        " where oid = format('public.%%I', %s::text)::regclass",
        view,
    )
    assert invoker is True


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_read_only(place: Place, view: str) -> None:
    for session in (place.tenant.owner, place.tenant.world.service):
        for statement in (f"delete from public.{view}", f"update public.{view} set organization_slug = 'x'"):
            with pytest.raises(Exception, match=r"permission denied|cannot (delete from|update)"):
                session.execute(statement)
