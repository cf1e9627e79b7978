"""A row of every table, and how it is changed: what test_access_matrix.py inserts, updates and deletes."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.api.access_scene import FORMER, MEMBERS, Kind, Scene
from tests.api.helpers import Json, agent_row, ok, unique

Maker = Callable[[Scene, str], Json]
LONG_AGO = "2020-01-01T00:00:00+00:00"


def sets(column: str) -> Callable[[str], Json]:
    return lambda word: {column: word}


def in_organization(columns: Callable[[], Json]) -> Maker:
    return lambda scene, _: {"organization_slug": scene.slug, **columns()}


def under(table: str, column: str, columns: Callable[[], Json] = dict) -> Maker:
    """Rows that name the shared row of another table."""
    return lambda scene, whose: {column: scene.row(table, whose)[scene.kinds[table].key[0]], **columns()}


def view(table: str, *, column: str = "id", name: str = "") -> Kind:
    """A view that gives one row for each of a table; it is found by what the table calls `column`."""
    key = name or column
    return unwritable(key, lambda scene, whose: {key: scene.row(table, whose)[column]})


def unwritable(key: str, make: Maker) -> Kind:
    return Kind(lambda *_: {}, {"organization_slug": "x"}, key=(key,), make=make)


def number() -> int:
    return secrets.randbelow(2**30) + 1


def organization(scene: Scene, _: str) -> Json:
    """Make one more organization of the same owner."""
    row = scene.insert("organizations", {"slug": unique("org"), "name": "One more"})
    member = {"organization_slug": row["slug"], "user_id": scene.people["owner"].id, "role": "owner"}
    scene.insert("organization_members", member)
    return row


def invitation(scene: Scene, _: str) -> Json:
    address = {"email": f"{unique('guest')}@example.com", "token_hash": unique("hash")}
    return {"organization_slug": scene.slug, **address, "expires_at": str(datetime.now(UTC) + timedelta(days=1))}


def account_without_profile(scene: Scene, _: str) -> Json:
    user_id = scene.newcomer_id()
    scene.delete("users", id=f"eq.{user_id}")
    return {"id": user_id}


def profile(scene: Scene, whose: str) -> Json:
    """Return the person's own; once that is known, somebody new."""
    return {"id": scene.newcomer_id() if ("users", whose) in scene.made else scene.user_id(whose)}


def agent(scene: Scene, whose: str) -> Json:
    """The organization's, or a person's private one."""
    plain = agent_row(unique("agent"), scene.slug)
    if whose == "organization" or whose.startswith("for "):
        return plain
    return {**plain, "organization_slug": [], "owner_user_id": scene.user_id(whose)}


def agent_slug(scene: Scene, whose: str) -> Json:
    """An agent of the organization with which only this person works, so that figures by agent are theirs."""
    return {"agent_slug": scene.row("agents", f"for {whose}")["slug"]}


def resources(scene: Scene, whose: str) -> Json:
    """Resources for an agent whose own are taken away."""
    slug = scene.make("agents", whose)["slug"]
    scene.delete("container_resources", agent_slug=f"eq.{slug}")
    tier = {"subscription_tier": "basic", "cpu_limit": 1, "memory_limit_mb": 2048}
    return {"agent_slug": slug, "network_isolation": "shared", **tier}


def integration(scene: Scene, whose: str) -> Json:
    """One that the reaper does not look at, so that it stays as it is."""
    marketplace = {"marketplace_name": unique("market"), "marketplace_id": scene.row("marketplaces", "platform")["id"]}
    return {"agent_slug": scene.row("agents", whose)["slug"], **marketplace, "look_at": None}


def credential(scene: Scene, _: str) -> Json:
    repository_id = scene.make("agent_repositories", "organization")["id"]
    return {"repository_id": repository_id, "encrypted_token": "gAAAA" + "x" * 80}


def set_credential(scene: Scene, whose: str) -> Json:
    row: Json = ok(scene.operator.rpc("set_git_credential", **credential(scene, whose)))
    return row


