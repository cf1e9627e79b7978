"""Generated from the database by ./scripts/gen-models: do not edit."""

from __future__ import annotations

import datetime
import uuid
from typing import (
    NotRequired,
    TypedDict,
)

from pydantic import BaseModel, Field, JsonValue


class PublicAgentConversations(BaseModel):
    agent_name: str
    agent_slug: str | None
    agent_type: str
    created_at: datetime.datetime
    ended_at: datetime.datetime | None
    id: uuid.UUID
    last_active_at: datetime.datetime
    last_message_at: datetime.datetime | None
    metadata: JsonValue
    organization_slug: str
    primary_work_product_id: uuid.UUID | None
    primary_work_product_type: str | None
    started_at: datetime.datetime
    status: str
    title: str | None
    updated_at: datetime.datetime
    user_id: uuid.UUID


class PublicAgentConversationsInsert(TypedDict):
    agent_name: str
    agent_slug: NotRequired[str | None]
    agent_type: str
    created_at: NotRequired[datetime.datetime]
    ended_at: NotRequired[datetime.datetime | None]
    id: NotRequired[uuid.UUID]
    last_active_at: NotRequired[datetime.datetime]
    last_message_at: NotRequired[datetime.datetime | None]
    metadata: NotRequired[JsonValue]
    organization_slug: str
    primary_work_product_id: NotRequired[uuid.UUID | None]
    primary_work_product_type: NotRequired[str | None]
    started_at: NotRequired[datetime.datetime]
    status: NotRequired[str]
    title: NotRequired[str | None]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicAgentConversationsUpdate(TypedDict):
    agent_name: NotRequired[str]
    agent_slug: NotRequired[str | None]
    agent_type: NotRequired[str]
    created_at: NotRequired[datetime.datetime]
    ended_at: NotRequired[datetime.datetime | None]
    id: NotRequired[uuid.UUID]
    last_active_at: NotRequired[datetime.datetime]
    last_message_at: NotRequired[datetime.datetime | None]
    metadata: NotRequired[JsonValue]
    organization_slug: NotRequired[str]
    primary_work_product_id: NotRequired[uuid.UUID | None]
    primary_work_product_type: NotRequired[str | None]
    started_at: NotRequired[datetime.datetime]
    status: NotRequired[str]
    title: NotRequired[str | None]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicAgentInstances(BaseModel):
    adw_id: str | None
    adw_step: str | None
    agent_slug: str | None
    archived: bool
    created_at: datetime.datetime
    created_by: uuid.UUID | None
    git_worktree: str | None
    id: uuid.UUID
    input_tokens: int
    metadata: JsonValue
    model: str
    name: str
    orchestrator_agent_id: uuid.UUID
    output_tokens: int
    session_id: str | None
    status: str
    system_prompt: str | None
    total_cost: float
    updated_at: datetime.datetime
    working_dir: str | None


class PublicAgentInstancesInsert(TypedDict):
    adw_id: NotRequired[str | None]
    adw_step: NotRequired[str | None]
    agent_slug: NotRequired[str | None]
    archived: NotRequired[bool]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    git_worktree: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    input_tokens: NotRequired[int]
    metadata: NotRequired[JsonValue]
    model: str
    name: str
    orchestrator_agent_id: uuid.UUID
    output_tokens: NotRequired[int]
    session_id: NotRequired[str | None]
    status: NotRequired[str]
    system_prompt: NotRequired[str | None]
    total_cost: NotRequired[float]
    updated_at: NotRequired[datetime.datetime]
    working_dir: NotRequired[str | None]


class PublicAgentInstancesUpdate(TypedDict):
    adw_id: NotRequired[str | None]
    adw_step: NotRequired[str | None]
    agent_slug: NotRequired[str | None]
    archived: NotRequired[bool]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    git_worktree: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    input_tokens: NotRequired[int]
    metadata: NotRequired[JsonValue]
    model: NotRequired[str]
    name: NotRequired[str]
    orchestrator_agent_id: NotRequired[uuid.UUID]
    output_tokens: NotRequired[int]
    session_id: NotRequired[str | None]
    status: NotRequired[str]
    system_prompt: NotRequired[str | None]
    total_cost: NotRequired[float]
    updated_at: NotRequired[datetime.datetime]
    working_dir: NotRequired[str | None]


class PublicAgentLogs(BaseModel):
    adw_id: str | None
    adw_step: str | None
    agent_id: uuid.UUID | None
    content: str | None
    entry_index: int | None
    event_category: str
    event_type: str
    id: uuid.UUID
    orchestrator_agent_id: uuid.UUID | None
    payload: JsonValue
    session_id: str | None
    summary: str | None
    task_id: uuid.UUID | None
    task_slug: str | None
    timestamp: datetime.datetime


class PublicAgentLogsInsert(TypedDict):
    adw_id: NotRequired[str | None]
    adw_step: NotRequired[str | None]
    agent_id: NotRequired[uuid.UUID | None]
    content: NotRequired[str | None]
    entry_index: NotRequired[int | None]
    event_category: str
    event_type: str
    id: NotRequired[uuid.UUID]
    orchestrator_agent_id: NotRequired[uuid.UUID | None]
    payload: NotRequired[JsonValue]
    session_id: NotRequired[str | None]
    summary: NotRequired[str | None]
    task_id: NotRequired[uuid.UUID | None]
    task_slug: NotRequired[str | None]
    timestamp: NotRequired[datetime.datetime]


class PublicAgentLogsUpdate(TypedDict):
    adw_id: NotRequired[str | None]
    adw_step: NotRequired[str | None]
    agent_id: NotRequired[uuid.UUID | None]
    content: NotRequired[str | None]
    entry_index: NotRequired[int | None]
    event_category: NotRequired[str]
    event_type: NotRequired[str]
    id: NotRequired[uuid.UUID]
    orchestrator_agent_id: NotRequired[uuid.UUID | None]
    payload: NotRequired[JsonValue]
    session_id: NotRequired[str | None]
    summary: NotRequired[str | None]
    task_id: NotRequired[uuid.UUID | None]
    task_slug: NotRequired[str | None]
    timestamp: NotRequired[datetime.datetime]


class PublicAgentRepositories(BaseModel):
    agent_directory: str | None
    branch: str
    created_at: datetime.datetime
    created_by: uuid.UUID | None
    git_url: str
    id: uuid.UUID
    is_root: bool
    last_sync_at: datetime.datetime | None
    last_sync_commit_hash: str | None
    last_sync_errors: JsonValue | None
    last_sync_status: str
    name: str
    organization_slug: str
    updated_at: datetime.datetime


class PublicAgentRepositoriesInsert(TypedDict):
    agent_directory: NotRequired[str | None]
    branch: NotRequired[str]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    git_url: str
    id: NotRequired[uuid.UUID]
    is_root: NotRequired[bool]
    last_sync_at: NotRequired[datetime.datetime | None]
    last_sync_commit_hash: NotRequired[str | None]
    last_sync_errors: NotRequired[JsonValue | None]
    last_sync_status: NotRequired[str]
    name: str
    organization_slug: str
    updated_at: NotRequired[datetime.datetime]


class PublicAgentRepositoriesUpdate(TypedDict):
    agent_directory: NotRequired[str | None]
    branch: NotRequired[str]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    git_url: NotRequired[str]
    id: NotRequired[uuid.UUID]
    is_root: NotRequired[bool]
    last_sync_at: NotRequired[datetime.datetime | None]
    last_sync_commit_hash: NotRequired[str | None]
    last_sync_errors: NotRequired[JsonValue | None]
    last_sync_status: NotRequired[str]
    name: NotRequired[str]
    organization_slug: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]


class PublicAgentVersions(BaseModel):
    agent_slug: str
    configuration: JsonValue
    created_at: datetime.datetime
    created_by: uuid.UUID | None
    id: uuid.UUID
    updated_at: datetime.datetime
    version: str


class PublicAgentVersionsInsert(TypedDict):
    agent_slug: str
    configuration: JsonValue
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    id: NotRequired[uuid.UUID]
    updated_at: NotRequired[datetime.datetime]
    version: str


class PublicAgentVersionsUpdate(TypedDict):
    agent_slug: NotRequired[str]
    configuration: NotRequired[JsonValue]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    id: NotRequired[uuid.UUID]
    updated_at: NotRequired[datetime.datetime]
    version: NotRequired[str]


class PublicAgents(BaseModel):
    agent_type: str
    build_type: str | None
    capabilities: list[str]
    container_id: str | None
    context: str
    created_at: datetime.datetime
    department: str
    deployed_at: datetime.datetime | None
    description: str
    endpoint: JsonValue | None
    framework: str | None
    io_schema: JsonValue
    llm_config: JsonValue | None
    max_concurrent_tasks: int | None
    metadata: JsonValue | None
    name: str
    organization_slug: list[str]
    owner_type: str
    owner_user_id: uuid.UUID | None
    resource_limits: JsonValue | None
    slug: str
    status: str
    tags: list[str] | None
    updated_at: datetime.datetime
    version: str


