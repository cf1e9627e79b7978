"""People who talk to an orchestrator, and a worker that plays its turns by hand."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker

USAGE = [{"provider": "openai", "model": "m", "input_tokens": 10, "output_tokens": 3, "cost": 0.000123}]


def say(tenant: Tenant, message: str = "Write about tides", user: Session | None = None, **more: Any) -> Row:
    """Send a message as a person does."""
    told = (user or tenant.owner).call("message_orchestrator", organization_slug=tenant.slug, message=message, **more)
    return dict(told)


def fence(lease: Row) -> Row:
    return {"task_id": lease["task"]["id"], "attempt": lease["attempt"], "lease_token": lease["lease_token"]}


def ask(tenant: Tenant, lease: Row, action: str, arguments: Any = None, session: Session | None = None) -> Any:
    """Call what workers call."""
    given = fence(lease) | {"action": action, "arguments": Jsonb(arguments or {})}
    return (session or tenant.world.service).call("call_orchestrator", **given)


def tool(tenant: Tenant, lease: Row, used: str, call_id: str = "", /, **arguments: Any) -> Row:
    """Use a tool of a turn; without call_id each use is another one."""
    number = tenant.world.admin.value("select count(*) from private.orchestrator_tool_calls")
    call = {"call_id": call_id or f"call-{number}", "name": used, "arguments": arguments}
    return dict(ask(tenant, lease, "tool", call))


def turn(tenant: Tenant, worker: Worker, message: str = "Go", **more: Any) -> Row:
    """Send a message and claim the turn."""
    say(tenant, message, **more)
    return worker.claim_one(tenant, methods=["orchestrate"])


def boss(tenant: Tenant) -> Row:
    """Read the newest orchestrator."""
    query = "select * from public.orchestrator_agents where organization_slug = %s order by created_at desc limit 1"
    return tenant.world.admin.row(query, tenant.slug)


def instance(tenant: Tenant, name: str = "writer") -> Row:
    """Read the newest instance of this name."""
    query = (
        "select i.* from public.agent_instances i join public.orchestrator_agents o on o.id = i.orchestrator_agent_id"
        " where o.organization_slug = %s and i.name = %s order by i.created_at desc limit 1"
    )
    return tenant.world.admin.row(query, tenant.slug, name)


def messages(tenant: Tenant) -> list[tuple[str, str, str]]:
    """Read what was said in the organization, oldest first: (sender, receiver, content)."""
    query = (
        "select m.* from public.messages m join public.agent_conversations c on c.id = m.conversation_id"
        " where c.organization_slug = %s order by m.created_at"
    )
    rows = tenant.world.admin.rows(query, tenant.slug)
    return [(row["sender_type"], row["receiver_type"], row["content"]) for row in rows]


def pause_for(worker: Worker, lease: Row, name: str, prompt: str, call_id: str = "w1") -> str:
    """Let a turn wait for a command."""
    call = {"call_id": call_id, "agent_slug": name, "agent_instance": name, "prompt": prompt, "params": {}}
    (outcome,) = worker.report("pause_task", fence(lease) | {"agent_calls": [call], "checkpoint": {"x": 1}})
    return outcome
