"""What the five documents have, as plain data: their tables and columns, and the names that they print.

The documents are not part of this repository. C prints no columns: those here are its migrations'.
"""

COLUMNS: dict[str, dict[str, str]] = {
    "A": {
        "organizations": "slug name description url settings created_at updated_at",
        "agents": (
            "slug organization_slug name description version agent_type department tags io_schema capabilities"
            " context endpoint llm_config metadata created_at updated_at"
        ),
    },
    "B": {
        "users": ("id email display_name role roles created_at updated_at namespace_access status organization_slug"),
        "agent_conversations": (
            "id user_id agent_name agent_type started_at ended_at last_active_at metadata created_at updated_at"
            " primary_work_product_type primary_work_product_id"
        ),
        "tasks": (
            "id agent_conversation_id user_id method prompt params response response_metadata status progress"
            " progress_message evaluation llm_metadata error_code error_message error_data started_at completed_at"
            " timeout_seconds metadata created_at updated_at deliverable_type deliverable_metadata"
        ),
        "projects": (
            "id conversation_id name description plan_json status current_step_id error_details metadata"
            " created_at updated_at parent_project_id hierarchy_level subproject_count"
        ),
        "deliverables": (
            "id user_id conversation_id title type created_at updated_at task_id project_step_id metadata agent_name"
        ),
        "deliverable_versions": (
            "id deliverable_id version_number content format is_current_version created_by_type task_id metadata"
            " file_attachments created_at updated_at"
        ),
        "project_steps": (
            "id project_id step_id step_index step_type step_name agent_name prompt dependencies status result"
            " error_details started_at completed_at metadata created_at updated_at"
        ),
    },
    "C": {
        "orchestrator_agents": (
            "id session_id system_prompt status working_dir input_tokens output_tokens total_cost archived"
            " metadata created_at updated_at"
        ),
        "agents": (
            "id orchestrator_agent_id name model system_prompt working_dir git_worktree status session_id adw_id"
            " adw_step input_tokens output_tokens total_cost archived metadata created_at updated_at"
        ),
        "prompts": "id agent_id task_slug author prompt_text summary timestamp session_id",
        "agent_logs": (
            "id agent_id session_id task_slug adw_id adw_step entry_index event_category event_type content"
            " payload summary timestamp"
        ),
        "system_logs": "id file_path adw_id adw_step level message summary metadata timestamp",
        "orchestrator_chat": (
            "id created_at updated_at orchestrator_agent_id sender_type receiver_type message summary agent_id metadata"
        ),
    },
    "D": {
        "organization": "id name slug description settings subscription_info created_by created_at updated_at",
        "user": "id email name is_active system_role current_org_id last_login_at created_at updated_at",
        "organization_user": "org_id user_id role permissions joined_at",
        "agent_repository": (
            "id org_id name git_url branch is_root agent_directory last_sync_commit_hash last_sync_at"
            " last_sync_status last_sync_errors created_by created_at updated_at"
        ),
        "git_agent": (
            "id agent_repository_id name description file_path content_hash frontmatter is_active tags"
            " last_modified_commit_hash created_at updated_at"
        ),
        "git_credential": (
            "id repository_id provider username encrypted_token token_name expires_at last_used_at created_at"
            " updated_at"
        ),
        "external_agent": ("last_health_check_at average_response_time error_rate created_by created_at updated_at"),
        "run": (
            "id org_id agent_name session_id parent_run_id call_stack initial_prompt status error_message"
            " created_by created_at completed_at"
        ),
        "step": ("id run_id sequence_number type input output status error_message started_at completed_at metadata"),
        "workflow_data": "id run_id step_id key value data_type tags created_by_agent created_at",
        "input_request": (
            "id run_id step_id request_type prompt schema response responded_by requested_at responded_at"
        ),
        "mcp_server": "last_health_check_at created_by created_at updated_at",
        "organization_usage": (
            "id org_id period_start period_end total_runs total_cost total_tokens runs_by_status usage_details"
        ),
    },
    "E": {
        "users": (
            "id email password_hash first_name last_name subscription_tier created_at updated_at last_login_at"
            " is_active email_verified"
        ),
        "organizations": "id name slug subscription_tier created_at updated_at is_active",
        "organization_members": "id organization_id user_id role joined_at",
        "agents": (
            "id name description owner_type owner_id framework agent_type status version created_at updated_at"
            " deployed_at container_id resource_limits metadata"
        ),
        "workflows": (
            "id agent_id name description workflow_data workflow_type framework version created_at updated_at is_active"
        ),
        "workflow_executions": (
            "id workflow_id agent_id status status_message started_at completed_at paused_at resumed_at"
            " execution_data execution_logs error_message error_code retry_count max_retries resource_usage"
            " performance_metrics correlation_id parent_execution_id created_at updated_at"
        ),
        "marketplace_integrations": (
            "id agent_id marketplace_name marketplace_agent_id status published_at unpublished_at usage_metrics"
            " created_at updated_at"
        ),
        "container_resources": (
            "id agent_id subscription_tier cpu_limit memory_limit_mb network_isolation created_at updated_at"
        ),
    },
}