class PublicAgentsInsert(TypedDict):
    agent_type: str
    build_type: NotRequired[str | None]
    capabilities: list[str]
    container_id: NotRequired[str | None]
    context: str
    created_at: NotRequired[datetime.datetime]
    department: str
    deployed_at: NotRequired[datetime.datetime | None]
    description: str
    endpoint: NotRequired[JsonValue | None]
    framework: NotRequired[str | None]
    io_schema: JsonValue
    llm_config: NotRequired[JsonValue | None]
    max_concurrent_tasks: NotRequired[int | None]
    metadata: NotRequired[JsonValue | None]
    name: str
    organization_slug: NotRequired[list[str]]
    owner_type: NotRequired[str]
    owner_user_id: NotRequired[uuid.UUID | None]
    resource_limits: NotRequired[JsonValue | None]
    slug: str
    status: NotRequired[str]
    tags: NotRequired[list[str] | None]
    updated_at: NotRequired[datetime.datetime]
    version: NotRequired[str]


class PublicAgentsUpdate(TypedDict):
    agent_type: NotRequired[str]
    build_type: NotRequired[str | None]
    capabilities: NotRequired[list[str]]
    container_id: NotRequired[str | None]
    context: NotRequired[str]
    created_at: NotRequired[datetime.datetime]
    department: NotRequired[str]
    deployed_at: NotRequired[datetime.datetime | None]
    description: NotRequired[str]
    endpoint: NotRequired[JsonValue | None]
    framework: NotRequired[str | None]
    io_schema: NotRequired[JsonValue]
    llm_config: NotRequired[JsonValue | None]
    max_concurrent_tasks: NotRequired[int | None]
    metadata: NotRequired[JsonValue | None]
    name: NotRequired[str]
    organization_slug: NotRequired[list[str]]
    owner_type: NotRequired[str]
    owner_user_id: NotRequired[uuid.UUID | None]
    resource_limits: NotRequired[JsonValue | None]
    slug: NotRequired[str]
    status: NotRequired[str]
    tags: NotRequired[list[str] | None]
    updated_at: NotRequired[datetime.datetime]
    version: NotRequired[str]


class PublicAuditLogs(BaseModel):
    action: str
    actor_role: str
    actor_user_id: uuid.UUID | None
    changes: JsonValue
    created_at: datetime.datetime
    id: int
    organization_slug: str
    row_key: str
    table_name: str


class PublicAuditLogsInsert(TypedDict):
    action: str
    actor_role: str
    actor_user_id: NotRequired[uuid.UUID | None]
    changes: NotRequired[JsonValue]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[int]
    organization_slug: str
    row_key: str
    table_name: str


class PublicAuditLogsUpdate(TypedDict):
    action: NotRequired[str]
    actor_role: NotRequired[str]
    actor_user_id: NotRequired[uuid.UUID | None]
    changes: NotRequired[JsonValue]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[int]
    organization_slug: NotRequired[str]
    row_key: NotRequired[str]
    table_name: NotRequired[str]


class PublicContainerResources(BaseModel):
    agent_slug: str
    cpu_limit: int
    created_at: datetime.datetime
    id: uuid.UUID
    memory_limit_mb: int
    network_isolation: str
    subscription_tier: str
    updated_at: datetime.datetime


class PublicContainerResourcesInsert(TypedDict):
    agent_slug: str
    cpu_limit: int
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    memory_limit_mb: int
    network_isolation: str
    subscription_tier: str
    updated_at: NotRequired[datetime.datetime]


class PublicContainerResourcesUpdate(TypedDict):
    agent_slug: NotRequired[str]
    cpu_limit: NotRequired[int]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    memory_limit_mb: NotRequired[int]
    network_isolation: NotRequired[str]
    subscription_tier: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]


class PublicConversationParticipants(BaseModel):
    agent_slug: str | None
    conversation_id: uuid.UUID
    created_at: datetime.datetime
    id: uuid.UUID
    joined_at: datetime.datetime
    participant_type: str
    updated_at: datetime.datetime
    user_id: uuid.UUID | None


class PublicConversationParticipantsInsert(TypedDict):
    agent_slug: NotRequired[str | None]
    conversation_id: uuid.UUID
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    joined_at: NotRequired[datetime.datetime]
    participant_type: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID | None]


class PublicConversationParticipantsUpdate(TypedDict):
    agent_slug: NotRequired[str | None]
    conversation_id: NotRequired[uuid.UUID]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    joined_at: NotRequired[datetime.datetime]
    participant_type: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID | None]


class PublicDeliverableVersions(BaseModel):
    content: str | None
    created_at: datetime.datetime
    created_by_type: str
    deliverable_id: uuid.UUID
    file_attachments: JsonValue | None
    format: str | None
    id: uuid.UUID
    is_current_version: bool
    metadata: JsonValue
    task_id: uuid.UUID | None
    updated_at: datetime.datetime
    version_number: int


class PublicDeliverableVersionsInsert(TypedDict):
    content: NotRequired[str | None]
    created_at: NotRequired[datetime.datetime]
    created_by_type: NotRequired[str]
    deliverable_id: uuid.UUID
    file_attachments: NotRequired[JsonValue | None]
    format: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    is_current_version: NotRequired[bool]
    metadata: NotRequired[JsonValue]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]
    version_number: int


class PublicDeliverableVersionsUpdate(TypedDict):
    content: NotRequired[str | None]
    created_at: NotRequired[datetime.datetime]
    created_by_type: NotRequired[str]
    deliverable_id: NotRequired[uuid.UUID]
    file_attachments: NotRequired[JsonValue | None]
    format: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    is_current_version: NotRequired[bool]
    metadata: NotRequired[JsonValue]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]
    version_number: NotRequired[int]


class PublicDeliverables(BaseModel):
    agent_name: str | None
    conversation_id: uuid.UUID | None
    created_at: datetime.datetime
    id: uuid.UUID
    metadata: JsonValue
    organization_slug: str
    project_step_id: uuid.UUID | None
    task_id: uuid.UUID | None
    title: str
    type: str
    updated_at: datetime.datetime
    user_id: uuid.UUID


class PublicDeliverablesInsert(TypedDict):
    agent_name: NotRequired[str | None]
    conversation_id: NotRequired[uuid.UUID | None]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    organization_slug: str
    project_step_id: NotRequired[uuid.UUID | None]
    task_id: NotRequired[uuid.UUID | None]
    title: str
    type: str
    updated_at: NotRequired[datetime.datetime]
    user_id: uuid.UUID


class PublicDeliverablesUpdate(TypedDict):
    agent_name: NotRequired[str | None]
    conversation_id: NotRequired[uuid.UUID | None]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    organization_slug: NotRequired[str]
    project_step_id: NotRequired[uuid.UUID | None]
    task_id: NotRequired[uuid.UUID | None]
    title: NotRequired[str]
    type: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicGitAgents(BaseModel):
    agent_repository_id: uuid.UUID
    agent_slug: str | None
    body: str
    content_hash: str
    created_at: datetime.datetime
    description: str | None
    file_path: str
    frontmatter: JsonValue
    id: uuid.UUID
    is_active: bool
    last_modified_commit_hash: str | None
    name: str
    tags: list[str]
    updated_at: datetime.datetime


class PublicGitAgentsInsert(TypedDict):
    agent_repository_id: uuid.UUID
    agent_slug: NotRequired[str | None]
    body: NotRequired[str]
    content_hash: str
    created_at: NotRequired[datetime.datetime]
    description: NotRequired[str | None]
    file_path: str
    frontmatter: NotRequired[JsonValue]
    id: NotRequired[uuid.UUID]
    is_active: NotRequired[bool]
    last_modified_commit_hash: NotRequired[str | None]
    name: str
    tags: NotRequired[list[str]]
    updated_at: NotRequired[datetime.datetime]


class PublicGitAgentsUpdate(TypedDict):
    agent_repository_id: NotRequired[uuid.UUID]
    agent_slug: NotRequired[str | None]
    body: NotRequired[str]
    content_hash: NotRequired[str]
    created_at: NotRequired[datetime.datetime]
    description: NotRequired[str | None]
    file_path: NotRequired[str]
    frontmatter: NotRequired[JsonValue]
    id: NotRequired[uuid.UUID]
    is_active: NotRequired[bool]
    last_modified_commit_hash: NotRequired[str | None]
    name: NotRequired[str]
    tags: NotRequired[list[str]]
    updated_at: NotRequired[datetime.datetime]


class PublicGitCredentials(BaseModel):
    created_at: datetime.datetime
    encrypted_token: str
    expires_at: datetime.datetime | None
    id: uuid.UUID
    last_used_at: datetime.datetime | None
    provider: str | None
    repository_id: uuid.UUID
    token_name: str | None
    updated_at: datetime.datetime
    username: str | None


class PublicGitCredentialsInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    encrypted_token: str
    expires_at: NotRequired[datetime.datetime | None]
    id: NotRequired[uuid.UUID]
    last_used_at: NotRequired[datetime.datetime | None]
    provider: NotRequired[str | None]
    repository_id: uuid.UUID
    token_name: NotRequired[str | None]
    updated_at: NotRequired[datetime.datetime]
    username: NotRequired[str | None]


class PublicGitCredentialsUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    encrypted_token: NotRequired[str]
    expires_at: NotRequired[datetime.datetime | None]
    id: NotRequired[uuid.UUID]
    last_used_at: NotRequired[datetime.datetime | None]
    provider: NotRequired[str | None]
    repository_id: NotRequired[uuid.UUID]
    token_name: NotRequired[str | None]
    updated_at: NotRequired[datetime.datetime]
    username: NotRequired[str | None]