def secret(scene: Scene, _: str) -> Json:
    name = unique("key").upper().replace("-", "_")
    return {"organization_slug": scene.slug, "name": name, "ciphertext": "gAAAA" + "x" * 80}


def set_secret(scene: Scene, whose: str) -> Json:
    row: Json = ok(scene.operator.rpc("set_organization_secret", **secret(scene, whose)))
    return row


def conversation(scene: Scene, whose: str) -> Json:
    begun_by = {"user_id": scene.user_id(whose)} if whose == "shared" else {}
    return {"organization_slug": scene.slug, **agent_slug(scene, whose), **begun_by}


def start_conversation(scene: Scene, whose: str) -> Json:
    """Begin a conversation; in the first shared one everybody takes part."""
    row = scene.insert("agent_conversations", scene.body("agent_conversations", whose, "service_role"))
    if whose == "shared" and ("agent_conversations", whose) not in scene.made:
        for person in (*MEMBERS, *FORMER):
            taking_part = {"conversation_id": row["id"], "user_id": scene.people[person].id}
            scene.insert("conversation_participants", taking_part)
    return row


def participant(scene: Scene, whose: str) -> Json:
    """A bystander, or the caller, in a new conversation; a new member in the shared one."""
    if whose != "shared":
        return {"conversation_id": scene.make("agent_conversations", whose)["id"], "user_id": scene.named_id(whose)}
    newcomer = scene.make("organization_members", "organization")
    return {"conversation_id": scene.row("agent_conversations", whose)["id"], "user_id": newcomer["user_id"]}


def task(scene: Scene, whose: str) -> Json:
    asked = {"organization_slug": scene.slug, "method": "converse", "prompt": "Hello"}
    return {**asked, "agent_conversation_id": scene.row("agent_conversations", whose)["id"], **agent_slug(scene, whose)}


def queue(scene: Scene, whose: str) -> Json:
    """Return a task in a queue where only this person has any, so that figures by queue are theirs."""
    method = scene.make("task_methods", "platform")["name"]
    return scene.insert("tasks", {**task(scene, whose), "method": method, "user_id": scene.user_id(whose)})


def dead_letter(scene: Scene, whose: str) -> Json:
    """Return a task that a worker has claimed and failed."""
    row, worker = queue(scene, whose), unique("worker")
    (claimed,) = ok(scene.operator.rpc("claim_tasks", worker_id=worker, methods=[row["method"]]))
    failure = {"error_code": "internal_error", "error_message": "It broke.", "retryable": False}
    item = {"task_id": row["id"], "attempt": 1, "lease_token": claimed["lease_token"], **failure}
    ok(scene.operator.rpc("fail_tasks", worker_id=worker, items=[item]))
    return {"task_id": row["id"]}


def assignment(scene: Scene, whose: str) -> Json:
    return {"task_id": scene.make("tasks", whose)["id"], "user_id": scene.named_id(whose)}


def question(scene: Scene, whose: str) -> Json:
    role = "developer" if whose == "developers" else "member"
    asked = {"organization_slug": scene.slug, "prompt": "May I?", "required_role": role}
    return {**asked, "task_id": scene.make("tasks", whose)["id"]}


def run(scene: Scene, whose: str) -> Json:
    return {"organization_slug": scene.slug, "task_id": scene.row("tasks", whose)["id"], **agent_slug(scene, whose)}


def usage(scene: Scene, _: str) -> Json:
    scene.row("runs", "colleague")
    return {"organization_slug": scene.slug}


def workflow(scene: Scene, whose: str) -> Json:
    built = {
        "workflow_data": {"endpoint": {"url": "https://n8n.example.com/webhook/w"}},
        "workflow_type": "code",
        "framework": "n8n",
    }
    return {"organization_slug": scene.slug, "name": unique("workflow"), **built, **agent_slug(scene, whose)}


