"""Workflows for tests of the database: small graphs, their executions, and a worker's way through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.database.kit import Row, Session, Tenant, Worker

REMOTE: Mapping[str, Any] = {"endpoint": {"url": "https://crews.example.com"}}
"""A code workflow that is deployed elsewhere, for the framework crewai."""


def node(tenant: Tenant, name: str, **settings: Any) -> Row:
    """Give a node of the type agent, unless settings say otherwise."""
    return {"id": name, "type": "agent", "agent": tenant.agent, "prompt": f"Do {name}.", **settings}


def edge(source: str, target: str, condition: str | None = None) -> Row:
    return {"source": source, "target": target} | ({"condition": condition} if condition else {})


def diamond(tenant: Tenant) -> Row:
    """Give start -> a -> (b, c) -> d -> end, all of them agents."""
    pairs = ("start a", "a b", "a c", "b d", "c d", "d end")
    nodes = [{"id": "start", "type": "start"}, *(node(tenant, name) for name in "abcd"), {"id": "end", "type": "end"}]
    return {"nodes": nodes, "edges": [edge(*pair.split()) for pair in pairs]}


def add_workflow(session: Session, tenant: Tenant, data: Mapping[str, Any] | None = None, **columns: Any) -> Row:
    """Insert version 1.0.0 of "Publish": the diamond, or this workflow_data; further columns replace the defaults."""
    row = {"name": "Publish", "workflow_type": "visual", "framework": "crewai", "version": "1.0.0"}
    row |= {"organization_slug": tenant.slug, "agent_slug": tenant.agent}
    return session.insert("workflows", **{**row, "workflow_data": dict(data or diamond(tenant)), **columns})


def add_code(session: Session, tenant: Tenant, **columns: Any) -> Row:
    """Insert a code workflow that is deployed elsewhere."""
    return add_workflow(session, tenant, REMOTE, **{"workflow_type": "code", "name": "Crew", **columns})


def execution(session: Session, execution_id: str) -> Row:
    """Read an execution as this session sees it."""
    return session.row("select * from public.workflow_executions where id = %s", execution_id)


def project(tenant: Tenant, execution_id: str) -> Row:
    """Read the project of an execution."""
    return tenant.world.admin.row(
        "select * from public.projects where execution_id = %s and project_step_id is null", execution_id
    )


def steps(tenant: Tenant, execution_id: str) -> dict[str, str]:
    """Read {step: status} of an execution's project."""
    rows = tenant.world.admin.rows(
        "select s.step_id, s.status from public.project_steps s join public.projects p on p.id = s.project_id"
        " where p.execution_id = %s and p.project_step_id is null order by s.step_index",
        execution_id,
    )
    return {row["step_id"]: row["status"] for row in rows}


def code_task(tenant: Tenant, execution_id: str) -> Row:
    """Read the task that carries a code workflow's execution out."""
    return tenant.world.admin.row(
        "select * from public.tasks where execution_id = %s and method = 'run_workflow'", execution_id
    )


def run_all(worker: Worker, tenant: Tenant, **answers: str) -> list[str]:
    """Complete what may be claimed until nothing is left, step x with answers["x"]; return the prompts in order."""
    prompts = []
    while leases := worker.claim(tenant, 20):
        for lease in leases:
            prompt = lease["task"]["prompt"]
            prompts.append(prompt)
            assert worker.complete(lease, response=answers.get(prompt[3:-1], "done.")) == "ok"
    return prompts
