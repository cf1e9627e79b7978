"""Whoever means harm to the orchestrator: floods, replays, numbers and rows that break its
bookkeeping, and others' eyes."""

from __future__ import annotations

import pytest

from tests.database.kit import Row, Tenant, Worker
from tests.database.orchestrator_kit import boss, instance, say, tool, turn


def made(tenant: Tenant, worker: Worker, name: str = "writer") -> Row:
    """Have a turn create an agent, and end; return the agent."""
    lease = turn(tenant, worker)
    tool(tenant, lease, "create_agent", name=name)
    assert worker.complete(lease) == "ok"
    return instance(tenant, name)


@pytest.mark.parametrize(
    "used",
    [
        {"input_tokens": 5 * 10**18, "output_tokens": 0, "cost": 0},
        {"input_tokens": 0, "output_tokens": 5 * 10**18, "cost": 0},
        {"input_tokens": 1, "output_tokens": 1, "cost": 99_999_999},
    ],
)
def test_a_provider_that_lies_about_usage_stops_no_report(tenant: Tenant, worker: Worker, used: Row) -> None:
    writer = made(tenant, worker)
    usage = [{"provider": "p", "model": "m", **used}]
    for _ in range(3):
        say(tenant, "Do it", agent_instance_id=writer["id"])
        innocent = tenant.task()
        leases = worker.claim(tenant, 5)
        report = [
            {"task_id": x["task"]["id"], "attempt": x["attempt"], "lease_token": x["lease_token"], "response": "Yes."}
            | ({} if x["task"]["id"] == innocent else {"usage": usage})
            for x in leases
        ]
        assert worker.report("complete_tasks", *report) == ["ok", "ok"]
    assert instance(tenant)["status"] == "idle"
    for _ in range(3):
        turned = turn(tenant, worker)
        assert worker.complete(turned, usage=usage) == "ok"
    assert boss(tenant)["status"] == "idle"
