-- The orchestrator of an organization, the agents it commands, and what was said and done (document C).
-- C's orchestrator_chat is public.messages; its agents are agent_instances here.

create table public.orchestrator_agents (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  agent_slug text references public.agents (slug) on delete set null deferrable initially deferred,
  session_id text unique,
  system_prompt text,
  settings jsonb not null default '{}',
  status text not null default 'idle',
  working_dir text,
  input_tokens bigint not null default 0,
  output_tokens bigint not null default 0,
  total_cost numeric(14, 6) not null default 0,
  archived boolean not null default false,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint status_is_known check (status in ('idle', 'executing', 'waiting', 'blocked', 'complete')),
  constraint counters_are_not_negative check (input_tokens >= 0 and output_tokens >= 0 and total_cost >= 0),
  constraint settings_is_a_small_object check (jsonb_typeof(settings) = 'object' and pg_column_size(settings) <= 65536),
  constraint system_prompt_is_not_huge check (octet_length(system_prompt) <= 262144)
);
-- The one live orchestrator of an organization (also the foreign key).
create unique index orchestrator_agents_live_idx on public.orchestrator_agents (organization_slug) where not archived;
create index orchestrator_agents_organization_idx on public.orchestrator_agents (organization_slug);
-- Orchestrators that are run by an agent (foreign key).
create index orchestrator_agents_agent_idx on public.orchestrator_agents (agent_slug) where agent_slug is not null;
-- Who is at work.
create index orchestrator_agents_status_idx on public.orchestrator_agents (status);
-- Last changed first.
create index orchestrator_agents_updated_at_idx on public.orchestrator_agents (updated_at desc);

create table public.agent_instances (
  id uuid primary key default gen_random_uuid(),
  orchestrator_agent_id uuid not null references public.orchestrator_agents (id) on delete cascade,
  agent_slug text references public.agents (slug) on delete set null,
  created_by uuid references public.users (id) on delete set null,
  name text not null,
  model text not null,
  system_prompt text,
  working_dir text,
  git_worktree text,
  status text not null default 'idle',
  session_id text,
  adw_id text,
  adw_step text,
  input_tokens bigint not null default 0,
  output_tokens bigint not null default 0,
  total_cost numeric(14, 6) not null default 0,
  archived boolean not null default false,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint name_is_not_blank check (btrim(name) <> '' and length(name) <= 255),
  constraint status_is_known check (status in ('idle', 'executing', 'waiting', 'blocked', 'complete')),
  constraint counters_are_not_negative check (input_tokens >= 0 and output_tokens >= 0 and total_cost >= 0)
);
-- Names are unique among the unarchived (also lookups by name).
create unique index agent_instances_live_name_idx on public.agent_instances (orchestrator_agent_id, name) where not archived;
-- All instances of an orchestrator (foreign key).
create index agent_instances_orchestrator_idx on public.agent_instances (orchestrator_agent_id);
-- Instances of an agent (foreign key).
create index agent_instances_agent_idx on public.agent_instances (agent_slug) where agent_slug is not null;
-- Whose they are (foreign key).
create index agent_instances_created_by_idx on public.agent_instances (created_by) where created_by is not null;
-- Who is at work, who is archived, last changed first, by name.
create index agent_instances_status_idx on public.agent_instances (status);
create index agent_instances_archived_idx on public.agent_instances (archived);
create index agent_instances_updated_at_idx on public.agent_instances (updated_at desc);
create index agent_instances_name_idx on public.agent_instances (name);

create table public.prompts (
  id uuid not null default gen_random_uuid(),
  orchestrator_agent_id uuid not null references public.orchestrator_agents (id) on delete cascade,
  agent_id uuid references public.agent_instances (id) on delete cascade,
  task_id uuid references public.tasks (id) on delete cascade,
  task_slug text,
  author text not null,
  prompt_text text not null,
  summary text,
  session_id text,
  timestamp timestamptz not null default clock_timestamp(),
  constraint author_is_known check (author in ('engineer', 'orchestrator_agent')),
  primary key (id, timestamp)
) partition by range (timestamp);
-- An orchestrator's prompts in order (policies, foreign key).
create index prompts_orchestrator_idx on public.prompts (orchestrator_agent_id, timestamp desc);
-- Prompts to an instance (foreign key).
create index prompts_agent_id_idx on public.prompts (agent_id);
-- The prompt of a task (foreign key).
create index prompts_task_idx on public.prompts (task_id) where task_id is not null;
-- By author, by time, by task.
create index prompts_author_idx on public.prompts (author);
create index prompts_timestamp_idx on public.prompts (timestamp desc);
create index prompts_task_slug_idx on public.prompts (task_slug) where task_slug is not null;

