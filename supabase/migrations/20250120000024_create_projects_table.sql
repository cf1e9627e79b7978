-- Projects: a plan of steps with dependencies. One DAG engine; workflows run on it too. The plan is checked when it is written.

create table public.projects (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  user_id uuid not null default auth.uid() references public.users (id) on delete cascade,
  conversation_id uuid not null references public.agent_conversations (id) on delete cascade,
  name text,
  description text,
  plan_json jsonb,
  plan_version integer not null default 0,
  status text not null default 'planning',
  current_step_id text,
  error_details jsonb,
  metadata jsonb not null default '{}',
  parent_project_id uuid references public.projects (id) on delete set null,
  project_step_id uuid,
  execution_id uuid,
  hierarchy_level integer not null default 0,
  subproject_count integer not null default 0,
  total_steps integer not null default 0,
  completed_steps integer not null default 0,
  finished_steps integer not null default 0,
  failed_steps integer not null default 0,
  progress integer not null generated always as (case when total_steps > 0 then round(100.0 * finished_steps / total_steps)::integer else 0 end) stored,
  started_at timestamptz,
  completed_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint status_is_known check (status in ('planning', 'awaiting_approval', 'running', 'paused', 'completed', 'failed', 'cancelled')),
  constraint name_is_short check (length(name) <= 500),
  constraint metadata_is_a_small_object check (jsonb_typeof(metadata) = 'object' and pg_column_size(metadata) <= 262144),
  constraint plan_json_is_an_object check (jsonb_typeof(plan_json) = 'object' and pg_column_size(plan_json) <= 4194304),
  constraint hierarchy_is_at_most_five_deep check (hierarchy_level between 0 and 5),
  constraint completed_at_matches_final_status check ((completed_at is not null) = (status in ('completed', 'failed', 'cancelled')))
) with (fillfactor = 80);

-- A user's newest projects (policies, foreign key).
create index projects_user_recent_idx on public.projects (user_id, created_at desc);
-- An organization's newest projects (policies, foreign key).
create index projects_organization_recent_idx on public.projects (organization_slug, created_at desc);
-- Projects of a conversation (policies, foreign key).
create index projects_conversation_idx on public.projects (conversation_id);
-- Subprojects (foreign key).
create index projects_parent_idx on public.projects (parent_project_id) where parent_project_id is not null;

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger check_json before insert or update of plan_json, metadata on public.projects
for each row execute function private.check_json('plan_json', 'metadata');
create trigger set_updated_at before update on public.projects
for each row execute function public.set_updated_at();

create function private.guard_project() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_moves constant text[] := case old.status
    when 'planning' then array['awaiting_approval', 'running', 'failed', 'cancelled']
    when 'awaiting_approval' then array['planning', 'running', 'cancelled']
    when 'running' then array['paused', 'completed', 'failed', 'cancelled']
    when 'paused' then array['running', 'completed', 'failed', 'cancelled'] -- what runs on when it is paused may end it
    when 'failed' then array['running', 'cancelled']
    else array[]::text[] -- completed and cancelled are final
  end;
begin
  if new.status is distinct from old.status and new.status <> all (v_moves) then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Project %s is %s and cannot become %s.', old.id, old.status, new.status), hint = 'Read the project again.';
  end if;
  if new.status is distinct from old.status then
    new.completed_at := case when new.status in ('completed', 'failed', 'cancelled') then private.clock() end;
    new.started_at := case when new.status = 'running' then coalesce(old.started_at, private.clock()) else old.started_at end;
    if new.status = 'running' then
      new.error_details := null;
    end if;
  end if;
  return new;
end;
$$;
comment on function private.guard_project() is 'The state machine of projects, for every writer; keeps started_at and completed_at, and forgets the error of what goes on.';
revoke execute on function private.guard_project() from public;

create trigger begin_in_first_state before insert on public.projects
for each row when (new.status not in ('planning', 'awaiting_approval', 'running')) execute function private.begin_in_first_state();
create trigger guard_project before update of status on public.projects
for each row execute function private.guard_project();