class PublicInputRequests(BaseModel):
    created_at: datetime.datetime
    execution_id: uuid.UUID | None
    expires_at: datetime.datetime | None
    id: uuid.UUID
    metadata: JsonValue
    on_expiry: str
    organization_slug: str
    project_step_id: uuid.UUID | None
    prompt: str
    request_type: str
    requested_at: datetime.datetime
    required_role: str
    responded_at: datetime.datetime | None
    responded_by: uuid.UUID | None
    response: JsonValue | None
    run_id: uuid.UUID | None
    schema_: JsonValue = Field(alias="schema")
    status: str
    step_id: uuid.UUID | None
    task_id: uuid.UUID | None
    updated_at: datetime.datetime


class PublicInputRequestsInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    execution_id: NotRequired[uuid.UUID | None]
    expires_at: NotRequired[datetime.datetime | None]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    on_expiry: NotRequired[str]
    organization_slug: str
    project_step_id: NotRequired[uuid.UUID | None]
    prompt: str
    request_type: NotRequired[str]
    requested_at: NotRequired[datetime.datetime]
    required_role: NotRequired[str]
    responded_at: NotRequired[datetime.datetime | None]
    responded_by: NotRequired[uuid.UUID | None]
    response: NotRequired[JsonValue | None]
    run_id: NotRequired[uuid.UUID | None]
    schema: NotRequired[JsonValue]
    status: NotRequired[str]
    step_id: NotRequired[uuid.UUID | None]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]


class PublicInputRequestsUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    execution_id: NotRequired[uuid.UUID | None]
    expires_at: NotRequired[datetime.datetime | None]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    on_expiry: NotRequired[str]
    organization_slug: NotRequired[str]
    project_step_id: NotRequired[uuid.UUID | None]
    prompt: NotRequired[str]
    request_type: NotRequired[str]
    requested_at: NotRequired[datetime.datetime]
    required_role: NotRequired[str]
    responded_at: NotRequired[datetime.datetime | None]
    responded_by: NotRequired[uuid.UUID | None]
    response: NotRequired[JsonValue | None]
    run_id: NotRequired[uuid.UUID | None]
    schema: NotRequired[JsonValue]
    status: NotRequired[str]
    step_id: NotRequired[uuid.UUID | None]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]


class PublicMarketplaceIntegrations(BaseModel):
    action: str | None
    agent_slug: str
    agent_version: str | None
    created_at: datetime.datetime
    error_code: str | None
    error_message: str | None
    id: uuid.UUID
    listing_hash: str | None
    look_at: datetime.datetime | None
    marketplace_agent_id: str | None
    marketplace_id: uuid.UUID
    marketplace_name: str
    organization_slug: str | None
    published_at: datetime.datetime | None
    requested_at: datetime.datetime
    requested_by: uuid.UUID | None
    revision: int
    status: str
    task_id: uuid.UUID | None
    unpublished_at: datetime.datetime | None
    updated_at: datetime.datetime
    usage_error: str | None
    usage_fetched_at: datetime.datetime | None
    usage_metrics: JsonValue


class PublicMarketplaceIntegrationsInsert(TypedDict):
    action: NotRequired[str | None]
    agent_slug: str
    agent_version: NotRequired[str | None]
    created_at: NotRequired[datetime.datetime]
    error_code: NotRequired[str | None]
    error_message: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    listing_hash: NotRequired[str | None]
    look_at: NotRequired[datetime.datetime | None]
    marketplace_agent_id: NotRequired[str | None]
    marketplace_id: uuid.UUID
    marketplace_name: NotRequired[str]
    organization_slug: NotRequired[str | None]
    published_at: NotRequired[datetime.datetime | None]
    requested_at: NotRequired[datetime.datetime]
    requested_by: NotRequired[uuid.UUID | None]
    revision: NotRequired[int]
    status: NotRequired[str]
    task_id: NotRequired[uuid.UUID | None]
    unpublished_at: NotRequired[datetime.datetime | None]
    updated_at: NotRequired[datetime.datetime]
    usage_error: NotRequired[str | None]
    usage_fetched_at: NotRequired[datetime.datetime | None]
    usage_metrics: NotRequired[JsonValue]


class PublicMarketplaceIntegrationsUpdate(TypedDict):
    action: NotRequired[str | None]
    agent_slug: NotRequired[str]
    agent_version: NotRequired[str | None]
    created_at: NotRequired[datetime.datetime]
    error_code: NotRequired[str | None]
    error_message: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    listing_hash: NotRequired[str | None]
    look_at: NotRequired[datetime.datetime | None]
    marketplace_agent_id: NotRequired[str | None]
    marketplace_id: NotRequired[uuid.UUID]
    marketplace_name: NotRequired[str]
    organization_slug: NotRequired[str | None]
    published_at: NotRequired[datetime.datetime | None]
    requested_at: NotRequired[datetime.datetime]
    requested_by: NotRequired[uuid.UUID | None]
    revision: NotRequired[int]
    status: NotRequired[str]
    task_id: NotRequired[uuid.UUID | None]
    unpublished_at: NotRequired[datetime.datetime | None]
    updated_at: NotRequired[datetime.datetime]
    usage_error: NotRequired[str | None]
    usage_fetched_at: NotRequired[datetime.datetime | None]
    usage_metrics: NotRequired[JsonValue]


class PublicMarketplaces(BaseModel):
    base_url: str
    created_at: datetime.datetime
    fields: JsonValue
    headers: JsonValue
    id: uuid.UUID
    name: str
    operations: JsonValue
    organization_slug: str | None
    updated_at: datetime.datetime


class PublicMarketplacesInsert(TypedDict):
    base_url: str
    created_at: NotRequired[datetime.datetime]
    fields: NotRequired[JsonValue]
    headers: NotRequired[JsonValue]
    id: NotRequired[uuid.UUID]
    name: str
    operations: NotRequired[JsonValue]
    organization_slug: NotRequired[str | None]
    updated_at: NotRequired[datetime.datetime]


class PublicMarketplacesUpdate(TypedDict):
    base_url: NotRequired[str]
    created_at: NotRequired[datetime.datetime]
    fields: NotRequired[JsonValue]
    headers: NotRequired[JsonValue]
    id: NotRequired[uuid.UUID]
    name: NotRequired[str]
    operations: NotRequired[JsonValue]
    organization_slug: NotRequired[str | None]
    updated_at: NotRequired[datetime.datetime]


class PublicMessages(BaseModel):
    agent_instance_id: uuid.UUID | None
    content: str
    conversation_id: uuid.UUID
    created_at: datetime.datetime
    id: uuid.UUID
    metadata: JsonValue
    receiver_type: str
    sender_agent_slug: str | None
    sender_type: str
    sender_user_id: uuid.UUID | None
    summary: str | None
    task_id: uuid.UUID | None
    updated_at: datetime.datetime


class PublicMessagesInsert(TypedDict):
    agent_instance_id: NotRequired[uuid.UUID | None]
    content: str
    conversation_id: uuid.UUID
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    receiver_type: NotRequired[str]
    sender_agent_slug: NotRequired[str | None]
    sender_type: NotRequired[str]
    sender_user_id: NotRequired[uuid.UUID | None]
    summary: NotRequired[str | None]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]


class PublicMessagesUpdate(TypedDict):
    agent_instance_id: NotRequired[uuid.UUID | None]
    content: NotRequired[str]
    conversation_id: NotRequired[uuid.UUID]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    receiver_type: NotRequired[str]
    sender_agent_slug: NotRequired[str | None]
    sender_type: NotRequired[str]
    sender_user_id: NotRequired[uuid.UUID | None]
    summary: NotRequired[str | None]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]


class PublicOrchestratorAgents(BaseModel):
    agent_slug: str | None
    archived: bool
    created_at: datetime.datetime
    id: uuid.UUID
    input_tokens: int
    metadata: JsonValue
    organization_slug: str
    output_tokens: int
    session_id: str | None
    settings: JsonValue
    status: str
    system_prompt: str | None
    total_cost: float
    updated_at: datetime.datetime
    working_dir: str | None


class PublicOrchestratorAgentsInsert(TypedDict):
    agent_slug: NotRequired[str | None]
    archived: NotRequired[bool]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    input_tokens: NotRequired[int]
    metadata: NotRequired[JsonValue]
    organization_slug: str
    output_tokens: NotRequired[int]
    session_id: NotRequired[str | None]
    settings: NotRequired[JsonValue]
    status: NotRequired[str]
    system_prompt: NotRequired[str | None]
    total_cost: NotRequired[float]
    updated_at: NotRequired[datetime.datetime]
    working_dir: NotRequired[str | None]


class PublicOrchestratorAgentsUpdate(TypedDict):
    agent_slug: NotRequired[str | None]
    archived: NotRequired[bool]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    input_tokens: NotRequired[int]
    metadata: NotRequired[JsonValue]
    organization_slug: NotRequired[str]
    output_tokens: NotRequired[int]
    session_id: NotRequired[str | None]
    settings: NotRequired[JsonValue]
    status: NotRequired[str]
    system_prompt: NotRequired[str | None]
    total_cost: NotRequired[float]
    updated_at: NotRequired[datetime.datetime]
    working_dir: NotRequired[str | None]


