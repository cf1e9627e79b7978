-- Runs: one row for each attempt at a task, from claim to end. Kept in step with tasks by a trigger.

create table public.runs (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  created_by uuid not null references public.users (id) on delete cascade,
  task_id uuid references public.tasks (id) on delete cascade,
  execution_id uuid,
  agent_slug text references public.agents (slug) on delete set null,
  agent_name text,
  session_id text,
  parent_run_id uuid references public.runs (id) on delete set null,
  call_stack text[] not null default '{}',
  initial_prompt text,
  attempt integer not null default 1,
  worker_id text,
  lease_token uuid unique,
  status text not null default 'running',
  error_code text,
  error_message text,
  total_tokens bigint not null default 0,
  total_cost numeric(14, 6) not null default 0,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  completed_at timestamptz,
  updated_at timestamptz not null default now(),
  constraint status_is_known check (
    status in ('running', 'completed', 'failed', 'timeout', 'cancelled', 'rejected', 'paused', 'released', 'abandoned')
  ),
  constraint running_means_not_completed check ((status = 'running') = (completed_at is null))
);

-- The attempts of a task in order (also the foreign key).
create index runs_task_idx on public.runs (task_id, created_at);
-- An organization's newest runs (policies, foreign key).
create index runs_organization_recent_idx on public.runs (organization_slug, created_at desc);
-- A user's newest runs (policies, foreign key).
create index runs_user_recent_idx on public.runs (created_by, created_at desc);
-- Runs of a session.
create index runs_session_idx on public.runs (session_id) where session_id is not null;
-- What a worker has to stop (private.cancelled_tasks).
create index runs_cancelled_idx on public.runs (worker_id, completed_at) where status = 'cancelled';
-- Foreign keys.
create index runs_agent_idx on public.runs (agent_slug);
create index runs_parent_idx on public.runs (parent_run_id) where parent_run_id is not null;

create trigger set_updated_at before update on public.runs
for each row execute function public.set_updated_at();

create function private.close_runs() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.runs r
  set completed_at = private.clock(), error_code = n.error_code, error_message = n.error_message,
    status = case
      when n.error_code = 'worker_lost' then 'abandoned'
      when n.status <> 'pending' then n.status
      when n.attempt < o.attempt then 'released'
      when n.error_code = 'timeout' then 'timeout'
      else 'failed'
    end
  from new_rows n
  join old_rows o on o.id = n.id and o.status = 'in_progress' and n.status <> 'in_progress'
  where r.lease_token = o.lease_token and r.status = 'running';
  return null;
end;
$$;
comment on function private.close_runs() is 'After tasks leave in_progress, by whatever hand: their runs end with the state that says why.';
revoke execute on function private.close_runs() from public;

create trigger close_runs after update on public.tasks
referencing old table as old_rows new table as new_rows
for each statement execute function private.close_runs();

comment on table public.runs is 'One execution of an agent: an attempt at a task, with what it cost and how it ended.';
comment on column public.runs.created_by is 'The task''s user.';
comment on column public.runs.initial_prompt is 'The first 2,000 characters of the prompt; the whole is in the task.';
comment on column public.runs.status is 'released: given back unfinished; abandoned: its worker was lost; the rest as in tasks.';
comment on column public.runs.lease_token is 'Token of the attempt, by which a repeated report is recognised.';
comment on column public.runs.total_cost is 'US dollars, sum of usage_events.';

alter table public.runs enable row level security;
revoke all on public.runs from anon, authenticated, service_role;
grant select on public.runs to authenticated;
grant select, insert, update, delete on public.runs to service_role;

create policy "Users and admins read runs" on public.runs
for select to authenticated
using (
  organization_slug = any (array(select private.my_organizations('viewer'))) and created_by = (select auth.uid())
  or organization_slug = any (array(select private.my_organizations('admin')))
);