create table public.agent_logs (
  id uuid not null default gen_random_uuid(),
  agent_id uuid references public.agent_instances (id) on delete cascade,
  orchestrator_agent_id uuid references public.orchestrator_agents (id) on delete cascade,
  task_id uuid references public.tasks (id) on delete cascade,
  session_id text,
  task_slug text,
  adw_id text,
  adw_step text,
  entry_index integer,
  event_category text not null,
  event_type text not null,
  content text,
  payload jsonb not null default '{}',
  summary text,
  timestamp timestamptz not null default clock_timestamp(),
  constraint event_category_is_known check (event_category in ('hook', 'response')),
  constraint of_an_instance_or_of_the_orchestrator_itself check (num_nonnulls(agent_id, orchestrator_agent_id) = 1),
  primary key (id, timestamp)
) partition by range (timestamp);
-- The log of an instance (policies, foreign key).
create index agent_logs_agent_id_idx on public.agent_logs (agent_id, timestamp desc);
-- The orchestrator's own log (policies, foreign key).
create index agent_logs_orchestrator_idx on public.agent_logs (orchestrator_agent_id, timestamp desc) where orchestrator_agent_id is not null;
-- What a task left, in order: replay after entry n (foreign key).
create index agent_logs_task_idx on public.agent_logs (task_id, entry_index) where task_id is not null;
-- The log of a task, in order.
create index agent_logs_task_entry_idx on public.agent_logs (task_slug, entry_index) where task_slug is not null;
-- By workflow and step.
create index agent_logs_adw_id_idx on public.agent_logs (adw_id) where adw_id is not null;
create index agent_logs_adw_step_idx on public.agent_logs (adw_step) where adw_step is not null;
-- By kind (category alone is served by the pair).
create index agent_logs_event_idx on public.agent_logs (event_category, event_type);
create index agent_logs_event_type_idx on public.agent_logs (event_type);
-- By time, by session.
create index agent_logs_timestamp_idx on public.agent_logs (timestamp desc);
create index agent_logs_session_idx on public.agent_logs (session_id) where session_id is not null;

create table public.system_logs (
  id uuid not null default gen_random_uuid(),
  organization_slug text references public.organizations (slug) on delete cascade,
  agent_id uuid references public.agent_instances (id) on delete set null,
  file_path text,
  adw_id text,
  adw_step text,
  level text not null,
  message text not null,
  summary text,
  metadata jsonb not null default '{}',
  timestamp timestamptz not null default clock_timestamp(),
  constraint level_is_known check (level in ('DEBUG', 'INFO', 'WARNING', 'ERROR')),
  primary key (id, timestamp)
) partition by range (timestamp);
-- An organization's log (policies, foreign key).
create index system_logs_organization_idx on public.system_logs (organization_slug, timestamp desc);
-- Foreign key.
create index system_logs_agent_idx on public.system_logs (agent_id) where agent_id is not null;
-- By level, by time, by workflow and step.
create index system_logs_level_idx on public.system_logs (level);
create index system_logs_timestamp_idx on public.system_logs (timestamp desc);
create index system_logs_adw_id_idx on public.system_logs (adw_id) where adw_id is not null;
create index system_logs_adw_step_idx on public.system_logs (adw_step) where adw_step is not null;

-- By month, dropped when the month is old enough (retention, migration 53).
select private.partition_by_month(t.name, 'timestamp')
from unnest(array['public.prompts', 'public.agent_logs', 'public.system_logs']) t (name);