class PublicOrganizationInvitations(BaseModel):
    accepted_at: datetime.datetime | None
    accepted_by: uuid.UUID | None
    created_at: datetime.datetime
    email: str
    expires_at: datetime.datetime
    id: uuid.UUID
    invited_by: uuid.UUID | None
    organization_slug: str
    role: str
    token_hash: str
    updated_at: datetime.datetime


class PublicOrganizationInvitationsInsert(TypedDict):
    accepted_at: NotRequired[datetime.datetime | None]
    accepted_by: NotRequired[uuid.UUID | None]
    created_at: NotRequired[datetime.datetime]
    email: str
    expires_at: datetime.datetime
    id: NotRequired[uuid.UUID]
    invited_by: NotRequired[uuid.UUID | None]
    organization_slug: str
    role: NotRequired[str]
    token_hash: str
    updated_at: NotRequired[datetime.datetime]


class PublicOrganizationInvitationsUpdate(TypedDict):
    accepted_at: NotRequired[datetime.datetime | None]
    accepted_by: NotRequired[uuid.UUID | None]
    created_at: NotRequired[datetime.datetime]
    email: NotRequired[str]
    expires_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    invited_by: NotRequired[uuid.UUID | None]
    organization_slug: NotRequired[str]
    role: NotRequired[str]
    token_hash: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]


class PublicOrganizationMembers(BaseModel):
    created_at: datetime.datetime
    joined_at: datetime.datetime
    organization_slug: str
    permissions: JsonValue
    role: str
    updated_at: datetime.datetime
    user_id: uuid.UUID


class PublicOrganizationMembersInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    joined_at: NotRequired[datetime.datetime]
    organization_slug: str
    permissions: NotRequired[JsonValue]
    role: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    user_id: uuid.UUID


class PublicOrganizationMembersUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    joined_at: NotRequired[datetime.datetime]
    organization_slug: NotRequired[str]
    permissions: NotRequired[JsonValue]
    role: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicOrganizationSecrets(BaseModel):
    ciphertext: str | None
    created_at: datetime.datetime
    created_by: uuid.UUID | None
    description: str | None
    id: uuid.UUID
    last_used_at: datetime.datetime | None
    name: str
    organization_slug: str
    rotated_at: datetime.datetime
    updated_at: datetime.datetime
    vault_id: uuid.UUID | None
    version: int


class PublicOrganizationSecretsInsert(TypedDict):
    ciphertext: NotRequired[str | None]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    description: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    last_used_at: NotRequired[datetime.datetime | None]
    name: str
    organization_slug: str
    rotated_at: NotRequired[datetime.datetime]
    updated_at: NotRequired[datetime.datetime]
    vault_id: NotRequired[uuid.UUID | None]
    version: NotRequired[int]


class PublicOrganizationSecretsUpdate(TypedDict):
    ciphertext: NotRequired[str | None]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    description: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    last_used_at: NotRequired[datetime.datetime | None]
    name: NotRequired[str]
    organization_slug: NotRequired[str]
    rotated_at: NotRequired[datetime.datetime]
    updated_at: NotRequired[datetime.datetime]
    vault_id: NotRequired[uuid.UUID | None]
    version: NotRequired[int]


class PublicOrganizations(BaseModel):
    created_at: datetime.datetime
    created_by: uuid.UUID | None
    description: str | None
    id: uuid.UUID
    is_active: bool
    max_running_tasks: int | None
    name: str
    settings: JsonValue
    slug: str
    subscription_info: JsonValue
    subscription_tier: str
    updated_at: datetime.datetime
    url: str | None


class PublicOrganizationsInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    description: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    is_active: NotRequired[bool]
    max_running_tasks: NotRequired[int | None]
    name: str
    settings: NotRequired[JsonValue]
    slug: str
    subscription_info: NotRequired[JsonValue]
    subscription_tier: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    url: NotRequired[str | None]


class PublicOrganizationsUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    description: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    is_active: NotRequired[bool]
    max_running_tasks: NotRequired[int | None]
    name: NotRequired[str]
    settings: NotRequired[JsonValue]
    slug: NotRequired[str]
    subscription_info: NotRequired[JsonValue]
    subscription_tier: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    url: NotRequired[str | None]


class PublicProjectPlanVersions(BaseModel):
    created_at: datetime.datetime
    plan_json: JsonValue
    project_id: uuid.UUID
    version: int


class PublicProjectPlanVersionsInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    plan_json: JsonValue
    project_id: uuid.UUID
    version: int


class PublicProjectPlanVersionsUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    plan_json: NotRequired[JsonValue]
    project_id: NotRequired[uuid.UUID]
    version: NotRequired[int]


class PublicProjectSteps(BaseModel):
    agent_name: str | None
    agent_slug: str | None
    completed_at: datetime.datetime | None
    condition: str | None
    created_at: datetime.datetime
    dependencies: list[str]
    error_details: JsonValue | None
    id: uuid.UUID
    metadata: JsonValue
    on_failure: str
    params: JsonValue
    project_id: uuid.UUID
    prompt: str | None
    result: JsonValue | None
    settings: JsonValue
    started_at: datetime.datetime | None
    status: str
    step_id: str
    step_index: int
    step_name: str
    step_type: str
    task_id: uuid.UUID | None
    updated_at: datetime.datetime


class PublicProjectStepsInsert(TypedDict):
    agent_name: NotRequired[str | None]
    agent_slug: NotRequired[str | None]
    completed_at: NotRequired[datetime.datetime | None]
    condition: NotRequired[str | None]
    created_at: NotRequired[datetime.datetime]
    dependencies: NotRequired[list[str]]
    error_details: NotRequired[JsonValue | None]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    on_failure: NotRequired[str]
    params: NotRequired[JsonValue]
    project_id: uuid.UUID
    prompt: NotRequired[str | None]
    result: NotRequired[JsonValue | None]
    settings: NotRequired[JsonValue]
    started_at: NotRequired[datetime.datetime | None]
    status: NotRequired[str]
    step_id: str
    step_index: int
    step_name: str
    step_type: str
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]


class PublicProjectStepsUpdate(TypedDict):
    agent_name: NotRequired[str | None]
    agent_slug: NotRequired[str | None]
    completed_at: NotRequired[datetime.datetime | None]
    condition: NotRequired[str | None]
    created_at: NotRequired[datetime.datetime]
    dependencies: NotRequired[list[str]]
    error_details: NotRequired[JsonValue | None]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    on_failure: NotRequired[str]
    params: NotRequired[JsonValue]
    project_id: NotRequired[uuid.UUID]
    prompt: NotRequired[str | None]
    result: NotRequired[JsonValue | None]
    settings: NotRequired[JsonValue]
    started_at: NotRequired[datetime.datetime | None]
    status: NotRequired[str]
    step_id: NotRequired[str]
    step_index: NotRequired[int]
    step_name: NotRequired[str]
    step_type: NotRequired[str]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]


class PublicProjects(BaseModel):
    completed_at: datetime.datetime | None
    completed_steps: int
    conversation_id: uuid.UUID
    created_at: datetime.datetime
    current_step_id: str | None
    description: str | None
    error_details: JsonValue | None
    execution_id: uuid.UUID | None
    failed_steps: int
    finished_steps: int
    hierarchy_level: int
    id: uuid.UUID
    metadata: JsonValue
    name: str | None
    organization_slug: str
    parent_project_id: uuid.UUID | None
    plan_json: JsonValue | None
    plan_version: int
    planning_task_id: uuid.UUID | None
    progress: int
    project_step_id: uuid.UUID | None
    started_at: datetime.datetime | None
    status: str
    subproject_count: int
    total_steps: int
    updated_at: datetime.datetime
    user_id: uuid.UUID


class PublicProjectsInsert(TypedDict):
    completed_at: NotRequired[datetime.datetime | None]
    completed_steps: NotRequired[int]
    conversation_id: uuid.UUID
    created_at: NotRequired[datetime.datetime]
    current_step_id: NotRequired[str | None]
    description: NotRequired[str | None]
    error_details: NotRequired[JsonValue | None]
    execution_id: NotRequired[uuid.UUID | None]
    failed_steps: NotRequired[int]
    finished_steps: NotRequired[int]
    hierarchy_level: NotRequired[int]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    name: NotRequired[str | None]
    organization_slug: str
    parent_project_id: NotRequired[uuid.UUID | None]
    plan_json: NotRequired[JsonValue | None]
    plan_version: NotRequired[int]
    planning_task_id: NotRequired[uuid.UUID | None]
    progress: NotRequired[int]
    project_step_id: NotRequired[uuid.UUID | None]
    started_at: NotRequired[datetime.datetime | None]
    status: NotRequired[str]
    subproject_count: NotRequired[int]
    total_steps: NotRequired[int]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicProjectsUpdate(TypedDict):
    completed_at: NotRequired[datetime.datetime | None]
    completed_steps: NotRequired[int]
    conversation_id: NotRequired[uuid.UUID]
    created_at: NotRequired[datetime.datetime]
    current_step_id: NotRequired[str | None]
    description: NotRequired[str | None]
    error_details: NotRequired[JsonValue | None]
    execution_id: NotRequired[uuid.UUID | None]
    failed_steps: NotRequired[int]
    finished_steps: NotRequired[int]
    hierarchy_level: NotRequired[int]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    name: NotRequired[str | None]
    organization_slug: NotRequired[str]
    parent_project_id: NotRequired[uuid.UUID | None]
    plan_json: NotRequired[JsonValue | None]
    plan_version: NotRequired[int]
    planning_task_id: NotRequired[uuid.UUID | None]
    progress: NotRequired[int]
    project_step_id: NotRequired[uuid.UUID | None]
    started_at: NotRequired[datetime.datetime | None]
    status: NotRequired[str]
    subproject_count: NotRequired[int]
    total_steps: NotRequired[int]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicPrompts(BaseModel):
    agent_id: uuid.UUID | None
    author: str
    id: uuid.UUID
    orchestrator_agent_id: uuid.UUID
    prompt_text: str
    session_id: str | None
    summary: str | None
    task_id: uuid.UUID | None
    task_slug: str | None
    timestamp: datetime.datetime


