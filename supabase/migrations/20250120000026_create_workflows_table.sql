-- Workflows of agents and their executions (document E).

create table public.workflows (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  agent_slug text not null references public.agents (slug) on delete cascade,
  name text not null,
  description text,
  workflow_data jsonb not null,
  workflow_type text not null,
  framework text not null,
  version text not null default '1.0.0',
  is_active boolean not null default true,
  created_by uuid default auth.uid() references public.users (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- The versions of a workflow.
  constraint version_is_unique_within_a_workflow unique (organization_slug, agent_slug, name, version),
  constraint name_is_not_blank check (btrim(name) <> '' and length(name) <= 255),
  constraint workflow_data_is_an_object check (jsonb_typeof(workflow_data) = 'object' and pg_column_size(workflow_data) <= 4194304),
  constraint workflow_type_is_known check (workflow_type in ('visual', 'code')),
  constraint framework_is_known check (framework in ('langgraph', 'agno', 'crewai', 'n8n')),
  constraint version_is_semantic check (version ~ '^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})$')
);

-- One active version of each name.
create unique index workflows_one_active_idx on public.workflows (organization_slug, agent_slug, name) where is_active;
-- Workflows of an agent (foreign key).
create index idx_workflows_agent_id on public.workflows (agent_slug);
-- Filter by framework.
create index idx_workflows_framework on public.workflows (framework);
-- Foreign key.
create index workflows_created_by_idx on public.workflows (created_by);

create trigger check_json before insert on public.workflows
for each row execute function private.check_json('workflow_data');
create trigger set_updated_at before update on public.workflows
for each row execute function public.set_updated_at();

create function private.prepare_workflow() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_newest text;
begin
  if tg_op = 'UPDATE' then
    if (new.workflow_data, new.version, new.name, new.agent_slug, new.organization_slug, new.workflow_type, new.framework)
      is distinct from (old.workflow_data, old.version, old.name, old.agent_slug, old.organization_slug, old.workflow_type, old.framework) then
      raise exception using errcode = 'PT409', message = 'version_is_immutable',
        detail = format('Version %s of workflow "%s" does not change.', old.version, old.name), hint = 'Insert a higher version.';
    end if;
    return new;
  end if;
  if not exists (select from public.agents a where a.slug = new.agent_slug and (a.organization_slug @> array[new.organization_slug] or a.owner_user_id = new.created_by)) then
    raise exception using errcode = 'PT404', message = 'agent_not_found',
      detail = format('Organization "%s" has no agent "%s".', new.organization_slug, new.agent_slug), hint = 'A workflow belongs to an agent of its organization.';
  end if;
  -- One writer at a time for each name, so that versions rise and one is active.
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', 'workflow', new.organization_slug, new.agent_slug, new.name), 0));
  select w.version into v_newest
  from public.workflows w
  where w.organization_slug = new.organization_slug and w.agent_slug = new.agent_slug and w.name = new.name
  order by string_to_array(w.version, '.')::integer[] desc
  limit 1;
  if string_to_array(new.version, '.')::integer[] <= string_to_array(v_newest, '.')::integer[] then
    raise exception using errcode = '22023', message = 'version_must_rise',
      detail = format('Workflow "%s" is at version %s; %s is not higher.', new.name, v_newest, new.version), hint = 'Send a higher version.';
  end if;
  return new;
end;
$$;
comment on function private.prepare_workflow() is 'Before insert and update: versions only rise, and what was written does not change (is_active and description may).';
revoke execute on function private.prepare_workflow() from public;

create trigger prepare_workflow before insert or update on public.workflows
for each row execute function private.prepare_workflow();

create function private.keep_one_active_workflow() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', 'workflow', new.organization_slug, new.agent_slug, new.name), 0));
  update public.workflows w set is_active = false
  where w.organization_slug = new.organization_slug and w.agent_slug = new.agent_slug and w.name = new.name and w.is_active and w.id <> new.id;
  return new;
end;
$$;
comment on function private.keep_one_active_workflow() is 'Before a version becomes active: the other versions of the same name stop being so.';
revoke execute on function private.keep_one_active_workflow() from public;

create trigger replace_active_on_insert before insert on public.workflows
for each row when (new.is_active) execute function private.keep_one_active_workflow();
create trigger replace_active_on_update before update of is_active on public.workflows
for each row when (new.is_active and not old.is_active) execute function private.keep_one_active_workflow();

comment on table public.workflows is 'Versions of workflows: visual ones run as projects of steps, code ones through their framework''s adapter.';
comment on column public.workflows.is_active is 'The version that runs; one per name. Setting it takes it from the others.';

alter table public.workflows enable row level security;
revoke all on public.workflows from anon, authenticated, service_role;
grant select, delete on public.workflows to authenticated;
grant insert (organization_slug, agent_slug, name, description, workflow_data, workflow_type, framework, version, is_active) on public.workflows to authenticated;
grant update (description, is_active) on public.workflows to authenticated;
grant select, insert, update, delete on public.workflows to service_role;

create policy "Members read workflows" on public.workflows
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('viewer'))));
create policy "Developers add workflows" on public.workflows
for insert to authenticated
with check (organization_slug = any (array(select private.my_organizations('developer'))));
create policy "Developers change workflows" on public.workflows
for update to authenticated
using (organization_slug = any (array(select private.my_organizations('developer'))))
with check (organization_slug = any (array(select private.my_organizations('developer'))));
create policy "Developers delete workflows" on public.workflows
for delete to authenticated
using (organization_slug = any (array(select private.my_organizations('developer'))));

