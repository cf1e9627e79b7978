"""What workers learn of a code workflow's execution, and what nobody may write into a workflow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.database.kit import Row, Tenant, Worker, item, refused

CODE: dict[str, Any] = {"name": "Flow", "workflow_type": "code", "framework": "langgraph", "version": "1.0.0"}
ENDPOINT = {"url": "https://graphs.example", "assistant_id": "echo"}


def workflow(tenant: Tenant, **columns: Any) -> Row:
    row = {
        **CODE,
        "organization_slug": tenant.slug,
        "agent_slug": tenant.agent,
        "workflow_data": {"endpoint": ENDPOINT},
    }
    return tenant.owner.insert("workflows", **{**row, **columns})


def leased(tenant: Tenant, worker: Worker, flow: Row) -> tuple[Row, Row]:
    """Return the lease of an execution's task, made as the database makes it, and the execution."""
    execution = tenant.world.admin.row(
        "insert into public.workflow_executions (organization_slug, agent_slug, workflow_id)"
        " values ('', '', %s) returning *",
        flow["id"],
    )
    tenant.world.admin.execute(
        "insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt, params, execution_id)"
        " values (%s, %s, %s, 'run_workflow', 'Run', '{}', %s)",
        tenant.slug, tenant.owner.id, tenant.agent, execution["id"],
    )  # fmt: skip
    return worker.claim_one(tenant), execution


def test_the_worker_that_holds_the_task_reads_the_workflow_and_nobody_else(tenant: Tenant, worker: Worker) -> None:
    flow = workflow(tenant)
    lease, execution = leased(tenant, worker, flow)
    read = worker.session.call("read_workflow_execution", **item(lease))
    assert read["workflow_data"] == {"endpoint": ENDPOINT}
    assert (read["execution_id"], read["framework"], read["workflow_type"]) == (
        str(execution["id"]),
        "langgraph",
        "code",
    )
    with refused("PT409", "lease_lost"):
        worker.session.call("read_workflow_execution", **{**item(lease), "attempt": 2})
    with refused("42501", None):
        tenant.owner.call("read_workflow_execution", **item(lease))


def test_a_task_without_an_execution_reads_nothing(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    assert worker.session.call("read_workflow_execution", **item(worker.claim_one(tenant))) is None


def test_members_cannot_make_such_tasks_and_agents_say_their_framework(tenant: Tenant, worker: Worker) -> None:
    with refused("22023", "unknown_method"):
        tenant.task(method="run_workflow")
    tenant.world.admin.execute("update public.agents set framework = 'agno' where slug = %s", tenant.agent)
    tenant.task()
    assert worker.claim_one(tenant)["agent"]["framework"] == "agno"


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        ({"headers": {"Authorization": "Bearer abc"}}, "endpoint.headers.Authorization"),
        ({"authentication": {"type": "bearer", "config": {"token": "abc"}}}, "endpoint.authentication.config.token"),
        ({"api_key": "abc"}, "endpoint.api_key"),
    ],
)
def test_a_workflows_endpoint_names_secrets_and_holds_none(
    tenant: Tenant, endpoint: dict[str, Any], field: str
) -> None:
    with refused("22023", "credential_is_literal") as caught:
        workflow(tenant, workflow_data={"endpoint": {**ENDPOINT, **endpoint}})
    assert field in caught.detail
    assert "abc" not in caught.detail + caught.hint
    workflow(tenant, workflow_data={"endpoint": {**ENDPOINT, "api_key": "${N8N_KEY}"}})
