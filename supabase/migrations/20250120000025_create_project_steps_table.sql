-- Steps of projects: the nodes of the plan, each with its own state.

create table public.project_steps (
  id uuid primary key default gen_random_uuid(),
  project_id uuid not null references public.projects (id) on delete cascade,
  step_id text not null,
  step_index integer not null,
  step_type text not null,
  step_name text not null,
  agent_slug text,
  agent_name text,
  prompt text,
  params jsonb not null default '{}',
  dependencies text[] not null default '{}',
  condition text,
  on_failure text not null default 'stop',
  settings jsonb not null default '{}',
  status text not null default 'pending',
  task_id uuid,
  result jsonb,
  error_details jsonb,
  started_at timestamptz,
  completed_at timestamptz,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- A project's steps by name (also the foreign key).
  constraint step_id_is_unique_within_a_project unique (project_id, step_id),
  constraint step_index_is_unique_within_a_project unique (project_id, step_index),
  constraint step_type_is_known check (step_type in ('agent', 'human_approval', 'human_input', 'subproject', 'transform', 'map')),
  constraint on_failure_is_known check (on_failure in ('stop', 'continue')),
  constraint status_is_known check (
    status in ('pending', 'ready', 'in_progress', 'awaiting_input', 'completed', 'failed', 'skipped', 'cancelled')
  ),
  constraint completed_at_matches_final_status
    check ((completed_at is not null) = (status in ('completed', 'failed', 'skipped', 'cancelled'))),
  constraint step_does_not_depend_on_itself check (step_id <> all (dependencies)),
  constraint params_and_settings_are_objects check (jsonb_typeof(params) = 'object' and jsonb_typeof(settings) = 'object'),
  constraint metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
) with (fillfactor = 60);
-- No index names a column that changes while a project runs, so that each of a step's three or four changes stays within its page.

alter table public.tasks
add constraint tasks_project_step_id_fkey foreign key (project_step_id) references public.project_steps (id) on delete set null;
-- The project that carries a step out. No foreign key: PostgREST would take it for a second way from projects to their steps, and refuse
-- to choose; private.forget_steps clears it.
create index projects_project_step_idx on public.projects (project_step_id) where project_step_id is not null;
-- Tasks of a step (foreign key).
create index tasks_project_step_idx on public.tasks (project_step_id) where project_step_id is not null;
alter table public.deliverables
add constraint deliverables_project_step_id_fkey foreign key (project_step_id) references public.project_steps (id) on delete set null;
-- Deliverables of a step (foreign key).
create index deliverables_project_step_idx on public.deliverables (project_step_id) where project_step_id is not null;
alter table public.input_requests
add constraint input_requests_project_step_id_fkey foreign key (project_step_id) references public.project_steps (id) on delete cascade;
-- Questions of a step (foreign key).
create index input_requests_project_step_idx on public.input_requests (project_step_id) where project_step_id is not null;

create function private.guard_project_step() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_moves constant text[] := case old.status
    when 'pending' then array['ready', 'skipped', 'cancelled']
    when 'ready' then array['in_progress', 'awaiting_input', 'completed', 'skipped', 'cancelled', 'failed']
    when 'in_progress' then array['completed', 'failed', 'awaiting_input', 'skipped', 'cancelled', 'ready']
    when 'awaiting_input' then array['in_progress', 'ready', 'completed', 'failed', 'skipped', 'cancelled']
    when 'failed' then array['ready', 'pending', 'skipped']
    when 'cancelled' then array['pending', 'ready']
    else array[]::text[] -- completed and skipped are final
  end;
begin
  if new.status is distinct from old.status then
    if new.status <> all (v_moves) then
      raise exception using errcode = 'PT409', message = 'illegal_move',
        detail = format('Step "%s" is %s and cannot become %s.', old.step_id, old.status, new.status), hint = 'Read the step again.';
    end if;
    new.completed_at := case when new.status in ('completed', 'failed', 'skipped', 'cancelled') then private.clock() end;
    new.error_details := case when new.status in ('failed', 'skipped') then new.error_details end;
    new.started_at := case
      when new.status in ('pending', 'ready') then null
      when new.status in ('in_progress', 'awaiting_input') then coalesce(old.started_at, private.clock())
      else old.started_at
    end;
  elsif old.completed_at is not null
    and (new.task_id, new.result, new.error_details, new.started_at, new.completed_at)
      is distinct from (old.task_id, old.result, old.error_details, old.started_at, old.completed_at) then
    raise exception using errcode = 'PT409', message = 'step_finished',
      detail = format('Step "%s" is %s; its result does not change.', old.step_id, old.status), hint = 'Run the project again.';
  end if;
  return new;
end;
$$;
comment on function private.guard_project_step() is 'The state machine of project steps, for every writer; keeps started_at and completed_at.';
revoke execute on function private.guard_project_step() from public;

create trigger begin_in_first_state before insert on public.project_steps
for each row when (new.status not in ('pending', 'ready')) execute function private.begin_in_first_state();
create trigger guard_project_step before update on public.project_steps
for each row execute function private.guard_project_step();
create trigger set_updated_at before update on public.project_steps
for each row execute function public.set_updated_at();

create function private.forget_steps() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.projects p set project_step_id = null where p.project_step_id = any (array(select o.id from old_rows o));
  return null;
end;
$$;
comment on function private.forget_steps() is 'After steps are deleted: the projects that carried them out stand for themselves.';
revoke execute on function private.forget_steps() from public;

create trigger forget_steps after delete on public.project_steps
referencing old table as old_rows
for each statement execute function private.forget_steps();

comment on table public.project_steps is 'Steps of a project and how far they are. Written by functions and workers only.';
comment on column public.project_steps.step_id is 'Name within the plan, which dependencies refer to.';
comment on column public.project_steps.agent_slug is 'Without a foreign key: an agent that is gone fails the step when it is its turn.';
comment on column public.project_steps.condition is 'jq predicate over {"steps": {id: {status, result}}}; when it does not hold the step is skipped.';
comment on column public.project_steps.settings is 'What else the plan says about the step: required_role, schema, expires_in_seconds, on_expiry, shows, over, transform, plan, timeout_seconds, max_attempts, deliverable.';
comment on column public.project_steps.status is 'ready: what it depends on is over, and it is in the queue (task_id) or waits until its project runs.';
comment on column public.project_steps.task_id is 'The task that does it, or did; it keeps the result. No foreign key: that would cost the hot path, and a task that is gone leaves no trace of its result anyway.';
comment on column public.project_steps.result is
  'Where the result is, and how large: {"task_id", "bytes"} or {"bytes"}. All of the organization read steps; the result itself is for those who read the project''s tasks (project_step_result).';
comment on column public.project_steps.error_details is 'Why it failed: {task_id, error_code, error_message}.';

alter table public.project_steps enable row level security;
revoke all on public.project_steps from anon, authenticated, service_role;
grant select on public.project_steps to authenticated;
grant select, insert, update, delete on public.project_steps to service_role;

create policy "Whoever reads a project reads its steps" on public.project_steps
for select to authenticated
using (exists (select from public.projects p where p.id = project_id));