class PublicPromptsInsert(TypedDict):
    agent_id: NotRequired[uuid.UUID | None]
    author: str
    id: NotRequired[uuid.UUID]
    orchestrator_agent_id: uuid.UUID
    prompt_text: str
    session_id: NotRequired[str | None]
    summary: NotRequired[str | None]
    task_id: NotRequired[uuid.UUID | None]
    task_slug: NotRequired[str | None]
    timestamp: NotRequired[datetime.datetime]


class PublicPromptsUpdate(TypedDict):
    agent_id: NotRequired[uuid.UUID | None]
    author: NotRequired[str]
    id: NotRequired[uuid.UUID]
    orchestrator_agent_id: NotRequired[uuid.UUID]
    prompt_text: NotRequired[str]
    session_id: NotRequired[str | None]
    summary: NotRequired[str | None]
    task_id: NotRequired[uuid.UUID | None]
    task_slug: NotRequired[str | None]
    timestamp: NotRequired[datetime.datetime]


class PublicQueuePauses(BaseModel):
    created_at: datetime.datetime
    id: uuid.UUID
    method: str | None
    organization_slug: str | None
    paused_by: uuid.UUID | None
    reason: str | None


class PublicQueuePausesInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    method: NotRequired[str | None]
    organization_slug: NotRequired[str | None]
    paused_by: NotRequired[uuid.UUID | None]
    reason: NotRequired[str | None]


class PublicQueuePausesUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    method: NotRequired[str | None]
    organization_slug: NotRequired[str | None]
    paused_by: NotRequired[uuid.UUID | None]
    reason: NotRequired[str | None]


class PublicRunSteps(BaseModel):
    completed_at: datetime.datetime | None
    cost: float | None
    created_at: datetime.datetime
    error_message: str | None
    id: uuid.UUID
    input: JsonValue | None
    input_payload: uuid.UUID | None
    input_tokens: int | None
    is_cut: bool | None
    metadata: JsonValue
    name: str | None
    output: JsonValue | None
    output_payload: uuid.UUID | None
    output_tokens: int | None
    run_id: uuid.UUID
    sequence_number: int
    started_at: datetime.datetime
    status: str
    type: str
    updated_at: datetime.datetime


class PublicRunStepsInsert(TypedDict):
    completed_at: NotRequired[datetime.datetime | None]
    cost: NotRequired[float | None]
    created_at: NotRequired[datetime.datetime]
    error_message: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    input: NotRequired[JsonValue | None]
    input_payload: NotRequired[uuid.UUID | None]
    input_tokens: NotRequired[int | None]
    is_cut: NotRequired[bool | None]
    metadata: NotRequired[JsonValue]
    name: NotRequired[str | None]
    output: NotRequired[JsonValue | None]
    output_payload: NotRequired[uuid.UUID | None]
    output_tokens: NotRequired[int | None]
    run_id: uuid.UUID
    sequence_number: int
    started_at: NotRequired[datetime.datetime]
    status: NotRequired[str]
    type: str
    updated_at: NotRequired[datetime.datetime]


class PublicRunStepsUpdate(TypedDict):
    completed_at: NotRequired[datetime.datetime | None]
    cost: NotRequired[float | None]
    created_at: NotRequired[datetime.datetime]
    error_message: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    input: NotRequired[JsonValue | None]
    input_payload: NotRequired[uuid.UUID | None]
    input_tokens: NotRequired[int | None]
    is_cut: NotRequired[bool | None]
    metadata: NotRequired[JsonValue]
    name: NotRequired[str | None]
    output: NotRequired[JsonValue | None]
    output_payload: NotRequired[uuid.UUID | None]
    output_tokens: NotRequired[int | None]
    run_id: NotRequired[uuid.UUID]
    sequence_number: NotRequired[int]
    started_at: NotRequired[datetime.datetime]
    status: NotRequired[str]
    type: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]


class PublicRuns(BaseModel):
    agent_name: str | None
    agent_slug: str | None
    attempt: int
    call_stack: list[str]
    completed_at: datetime.datetime | None
    created_at: datetime.datetime
    created_by: uuid.UUID
    error_code: str | None
    error_message: str | None
    execution_id: uuid.UUID | None
    id: uuid.UUID
    initial_prompt: str | None
    metadata: JsonValue
    organization_slug: str
    parent_run_id: uuid.UUID | None
    session_id: str | None
    status: str
    task_id: uuid.UUID | None
    total_cost: float
    total_tokens: int
    updated_at: datetime.datetime
    worker_id: str | None


class PublicRunsInsert(TypedDict):
    agent_name: NotRequired[str | None]
    agent_slug: NotRequired[str | None]
    attempt: NotRequired[int]
    call_stack: NotRequired[list[str]]
    completed_at: NotRequired[datetime.datetime | None]
    created_at: NotRequired[datetime.datetime]
    created_by: uuid.UUID
    error_code: NotRequired[str | None]
    error_message: NotRequired[str | None]
    execution_id: NotRequired[uuid.UUID | None]
    id: NotRequired[uuid.UUID]
    initial_prompt: NotRequired[str | None]
    metadata: NotRequired[JsonValue]
    organization_slug: str
    parent_run_id: NotRequired[uuid.UUID | None]
    session_id: NotRequired[str | None]
    status: NotRequired[str]
    task_id: NotRequired[uuid.UUID | None]
    total_cost: NotRequired[float]
    total_tokens: NotRequired[int]
    updated_at: NotRequired[datetime.datetime]
    worker_id: NotRequired[str | None]


class PublicRunsUpdate(TypedDict):
    agent_name: NotRequired[str | None]
    agent_slug: NotRequired[str | None]
    attempt: NotRequired[int]
    call_stack: NotRequired[list[str]]
    completed_at: NotRequired[datetime.datetime | None]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID]
    error_code: NotRequired[str | None]
    error_message: NotRequired[str | None]
    execution_id: NotRequired[uuid.UUID | None]
    id: NotRequired[uuid.UUID]
    initial_prompt: NotRequired[str | None]
    metadata: NotRequired[JsonValue]
    organization_slug: NotRequired[str]
    parent_run_id: NotRequired[uuid.UUID | None]
    session_id: NotRequired[str | None]
    status: NotRequired[str]
    task_id: NotRequired[uuid.UUID | None]
    total_cost: NotRequired[float]
    total_tokens: NotRequired[int]
    updated_at: NotRequired[datetime.datetime]
    worker_id: NotRequired[str | None]


class PublicSchedules(BaseModel):
    agent_slug: str | None
    catch_up_policy: str
    created_at: datetime.datetime
    cron: str
    enabled: bool
    held_until: datetime.datetime | None
    id: uuid.UUID
    last_error: str | None
    last_error_at: datetime.datetime | None
    last_run_at: datetime.datetime | None
    last_task_id: uuid.UUID | None
    method: str
    name: str
    next_run_at: datetime.datetime | None
    organization_slug: str
    overlap_policy: str
    params: JsonValue
    prompt: str
    time_zone: str
    updated_at: datetime.datetime
    user_id: uuid.UUID


class PublicSchedulesInsert(TypedDict):
    agent_slug: NotRequired[str | None]
    catch_up_policy: NotRequired[str]
    created_at: NotRequired[datetime.datetime]
    cron: str
    enabled: NotRequired[bool]
    held_until: NotRequired[datetime.datetime | None]
    id: NotRequired[uuid.UUID]
    last_error: NotRequired[str | None]
    last_error_at: NotRequired[datetime.datetime | None]
    last_run_at: NotRequired[datetime.datetime | None]
    last_task_id: NotRequired[uuid.UUID | None]
    method: str
    name: str
    next_run_at: NotRequired[datetime.datetime | None]
    organization_slug: str
    overlap_policy: NotRequired[str]
    params: NotRequired[JsonValue]
    prompt: str
    time_zone: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicSchedulesUpdate(TypedDict):
    agent_slug: NotRequired[str | None]
    catch_up_policy: NotRequired[str]
    created_at: NotRequired[datetime.datetime]
    cron: NotRequired[str]
    enabled: NotRequired[bool]
    held_until: NotRequired[datetime.datetime | None]
    id: NotRequired[uuid.UUID]
    last_error: NotRequired[str | None]
    last_error_at: NotRequired[datetime.datetime | None]
    last_run_at: NotRequired[datetime.datetime | None]
    last_task_id: NotRequired[uuid.UUID | None]
    method: NotRequired[str]
    name: NotRequired[str]
    next_run_at: NotRequired[datetime.datetime | None]
    organization_slug: NotRequired[str]
    overlap_policy: NotRequired[str]
    params: NotRequired[JsonValue]
    prompt: NotRequired[str]
    time_zone: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicSystemLogs(BaseModel):
    adw_id: str | None
    adw_step: str | None
    agent_id: uuid.UUID | None
    file_path: str | None
    id: uuid.UUID
    level: str
    message: str
    metadata: JsonValue
    organization_slug: str | None
    summary: str | None
    timestamp: datetime.datetime


