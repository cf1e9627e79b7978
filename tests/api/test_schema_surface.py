"""What PostgREST exposes: exactly these tables and functions, and no schema but public."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.helpers import Caller, Tenant, assert_refused, ok
from tests.api.helpers import caller as as_caller
from tests.stack import Stack

NOBODY = "00000000-0000-4000-8000-000000000000"
ITEMS: dict[str, Any] = {"worker_id": "w", "items": []}
VERSION: dict[str, Any] = {"deliverable_id": NOBODY}
MEMBER: dict[str, Any] = {"organization_slug": "none", "user_id": NOBODY}

# A table that is in neither list is a mistake: either it should not be exposed, or its tests are missing.
USER_VIEWS = {
    "active_tasks",
    "agent_containers",
    "agent_activity",
    "agent_metrics",
    "dead_letters",
    "organization_usage",
    "performance_logs",
    "project_progress",
    "queue_health",
    "recent_conversations",
}
VIEWS = USER_VIEWS | {"retention_status"}
USER_TABLES = USER_VIEWS | {
    "agent_conversations",
    "agent_instances",
    "agent_logs",
    "agent_repositories",
    "agent_versions",
    "agents",
    "audit_logs",
    "container_resources",
    "conversation_participants",
    "deliverable_versions",
    "deliverables",
    "git_agents",
    "git_credentials",
    "input_requests",
    "marketplace_integrations",
    "marketplaces",
    "messages",
    "orchestrator_agents",
    "organization_invitations",
    "organization_members",
    "organization_secrets",
    "organizations",
    "project_plan_versions",
    "project_steps",
    "projects",
    "prompts",
    "queue_pauses",
    "run_steps",
    "runs",
    "schedules",
    "system_logs",
    "task_assignments",
    "task_comments",
    "task_events",
    "task_methods",
    "tasks",
    "usage_events",
    "users",
    "webhook_deliveries",
    "webhooks",
    "worker_tokens",
    "workflow_data",
    "workflow_executions",
    "workflows",
}
TABLES = USER_TABLES | {"workers", "retention_status"}

# name -> arguments with which it can be called. Functions of users that act on their own membership are not a server's.
SHARED_FUNCTIONS: dict[str, dict[str, Any]] = {
    "agent_card": {"slug": "none"},
    "budget_status": {"organization_slug": "none"},
    "cancel_execution": {"execution_id": NOBODY},
    "cancel_project": {"project_id": NOBODY},
    "cancel_task": {"task_id": NOBODY},
    "cancel_tasks": {"organization_slug": "none", "status": "pending"},
    "create_deliverable_version": {**VERSION, "content": "text"},
    "create_invitation": {"organization_slug": "none", "email": "nobody@example.com"},
    "delete_organization_secret": {"organization_slug": "none", "name": "A_KEY"},
    "create_webhook": {"organization_slug": "none", "url": "https://example.com/", "events": ["task.completed"]},
    "enqueue_tasks": {"tasks": []},
    "latest_workflow_data": {"run_id": NOBODY},
    "organization_active_tasks": {"organization_slug": "none"},
    "organization_conversations": {"organization_slug": "none"},
    "organization_tasks": {"organization_slug": "none"},
    "pause_execution": {"execution_id": NOBODY},
    "pause_queue": {"organization_slug": "none"},
    "publish_agent": {"agent_slug": "none"},
    "redrive_tasks": {"organization_slug": "none"},
    "remove_member": MEMBER,
    "renew_push_secret": {"repository_id": NOBODY},
    "replay_webhook_delivery": {"delivery_id": NOBODY},
    "respond_to_input_request": {"input_request_id": NOBODY, "response": True},
    "pause_project": {"project_id": NOBODY},
    "approve_plan": {"project_id": NOBODY},
    "plan_project": {"conversation_id": NOBODY, "agent_slug": "x", "prompt": "x"},
    "refine_project": {"project_id": NOBODY, "prompt": "x"},
    "message_orchestrator": {"organization_slug": "x", "message": "x"},
    "interrupt_orchestrator": {"organization_slug": "x"},
    "interrupt_agent_instance": {"agent_instance_id": NOBODY},
    "archive_agent_instance": {"agent_instance_id": NOBODY},
    "archive_orchestrator": {"organization_slug": "x"},
    "configure_orchestrator": {"organization_slug": "x"},
    "project_diagram": {"project_id": NOBODY},
    "workflow_diagram": {"workflow_id": NOBODY},
    "project_overview": {"project_id": NOBODY},
    "project_step_result": {"project_step_id": NOBODY},
    "resume_project": {"project_id": NOBODY},
    "retry_project_step": {"project_step_id": NOBODY},
    "skip_project_step": {"project_step_id": NOBODY},
    "start_project": {"project_id": NOBODY},
    "restore_agent_version": {"agent_slug": "none", "version": "1.0.0"},
    "resume_execution": {"execution_id": NOBODY},
    "resume_queue": {"organization_slug": "none"},
    "retry_execution": {"execution_id": NOBODY},
    "retry_task": {"task_id": NOBODY},
    "revoke_worker_token": {"token_id": NOBODY},
    "rotate_webhook_secret": {"webhook_id": NOBODY},
    "run_schedule": {"schedule_id": NOBODY},
    "run_step_payload": {"step_id": NOBODY},
    "run_tree": {"run_id": NOBODY},
    "send_test_webhook": {"webhook_id": NOBODY},
    "set_current_deliverable_version": {**VERSION, "version_number": 1},
    "set_git_credential": {"repository_id": NOBODY, "encrypted_token": "gAAAA" + "x" * 80},
    "set_member_role": {**MEMBER, "role": "member"},
    "set_organization_limits": {"organization_slug": "none", "limits": {}},
    "archived_records": {"organization_slug": "none", "kind": "tasks"},
    "set_retention": {"kind": "none"},
    "set_organization_secret": {"organization_slug": "none", "name": "A_KEY", "ciphertext": "gAAAA" + "x" * 80},
    "sync_repository": {"repository_id": NOBODY},
    "start_workflow": {"workflow_id": NOBODY},
    "task_trace": {"task_id": NOBODY},
    "unpublish_agent": {"agent_slug": "none"},
}
USER_FUNCTIONS: dict[str, dict[str, Any]] = {
    **SHARED_FUNCTIONS,
    "accept_invitation": {"token": "none"},
    "create_organization": {"slug": "none", "name": "None"},
    "leave_organization": {"organization_slug": "none"},
}
LEASE: dict[str, Any] = {"task_id": NOBODY, "attempt": 1, "lease_token": NOBODY}
WORKER_FUNCTIONS: dict[str, dict[str, Any]] = {
    "add_run_steps": ITEMS,
    "add_task_events": ITEMS,
    "apply_git_files": {**LEASE, "files": [], "removed": []},
    "begin_remote_task": {**LEASE, "server": "https://x"},
    "begin_repository_sync": LEASE,
    "agents_to_call": {"task_id": NOBODY, "slugs": []},
    "call_orchestrator": {**LEASE, "action": "begin"},
    "claim_schedules": {"worker_id": "w"},
    "claim_tasks": {"worker_id": "w"},
    "complete_tasks": ITEMS,
    "create_worker_token": {"organization_slug": "none", "name": "a worker"},
    "exchange_work": {"worker_id": "w", "request_id": NOBODY},
    "fail_tasks": ITEMS,
    "finish_repository_sync": {**LEASE, "commit_hash": "none"},
    "fire_schedules": ITEMS,
    "forget_remote_task": LEASE,
    "heartbeat_tasks": ITEMS,
    "open_status_webhook": {"task_id": NOBODY, "attempt": 1, "lease_token": NOBODY, "ttl_seconds": 60},
    "keep_remote_task": {**LEASE, "message_id": "m", "remote_task_id": "r", "context_id": "c"},
    "pause_task": ITEMS,
    "read_status_webhooks": {"ids": []},
    "read_ciphertexts": {"source": "organization_secrets"},
    "read_git_credential": {"repository_id": NOBODY},
    "read_marketplace_job": {"integration_id": NOBODY, "lease_token": NOBODY},
    "read_organization_secrets": {"organization_slug": "none", "names": []},
    "read_repository_sync": LEASE,
    "read_plan_request": {"task_id": NOBODY, "attempt": 1, "lease_token": NOBODY},
    "read_step_input": {"task_id": NOBODY, "lease_token": NOBODY},
    "write_system_logs": {"entries": []},
    "write_plan": {"task_id": NOBODY, "attempt": 1, "lease_token": NOBODY, "plan": {}},
    "read_webhook_delivery": {"delivery_id": NOBODY, "lease_token": NOBODY},
    "read_workflow_execution": LEASE,
    "read_workflow_data": {**LEASE, "key": "k"},
    "register_worker": {"worker_id": "w"},
    "release_tasks": ITEMS,
    "replace_ciphertexts": {"source": "organization_secrets", "items": []},
    "set_max_share": {},
    "stop_worker": {"worker_id": "w"},
    "write_workflow_data": {**LEASE, "key": "k", "value": 1},
}


def surface(caller: Caller) -> tuple[set[str], set[str]]:
    """Return the tables and functions of PostgREST's own description for this caller."""
    paths = {path.removeprefix("/") for path in ok(caller.get(""))["paths"]} - {""}
    functions = {path.removeprefix("rpc/") for path in paths if path.startswith("rpc/")}
    return {path for path in paths if not path.startswith("rpc/")}, functions


