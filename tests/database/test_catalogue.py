"""What the catalogue must say of every object, however many there will be.

Over 400 lines, because the lists of exceptions stand beside the rules that they are excepted from.
"""

from __future__ import annotations

import pytest
from psycopg import sql

from tests.database.kit import World

# Columns that a client never writes, by table; "*" is every column.
NEVER_WRITTEN = {
    "tasks": "status progress progress_message response response_metadata llm_metadata error_code error_message"
    " error_data started_at completed_at attempt worker_id lease_token lease_expires_at project_step_id execution_id"
    " created_at updated_at",
    "users": "id email role roles system_role namespace_access status is_active subscription_tier email_verified"
    " last_login_at created_at updated_at",
    "organizations": "slug id subscription_tier subscription_info created_by is_active created_at updated_at",
    "agents": "owner_type deployed_at container_id resource_limits created_at updated_at",
    "agent_conversations": "started_at ended_at last_active_at last_message_at created_at updated_at",
    "conversation_participants": "id participant_type joined_at created_at updated_at",
    "deliverables": "id organization_slug user_id conversation_id task_id project_step_id agent_name"
    " created_at updated_at",
    "marketplaces": "id created_at updated_at",
    "agent_repositories": "id last_sync_commit_hash last_sync_at last_sync_status last_sync_errors created_by"
    " created_at updated_at",
    "task_assignments": "id assigned_by created_at updated_at",
    "task_comments": "id user_id created_at updated_at",
    "schedules": "id user_id next_run_at held_until last_run_at last_task_id last_error last_error_at"
    " created_at updated_at",
    "projects": "status current_step_id error_details hierarchy_level subproject_count plan_version project_step_id"
    " execution_id total_steps completed_steps finished_steps failed_steps progress started_at completed_at created_at"
    " updated_at",
    "webhooks": "id organization_slug disabled_reason failing_since created_by created_at updated_at",
    "workflows": "id created_by created_at updated_at",
    "workflow_executions": "id organization_slug agent_slug created_by status status_message started_at completed_at"
    " paused_at resumed_at queued_at execution_logs error_message error_code retry_count resource_usage"
    " performance_metrics correlation_id created_at updated_at",
} | dict.fromkeys(
    [
        "agent_instances",
        "agent_logs",
        "agent_versions",
        "audit_logs",
        "container_resources",
        "git_agents",
        "git_credentials",
        "input_requests",
        "marketplace_integrations",
        "orchestrator_agents",
        "project_steps",
        "project_plan_versions",
        "prompts",
        "queue_pauses",
        "run_steps",
        "system_logs",
        "workflow_data",
        "organization_members",
        "organization_invitations",
        "organization_secrets",
        "runs",
        "usage_events",
        "task_events",
        "task_methods",
        "messages",
        "deliverable_versions",
        "webhook_deliveries",
        "worker_tokens",
        "workers",
    ],
    "*",
)

NAMED_INDEXES = {
    # Document A names eleven of agents and three of organizations; B one of agents and those of the other tables.
    "agents": "organization_slug department agent_type tags capabilities io_schema endpoint llm_config metadata"
    " created_at name active",
    "organizations": "name created_at settings",
    "agent_conversations": "idx_conversations_user_recent",
    "messages": "idx_messages_conversation_time",
    "organization_members": "idx_org_members_user_id",
}