create function private.plan_cycle(steps jsonb) returns text[]
language plpgsql immutable set search_path = ''
as $$
declare
  v_ids text[];
  v_waits integer[];  -- per step: dependencies that are not done
  v_first integer[];  -- per step: where its dependents begin in v_dependents
  v_dependents integer[];
  v_queue integer[];
  v_step integer;
  v_edge integer;
  v_head integer := 1;
begin
  with s as materialized (
    select x.step ->> 'id' as id, x.position::integer as position, x.step -> 'dependencies' as dependencies
    from jsonb_array_elements(steps) with ordinality as x (step, position)
  ),
  e as materialized (
    select p.position as before, s.position as after
    from s cross join lateral jsonb_array_elements_text(coalesce(s.dependencies, '[]')) d (id) join s p on p.id = d.id
  ),
  n as (
    select s.id, s.position, coalesce(i.count, 0)::integer as waits, coalesce(o.count, 0)::integer as dependents
    from s
    left join (select after, count(*) from e group by after) i on i.after = s.position
    left join (select before, count(*) from e group by before) o on o.before = s.position
  )
  select array_agg(n.id order by n.position), array_agg(n.waits order by n.position),
    array_agg(n.before order by n.position), coalesce(array_agg(n.position order by n.position) filter (where n.waits = 0), '{}'),
    (select coalesce(array_agg(e.after order by e.before), '{}') from e)
  into v_ids, v_waits, v_first, v_queue, v_dependents
  from (select n.*, (sum(n.dependents) over (order by n.position) - n.dependents)::integer + 1 as before from n) n;
  v_first := v_first || cardinality(v_dependents) + 1;
  while v_head <= cardinality(v_queue) loop
    v_step := v_queue[v_head];
    v_head := v_head + 1;
    for v_edge in v_first[v_step] .. v_first[v_step + 1] - 1 loop
      v_waits[v_dependents[v_edge]] := v_waits[v_dependents[v_edge]] - 1;
      if v_waits[v_dependents[v_edge]] = 0 then
        v_queue[cardinality(v_queue) + 1] := v_dependents[v_edge];
      end if;
    end loop;
  end loop;
  return array(select v_ids[w.position] from unnest(v_waits) with ordinality as w (waits, position) where w.waits > 0 order by w.position limit 10);
end;
$$;
comment on function private.plan_cycle(jsonb) is 'Up to ten ids of the steps that depend on each other in a circle, or on such steps; empty when there is none. Linear in steps and dependencies (Kahn).';
revoke execute on function private.plan_cycle(jsonb) from public;
grant execute on function private.plan_cycle(jsonb) to authenticated, service_role;

create function private.check_plan(plan jsonb, organization_slug text, user_id uuid) returns void
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_steps constant jsonb := plan -> 'steps';
  v_step jsonb;
  v_left text[];
  v_problem text;
