"""Projects that run: a plan, its steps, and workers that play them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, World, item

Step = dict[str, Any]


def agent_step(tenant: Tenant, name: str, *dependencies: str, **more: Any) -> Step:
    """Give a step of the type agent for the tenant's first agent; its prompt is its id."""
    return {"id": name, "agent": tenant.agent, "prompt": name, "dependencies": list(dependencies)} | more


@dataclass(frozen=True)
class Project:
    """One project, steered by `session` (its user unless said otherwise)."""

    tenant: Tenant
    id: str
    session: Session

    def on(self, session: Session) -> Project:
        """Give the same project steered by somebody else."""
        return Project(self.tenant, self.id, session)

    def read(self) -> Row:
        """Read the project's row."""
        return self.tenant.world.admin.row("select * from public.projects where id = %s", self.id)

    @property
    def status(self) -> str:
        """The project's status."""
        return str(self.read()["status"])

    def steps(self) -> dict[str, Row]:
        """Read the steps by their ids in the plan."""
        query = "select * from public.project_steps where project_id = %s order by step_index"
        return {row["step_id"]: row for row in self.tenant.world.admin.rows(query, self.id)}

    def states(self) -> dict[str, str]:
        """Give the status of each step."""
        return {name: row["status"] for name, row in self.steps().items()}

    def result(self, name: str) -> Any:
        """Read what a step gave, as its user does."""
        return self.session.call("project_step_result", project_step_id=self.steps()[name]["id"])

    def tasks(self, name: str) -> list[Row]:
        """Read the tasks of a step, oldest first."""
        query = "select * from public.tasks where project_step_id = %s order by id"
        return self.tenant.world.admin.rows(query, self.steps()[name]["id"])

    def do(self, action: str) -> Row:
        """Start, pause, resume or cancel the project."""
        row: Row = self.session.row(f"select * from public.{action}_project(project_id => %s)", self.id)
        return row

    def do_step(self, action: str, name: str) -> Row:
        """Retry or skip a step."""
        query = f"select * from public.{action}_project_step(project_step_id => %s)"
        return self.session.row(query, self.steps()[name]["id"])

    def question(self, name: str) -> Row:
        """Read the newest question of a step."""
        query = "select * from public.input_requests where project_step_id = %s order by requested_at desc, id limit 1"
        return self.tenant.world.admin.row(query, self.steps()[name]["id"])

    def answer(self, name: str, response: Any, session: Session | None = None) -> Row:
        """Answer the newest question of a step."""
        query = "select * from public.respond_to_input_request(%s, %s)"
        return (session or self.session).row(query, self.question(name)["id"], Jsonb(response))

    def children(self) -> list[Project]:
        """Give the projects below, oldest first."""
        query = "select id from public.projects where parent_project_id = %s order by created_at, id"
        rows = self.tenant.world.admin.rows(query, self.id)
        return [Project(self.tenant, str(row["id"]), self.session) for row in rows]


def new_project(tenant: Tenant, steps: Iterable[Step], user: Session | None = None, **columns: Any) -> Project:
    """Insert a project with a plan, as a user (by default the owner)."""
    session = user or tenant.owner
    plan = Jsonb({"steps": list(steps)})
    row = session.insert("projects", conversation_id=tenant.conversation(session), plan_json=plan, **columns)
    return Project(tenant, str(row["id"]), session)


def started(tenant: Tenant, steps: Iterable[Step], user: Session | None = None, **columns: Any) -> Project:
    """Insert and start a project."""
    project = new_project(tenant, steps, user, **columns)
    assert project.do("start")["status"] in {"running", "completed", "failed"}
    return project


def claim_all(worker: Worker, tenant: Tenant) -> dict[str, Row]:
    """Claim what waits; the leases by the step they belong to (of a map, by step and place)."""
    leases = worker.claim(tenant, 1000)
    return {
        ":".join(
            str(lease["task"]["metadata"][k]) for k in ("step_id", "index") if k in lease["task"]["metadata"]
        ): lease
        for lease in leases
    }


def finish(worker: Worker, lease: Row, result: Any = "done.") -> None:
    """Complete a lease with a text, or with anything else as JSON."""
    assert worker.complete(lease, response=result if isinstance(result, str) else json.dumps(result)) == "ok"


def play(worker: Worker, project: Project, results: dict[str, Any] | None = None) -> list[list[str]]:
    """Do whatever waits until nothing does; return the steps in the rounds in which they could be claimed.

    `results` gives what a step answers (by default its id); an Exception fails it.
    """
    rounds: list[list[str]] = []
    while leases := claim_all(worker, project.tenant):
        rounds.append(sorted(leases))
        for name, lease in leases.items():
            result = (results or {}).get(name, name)
            if isinstance(result, Exception):
                assert worker.fail(lease, error_message=str(result)) == "ok"
            else:
                finish(worker, lease, result)
    return rounds


def exchange_one(worker: Worker, lease: Row, tenant: Tenant, max_tasks: int = 10) -> list[str]:
    """Report a completion and claim in one exchange; return the steps that came with the answer."""
    report = {"completed": [item(lease, response="done.")]}
    answer = worker.exchange(str(uuid.uuid4()), report=report, max_tasks=max_tasks, organizations=[tenant.slug])
    return [task["task"]["metadata"]["step_id"] for task in answer["tasks"]]


def nothing_left(world: World, tenant: Tenant) -> bool:
    """Say whether no task of the tenant is live and no note is left."""
    live = world.admin.value("select count(*) from private.live_tasks where organization_slug = %s", tenant.slug)
    notes = world.admin.value(
        "select count(*) from private.project_work w join public.projects p on p.id = w.project_id"
        " where p.organization_slug = %s",
        tenant.slug,
    )
    return not live and not notes