MEMBER_RPCS = {
    "accept_invitation": {"authenticated"},
    "agent_card": {"authenticated", "service_role"},
    "budget_status": {"authenticated", "service_role"},
    "cancel_execution": {"authenticated", "service_role"},
    "cancel_project": {"authenticated", "service_role"},
    "cancel_task": {"authenticated", "service_role"},
    "cancel_tasks": {"authenticated", "service_role"},
    "create_deliverable_version": {"authenticated", "service_role"},
    "archived_records": {"authenticated", "service_role"},
    "create_invitation": {"authenticated", "service_role"},
    "create_organization": {"authenticated"},
    "delete_organization_secret": {"authenticated", "service_role"},
    "create_webhook": {"authenticated", "service_role"},
    "enqueue_tasks": {"authenticated", "service_role"},
    "latest_workflow_data": {"authenticated", "service_role"},
    "leave_organization": {"authenticated"},
    "organization_active_tasks": {"authenticated", "service_role"},
    "organization_conversations": {"authenticated", "service_role"},
    "organization_tasks": {"authenticated", "service_role"},
    "pause_execution": {"authenticated", "service_role"},
    "pause_project": {"authenticated", "service_role"},
    "pause_queue": {"authenticated", "service_role"},
    "plan_project": {"authenticated", "service_role"},
    "project_diagram": {"authenticated", "service_role"},
    "workflow_diagram": {"authenticated", "service_role"},
    "project_overview": {"authenticated", "service_role"},
    "project_step_result": {"authenticated", "service_role"},
    "refine_project": {"authenticated", "service_role"},
    "message_orchestrator": {"authenticated", "service_role"},
    "interrupt_orchestrator": {"authenticated", "service_role"},
    "interrupt_agent_instance": {"authenticated", "service_role"},
    "archive_agent_instance": {"authenticated", "service_role"},
    "archive_orchestrator": {"authenticated", "service_role"},
    "configure_orchestrator": {"authenticated", "service_role"},
    "approve_plan": {"authenticated", "service_role"},
    "publish_agent": {"authenticated", "service_role"},
    "redrive_tasks": {"authenticated", "service_role"},
    "remove_member": {"authenticated", "service_role"},
    "renew_push_secret": {"authenticated", "service_role"},
    "replay_webhook_delivery": {"authenticated", "service_role"},
    "respond_to_input_request": {"authenticated", "service_role"},
    "restore_agent_version": {"authenticated", "service_role"},
    "resume_execution": {"authenticated", "service_role"},
    "retry_execution": {"authenticated", "service_role"},
    "resume_project": {"authenticated", "service_role"},
    "resume_queue": {"authenticated", "service_role"},
    "retry_project_step": {"authenticated", "service_role"},
    "retry_task": {"authenticated", "service_role"},
    "revoke_worker_token": {"authenticated", "service_role"},
    "rotate_webhook_secret": {"authenticated", "service_role"},
    "run_schedule": {"authenticated", "service_role"},
    "run_step_payload": {"authenticated", "service_role"},
    "run_tree": {"authenticated", "service_role"},
    "send_test_webhook": {"authenticated", "service_role"},
    "set_current_deliverable_version": {"authenticated", "service_role"},
    "set_git_credential": {"authenticated", "service_role"},
    "set_member_role": {"authenticated", "service_role"},
    "set_organization_limits": {"authenticated", "service_role"},
    "set_organization_secret": {"authenticated", "service_role"},
    "set_retention": {"authenticated", "service_role"},
    "sync_repository": {"authenticated", "service_role"},
    "start_workflow": {"authenticated", "service_role"},
    "skip_project_step": {"authenticated", "service_role"},
    "start_project": {"authenticated", "service_role"},
    "task_trace": {"authenticated", "service_role"},
    "unpublish_agent": {"authenticated", "service_role"},
}
WORKER_RPCS = {
    name: {"service_role"}
    for name in (
        "add_run_steps",
        "add_task_events",
        "apply_git_files",
        "begin_remote_task",
        "begin_repository_sync",
        "agents_to_call",
        "call_orchestrator",
        "claim_schedules",
        "claim_tasks",
        "complete_tasks",
        "create_worker_token",
        "exchange_work",
        "fail_tasks",
        "finish_repository_sync",
        "fire_schedules",
        "forget_remote_task",
        "heartbeat_tasks",
        "open_status_webhook",
        "keep_remote_task",
        "pause_task",
        "read_status_webhooks",
        "read_ciphertexts",
        "read_git_credential",
        "read_marketplace_job",
        "read_organization_secrets",
        "read_repository_sync",
        "read_plan_request",
        "read_step_input",
        "write_plan",
        "write_system_logs",
        "read_webhook_delivery",
        "read_workflow_execution",
        "read_workflow_data",
        "register_worker",
        "release_tasks",
        "replace_ciphertexts",
        "set_max_share",
        "stop_worker",
        "write_workflow_data",
    )
}
ENDPOINT_RPCS = {"report_task_status": {"anon"}, "receive_git_push": {"anon"}}
# What an organization's own worker may call: see tests/database/test_scoped_workers.py.
SCOPED_RPCS = {
    f"scoped_{name}": {"organization_worker"}
    for name in (
        "add_run_steps",
        "add_task_events",
        "agents_to_call",
        "begin_remote_task",
        "call_orchestrator",
        "claim_tasks",
        "complete_tasks",
        "exchange_work",
        "fail_tasks",
        "forget_remote_task",
        "heartbeat_tasks",
        "keep_remote_task",
        "open_status_webhook",
        "pause_task",
        "read_plan_request",
        "read_status_webhooks",
        "read_workflow_data",
        "register_worker",
        "release_tasks",
        "stop_worker",
        "write_plan",
        "write_system_logs",
        "write_workflow_data",
    )
}

TABLES = """
  select c.oid, c.relname as name, c.relrowsecurity from pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"""
FUNCTIONS = """
  select p.oid::regprocedure::text as name, p.* from pg_proc p
  where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)"""
RELATIONS = """
  select c.oid, c.relname as name, c.relkind from pg_class c
  where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)"""