begin
  if jsonb_typeof(v_steps) is distinct from 'array' or jsonb_array_length(v_steps) not between 1 and 10000 then
    raise exception using errcode = '22023', message = 'plan_invalid',
      detail = 'plan_json.steps must be a list of 1 to 10000 steps.', hint = 'Send {"steps": [{"id": "…", "name": "…", "type": "agent", "agent": "…", "prompt": "…", "dependencies": []}]}.';
  end if;
  select case
      when s.step ->> 'id' is null or s.step ->> 'id' !~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$' then format('step %s has no id of letters, digits, - and _', s.position)
      when count(*) over (partition by s.step ->> 'id') > 1 then format('the id "%s" is there twice', s.step ->> 'id')
      when coalesce(s.step ->> 'type', 'agent') not in ('agent', 'human_approval', 'human_input', 'subproject', 'transform') then format('step "%s" has the unknown type "%s"', s.step ->> 'id', s.step ->> 'type')
      when coalesce(jsonb_typeof(s.step -> 'dependencies') <> 'array', false) then format('the dependencies of step "%s" are no list', s.step ->> 'id')
      when coalesce(s.step ->> 'type', 'agent') = 'agent' and s.step ->> 'agent' is null then format('step "%s" names no agent', s.step ->> 'id')
    end as problem
  into v_problem
  from jsonb_array_elements(v_steps) with ordinality as s (step, position)
  order by problem nulls last
  limit 1;
  if v_problem is null then
    select format('step "%s" depends on "%s", which is not in the plan', s.step ->> 'id', d.id) into v_problem
    from jsonb_array_elements(v_steps) s (step)
    cross join jsonb_array_elements_text(coalesce(s.step -> 'dependencies', '[]')) d (id)
    where not exists (select from jsonb_array_elements(v_steps) x (step) where x.step ->> 'id' = d.id)
    limit 1;
  end if;
  if v_problem is null then
    v_left := private.plan_cycle(v_steps);
    if v_left <> '{}' then
      v_problem := format('the steps %s depend on each other in a circle', array_to_string(v_left, ', '));
    end if;
  end if;
  if v_problem is not null then
    raise exception using errcode = '22023', message = 'plan_invalid', detail = 'In plan_json, ' || v_problem || '.', hint = 'Correct the plan and send it again.';
  end if;
  for v_step in
    select distinct on (s.step ->> 'agent') s.step from jsonb_array_elements(v_steps) s (step) where s.step ->> 'agent' is not null
  loop
    perform private.usable_agent(v_step ->> 'agent', check_plan.organization_slug, check_plan.user_id);
  end loop;
end;
$$;
comment on function private.check_plan(jsonb, text, uuid) is
  'Refuses a plan whose step ids are missing or double, whose types, agents or dependencies are unknown, or whose steps depend on each other in a circle: 22023 plan_invalid, PT404 agent_not_found, PT409 agent_inactive.';
revoke execute on function private.check_plan(jsonb, text, uuid) from public;
grant execute on function private.check_plan(jsonb, text, uuid) to authenticated, service_role;

create function private.prepare_project() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_conversation public.agent_conversations;
  v_parent public.projects;
begin
  if tg_op = 'INSERT' then
    perform private.require_own_user_id(new.user_id);
    select c.* into v_conversation from public.agent_conversations c where c.id = new.conversation_id;
    if not found or v_conversation.organization_slug <> coalesce(new.organization_slug, v_conversation.organization_slug)
      -- An admin reads the conversations of others, but does not speak in them.
      or private.is_client() and v_conversation.user_id <> new.user_id and v_conversation.id not in (select private.my_shared_conversations()) then
      raise exception using errcode = 'PT404', message = 'conversation_not_found',
        detail = format('You have no conversation %s in this organization.', new.conversation_id), hint = 'A project belongs to a conversation: create one first.';
    end if;
    new.organization_slug := private.my_organization_or_default(v_conversation.organization_slug);
    if new.parent_project_id is not null then
      select p.* into v_parent from public.projects p where p.id = new.parent_project_id and p.organization_slug = new.organization_slug;
      if not found then
        raise exception using errcode = 'PT404', message = 'project_not_found',
          detail = format('You have no project %s in this organization.', new.parent_project_id), hint = 'Leave parent_project_id out, or correct it.';
      end if;
    end if;
    new.hierarchy_level := coalesce(v_parent.hierarchy_level + 1, 0);
    new.subproject_count := 0;
  elsif new.parent_project_id is null and old.parent_project_id is not null then
    new.hierarchy_level := 0; -- its parent was deleted
  elsif new.parent_project_id is not null and new.parent_project_id is distinct from old.parent_project_id then
    raise exception using errcode = 'PT409', message = 'parent_is_fixed',
      detail = format('The parent of project %s does not change, so that projects never contain themselves.', old.id), hint = 'Create a new project.';
  end if;
  if tg_op = 'INSERT' then
    new.plan_version := 0;
  elsif new.plan_json is distinct from old.plan_json and old.status not in ('planning', 'awaiting_approval') then
    raise exception using errcode = 'PT409', message = 'plan_has_started',
      detail = format('Project %s is %s; its plan does not change any more.', old.id, old.status), hint = 'Cancel it and create a new project with the new plan.';
  end if;
  if tg_op = 'INSERT' or new.plan_json is distinct from old.plan_json then
    if new.plan_json is not null then
      perform private.check_plan(new.plan_json, new.organization_slug, new.user_id);
      new.plan_version := new.plan_version + 1;
    end if;
  end if;
  return new;