-- C's chat is public.messages: the instance that speaks or is spoken to, and the summary.
alter table public.messages
add column summary text,
add column agent_instance_id uuid references public.agent_instances (id) on delete set null;
-- What was said with an instance (foreign key).
create index messages_agent_instance_idx on public.messages (agent_instance_id, created_at desc) where agent_instance_id is not null;

create trigger set_updated_at before update on public.orchestrator_agents
for each row execute function public.set_updated_at();
create trigger set_updated_at before update on public.agent_instances
for each row execute function public.set_updated_at();

comment on table public.orchestrator_agents is 'The agent that commands the others; one live row per organization.';
comment on column public.orchestrator_agents.session_id is 'Of its own turns; given when the first message makes it.';
comment on column public.orchestrator_agents.total_cost is 'US dollars, of its own turns; those of its agents stand with them.';
comment on column public.orchestrator_agents.agent_slug is 'The context agent whose model its turns run on; a default is made by the first message.';
comment on column public.orchestrator_agents.settings is 'wake, max_instances, max_self_turns, max_tool_calls, max_cost; see configure_orchestrator.';
comment on column public.orchestrator_agents.metadata is 'blocked {reason, detail, task_id} while it is blocked, waiting {for: person|agents} while it waits.';
comment on table public.agent_instances is 'Running agents under an orchestrator (document C''s agents), with status and usage.';
comment on column public.agent_instances.metadata is 'allowed_tools, permission_mode, template_name, template_color, allowed_mcps; blocked and waiting as of orchestrator_agents.';
comment on column public.agent_instances.agent_slug is 'The agent that runs it; null: that of the orchestrator, with this model and system_prompt.';
comment on column public.agent_instances.created_by is 'For whom it was made; only they and developers archive it.';
comment on column public.agent_instances.adw_id is 'Workflow it works for, if any; adw_step its step.';
comment on table public.prompts is 'Every prompt given to the orchestrator (agent_id null) or to one of its instances.';
comment on column public.prompts.author is 'engineer: a person; orchestrator_agent: the orchestrator.';
comment on column public.prompts.task_id is 'The task that carries it out.';
comment on table public.agent_logs is 'Hooks and responses of instances (agent_id), and of the orchestrator itself (orchestrator_agent_id), in order.';
comment on column public.agent_logs.entry_index is 'From 1, without gaps, within a task.';
comment on column public.agent_logs.event_type is 'PreToolUse, PostToolUse, UserPromptSubmit, Stop, SubagentStop, PreCompact, text, thinking, tool_use, tool_result, …';
comment on table public.system_logs is 'Log of the application itself; rows without an organization are the platform''s.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.orchestrator_agents enable row level security;
alter table public.agent_instances enable row level security;
alter table public.prompts enable row level security;
alter table public.agent_logs enable row level security;
alter table public.system_logs enable row level security;
revoke all on public.orchestrator_agents, public.agent_instances, public.prompts, public.agent_logs, public.system_logs from anon, authenticated, service_role;
grant select on public.orchestrator_agents, public.agent_instances, public.prompts, public.agent_logs, public.system_logs to authenticated;
grant select, insert, update, delete on public.orchestrator_agents, public.agent_instances, public.prompts, public.agent_logs, public.system_logs to service_role;

create policy "Members see their orchestrator" on public.orchestrator_agents
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('member'))));
create policy "Members see the orchestrator's agents" on public.agent_instances
for select to authenticated
using (exists (select from public.orchestrator_agents o where o.id = orchestrator_agent_id));
create policy "Members see prompts" on public.prompts
for select to authenticated
using (
  exists (select from public.orchestrator_agents o where o.id = orchestrator_agent_id)
  -- What somebody says to the orchestrator itself is theirs, as its task is.
  and (agent_id is not null or task_id is null or exists (select from public.tasks t where t.id = task_id))
);
create policy "Members see agents' logs" on public.agent_logs
for select to authenticated
using (
  exists (select from public.agent_instances i where i.id = agent_id)
  or exists (select from public.orchestrator_agents o where o.id = orchestrator_agent_id)
  and (task_id is null or exists (select from public.tasks t where t.id = task_id))
);
create policy "Admins see their organization's system log" on public.system_logs
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));