def schedule(scene: Scene, whose: str) -> Json:
    what = {"method": "converse", "prompt": "Hello", "cron": "0 9 * * 1", **agent_slug(scene, whose)}
    return {"organization_slug": scene.slug, "name": unique("schedule"), **what}


def log_entry(scene: Scene, whose: str) -> Json:
    return {"organization_slug": scene.slug if whose == "organization" else None, "level": "INFO", "message": "m"}


KINDS: dict[str, Kind] = {
    "organizations": Kind(
        lambda *_: {"slug": unique("org"), "name": "n"}, sets("name"), key=("slug",), make=organization
    ),
    "organization_members": Kind(
        lambda scene, _: {"organization_slug": scene.slug, "user_id": scene.newcomer_id()},
        lambda word: {"permissions": [word]},
        key=("organization_slug", "user_id"),
    ),
    "organization_invitations": Kind(
        invitation, lambda word: {"email": f"{word}@example.com"}, columns="id, email, role, invited_by"
    ),
    "users": Kind(account_without_profile, sets("display_name"), make=profile),
    "agents": Kind(agent, sets("description"), key=("slug",)),
    "agent_versions": Kind(
        under("agents", "agent_slug", lambda: {"version": f"9.0.{number()}"[:12], "configuration": {}}),
        lambda _: {"created_by": None},
        server=lambda scene, _: {"created_by": scene.user_id("colleague")},
    ),
    "container_resources": Kind(resources, {"subscription_tier": "pro", "cpu_limit": 4, "memory_limit_mb": 8192}),
    "marketplaces": Kind(
        lambda scene, whose: {
            **({} if whose == "platform" else {"organization_slug": scene.slug}),
            "name": unique("market"),
            "base_url": "https://market.example",
        },
        lambda word: {"base_url": f"https://{word}.example"},
    ),
    "marketplace_integrations": Kind(integration, sets("marketplace_agent_id")),
    "agent_repositories": Kind(
        in_organization(lambda: {"name": unique("repository"), "git_url": "https://example.com/r.git"}), sets("name")
    ),
    "git_agents": Kind(
        under(
            "agent_repositories",
            "agent_repository_id",
            lambda: {"name": "n", "file_path": unique("agent"), "content_hash": "h"},
        ),
        sets("name"),
    ),
    "git_credentials": Kind(
        credential, sets("token_name"), columns="id, repository_id, token_name", make=set_credential
    ),
    "organization_secrets": Kind(
        secret,
        sets("description"),
        columns="id, organization_slug, name, description, version, rotated_at",
        make=set_secret,
    ),
    "agent_conversations": Kind(conversation, sets("title"), user="user_id", make=start_conversation),
    "conversation_participants": Kind(participant, {"joined_at": LONG_AGO}),
    "messages": Kind(under("agent_conversations", "conversation_id", lambda: {"content": "Hello"}), sets("content")),
    "tasks": Kind(task, lambda word: {"metadata": {"word": word}}, user="user_id"),
    "task_events": Kind(
        under("tasks", "task_id", lambda: {"sequence": number(), "attempt": 1, "type": "log"}), sets("message")
    ),
    "task_assignments": Kind(
        assignment, sets("note"), server=lambda scene, whose: {"assigned_by": scene.user_id(whose)}
    ),
    "task_comments": Kind(under("tasks", "task_id", lambda: {"content": "Well done"}), sets("content"), user="user_id"),
    "input_requests": Kind(question, lambda word: {"metadata": {"word": word}}),
    "deliverables": Kind(
        under("agent_conversations", "conversation_id", lambda: {"title": "t", "type": "text"}),
        sets("title"),
        user="user_id",
        server=lambda scene, _: {"organization_slug": scene.slug},
    ),
    "deliverable_versions": Kind(
        under("deliverables", "deliverable_id", lambda: {"version_number": number(), "content": "c"}),
        {"is_current_version": True},
    ),
    "projects": Kind(under("agent_conversations", "conversation_id"), sets("name"), user="user_id"),
    "project_steps": Kind(
        lambda scene, _: {
            "project_id": scene.row("projects", "colleague")["id"],
            "step_id": unique("step"),
            "step_index": number(),
            "step_type": "agent",
            "step_name": "n",
        },
        sets("step_name"),
    ),
    "project_plan_versions": Kind(
        lambda scene, _: {
            "project_id": scene.row("projects", "colleague")["id"],
            "version": number(),
            "plan_json": {"steps": []},
        },
        {"version": 1},
        key=("project_id", "version"),
    ),
    "workflows": Kind(workflow, sets("description")),
    "workflow_executions": Kind(
        lambda scene, _: {"workflow_id": scene.row("workflows", "organization")["id"]},
        sets("status_message"),
        user="created_by",
    ),
    "schedules": Kind(schedule, sets("name"), server=lambda scene, whose: {"user_id": scene.user_id(whose)}),
    "runs": Kind(run, sets("error_message"), user="created_by"),
    "run_steps": Kind(
        under("runs", "run_id", lambda: {"sequence_number": 1 + number() % 10_000, "type": "llm_call"}), sets("name")
    ),
    "workflow_data": Kind(under("runs", "run_id", lambda: {"key": "k", "value": 1}), sets("key")),
    "usage_events": Kind(in_organization(lambda: {"provider": "p", "model": "m"}), sets("model"), user="user_id"),
    "orchestrator_agents": Kind(in_organization(lambda: {"archived": True}), sets("system_prompt")),
    "agent_instances": Kind(
        under("orchestrator_agents", "orchestrator_agent_id", lambda: {"name": unique("agent"), "model": "m"}),
        sets("model"),
    ),
    "prompts": Kind(
        under("orchestrator_agents", "orchestrator_agent_id", lambda: {"author": "engineer", "prompt_text": "Hello"}),
        sets("summary"),
    ),
    "agent_logs": Kind(
        under("agent_instances", "agent_id", lambda: {"event_category": "hook", "event_type": "Stop"}), sets("summary")
    ),
    "system_logs": Kind(log_entry, sets("message")),
    "audit_logs": Kind(
        in_organization(lambda: {"actor_role": "r", "action": "insert", "table_name": "t", "row_key": "k"}),
        sets("row_key"),
    ),
    "webhooks": Kind(
        in_organization(lambda: {"url": "https://example.com/hook", "events": ["project.*"], "enabled": False}),
        sets("description"),
    ),
    "webhook_deliveries": Kind(
        lambda scene, _: {
            "webhook_id": scene.row("webhooks", "organization")["id"],
            "organization_slug": scene.slug,
            "event_type": "webhook.test",
            "payload": {},
        },
        sets("last_error"),
    ),
    "worker_tokens": Kind(in_organization(lambda: {"name": "a worker", "expires_at": LONG_AGO}), sets("name")),
    "task_methods": Kind(
        lambda *_: {"name": unique("method").replace("-", "_"), "description": "d"}, sets("description"), key=("name",)
    ),
    "workers": Kind(lambda *_: {"id": unique("worker")}, sets("hostname")),
    "queue_pauses": Kind(
        lambda scene, whose: {
            "organization_slug": None if whose == "platform" else scene.slug,
            "method": scene.make("task_methods", "platform")["name"],
        },
        sets("reason"),
    ),
    "agent_containers": view("agents", column="slug", name="agent_slug"),
    "recent_conversations": view("agent_conversations"),
    "active_tasks": view("tasks"),
    "agent_activity": view("tasks", column="agent_slug"),
    "agent_metrics": view("runs", column="agent_slug"),
    "performance_logs": view("runs", name="run_id"),
    "project_progress": view("projects"),
    "organization_usage": unwritable("organization_slug", usage),
    "queue_health": replace(unwritable("method", queue), columns="organization_slug, method, pending"),
    "dead_letters": unwritable("task_id", dead_letter),
    "retention_status": Kind(
        lambda *_: {}, {"kind": "x"}, key=("kind",), make=lambda *_: {"kind": "tasks"}, columns="kind, archive_days"
    ),
}