end;
$$;
comment on function private.prepare_project() is 'Before insert and update: fills organization and level, checks conversation, parent and plan.';
revoke execute on function private.prepare_project() from public;

create trigger prepare_project before insert or update of plan_json, parent_project_id on public.projects
for each row execute function private.prepare_project();

create function private.count_subprojects() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_parent_id constant uuid := case tg_op when 'INSERT' then new.parent_project_id else old.parent_project_id end;
begin
  -- Whoever waited here counts, in the next statement, what the other wrote.
  perform from public.projects p where p.id = v_parent_id for no key update;
  update public.projects p
  set subproject_count = (select count(*) from public.projects c where c.parent_project_id = p.id)
  where p.id = v_parent_id;
  return null;
end;
$$;
comment on function private.count_subprojects() is 'Keeps subproject_count of the parent.';
revoke execute on function private.count_subprojects() from public;

create trigger count_subprojects_on_insert after insert on public.projects
for each row when (new.parent_project_id is not null) execute function private.count_subprojects();
create trigger count_subprojects_on_leaving after update of parent_project_id on public.projects
for each row when (old.parent_project_id is not null and new.parent_project_id is null) execute function private.count_subprojects();
create trigger count_subprojects_on_delete after delete on public.projects
for each row when (old.parent_project_id is not null) execute function private.count_subprojects();

create function private.renumber_subprojects() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.projects c set hierarchy_level = new.hierarchy_level + 1 where c.parent_project_id = new.id;
  return null;
end;
$$;
comment on function private.renumber_subprojects() is 'Keeps hierarchy_level of the children when that of the parent changes.';
revoke execute on function private.renumber_subprojects() from public;

create trigger renumber_subprojects after update on public.projects
for each row when (old.hierarchy_level is distinct from new.hierarchy_level) execute function private.renumber_subprojects();

comment on table public.projects is 'Plans of steps that agents and people carry out. The whole organization reads them; only their user changes them.';
comment on column public.projects.plan_json is '{"steps": [{id, name, type, agent, prompt, dependencies[]}]}; checked when written.';
comment on column public.projects.plan_version is 'Rises each time the plan is written; project_plan_versions keeps the earlier ones.';
comment on column public.projects.current_step_id is 'The step that began last.';
comment on column public.projects.error_details is 'Why it failed: {step_id, task_id, error_code, error_message}; null while it goes on.';
comment on column public.projects.project_step_id is 'The step of another project that this one carries out.';
comment on column public.projects.execution_id is 'The workflow execution that this project carries out.';
comment on column public.projects.finished_steps is 'Steps that are completed or skipped, or failed and passed over as their on_failure says. This number and its neighbours are kept by triggers.';
comment on column public.projects.failed_steps is 'Steps that failed and stop the project.';
comment on column public.projects.progress is 'finished_steps in percent of total_steps.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.projects enable row level security;
revoke all on public.projects from anon, authenticated, service_role;
grant select, delete on public.projects to authenticated;
grant insert (id, organization_slug, user_id, conversation_id, name, description, plan_json, metadata, parent_project_id) on public.projects to authenticated;
grant update (name, description, plan_json, metadata) on public.projects to authenticated;
grant select, insert, update, delete on public.projects to service_role;

create policy "Members read the projects of their organizations" on public.projects
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('viewer'))));
create policy "Members add projects" on public.projects
for insert to authenticated
with check (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));
create policy "Users change their own projects" on public.projects
for update to authenticated
using (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))))
with check (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));
create policy "Users delete their own projects" on public.projects
for delete to authenticated
using (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));