class PublicSystemLogsInsert(TypedDict):
    adw_id: NotRequired[str | None]
    adw_step: NotRequired[str | None]
    agent_id: NotRequired[uuid.UUID | None]
    file_path: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    level: str
    message: str
    metadata: NotRequired[JsonValue]
    organization_slug: NotRequired[str | None]
    summary: NotRequired[str | None]
    timestamp: NotRequired[datetime.datetime]


class PublicSystemLogsUpdate(TypedDict):
    adw_id: NotRequired[str | None]
    adw_step: NotRequired[str | None]
    agent_id: NotRequired[uuid.UUID | None]
    file_path: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    level: NotRequired[str]
    message: NotRequired[str]
    metadata: NotRequired[JsonValue]
    organization_slug: NotRequired[str | None]
    summary: NotRequired[str | None]
    timestamp: NotRequired[datetime.datetime]


class PublicTaskAssignments(BaseModel):
    assigned_by: uuid.UUID | None
    created_at: datetime.datetime
    id: uuid.UUID
    note: str | None
    task_id: uuid.UUID
    updated_at: datetime.datetime
    user_id: uuid.UUID


class PublicTaskAssignmentsInsert(TypedDict):
    assigned_by: NotRequired[uuid.UUID | None]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    note: NotRequired[str | None]
    task_id: uuid.UUID
    updated_at: NotRequired[datetime.datetime]
    user_id: uuid.UUID


class PublicTaskAssignmentsUpdate(TypedDict):
    assigned_by: NotRequired[uuid.UUID | None]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    note: NotRequired[str | None]
    task_id: NotRequired[uuid.UUID]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicTaskComments(BaseModel):
    content: str
    created_at: datetime.datetime
    id: uuid.UUID
    task_id: uuid.UUID
    updated_at: datetime.datetime
    user_id: uuid.UUID


class PublicTaskCommentsInsert(TypedDict):
    content: str
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    task_id: uuid.UUID
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicTaskCommentsUpdate(TypedDict):
    content: NotRequired[str]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    task_id: NotRequired[uuid.UUID]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]


class PublicTaskEvents(BaseModel):
    attempt: int
    created_at: datetime.datetime
    data: JsonValue
    id: int
    message: str | None
    sequence: int
    task_id: uuid.UUID
    type: str


class PublicTaskEventsInsert(TypedDict):
    attempt: int
    created_at: NotRequired[datetime.datetime]
    data: NotRequired[JsonValue]
    id: NotRequired[int]
    message: NotRequired[str | None]
    sequence: int
    task_id: uuid.UUID
    type: str


class PublicTaskEventsUpdate(TypedDict):
    attempt: NotRequired[int]
    created_at: NotRequired[datetime.datetime]
    data: NotRequired[JsonValue]
    id: NotRequired[int]
    message: NotRequired[str | None]
    sequence: NotRequired[int]
    task_id: NotRequired[uuid.UUID]
    type: NotRequired[str]


class PublicTaskMethods(BaseModel):
    created_at: datetime.datetime
    description: str
    is_internal: bool
    name: str
    needs_agent: bool
    updated_at: datetime.datetime


class PublicTaskMethodsInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    description: str
    is_internal: NotRequired[bool]
    name: str
    needs_agent: NotRequired[bool]
    updated_at: NotRequired[datetime.datetime]


class PublicTaskMethodsUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    description: NotRequired[str]
    is_internal: NotRequired[bool]
    name: NotRequired[str]
    needs_agent: NotRequired[bool]
    updated_at: NotRequired[datetime.datetime]


class PublicTasks(BaseModel):
    agent_conversation_id: uuid.UUID | None
    agent_name: str | None
    agent_slug: str | None
    attempt: int
    backoff: str
    completed_at: datetime.datetime | None
    concurrency_key: str | None
    concurrency_limit: int
    created_at: datetime.datetime
    deliverable_metadata: JsonValue
    deliverable_type: str
    error_code: str | None
    error_data: JsonValue | None
    error_message: str | None
    evaluation: JsonValue
    execution_id: uuid.UUID | None
    id: uuid.UUID
    idempotency_key: str | None
    lease_expires_at: datetime.datetime | None
    lease_token: uuid.UUID | None
    llm_metadata: JsonValue
    max_attempts: int
    metadata: JsonValue
    method: str
    organization_slug: str
    params: JsonValue
    parent_task_id: uuid.UUID | None
    paused_at: datetime.datetime | None
    priority: int
    progress: int
    progress_message: str | None
    project_step_id: uuid.UUID | None
    prompt: str
    response: str | None
    response_metadata: JsonValue
    scheduled_at: datetime.datetime
    started_at: datetime.datetime | None
    status: str
    timeout_seconds: int
    trace_context: str | None
    updated_at: datetime.datetime
    user_id: uuid.UUID
    worker_id: str | None


class PublicTasksInsert(TypedDict):
    agent_conversation_id: NotRequired[uuid.UUID | None]
    agent_name: NotRequired[str | None]
    agent_slug: NotRequired[str | None]
    attempt: NotRequired[int]
    backoff: NotRequired[str]
    completed_at: NotRequired[datetime.datetime | None]
    concurrency_key: NotRequired[str | None]
    concurrency_limit: NotRequired[int]
    created_at: NotRequired[datetime.datetime]
    deliverable_metadata: NotRequired[JsonValue]
    deliverable_type: NotRequired[str]
    error_code: NotRequired[str | None]
    error_data: NotRequired[JsonValue | None]
    error_message: NotRequired[str | None]
    evaluation: NotRequired[JsonValue]
    execution_id: NotRequired[uuid.UUID | None]
    id: NotRequired[uuid.UUID]
    idempotency_key: NotRequired[str | None]
    lease_expires_at: NotRequired[datetime.datetime | None]
    lease_token: NotRequired[uuid.UUID | None]
    llm_metadata: NotRequired[JsonValue]
    max_attempts: NotRequired[int]
    metadata: NotRequired[JsonValue]
    method: str
    organization_slug: str
    params: NotRequired[JsonValue]
    parent_task_id: NotRequired[uuid.UUID | None]
    paused_at: NotRequired[datetime.datetime | None]
    priority: NotRequired[int]
    progress: NotRequired[int]
    progress_message: NotRequired[str | None]
    project_step_id: NotRequired[uuid.UUID | None]
    prompt: str
    response: NotRequired[str | None]
    response_metadata: NotRequired[JsonValue]
    scheduled_at: NotRequired[datetime.datetime]
    started_at: NotRequired[datetime.datetime | None]
    status: NotRequired[str]
    timeout_seconds: NotRequired[int]
    trace_context: NotRequired[str | None]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]
    worker_id: NotRequired[str | None]


class PublicTasksUpdate(TypedDict):
    agent_conversation_id: NotRequired[uuid.UUID | None]
    agent_name: NotRequired[str | None]
    agent_slug: NotRequired[str | None]
    attempt: NotRequired[int]
    backoff: NotRequired[str]
    completed_at: NotRequired[datetime.datetime | None]
    concurrency_key: NotRequired[str | None]
    concurrency_limit: NotRequired[int]
    created_at: NotRequired[datetime.datetime]
    deliverable_metadata: NotRequired[JsonValue]
    deliverable_type: NotRequired[str]
    error_code: NotRequired[str | None]
    error_data: NotRequired[JsonValue | None]
    error_message: NotRequired[str | None]
    evaluation: NotRequired[JsonValue]
    execution_id: NotRequired[uuid.UUID | None]
    id: NotRequired[uuid.UUID]
    idempotency_key: NotRequired[str | None]
    lease_expires_at: NotRequired[datetime.datetime | None]
    lease_token: NotRequired[uuid.UUID | None]
    llm_metadata: NotRequired[JsonValue]
    max_attempts: NotRequired[int]
    metadata: NotRequired[JsonValue]
    method: NotRequired[str]
    organization_slug: NotRequired[str]
    params: NotRequired[JsonValue]
    parent_task_id: NotRequired[uuid.UUID | None]
    paused_at: NotRequired[datetime.datetime | None]
    priority: NotRequired[int]
    progress: NotRequired[int]
    progress_message: NotRequired[str | None]
    project_step_id: NotRequired[uuid.UUID | None]
    prompt: NotRequired[str]
    response: NotRequired[str | None]
    response_metadata: NotRequired[JsonValue]
    scheduled_at: NotRequired[datetime.datetime]
    started_at: NotRequired[datetime.datetime | None]
    status: NotRequired[str]
    timeout_seconds: NotRequired[int]
    trace_context: NotRequired[str | None]
    updated_at: NotRequired[datetime.datetime]
    user_id: NotRequired[uuid.UUID]
    worker_id: NotRequired[str | None]


class PublicUsageEvents(BaseModel):
    agent_slug: str | None
    cached_tokens: int
    cost: float | None
    created_at: datetime.datetime
    id: int
    input_tokens: int
    model: str
    organization_slug: str
    output_tokens: int
    price_version: str | None
    provider: str
    run_id: uuid.UUID | None
    task_id: uuid.UUID | None
    user_id: uuid.UUID | None