NAMES: dict[str, list[str]] = {
    "A": [
        "idx_agents_agent_type",
        "idx_agents_capabilities",
        "idx_agents_created_at",
        "idx_agents_department",
        "idx_agents_endpoint",
        "idx_agents_io_schema",
        "idx_agents_llm_config",
        "idx_agents_metadata",
        "idx_agents_name",
        "idx_agents_organization_slug",
        "idx_agents_tags",
        "idx_organizations_created_at",
        "idx_organizations_name",
        "idx_organizations_settings",
        "Users can read their organizations",
        "Service role has full access to organizations",
        "Users can read agents in their organizations",
        "Service role has full access to agents",
        "set_updated_at()",
        "20250120000001_create_organizations_table.sql",
        "20250120000002_create_agents_table.sql",
        "seeds/seed.sql",
        "demo-org",
        "blog-post-writer",
        "conversations",
        "messages",
        "conversation_participants",
        "document_collections",
        "documents",
        "document_chunks",
        "tasks",
        "task_assignments",
        "task_comments",
        "approvals",
        "observability_events",
        "agent_metrics",
        "performance_logs",
        "limits.max_agents",
        "limits.max_conversations",
        "authentication.type",
        "request_transform",
        "response_transform",
        "status_webhook",
        "version_history",
    ],
    "B": [
        "idx_agents_active",
        "idx_conversations_user_recent",
        "idx_messages_conversation_time",
        "idx_tasks_user_status",
        "idx_users_email",
        "users_email_key",
        "message_count",
        "conversation_title",
        "task_count",
        "completed_count",
        "total_tasks",
        "completed_tasks",
        "deliverable_count",
        "last_message_at",
        "priority",
    ],
    "C": [
        "0_orchestrator_agents.sql",
        "1_agents.sql",
        "2_prompts.sql",
        "3_agent_logs.sql",
        "4_system_logs.sql",
        "5_indexes.sql",
        "6_functions.sql",
        "7_triggers.sql",
        "models.py",
        "run_migrations.py",
        "sync_models.py",
        "drop_table.py",
        "OrchestratorAgent",
        "Agent",
        "Prompt",
        "AgentLog",
        "SystemLog",
    ],
    "D": [
        "organization.slug",
        "user.email",
        "agent_repository.org_id",
        "git_agent.agent_repository_id",
        "run.org_id",
        "run.session_id",
        "workflow_data.run_id",
        "workflow_data.key",
        "createRlsDb",
        "createUnrestrictedDb",
        "getDb",
        "getDatabaseConnection",
        "app.current_org_id",
    ],
    "E": [
        "agents_owner_access",
        "check_network_isolation",
        "check_resource_limits",
        "executions_workflow_access",
        "fk_agent_owner",
        "idx_agents_created_at",
        "idx_agents_framework",
        "idx_agents_owner",
        "idx_agents_status",
        "idx_container_resources_agent_id",
        "idx_container_resources_tier",
        "idx_executions_agent_id",
        "idx_executions_correlation_id",
        "idx_executions_started_at",
        "idx_executions_status",
        "idx_executions_workflow_id",
        "idx_marketplace_agent_id",
        "idx_marketplace_status",
        "idx_org_members_org_id",
        "idx_org_members_user_id",
        "idx_organizations_slug",
        "idx_organizations_subscription_tier",
        "idx_users_created_at",
        "idx_users_email",
        "idx_users_subscription_tier",
        "idx_workflow_executions_agent_status",
        "idx_workflow_executions_correlation",
        "idx_workflow_executions_started",
        "idx_workflow_executions_status",
        "idx_workflows_active",
        "idx_workflows_agent_id",
        "idx_workflows_framework",
        "org_members_access",
        "users_own_data",
        "workflows_agent_access",
    ],
}