-- Executions ---------------------------------------------------------------------------------------------------------

create table public.workflow_executions (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  workflow_id uuid not null references public.workflows (id) on delete cascade,
  agent_slug text not null references public.agents (slug) on delete cascade,
  created_by uuid references public.users (id) on delete set null,
  status text not null default 'queued',
  status_message text,
  started_at timestamptz,
  completed_at timestamptz,
  paused_at timestamptz,
  resumed_at timestamptz,
  timeout_at timestamptz,
  execution_data jsonb,
  execution_logs jsonb,
  error_message text,
  error_code text,
  retry_count integer not null default 0,
  max_retries integer not null default 3,
  resource_usage jsonb,
  performance_metrics jsonb,
  correlation_id uuid not null default gen_random_uuid() unique,
  parent_execution_id uuid references public.workflow_executions (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint status_is_known check (status in ('queued', 'pending', 'running', 'paused', 'completed', 'failed', 'cancelled', 'timeout')),
  constraint completed_at_matches_final_status
    check ((completed_at is not null) = (status in ('completed', 'failed', 'cancelled', 'timeout'))),
  constraint retry_count_is_within_max_retries check (retry_count between 0 and max_retries),
  constraint max_retries_is_small check (max_retries between 0 and 100),
  constraint failures_have_an_error_code check (status <> 'failed' or error_code is not null)
);

-- By state.
create index idx_workflow_executions_status on public.workflow_executions (status);
-- An agent's executions by state (foreign key).
create index idx_workflow_executions_agent_status on public.workflow_executions (agent_slug, status);
-- By start.
create index idx_workflow_executions_started on public.workflow_executions (started_at);
-- A workflow's executions (foreign key).
create index idx_executions_workflow_id on public.workflow_executions (workflow_id);
-- An organization's newest executions (policies, foreign key).
create index workflow_executions_organization_recent_idx on public.workflow_executions (organization_slug, created_at desc);
-- Foreign keys.
create index workflow_executions_created_by_idx on public.workflow_executions (created_by);
create index workflow_executions_parent_idx on public.workflow_executions (parent_execution_id) where parent_execution_id is not null;

alter table public.tasks
add constraint tasks_execution_id_fkey foreign key (execution_id) references public.workflow_executions (id) on delete set null;
-- Tasks of an execution (foreign key).
create index tasks_execution_idx on public.tasks (execution_id) where execution_id is not null;
alter table public.runs
add constraint runs_execution_id_fkey foreign key (execution_id) references public.workflow_executions (id) on delete set null;
-- Runs of an execution (foreign key).
create index runs_execution_idx on public.runs (execution_id) where execution_id is not null;

create function private.guard_workflow_execution() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_moves constant text[] := case old.status
    when 'queued' then array['pending', 'cancelled']
    when 'pending' then array['running', 'cancelled']
    when 'running' then array['completed', 'failed', 'timeout', 'paused', 'cancelled']
    when 'paused' then array['running', 'cancelled']
    when 'failed' then array['queued']
    when 'timeout' then array['queued']
    else array[]::text[] -- completed and cancelled are final
  end;
begin
  if new.status is distinct from old.status then
    if new.status <> all (v_moves) then
      raise exception using errcode = 'PT409', message = 'illegal_move',
        detail = format('Execution %s is %s and cannot become %s.', old.id, old.status, new.status), hint = 'Read the execution again.';
    end if;
    if new.status = 'queued' then
      if old.retry_count >= old.max_retries then
        raise exception using errcode = 'PT409', message = 'retries_used_up',
          detail = format('Execution %s was retried %s of %s times.', old.id, old.retry_count, old.max_retries), hint = 'Start a new execution.';
      end if;
      new.retry_count := old.retry_count + 1;
    end if;
    new.completed_at := case when new.status in ('completed', 'failed', 'cancelled', 'timeout') then private.clock() end;
    new.started_at := case when new.status = 'running' and old.status = 'pending' then private.clock() else old.started_at end;
    new.paused_at := case when new.status = 'paused' then private.clock() else old.paused_at end;
    new.resumed_at := case when new.status = 'running' and old.status = 'paused' then private.clock() else old.resumed_at end;
  elsif old.completed_at is not null
    and (new.execution_data, new.error_code, new.error_message, new.retry_count, new.started_at, new.completed_at)
      is distinct from (old.execution_data, old.error_code, old.error_message, old.retry_count, old.started_at, old.completed_at) then
    raise exception using errcode = 'PT409', message = 'execution_finished',
      detail = format('Execution %s is %s; its result does not change.', old.id, old.status), hint = 'Start a new execution.';
  end if;
  return new;
end;
$$;
comment on function private.guard_workflow_execution() is
  'The state machine of workflow executions, for every writer: legal moves, retries up to max_retries, and the times that follow.';
revoke execute on function private.guard_workflow_execution() from public;

create trigger check_json before insert or update of execution_data on public.workflow_executions
for each row execute function private.check_json('execution_data');
create trigger begin_in_first_state before insert on public.workflow_executions
for each row when (new.status <> 'queued') execute function private.begin_in_first_state();
create trigger guard_workflow_execution before update on public.workflow_executions
for each row execute function private.guard_workflow_execution();
create trigger set_updated_at before update on public.workflow_executions
for each row execute function public.set_updated_at();

create function private.prepare_workflow_execution() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  select w.organization_slug, w.agent_slug into new.organization_slug, new.agent_slug
  from public.workflows w where w.id = new.workflow_id;
  if not found then
    raise exception using errcode = 'PT404', message = 'workflow_not_found',
      detail = format('You have no workflow %s.', new.workflow_id), hint = 'List workflows to see which there are.';
  end if;
  if private.is_client() then
    perform private.require_role(new.organization_slug, 'member');
    new.created_by := (select auth.uid());
  end if;
  if new.parent_execution_id is not null and not exists (
    select from public.workflow_executions p where p.id = new.parent_execution_id and p.organization_slug = new.organization_slug
  ) then
    raise exception using errcode = 'PT404', message = 'parent_execution_not_found',
      detail = format('You have no execution %s in organization "%s".', new.parent_execution_id, new.organization_slug), hint = 'Leave parent_execution_id out, or correct it.';
  end if;
  return new;
end;
$$;
comment on function private.prepare_workflow_execution() is 'Before insert: organization and agent are the workflow''s, the creator is the caller.';
revoke execute on function private.prepare_workflow_execution() from public;

create trigger prepare_workflow_execution before insert on public.workflow_executions
for each row execute function private.prepare_workflow_execution();

comment on table public.workflow_executions is 'Runs of workflows with their whole history.';
comment on column public.workflow_executions.execution_data is '{input, output, steps}.';
comment on column public.workflow_executions.resource_usage is '{duration, tokens, cost}.';
comment on column public.workflow_executions.correlation_id is 'Unique; follows the execution through other systems.';

alter table public.workflow_executions enable row level security;
revoke all on public.workflow_executions from anon, authenticated, service_role;
grant select on public.workflow_executions to authenticated;
grant insert (workflow_id, execution_data, max_retries, timeout_at, parent_execution_id) on public.workflow_executions to authenticated;
grant select, insert, update, delete on public.workflow_executions to service_role;

create policy "Users and admins read executions" on public.workflow_executions
for select to authenticated
using (
  organization_slug = any (array(select private.my_organizations('viewer'))) and created_by = (select auth.uid())
  or organization_slug = any (array(select private.my_organizations('admin')))
);
create policy "Members start executions" on public.workflow_executions
for insert to authenticated
with check (created_by = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));