class PublicUsageEventsInsert(TypedDict):
    agent_slug: NotRequired[str | None]
    cached_tokens: NotRequired[int]
    cost: NotRequired[float | None]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[int]
    input_tokens: NotRequired[int]
    model: str
    organization_slug: str
    output_tokens: NotRequired[int]
    price_version: NotRequired[str | None]
    provider: str
    run_id: NotRequired[uuid.UUID | None]
    task_id: NotRequired[uuid.UUID | None]
    user_id: NotRequired[uuid.UUID | None]


class PublicUsageEventsUpdate(TypedDict):
    agent_slug: NotRequired[str | None]
    cached_tokens: NotRequired[int]
    cost: NotRequired[float | None]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[int]
    input_tokens: NotRequired[int]
    model: NotRequired[str]
    organization_slug: NotRequired[str]
    output_tokens: NotRequired[int]
    price_version: NotRequired[str | None]
    provider: NotRequired[str]
    run_id: NotRequired[uuid.UUID | None]
    task_id: NotRequired[uuid.UUID | None]
    user_id: NotRequired[uuid.UUID | None]


class PublicUsers(BaseModel):
    created_at: datetime.datetime
    display_name: str | None
    email: str | None
    email_verified: bool
    first_name: str | None
    id: uuid.UUID
    is_active: bool
    last_login_at: datetime.datetime | None
    last_name: str | None
    namespace_access: JsonValue
    organization_slug: str | None
    role: str | None
    roles: JsonValue
    status: str
    subscription_tier: str
    system_role: str
    updated_at: datetime.datetime


class PublicUsersInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    display_name: NotRequired[str | None]
    email: NotRequired[str | None]
    email_verified: NotRequired[bool]
    first_name: NotRequired[str | None]
    id: uuid.UUID
    is_active: NotRequired[bool]
    last_login_at: NotRequired[datetime.datetime | None]
    last_name: NotRequired[str | None]
    namespace_access: NotRequired[JsonValue]
    organization_slug: NotRequired[str | None]
    role: NotRequired[str | None]
    roles: NotRequired[JsonValue]
    status: NotRequired[str]
    subscription_tier: NotRequired[str]
    system_role: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]


class PublicUsersUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    display_name: NotRequired[str | None]
    email: NotRequired[str | None]
    email_verified: NotRequired[bool]
    first_name: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    is_active: NotRequired[bool]
    last_login_at: NotRequired[datetime.datetime | None]
    last_name: NotRequired[str | None]
    namespace_access: NotRequired[JsonValue]
    organization_slug: NotRequired[str | None]
    role: NotRequired[str | None]
    roles: NotRequired[JsonValue]
    status: NotRequired[str]
    subscription_tier: NotRequired[str]
    system_role: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]


class PublicWebhookDeliveries(BaseModel):
    attempts: int
    completed_at: datetime.datetime | None
    created_at: datetime.datetime
    event_type: str
    id: uuid.UUID
    last_error: str | None
    last_response_code: int | None
    next_attempt_at: datetime.datetime | None
    organization_slug: str
    payload: JsonValue
    status: str
    task_id: uuid.UUID | None
    updated_at: datetime.datetime
    webhook_id: uuid.UUID


class PublicWebhookDeliveriesInsert(TypedDict):
    attempts: NotRequired[int]
    completed_at: NotRequired[datetime.datetime | None]
    created_at: NotRequired[datetime.datetime]
    event_type: str
    id: NotRequired[uuid.UUID]
    last_error: NotRequired[str | None]
    last_response_code: NotRequired[int | None]
    next_attempt_at: NotRequired[datetime.datetime | None]
    organization_slug: str
    payload: JsonValue
    status: NotRequired[str]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]
    webhook_id: uuid.UUID


class PublicWebhookDeliveriesUpdate(TypedDict):
    attempts: NotRequired[int]
    completed_at: NotRequired[datetime.datetime | None]
    created_at: NotRequired[datetime.datetime]
    event_type: NotRequired[str]
    id: NotRequired[uuid.UUID]
    last_error: NotRequired[str | None]
    last_response_code: NotRequired[int | None]
    next_attempt_at: NotRequired[datetime.datetime | None]
    organization_slug: NotRequired[str]
    payload: NotRequired[JsonValue]
    status: NotRequired[str]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]
    webhook_id: NotRequired[uuid.UUID]


class PublicWebhooks(BaseModel):
    created_at: datetime.datetime
    created_by: uuid.UUID | None
    description: str | None
    disabled_reason: str | None
    enabled: bool
    events: list[str]
    failing_since: datetime.datetime | None
    id: uuid.UUID
    organization_slug: str
    updated_at: datetime.datetime
    url: str


class PublicWebhooksInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    description: NotRequired[str | None]
    disabled_reason: NotRequired[str | None]
    enabled: NotRequired[bool]
    events: list[str]
    failing_since: NotRequired[datetime.datetime | None]
    id: NotRequired[uuid.UUID]
    organization_slug: str
    updated_at: NotRequired[datetime.datetime]
    url: str


class PublicWebhooksUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    description: NotRequired[str | None]
    disabled_reason: NotRequired[str | None]
    enabled: NotRequired[bool]
    events: NotRequired[list[str]]
    failing_since: NotRequired[datetime.datetime | None]
    id: NotRequired[uuid.UUID]
    organization_slug: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    url: NotRequired[str]


class PublicWorkerTokens(BaseModel):
    created_at: datetime.datetime
    expires_at: datetime.datetime
    id: uuid.UUID
    last_used_at: datetime.datetime | None
    name: str
    organization_slug: str
    revoked_at: datetime.datetime | None
    revoked_by: uuid.UUID | None
    updated_at: datetime.datetime


class PublicWorkerTokensInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    expires_at: datetime.datetime
    id: NotRequired[uuid.UUID]
    last_used_at: NotRequired[datetime.datetime | None]
    name: str
    organization_slug: str
    revoked_at: NotRequired[datetime.datetime | None]
    revoked_by: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]


class PublicWorkerTokensUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    expires_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    last_used_at: NotRequired[datetime.datetime | None]
    name: NotRequired[str]
    organization_slug: NotRequired[str]
    revoked_at: NotRequired[datetime.datetime | None]
    revoked_by: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]


class PublicWorkers(BaseModel):
    concurrency: int | None
    created_at: datetime.datetime
    hostname: str | None
    id: str
    last_seen_at: datetime.datetime
    methods: list[str] | None
    organizations: list[str] | None
    pid: int | None
    started_at: datetime.datetime
    status: str
    updated_at: datetime.datetime
    version: str | None


class PublicWorkersInsert(TypedDict):
    concurrency: NotRequired[int | None]
    created_at: NotRequired[datetime.datetime]
    hostname: NotRequired[str | None]
    id: str
    last_seen_at: NotRequired[datetime.datetime]
    methods: NotRequired[list[str] | None]
    organizations: NotRequired[list[str] | None]
    pid: NotRequired[int | None]
    started_at: NotRequired[datetime.datetime]
    status: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    version: NotRequired[str | None]


class PublicWorkersUpdate(TypedDict):
    concurrency: NotRequired[int | None]
    created_at: NotRequired[datetime.datetime]
    hostname: NotRequired[str | None]
    id: NotRequired[str]
    last_seen_at: NotRequired[datetime.datetime]
    methods: NotRequired[list[str] | None]
    organizations: NotRequired[list[str] | None]
    pid: NotRequired[int | None]
    started_at: NotRequired[datetime.datetime]
    status: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    version: NotRequired[str | None]


class PublicWorkflowData(BaseModel):
    created_at: datetime.datetime
    created_by_agent: str | None
    data_type: str | None
    id: uuid.UUID
    key: str
    run_id: uuid.UUID
    scope_id: uuid.UUID
    step_id: uuid.UUID | None
    tags: list[str]
    value: JsonValue


class PublicWorkflowDataInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    created_by_agent: NotRequired[str | None]
    data_type: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    key: str
    run_id: uuid.UUID
    scope_id: uuid.UUID
    step_id: NotRequired[uuid.UUID | None]
    tags: NotRequired[list[str]]
    value: JsonValue


class PublicWorkflowDataUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    created_by_agent: NotRequired[str | None]
    data_type: NotRequired[str | None]
    id: NotRequired[uuid.UUID]
    key: NotRequired[str]
    run_id: NotRequired[uuid.UUID]
    scope_id: NotRequired[uuid.UUID]
    step_id: NotRequired[uuid.UUID | None]
    tags: NotRequired[list[str]]
    value: NotRequired[JsonValue]


class PublicWorkflowExecutions(BaseModel):
    agent_slug: str
    completed_at: datetime.datetime | None
    conversation_id: uuid.UUID | None
    correlation_id: uuid.UUID
    created_at: datetime.datetime
    created_by: uuid.UUID | None
    error_code: str | None
    error_message: str | None
    execution_data: JsonValue | None
    execution_logs: JsonValue | None
    id: uuid.UUID
    max_retries: int
    organization_slug: str
    parent_execution_id: uuid.UUID | None
    paused_at: datetime.datetime | None
    performance_metrics: JsonValue | None
    queued_at: datetime.datetime
    resource_usage: JsonValue | None
    resumed_at: datetime.datetime | None
    retry_count: int
    started_at: datetime.datetime | None
    status: str
    status_message: str | None
    timeout_at: datetime.datetime | None
    updated_at: datetime.datetime
    workflow_id: uuid.UUID