def test_a_user_is_shown_the_tables_and_functions_of_users(tenant: Tenant) -> None:
    assert surface(tenant.owner) == (USER_TABLES, set(USER_FUNCTIONS))


def test_a_server_is_shown_every_table_and_the_functions_of_workers(operator: Caller) -> None:
    assert surface(operator) == (TABLES, set(SHARED_FUNCTIONS) | set(WORKER_FUNCTIONS))


def test_nobody_in_particular_is_shown_only_where_endpoints_report(stack: Stack, http: httpx.Client) -> None:
    assert surface(as_caller(http, stack.anon_key)) == (set(), {"receive_git_push", "report_task_status"})


@pytest.mark.parametrize("schema", ["private", "auth", "archive", "extensions", "pg_catalog", "supabase_migrations"])
def test_no_schema_but_public_is_served(schema: str, tenant: Tenant, operator: Caller) -> None:
    for caller in (tenant.owner, operator):
        for headers in ({"Accept-Profile": schema}, {"Content-Profile": schema}):
            method = "GET" if "Accept-Profile" in headers else "POST"
            answer = caller.http.request(method, "/rest/v1/users", json={}, headers={**caller.headers, **headers})
            assert_refused(answer, 406, "PGRST106", "The schema must be one of the following: public")


@pytest.mark.parametrize(
    "name",
    [
        "worker_requests",
        "status_webhooks",
        "push_secrets",
        "task_checkpoints",
        "remote_tasks",
        "maintenance",
        "schema_migrations",
    ],
)
def test_tables_of_the_inside_are_not_served(name: str, operator: Caller) -> None:
    assert_refused(operator.get(name), 404, "42P01", f'relation "public.{name}" does not exist')


@pytest.mark.parametrize("name", ["lock_own_task", "my_organizations", "set_updated_at", "reap_tasks", "uid"])
def test_functions_of_the_inside_are_not_served(name: str, tenant: Tenant, operator: Caller) -> None:
    for caller in (tenant.owner, operator):
        answer = caller.rpc(name)
        assert answer.status_code in {401, 403, 404}, answer.text
        assert answer.json()["code"] in {"42501", "PGRST202"}
