"""Generated from the database by ./scripts/gen-models: do not edit."""

from __future__ import annotations

import datetime
import uuid
from typing import (
    NotRequired,
    TypedDict,
)

from pydantic import BaseModel, JsonValue


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


class PublicMessages(BaseModel):
    content: str
    conversation_id: uuid.UUID
    created_at: datetime.datetime
    id: uuid.UUID
    metadata: JsonValue
    receiver_type: str
    sender_agent_slug: str | None
    sender_type: str
    sender_user_id: uuid.UUID | None
    task_id: uuid.UUID | None
    updated_at: datetime.datetime


class PublicMessagesInsert(TypedDict):
    content: str
    conversation_id: uuid.UUID
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    receiver_type: NotRequired[str]
    sender_agent_slug: NotRequired[str | None]
    sender_type: NotRequired[str]
    sender_user_id: NotRequired[uuid.UUID | None]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]


class PublicMessagesUpdate(TypedDict):
    content: NotRequired[str]
    conversation_id: NotRequired[uuid.UUID]
    created_at: NotRequired[datetime.datetime]
    id: NotRequired[uuid.UUID]
    metadata: NotRequired[JsonValue]
    receiver_type: NotRequired[str]
    sender_agent_slug: NotRequired[str | None]
    sender_type: NotRequired[str]
    sender_user_id: NotRequired[uuid.UUID | None]
    task_id: NotRequired[uuid.UUID | None]
    updated_at: NotRequired[datetime.datetime]


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


class PublicOrganizations(BaseModel):
    created_at: datetime.datetime
    created_by: uuid.UUID | None
    description: str | None
    id: uuid.UUID
    is_active: bool
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
    name: NotRequired[str]
    settings: NotRequired[JsonValue]
    slug: NotRequired[str]
    subscription_info: NotRequired[JsonValue]
    subscription_tier: NotRequired[str]
    updated_at: NotRequired[datetime.datetime]
    url: NotRequired[str | None]


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
    lease_token: uuid.UUID | None
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
    lease_token: NotRequired[uuid.UUID | None]
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
    lease_token: NotRequired[uuid.UUID | None]
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
    name: str
    needs_agent: bool
    updated_at: datetime.datetime


class PublicTaskMethodsInsert(TypedDict):
    created_at: NotRequired[datetime.datetime]
    description: str
    name: str
    needs_agent: NotRequired[bool]
    updated_at: NotRequired[datetime.datetime]


class PublicTaskMethodsUpdate(TypedDict):
    created_at: NotRequired[datetime.datetime]
    description: NotRequired[str]
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


class PublicTasksInsert(TypedDict):
    agent_conversation_id: NotRequired[uuid.UUID | None]
    agent_name: NotRequired[str | None]
    agent_slug: NotRequired[str | None]
    attempt: NotRequired[int]
    backoff: NotRequired[str]
    completed_at: NotRequired[datetime.datetime | None]
    concurrency_key: NotRequired[str | None]
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