class PublicWorkflowExecutionsInsert(TypedDict):
    agent_slug: str
    completed_at: NotRequired[datetime.datetime | None]
    conversation_id: NotRequired[uuid.UUID | None]
    correlation_id: NotRequired[uuid.UUID]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    error_code: NotRequired[str | None]
    error_message: NotRequired[str | None]
    execution_data: NotRequired[JsonValue | None]
    execution_logs: NotRequired[JsonValue | None]
    id: NotRequired[uuid.UUID]
    max_retries: NotRequired[int]
    organization_slug: str
    parent_execution_id: NotRequired[uuid.UUID | None]
    paused_at: NotRequired[datetime.datetime | None]
    performance_metrics: NotRequired[JsonValue | None]
    queued_at: NotRequired[datetime.datetime]
    resource_usage: NotRequired[JsonValue | None]
    resumed_at: NotRequired[datetime.datetime | None]
    retry_count: NotRequired[int]
    started_at: NotRequired[datetime.datetime | None]
    status: NotRequired[str]
    status_message: NotRequired[str | None]
    timeout_at: NotRequired[datetime.datetime | None]
    updated_at: NotRequired[datetime.datetime]
    workflow_id: uuid.UUID


class PublicWorkflowExecutionsUpdate(TypedDict):
    agent_slug: NotRequired[str]
    completed_at: NotRequired[datetime.datetime | None]
    conversation_id: NotRequired[uuid.UUID | None]
    correlation_id: NotRequired[uuid.UUID]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    error_code: NotRequired[str | None]
    error_message: NotRequired[str | None]
    execution_data: NotRequired[JsonValue | None]
    execution_logs: NotRequired[JsonValue | None]
    id: NotRequired[uuid.UUID]
    max_retries: NotRequired[int]
    organization_slug: NotRequired[str]
    parent_execution_id: NotRequired[uuid.UUID | None]
    paused_at: NotRequired[datetime.datetime | None]
    performance_metrics: NotRequired[JsonValue | None]
    queued_at: NotRequired[datetime.datetime]
    resource_usage: NotRequired[JsonValue | None]
    resumed_at: NotRequired[datetime.datetime | None]
    retry_count: NotRequired[int]
    started_at: NotRequired[datetime.datetime | None]
    status: NotRequired[str]
    status_message: NotRequired[str | None]
    timeout_at: NotRequired[datetime.datetime | None]
    updated_at: NotRequired[datetime.datetime]
    workflow_id: NotRequired[uuid.UUID]


class PublicWorkflows(BaseModel):
    agent_slug: str
    created_at: datetime.datetime
    created_by: uuid.UUID | None
    description: str | None
    framework: str
    id: uuid.UUID
    is_active: bool
    name: str
    organization_slug: str
    updated_at: datetime.datetime
    version: str
    workflow_data: JsonValue
    workflow_type: str


class PublicWorkflowsInsert(TypedDict):
    agent_slug: str
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    description: NotRequired[str | None]
    framework: str
    id: NotRequired[uuid.UUID]
    is_active: NotRequired[bool]
    name: str
    organization_slug: str
    updated_at: NotRequired[datetime.datetime]
    version: NotRequired[str]
    workflow_data: JsonValue
    workflow_type: str


class PublicWorkflowsUpdate(TypedDict):
    agent_slug: NotRequired[str]
    created_at: NotRequired[datetime.datetime]
    created_by: NotRequired[uuid.UUID | None]
    description: NotRequired[str | None]
    framework: NotRequired[str]
    id: NotRequired[uuid.UUID]
    is_active: NotRequired[bool]
    name: NotRequired[str]
    organization_slug: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    version: NotRequired[str]
    workflow_data: NotRequired[JsonValue]
    workflow_type: NotRequired[str]


class PublicActiveTasks(BaseModel):
    agent_conversation_id: uuid.UUID | None
    agent_name: str | None
    agent_slug: str | None
    attempt: int
    backoff: str
    completed_at: datetime.datetime | None
    concurrency_key: str | None
    concurrency_limit: int
    conversation_title: str | None
    created_at: datetime.datetime
    deliverable_metadata: JsonValue
    deliverable_type: str
    error_code: str | None
    error_data: JsonValue | None
    error_message: str | None
    evaluation: JsonValue
    execution_id: uuid.UUID | None
    id: uuid.UUID
    idempotency_key: str | None
    lease_expires_at: datetime.datetime | None
    lease_token: uuid.UUID | None
    llm_metadata: JsonValue
    max_attempts: int
    metadata: JsonValue
    method: str
    organization_slug: str
    params: JsonValue
    parent_task_id: uuid.UUID | None
    paused_at: datetime.datetime | None
    priority: int
    progress: int
    progress_message: str | None
    project_step_id: uuid.UUID | None
    prompt: str
    response: str | None
    response_metadata: JsonValue
    scheduled_at: datetime.datetime
    started_at: datetime.datetime | None
    status: str
    timeout_seconds: int
    updated_at: datetime.datetime
    user_id: uuid.UUID
    worker_id: str | None


class PublicAgentActivity(BaseModel):
    agent_name: str | None
    agent_slug: str | None
    completed_count: int | None
    failed_count: int | None
    organization_slug: str
    task_count: int | None


class PublicAgentContainers(BaseModel):
    agent_slug: str
    build_type: str | None
    container_id: str | None
    cpu_limit: int | None
    deployed_at: datetime.datetime | None
    environment: JsonValue | None
    framework: str | None
    memory_limit_mb: int | None
    network_isolation: str
    organization_slug: list[str]
    owner_user_id: uuid.UUID | None
    status: str
    subscription_tier: str
    version: str


class PublicAgentMetrics(BaseModel):
    agent_slug: str | None
    average_seconds: float | None
    completed_count: int | None
    day: datetime.datetime | None
    failed_count: int | None
    organization_slug: str
    run_count: int | None
    total_cost: float | None
    total_tokens: float | None


class PublicDeadLetters(BaseModel):
    agent_name: str | None
    agent_slug: str | None
    attempt: int
    attempts: JsonValue | None
    completed_at: datetime.datetime | None
    created_at: datetime.datetime
    error_code: str | None
    error_data: JsonValue | None
    error_message: str | None
    max_attempts: int
    method: str
    organization_slug: str
    status: str
    task_id: uuid.UUID
    user_id: uuid.UUID


class PublicOrganizationUsage(BaseModel):
    id: uuid.UUID | None
    organization_slug: str
    period_end: datetime.datetime | None
    period_start: datetime.datetime | None
    runs_by_status: JsonValue | None
    total_cost: float | None
    total_runs: int | None
    total_tokens: int | None
    usage_details: JsonValue | None


class PublicPerformanceLogs(BaseModel):
    agent_slug: str | None
    attempt: int
    created_at: datetime.datetime
    error_code: str | None
    organization_slug: str
    run_id: uuid.UUID
    seconds_running: float | None
    seconds_until_claimed: float | None
    status: str
    task_id: uuid.UUID | None
    total_cost: float
    total_tokens: int
    worker_id: str | None


class PublicProjectProgress(BaseModel):
    completed_at: datetime.datetime | None
    completed_steps: int
    completed_tasks: int | None
    conversation_id: uuid.UUID
    created_at: datetime.datetime
    current_step_id: str | None
    deliverable_count: int | None
    description: str | None
    error_details: JsonValue | None
    execution_id: uuid.UUID | None
    failed_steps: int
    finished_steps: int
    hierarchy_level: int
    id: uuid.UUID
    metadata: JsonValue
    name: str | None
    organization_slug: str
    parent_project_id: uuid.UUID | None
    plan_json: JsonValue | None
    plan_version: int
    planning_task_id: uuid.UUID | None
    progress: int
    project_step_id: uuid.UUID | None
    started_at: datetime.datetime | None
    status: str
    subproject_count: int
    total_steps: int
    total_tasks: int | None
    updated_at: datetime.datetime
    user_id: uuid.UUID


class PublicQueueHealth(BaseModel):
    dead: int | None
    is_paused: bool | None
    method: str | None
    oldest_pending_seconds: float | None
    organization_slug: str | None
    paused: int | None
    pending: int | None
    running: int | None
    scheduled: int | None
    stuck: int | None


class PublicRecentConversations(BaseModel):
    agent_name: str
    agent_slug: str | None
    agent_type: str
    created_at: datetime.datetime
    ended_at: datetime.datetime | None
    id: uuid.UUID
    last_active_at: datetime.datetime
    last_message_at: datetime.datetime | None
    message_count: int | None
    metadata: JsonValue
    organization_slug: str
    primary_work_product_id: uuid.UUID | None
    primary_work_product_type: str | None
    started_at: datetime.datetime
    status: str
    title: str | None
    updated_at: datetime.datetime
    user_id: uuid.UUID


class PublicRetentionStatus(BaseModel):
    archive_days: int | None
    archived: int | None
    behind: int | None
    delete_days: int | None
    deleted: int | None
    kind: str | None
    last_error: str | None
    last_run_at: datetime.datetime | None
    oldest_at: datetime.datetime | None
