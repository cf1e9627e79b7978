-- Runs: one row for each attempt at a task, from claim to end. Kept in step with tasks by a trigger.

-- Organization, user and agent are copied from the task, without foreign keys: those would be checked, and their rows locked,
-- for every attempt. Runs go with their organization and their user all the same (remove_runs).

create table public.runs (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null,
  created_by uuid not null,
  task_id uuid references public.tasks (id) on delete cascade,
  execution_id uuid,
  agent_slug text,
  agent_name text,
  session_id text,
  parent_run_id uuid references public.runs (id) on delete set null,
  call_stack text[] not null default '{}',
  initial_prompt text,
  attempt integer not null default 1,
  worker_id text,
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
) with (fillfactor = 45);
-- Room in the page for the end of the run, which touches no index; runs that began together end together.

-- The attempts of a task in order (also the foreign key).
create index runs_task_idx on public.runs (task_id, created_at);
-- An organization's newest runs (policies).
create index runs_organization_recent_idx on public.runs (organization_slug, created_at desc);
-- A user's newest runs (policies).
create index runs_user_recent_idx on public.runs (created_by, created_at desc);
-- Runs of a session.
create index runs_session_idx on public.runs (session_id) where session_id is not null;
-- Children of a run (foreign key).
create index runs_parent_idx on public.runs (parent_run_id) where parent_run_id is not null;

create trigger set_updated_at before update on public.runs
for each row when (new.updated_at = old.updated_at) execute function public.set_updated_at();

create function private.remove_runs() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if tg_table_name = 'organizations' then
    delete from public.runs r where r.organization_slug = old.slug and r.task_id is null;
  else
    delete from public.runs r where r.created_by = old.id and r.task_id is null;
  end if;
  return null;
end;
$$;
comment on function private.remove_runs() is 'After an organization or a user is deleted: so are the runs that have no task to go with, as by a foreign key.';
revoke execute on function private.remove_runs() from public;

create trigger remove_runs after delete on public.organizations
for each row execute function private.remove_runs();
create trigger remove_runs after delete on public.users
for each row execute function private.remove_runs();

create function private.delete_runs_of_tasks() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
begin
  delete from public.runs r where r.task_id = any (array(select o.id from old_rows o));
  return null;
end;
$$;
comment on function private.delete_runs_of_tasks() is 'After tasks are deleted: so are their runs, all in one statement.';
revoke execute on function private.delete_runs_of_tasks() from public;

create trigger delete_runs after delete on public.tasks
referencing old table as old_rows
for each statement execute function private.delete_runs_of_tasks();

do $$
begin
  -- As with task_events: a run begins in the statement that leases its task.
  if current_setting('server_version_num')::integer >= 180000 then
    execute 'alter table public.runs alter constraint runs_task_id_fkey not enforced';
  end if;
end
$$;

create table private.cancellations (
  run_id uuid primary key,
  task_id uuid not null,
  worker_id text not null,
  created_at timestamptz not null
);

-- What a worker has to stop, and what is old enough to forget.
create index cancellations_worker_idx on private.cancellations (worker_id, created_at);
create index cancellations_created_at_idx on private.cancellations (created_at);

comment on table private.cancellations is 'Runs that people cancelled in the last minutes, for their workers to hear of (private.cancelled_tasks).';
revoke all on private.cancellations from anon, authenticated, service_role;
grant select, delete on private.cancellations to service_role;

create function private.close_runs() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_hashjoin = on
as $$
declare
  v_now constant timestamptz := private.clock();
  v_end record;
begin
  -- Claims and completions, which most statements are, are told from the rest without a join.
  if not exists (select from old_rows o where o.status = 'in_progress') then
    return null;
  end if;
  if not exists (select from new_rows n where n.status <> 'completed' or n.error_code is not null or n.error_message is not null) then
    update public.runs r set status = 'completed', completed_at = v_now, error_code = null, error_message = null, updated_at = now()
    where r.id = any (array(select o.lease_token from old_rows o where o.status = 'in_progress')) and r.status = 'running';
    return null;
  end if;
  for v_end in
    select e.status, e.error_code, e.error_message, array_agg(e.lease_token) as run_ids
    from (
      select o.lease_token, n.error_code, n.error_message,
        case
          when n.error_code = 'worker_lost' then 'abandoned'
          when n.status <> 'pending' then n.status
          when n.attempt < o.attempt then 'released'
          when n.error_code = 'timeout' then 'timeout'
          else 'failed'
        end as status
      from new_rows n
      join old_rows o on o.id = n.id and o.status = 'in_progress' and n.status <> 'in_progress'
    ) e
    group by e.status, e.error_code, e.error_message
  loop
    update public.runs r
    set completed_at = v_now, error_code = v_end.error_code, error_message = v_end.error_message, status = v_end.status
    where r.id = any (v_end.run_ids) and r.status = 'running';
    -- A worker ends its steps itself, but for an attempt that was taken from it.
    if v_end.status <> 'completed' then
      update public.run_steps s
      set status = case when v_end.status in ('failed', 'timeout') then 'failed' else 'cancelled' end, completed_at = v_now,
        error_message = coalesce(s.error_message, format('The run ended as %s before this step did.', v_end.status))
      where s.run_id = any (v_end.run_ids) and s.status = 'running';
    end if;
    if v_end.status = 'cancelled' then
      insert into private.cancellations (run_id, task_id, worker_id, created_at)
      select o.lease_token, o.id, o.worker_id, v_now from old_rows o where o.lease_token = any (v_end.run_ids)
      on conflict do nothing;
    end if;
  end loop;
  return null;
end;
$$;
comment on function private.close_runs() is 'After tasks leave in_progress, by whatever hand: their runs end with the state that says why, and with them the steps that still ran.';
revoke execute on function private.close_runs() from public;

create trigger close_runs after update on public.tasks
referencing old table as old_rows new table as new_rows
for each statement execute function private.close_runs();

comment on table public.runs is 'One execution of an agent: an attempt at a task, with what it cost and how it ended.';
comment on column public.runs.id is 'The lease_token of the attempt, by which a repeated report is recognised.';
comment on column public.runs.created_by is 'The task''s user.';
comment on column public.runs.initial_prompt is 'The first 2,000 characters of the prompt; the whole is in the task.';
comment on column public.runs.status is 'released: given back unfinished; abandoned: its worker was lost; the rest as in tasks.';
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