POLICIES = "select policyname as name, p.* from pg_policies p where schemaname = 'public'"
FOREIGN_KEYS = """
  select k.conname as name, k.* from pg_constraint k
  where k.contype = 'f' and k.connamespace in ('public'::regnamespace, 'private'::regnamespace)"""
ROLES = """
  select rolname as name from pg_roles
  where rolname in ('anon', 'authenticated', 'service_role', 'organization_worker')"""

# What every object of a kind must satisfy.
RULES = {
    "tables have row level security": (TABLES, "relrowsecurity"),
    "tables have a comment": (TABLES, "obj_description(oid, 'pg_class') is not null"),
    "tables have a primary key": (
        TABLES,
        "exists (select from pg_constraint k where k.conrelid = o.oid and k.contype = 'p')",
    ),
    "tables have a policy": (TABLES, "exists (select from pg_policy p where p.polrelid = o.oid)"),
    "updated_at is kept by a trigger": (
        TABLES,
        """not exists (select from pg_attribute a where a.attrelid = o.oid and a.attname = 'updated_at')
        or exists (select from pg_trigger g where g.tgrelid = o.oid and g.tgenabled = 'O'
          and g.tgfoid = 'public.set_updated_at()'::regprocedure)""",
    ),
    "only the owner truncates, makes triggers and references": (
        TABLES,
        """not exists (select from unnest(array['anon', 'authenticated', 'service_role']) r
          where has_table_privilege(r, oid, 'truncate, references, trigger'))""",
    ),
    "foreign keys have an index that begins with their columns": (
        FOREIGN_KEYS,
        """exists (select from pg_index i
          where i.indrelid = conrelid and i.indisvalid
            and (i.indkey::int2[])[0:cardinality(conkey) - 1] @> conkey
            and coalesce(pg_get_expr(i.indpred, i.indrelid) = (
              select '(' || a.attname || ' IS NOT NULL)' from pg_attribute a
              where a.attrelid = conrelid and a.attnum = conkey[1]), true))""",
    ),
    "policies are to authenticated only": (POLICIES, "roles = '{authenticated}'"),
    "policies have sentences for names": (POLICIES, "policyname ~ '^[A-Z][a-z]+,? .*[a-z]$'"),
    "relations give anon and organizations' own workers nothing": (
        RELATIONS,
        """case
          when relkind in ('r', 'p', 'v', 'm') then not exists (
            select from unnest(array['anon', 'organization_worker']) r
            where has_table_privilege(r, oid, 'select, insert, update, delete, truncate, references, trigger')
              or has_any_column_privilege(r, oid, 'select, insert, update, references'))
          when relkind = 'S' then not has_sequence_privilege('anon', oid, 'usage, select, update')
            and not has_sequence_privilege('organization_worker', oid, 'usage, select, update')
          else true end""",
    ),
    # A signed report of an endpoint, and a signed push of a git host, is all that nobody in particular may say.
    "functions are not anon's to call": (
        FUNCTIONS,
        "has_function_privilege('anon', oid, 'execute') = (proname in ('report_task_status', 'receive_git_push'))",
    ),
    "functions are not everybody's to call": (
        FUNCTIONS,
        "not exists (select from aclexplode(coalesce(proacl, acldefault('f', proowner))) a where a.grantee = 0)",
    ),
    "functions in public are security invoker": (FUNCTIONS, "not prosecdef or pronamespace <> 'public'::regnamespace"),
    "functions have an empty search_path": (FUNCTIONS, """coalesce(proconfig @> array['search_path=""'], false)"""),
    "functions have a comment": (FUNCTIONS, "obj_description(oid, 'pg_proc') is not null"),
    "functions are not overloaded": (
        FUNCTIONS,
        "1 = (select count(*) from pg_proc p where p.proname = o.proname and p.pronamespace = o.pronamespace)",
    ),
    "roles create nothing in public or private": (
        ROLES,
        "not has_schema_privilege(name, 'public', 'create') and not has_schema_privilege(name, 'private', 'create')",
    ),
    "anon does not look into private": (ROLES, "name <> 'anon' or not has_schema_privilege(name, 'private', 'usage')"),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule_of_the_catalogue(scene: World, rule: str) -> None:
    source, condition = RULES[rule]
    assert scene.admin.rows(source)
    query = sql.SQL("select name from ({}) o where ({}) is not true").format(sql.SQL(source), sql.SQL(condition))
    assert [row["name"] for row in scene.admin.rows(query)] == []


def written(scene: World, table: str, privilege: str) -> set[str]:
    return {
        row["attname"]
        for row in scene.admin.rows(
            "select a.attname from pg_attribute a where a.attrelid = format('public.%%I', %s::text)::regclass"
            " and a.attnum > 0 and not a.attisdropped"
            " and has_column_privilege('authenticated', a.attrelid, a.attnum, %s)",
            table,
            privilege,
        )
    }


@pytest.mark.parametrize("privilege", ["insert", "update"])
@pytest.mark.parametrize("table", NEVER_WRITTEN)
def test_clients_never_write_columns_that_are_the_systems(scene: World, table: str, privilege: str) -> None:
    columns = written(scene, table, privilege)
    forbidden = columns if NEVER_WRITTEN[table] == "*" else set(NEVER_WRITTEN[table].split())
    assert columns & forbidden == set()


def test_every_table_stands_in_the_list_of_columns_clients_never_write(scene: World) -> None:
    assert {row["name"] for row in scene.admin.rows(TABLES)} == set(NEVER_WRITTEN)


def test_rows_never_move_to_another_organization_or_user(scene: World) -> None:
    fixed = {"organization_slug", "user_id", "id", "slug", "created_by"}
    movable = {
        (row["name"], column)
        for row in scene.admin.rows(TABLES)
        for column in written(scene, row["name"], "update") & fixed
    }
    # agents: the organizations that share it; users: the current organization, which a trigger checks.
    assert movable == {("agents", "organization_slug"), ("users", "organization_slug")}


def test_tables_without_a_client_right_to_delete_keep_it(scene: World) -> None:
    deletable = {
        row["name"]
        for row in scene.admin.rows(TABLES)
        if scene.admin.value("select has_table_privilege('authenticated', %s::oid, 'delete')", row["oid"])
    }
    assert deletable == {
        "organizations",
        "agents",
        "organization_invitations",
        "agent_conversations",
        "conversation_participants",
        "deliverables",
        "agent_repositories",
        "git_credentials",
        "marketplaces",
        "projects",
        "schedules",
        "task_assignments",
        "task_comments",
        "webhooks",
        "workflows",
    }


@pytest.mark.parametrize("table", NAMED_INDEXES)
def test_indexes_that_the_documents_name_exist(scene: World, table: str) -> None:
    found = {r["indexname"] for r in scene.admin.rows("select indexname from pg_indexes where tablename = %s", table)}
    expected = {n if n.startswith("idx_") else f"idx_{table}_{n}" for n in NAMED_INDEXES[table].split()}
    assert expected <= found


def test_hashes_of_invitations_are_not_readable_by_clients(scene: World) -> None:
    assert not scene.admin.value(
        "select has_column_privilege('authenticated', 'public.organization_invitations', 'token_hash', 'select')"
    )


def test_postgrest_exposes_exactly_these_functions_to_these_roles(scene: World) -> None:
    rows = scene.admin.rows(
        "select p.proname, array(select r from "
        " unnest(array['anon', 'authenticated', 'service_role', 'organization_worker']) r"
        " where has_function_privilege(r, p.oid, 'execute')) as roles"
        " from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prorettype <> 'trigger'::regtype"
    )
    assert {row["proname"]: set(row["roles"]) for row in rows} == {
        **MEMBER_RPCS,
        **WORKER_RPCS,
        **ENDPOINT_RPCS,
        **SCOPED_RPCS,
    }


def test_clients_call_only_the_definer_functions_that_check_who_they_are(scene: World) -> None:
    rows = scene.admin.rows(
        "select proname from pg_proc where pronamespace = 'private'::regnamespace and prosecdef"
        " and has_function_privilege('authenticated', oid, 'execute')"
    )
    invokers = {"leave_organization", "remove_member", "set_member_role", "agent_card", "restore_agent_version"}
    invokers |= {"enqueue_tasks", "start_workflow"}
    # Their bodies are one function, steer_execution.
    invokers |= {f"{action}_execution" for action in ("pause", "resume", "cancel", "retry")}
    invokers |= {"start_project", "pause_project", "resume_project", "cancel_project"}
    invokers |= {"plan_project", "refine_project", "approve_plan", "project_diagram", "project_overview"}
    invokers |= {"workflow_diagram", "run_tree", "task_trace", "run_step_payload", "latest_workflow_data"}
    lists = {name for name in MEMBER_RPCS if name.startswith("organization_")}
    bodies = set(MEMBER_RPCS) - invokers - lists | {"change_membership", "steer_project"}
    helpers = {
        "steer_execution",
        "my_organizations",
        "my_shared_conversations",
        "my_active_id",
        "my_assigned_tasks",
        "my_changeable_agents",
        "enforce_limit",
        "is_my_project_step",
    }
    assert bodies <= {row["proname"] for row in rows} <= bodies | helpers


def test_the_seed_gives_demo_org_an_agent_of_each_type(scene: World) -> None:
    rows = scene.admin.rows("select slug, agent_type from public.agents where organization_slug @> '{demo-org}'")
    assert {r["agent_type"] for r in rows} == {"context", "api", "external"}
    assert "blog-post-writer" in {r["slug"] for r in rows}
