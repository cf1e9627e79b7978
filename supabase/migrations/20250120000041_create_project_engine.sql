-- The engine of projects. A plan that is written becomes steps; a step whose dependencies are over becomes a task in the
-- transaction in which the last of them ends; what becomes of a task becomes of its step, and of its project.
-- Whoever moves a project on holds the lock of its row in projects. The transactions of workers never wait for it: who finds
-- it held leaves a note in private.project_work, which the next exchange of any worker, or the reaper, takes up. So no two of
-- them can wait for each other, and a step starts exactly once.
-- Lock order: tasks by id, then the project, then its steps; a project before those below it.
-- The planner cannot know how large a plan is: its functions switch off what is good for few rows only, also for the foreign keys
-- that are checked within them (their plans are kept by the session).
-- Over 400 lines, because steps, what follows a task, and what people do to a project are one state machine.

-- Tables -------------------------------------------------------------------------------------------------------------

create table public.project_plan_versions (
  project_id uuid not null references public.projects (id) on delete cascade,
  version integer not null,
  plan_json jsonb not null,
  created_at timestamptz not null default now(),
  primary key (project_id, version)
);
comment on table public.project_plan_versions is 'The earlier plans of projects; the current one stands in projects.plan_json.';
comment on column public.project_plan_versions.created_at is 'When the next version took its place.';

alter table public.project_plan_versions enable row level security;
revoke all on public.project_plan_versions from anon, authenticated, service_role;
grant select on public.project_plan_versions to authenticated;
grant select, insert, delete on public.project_plan_versions to service_role;

create policy "Whoever reads a project reads its earlier plans" on public.project_plan_versions
for select to authenticated
using (exists (select from public.projects p where p.id = project_id));

create table private.step_links (
  project_step_id uuid primary key references public.project_steps (id) on delete cascade,
  unmet integer not null,
  dependents uuid[] not null,
  refs text[] not null default '{}',
  is_released boolean not null default false,
  is_checked boolean not null default false,
  items_left integer,
  constraint unmet_is_not_negative check (unmet >= 0),
  constraint items_left_is_not_negative check (items_left >= 0)
) with (fillfactor = 60);
comment on table private.step_links is 'The edges of plans, by the step they lead away from: a narrow row for each step, so that a step of a large project ends with a walk over its own dependents and nothing else.';
comment on column private.step_links.unmet is 'How many of the steps that this one depends on are not over.';
comment on column private.step_links.dependents is 'The steps that depend on this one, each once.';
comment on column private.step_links.refs is 'The steps (step_id) whose results its templates and jq programs name.';
comment on column private.step_links.items_left is 'How many elements of a map that has begun are not done (private.map_items).';
comment on column private.step_links.is_released is 'True once the dependents have been told that this step is over.';
comment on column private.step_links.is_checked is 'True once the condition of the step was found to hold.';
revoke all on private.step_links from anon, authenticated, service_role;

create table private.map_items (
  project_step_id uuid not null references public.project_steps (id) on delete cascade,
  position integer not null,
  -- Following tasks.
  task_id uuid unique,
  is_done boolean not null default false,
  primary key (project_step_id, position)
) with (fillfactor = 70);
comment on table private.map_items is 'The elements that maps go over, in order from 0, each with the task that does it, or did.';
revoke all on private.map_items from anon, authenticated, service_role;

create table private.project_work (
  id bigint generated always as identity primary key,
  project_id uuid not null,
  task_id uuid,
  child_project_id uuid
);
comment on table private.project_work is 'Projects to be moved on, left by whoever found them locked: a task of theirs has ended, or a project below them, or (neither) what follows from their status is not all done. Taken up by the next exchange.';
revoke all on private.project_work from anon, authenticated, service_role;
grant select on private.project_work to service_role;

-- From plan to steps -------------------------------------------------------------------------------------------------

create function private.write_steps() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
begin
  if tg_op = 'UPDATE' then
    if old.plan_json is not null then
      insert into public.project_plan_versions (project_id, version, plan_json) values (old.id, old.plan_version, old.plan_json)
      on conflict do nothing;
    end if;
    delete from public.project_steps s where s.project_id = new.id;
  end if;
  if new.plan_json is null then
    return null;
  end if;
  with s as materialized (
    select gen_random_uuid() as key, x.*, array(select distinct d.id from jsonb_array_elements_text(coalesce(x.step -> 'dependencies', '[]')) d (id) order by d.id) as dependencies
    from private.plan_steps(new.plan_json) x
  ),
  d as materialized (select s.key, x.name from s cross join lateral unnest(s.dependencies) x (name)), -- apart, so that it is hashed
  dependents as materialized (select before.key, array_agg(d.key) as keys from d join s before on before.id = d.name group by before.key),
  steps as (
    insert into public.project_steps (
      id, project_id, step_id, step_index, step_type, step_name, agent_slug, agent_name, prompt, params, dependencies, condition, on_failure, settings
    )
    select s.key, new.id, s.id, s.place - 1, s.type, coalesce(s.step ->> 'name', s.id), s.step ->> 'agent', a.name, s.step ->> 'prompt',
      coalesce(s.step -> 'params', '{}'), s.dependencies, s.step ->> 'condition', coalesce(s.step ->> 'on_failure', 'stop'),
      s.step - array['id', 'name', 'type', 'agent', 'prompt', 'params', 'dependencies', 'condition', 'on_failure']
    from s
    left join public.agents a on a.slug = s.step ->> 'agent'
    order by s.place
  )
  insert into private.step_links (project_step_id, unmet, dependents, refs)
  select s.key, cardinality(s.dependencies), coalesce(o.keys, '{}'), s.refs
  from s
  left join dependents o on o.key = s.key;
  return null;
end;
$$;
comment on function private.write_steps() is 'After a plan is written: its steps and their edges, in place of those before; the plan before is kept in project_plan_versions.';
revoke execute on function private.write_steps() from public;

-- Triggers fire in the order of their names: steps are made before they start.
create trigger make_steps_of_new after insert on public.projects
for each row when (new.plan_json is not null) execute function private.write_steps();
create trigger make_steps after update of plan_json on public.projects
for each row when (new.plan_json is distinct from old.plan_json) execute function private.write_steps();

-- What follows from the state of steps -------------------------------------------------------------------------------

create function private.count_project_steps() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_counts record;
begin
  -- What only becomes ready counts nowhere.
  if not exists (select from new_rows n where n.status not in ('pending', 'ready'))
    and not exists (select from old_rows o where o.completed_at is not null) then
    return null;
  end if;
  for v_counts in
    select n.project_id,
      coalesce(sum((n.status = 'completed')::integer - (o.status = 'completed')::integer), 0) as completed,
      coalesce(sum(
        (n.status in ('completed', 'skipped') or n.status = 'failed' and n.on_failure = 'continue')::integer
        - (o.status in ('completed', 'skipped') or o.status = 'failed' and o.on_failure = 'continue')::integer
      ), 0) as finished,
      coalesce(sum((n.status = 'failed' and n.on_failure = 'stop')::integer - (o.status = 'failed' and o.on_failure = 'stop')::integer), 0) as failed,
      (array_agg(n.id order by n.step_index) filter (where n.status = 'failed' and n.on_failure = 'stop'))[1] as failed_id,
      (array_agg(n.step_id order by n.started_at desc, n.step_index desc) filter (where n.status in ('in_progress', 'awaiting_input')))[1] as begun
    from new_rows n
    join old_rows o on o.id = n.id
    where n.status <> o.status
    group by n.project_id
    order by n.project_id
  loop
    if v_counts.completed = 0 and v_counts.finished = 0 and v_counts.failed = 0 then
      -- Claims come here without the lock of the project, and do not wait for it.
      update public.projects p set current_step_id = v_counts.begun
      where v_counts.begun is not null and p.id in (
        select x.id from public.projects x where x.id = v_counts.project_id and x.current_step_id is distinct from v_counts.begun for no key update skip locked
      );
      continue;
    end if;
    update public.projects p
    set completed_steps = p.completed_steps + v_counts.completed, finished_steps = p.finished_steps + v_counts.finished,
      failed_steps = p.failed_steps + v_counts.failed,
      current_step_id = coalesce(v_counts.begun, p.current_step_id),
      error_details = case
        when p.status in ('running', 'paused') and v_counts.failed_id is not null
        then (select jsonb_build_object('step_id', s.step_id) || coalesce(s.error_details, '{}') from public.project_steps s where s.id = v_counts.failed_id)
        else p.error_details
      end,
      status = case
        when p.status not in ('running', 'paused') then p.status
        when v_counts.failed_id is not null then 'failed'
        when v_counts.finished > 0 and p.finished_steps + v_counts.finished = p.total_steps then 'completed'
        else p.status
      end
    where p.id = v_counts.project_id;
  end loop;
  return null;
end;
$$;
comment on function private.count_project_steps() is
  'After steps change, by whatever hand: the numbers in projects follow, and the project ends when all its steps are over, or when one has failed that stops it.';
revoke execute on function private.count_project_steps() from public;

create function private.count_first_project_steps() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.projects p
  set total_steps = p.total_steps + c.total
  from (select n.project_id, count(*) as total from new_rows n group by n.project_id) c
  where p.id = c.project_id;
  return null;
end;
$$;
comment on function private.count_first_project_steps() is 'After steps are made: total_steps of their projects.';
revoke execute on function private.count_first_project_steps() from public;

create function private.count_project_steps_less() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.projects p
  set total_steps = p.total_steps - c.total, completed_steps = p.completed_steps - c.completed, finished_steps = p.finished_steps - c.finished,
    failed_steps = p.failed_steps - c.failed
  from (
    select o.project_id, count(*) as total, count(*) filter (where o.status = 'completed') as completed,
      count(*) filter (where o.status in ('completed', 'skipped') or o.status = 'failed' and o.on_failure = 'continue') as finished,
      count(*) filter (where o.status = 'failed' and o.on_failure = 'stop') as failed
    from old_rows o
    group by o.project_id
  ) c
  where p.id = c.project_id;
  return null;
end;
$$;
comment on function private.count_project_steps_less() is 'After steps are deleted: the numbers in projects follow.';
revoke execute on function private.count_project_steps_less() from public;

create trigger count_new_steps after insert on public.project_steps
referencing new table as new_rows
for each statement execute function private.count_first_project_steps();
create trigger count_steps after update on public.project_steps
referencing old table as old_rows new table as new_rows
for each statement execute function private.count_project_steps();
create trigger count_steps_less after delete on public.project_steps
referencing old table as old_rows
for each statement execute function private.count_project_steps_less();

-- Starting steps -----------------------------------------------------------------------------------------------------

create function private.step_error(task_id uuid, error_code text, error_message text) returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb_build_object('task_id', task_id, 'error_code', error_code, 'error_message', left(error_message, 1000));
$$;
comment on function private.step_error(uuid, text, text) is 'error_details of a step.';
revoke execute on function private.step_error(uuid, text, text) from public;

create function private.no_time_left(most interval default '3 seconds') returns boolean
language sql volatile security invoker set search_path = ''
as $$
  select clock_timestamp() > statement_timestamp() + most;
$$;
comment on function private.no_time_left(interval) is
  'Whether a statement has taken so long that it starts no further steps, but leaves them to the next exchange: what one project makes of its plan must not end the requests of workers, which carry the tasks of everybody.';
revoke execute on function private.no_time_left(interval) from public;

create function private.steps_for_now(project_id uuid, ids uuid[]) returns uuid[]
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
begin
  if cardinality(ids) <= 1 then
    return ids;
  end if;
  return (
    with step as materialized (
      select s.id, s.step_index, s.step_type,
        case when s.step_type = 'transform' or s.condition is not null and not l.is_checked then '{}' else l.refs end as refs,
        (select count(*) from private.template_expressions(concat(s.prompt, s.params::text))) as templates
      from public.project_steps s
      join private.step_links l on l.project_step_id = s.id
      where s.id = any (ids) and l.project_step_id = any (ids)
    ),
    named as (select s.step_index, s.step_type, r.step_id from step s cross join lateral unnest(s.refs) r (step_id)),
    read as (
      select n.step_index, n.step_type, (b.result ->> 'bytes')::bigint as bytes,
        row_number() over (partition by n.step_type, n.step_id order by n.step_index) = 1 and n.step_type = 'agent' as is_first
      from named n
      join public.project_steps b on b.project_id = steps_for_now.project_id and b.step_id = n.step_id and b.result is not null
    ),
    weighed as (
      select r.step_index, sum(least(r.bytes, 4000000)) filter (where r.is_first or r.step_type <> 'agent') as input, max(least(r.bytes, 100000)) as largest
      from read r
      group by r.step_index
    )
    select array_agg(c.id order by c.step_index)
    from (
      select s.id, s.step_index, row_number() over (order by s.step_index) as place, sum(
        case s.step_type
          when 'agent' then 1000 when 'transform' then 1000 when 'subproject' then 320000 when 'map' then 6000 * least(1000, 1 + coalesce(w.largest, 0) / 2) else 24000
        end
        + 4 * coalesce(w.input, 0)
        + least(16000000, s.templates * coalesce(w.largest, 0) * case s.step_type when 'map' then 10 else 1 end)
      ) over (order by s.step_index) as cost
      from step s
      left join weighed w on w.step_index = s.step_index
    ) c
    where c.place = 1 or c.cost <= 16000000
  );
end;
$$;
comment on function private.steps_for_now(uuid, uuid[]) is
  'The first of these steps, as many as start in about a second: what they read of results (agents read each result once, 4 MB in all), what they write into tasks, and how many rows they make. At least one.';
revoke execute on function private.steps_for_now(uuid, uuid[]) from public;

create function private.leave_steps(project_id uuid, ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
begin
  if ids <> '{}' then
    update public.project_steps s set status = 'ready' where s.id = any (ids) and s.status = 'pending';
    insert into private.project_work (project_id) values (leave_steps.project_id);
  end if;
end;
$$;
comment on function private.leave_steps(uuid, uuid[]) is 'Steps that may start are started by the next exchange.';
revoke execute on function private.leave_steps(uuid, uuid[]) from public;

create function private.start_steps(project_id uuid, ids uuid[]) returns uuid[]
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_project public.projects;
  v_now uuid[];
  v_checks uuid[];
  v_type record;
begin
  if ids = '{}' then
    return '{}';
  end if;
  select p.* into v_project from public.projects p where p.id = start_steps.project_id and p.status = 'running';
  if not found then
    update public.project_steps s set status = 'ready' where s.id = any (ids) and s.status = 'pending'; -- they start when it runs
    return '{}';
  end if;
  -- What tasks and projects name; what is just being deleted is not waited for.
  perform from public.organizations o where o.slug = v_project.organization_slug for key share skip locked;
  if found then
    perform from public.users u where u.id = v_project.user_id for key share skip locked;
  end if;
  if found then
    perform from public.agent_conversations c where c.id = v_project.conversation_id for key share skip locked;
  end if;
  if not found or private.no_time_left() then
    perform private.leave_steps(v_project.id, ids);
    return '{}';
  end if;
  v_now := private.steps_for_now(v_project.id, ids);
  perform private.leave_steps(v_project.id, array(select i.id from unnest(ids) i (id) where cardinality(ids) > cardinality(v_now) and i.id <> all (v_now)));
  v_checks := array(
    select s.id from public.project_steps s join private.step_links l on l.project_step_id = s.id
    where s.id = any (v_now) and s.condition is not null and l.project_step_id = any (v_now) and not l.is_checked
    order by s.step_index
  );
  -- What is only an agent's becomes ready together with its task.
  if v_checks <> '{}' or exists (select from public.project_steps s where s.id = any (v_now) and s.step_type <> 'agent') then
    update public.project_steps s set status = 'ready'
    where s.id = any (v_now) and s.status = 'pending' and (s.step_type <> 'agent' or s.id = any (v_checks));
  end if;
  if v_checks <> '{}' then
    perform private.start_evaluations(v_project, v_checks);
  end if;
  for v_type in
    select s.step_type, array_agg(s.id order by s.step_index) as ids from public.project_steps s
    where s.id = any (v_now) and s.id <> all (v_checks)
    group by s.step_type
  loop
    case v_type.step_type
      when 'agent' then perform private.start_agent_steps(v_project, v_type.ids);
      when 'map' then perform private.start_maps(v_project, v_type.ids);
      when 'transform' then perform private.start_evaluations(v_project, v_type.ids);
      when 'subproject' then perform private.start_subprojects(v_project, v_type.ids);
      else perform private.ask_people(v_project, v_type.ids);
    end case;
  end loop;
  return array(select s.id from public.project_steps s where s.id = any (v_now) and s.completed_at is not null);
end;
$$;
comment on function private.start_steps(uuid, uuid[]) is
  'Starts steps whose dependencies are over as their types say (those functions stand in the next migration), if their project runs; returns those that ended at once. What would take long is left to the next exchange. Called with the project locked.';
revoke execute on function private.start_steps(uuid, uuid[]) from public;

create function private.ready_steps(project_id uuid) returns uuid[]
language sql stable security invoker set search_path = ''
as $$
  select array(
    select s.id from public.project_steps s
    where s.project_id = ready_steps.project_id and (
      s.status = 'ready' and s.task_id is null
      or s.status = 'in_progress' and exists (select from private.map_items i where i.project_step_id = s.id and i.task_id is null)
    )
    order by s.step_index
  );
$$;
comment on function private.ready_steps(uuid) is 'The steps of a project that may start and have not, or (maps) have not wholly.';
revoke execute on function private.ready_steps(uuid) from public;

-- Moving on ----------------------------------------------------------------------------------------------------------

create function private.release_dependents(ids uuid[]) returns uuid[]
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_dependents uuid[];
  v_met uuid[];
begin
  with released as (
    update private.step_links l set is_released = true
    from public.project_steps s
    where l.project_step_id = any (ids) and s.id = any (ids) and s.id = l.project_step_id and not l.is_released
      and (s.status in ('completed', 'skipped') or s.status = 'failed' and s.on_failure = 'continue')
    returning l.dependents
  )
  select array_agg(d.id) into v_dependents from released r cross join lateral unnest(r.dependents) d (id);
  if v_dependents is null then
    return '{}';
  end if;
  with less as (
    update private.step_links l set unmet = l.unmet - d.number
    from (select x.id, count(*) as number from unnest(v_dependents) x (id) group by x.id) d
    where l.project_step_id = any (v_dependents) and l.project_step_id = d.id
    returning l.project_step_id, l.unmet
  )
  select array_agg(l.project_step_id) into v_met from less l where l.unmet = 0;
  if v_met is null then
    return '{}';
  end if;
  return array(select s.id from public.project_steps s where s.id = any (v_met) and s.status = 'pending');
end;
$$;
comment on function private.release_dependents(uuid[]) is
  'Tells the dependents of steps that are over, each once; returns those that may start now, for private.start_steps. Called with the project locked.';
revoke execute on function private.release_dependents(uuid[]) from public;

create function private.end_steps_of(task_ids uuid[], out ended uuid[], out ready uuid[])
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_steps constant uuid[] := array(select distinct t.project_step_id from public.tasks t where t.id = any (task_ids) and t.project_step_id is not null);
  v_has record;
begin
  ready := '{}';
  select bool_or(s.step_type = 'map') as maps, bool_or(s.condition is not null) as conditions
  into v_has
  from public.project_steps s
  where s.id = any (v_steps);
  if v_has.conditions then
    ready := private.end_checks(task_ids, v_steps);
  end if;
  if v_has.maps then
    perform private.end_map_tasks(task_ids, v_steps);
  end if;
  update public.project_steps s
  set status = case t.status when 'completed' then 'completed' else 'failed' end,
    result = case t.status when 'completed' then jsonb_build_object('task_id', t.id, 'bytes', octet_length(t.response)) end,
    error_details = case when t.status <> 'completed' then private.step_error(
      t.id, coalesce(t.error_code, 'task_cancelled'), coalesce(t.error_message, 'The task was cancelled.')
    ) end
  from public.tasks t
  where t.id = any (task_ids) and s.id = any (v_steps) and s.id = t.project_step_id and s.task_id = t.id
    and s.completed_at is null and t.completed_at is not null;
  ended := array(select s.id from public.project_steps s where s.id = any (v_steps) and s.completed_at is not null);
end;
$$;
comment on function private.end_steps_of(uuid[]) is
  'What these tasks that are over mean for their steps: ended are those that are over too, ready those that start (again). Called with the project locked.';
revoke execute on function private.end_steps_of(uuid[]) from public;

create function private.advance_project(project_id uuid, task_ids uuid[], step_ids uuid[]) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_ended uuid[] := step_ids;
  v_ready uuid[] := '{}';
begin
  if task_ids <> '{}' then
    select step_ids || e.ended, e.ready into v_ended, v_ready from private.end_steps_of(task_ids) e;
  end if;
  -- A step may end in the moment in which it starts; what depends on it is then next.
  while v_ended <> '{}' or v_ready <> '{}' loop
    if v_ended <> '{}' then
      v_ready := v_ready || private.release_dependents(v_ended);
    end if;
    v_ended := private.start_steps(project_id, v_ready);
    v_ready := '{}';
  end loop;
end;
$$;
comment on function private.advance_project(uuid, uuid[], uuid[]) is
  'Moves a project on after these tasks of it, or these steps, are over. Called with the project locked.';
revoke execute on function private.advance_project(uuid, uuid[], uuid[]) from public;

create function private.start_ready_steps(project_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.advance_project(project_id, '{}', private.start_steps(project_id, private.ready_steps(project_id)));
end;
$$;
comment on function private.start_ready_steps(uuid) is 'Starts whatever is ready in a running project. Called with the project locked.';
revoke execute on function private.start_ready_steps(uuid) from public;

create function private.follow_step_tasks() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_hashjoin = on
as $$
declare
  v_moved record;
  v_steps uuid[];
  v_projects uuid[];
  v_held uuid[];
  v_project_id uuid;
  v_tasks uuid[];
begin
  if not exists (select from new_rows n where n.project_step_id is not null) then
    return null; -- nearly always
  end if;
  select array_agg(n.project_step_id) filter (where n.completed_at is null) as live_steps,
    array_agg(n.id) filter (where n.completed_at is not null and o.completed_at is null) as ended,
    array_agg(n.project_step_id) filter (where n.completed_at is not null and o.completed_at is null) as ended_steps
  into v_moved
  from new_rows n
  join old_rows o on o.id = n.id
  where n.project_step_id is not null and n.status <> o.status;
  if v_moved.live_steps is not null then
    v_steps := array(select s.id from public.project_steps s where s.id = any (v_moved.live_steps) order by s.id for no key update skip locked);
    update public.project_steps s
    set status = case n.status when 'pending' then 'ready' when 'in_progress' then 'in_progress' else 'awaiting_input' end
    from new_rows n
    where s.id = any (v_steps) and n.project_step_id = s.id and n.id = s.task_id and s.completed_at is null;
  end if;
  if v_moved.ended is null then
    return null;
  end if;
  v_projects := array(select distinct s.project_id from public.project_steps s where s.id = any (v_moved.ended_steps));
  v_held := array(select p.id from public.projects p where p.id = any (v_projects) order by p.id for no key update skip locked);
  insert into private.project_work (project_id, task_id)
  select s.project_id, e.task_id
  from unnest(v_moved.ended, v_moved.ended_steps) e (task_id, step_id)
  join public.project_steps s on s.id = e.step_id and s.id = any (v_moved.ended_steps) and s.project_id <> all (v_held);
  foreach v_project_id in array v_held loop
    v_tasks := array(
      select e.task_id from unnest(v_moved.ended, v_moved.ended_steps) e (task_id, step_id)
      join public.project_steps s on s.id = e.step_id and s.id = any (v_moved.ended_steps) and s.project_id = v_project_id
    );
    begin
      perform private.advance_project(v_project_id, v_tasks, '{}');
    exception when others then
      -- The tasks of others are in the same statement: it is tried again by itself.
      insert into private.project_work (project_id, task_id) select v_project_id, x.id from unnest(v_tasks) x (id);
    end;
  end loop;
  return null;
end;
$$;
comment on function private.follow_step_tasks() is
  'After tasks change, by whatever hand: their steps say the same, and projects of which steps are over move on. Waits for nobody: see private.project_work.';
revoke execute on function private.follow_step_tasks() from public;

create trigger follow_step_tasks after update on public.tasks
referencing old table as old_rows new table as new_rows
for each statement execute function private.follow_step_tasks();

create function private.fail_broken_project(project_id uuid, code text, message text) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  raise warning 'project % cannot go on: % %', project_id, code, message;
  update public.projects p
  set status = 'failed', error_details = jsonb_build_object('step_id', null)
    || private.step_error(null, 'internal_error', format('The project could not go on (%s).', code))
  where p.id = fail_broken_project.project_id and p.status in ('running', 'paused');
exception when others then
  null; -- it stands still; everybody else goes on
end;
$$;
comment on function private.fail_broken_project(uuid, text, text) is
  'Fails a project that cannot be moved on whatever the reason, so that it does not end the exchanges of all workers. The log of Postgres says why. Called with the project locked.';
revoke execute on function private.fail_broken_project(uuid, text, text) from public;

create function private.advance_forgotten_projects() returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_projects uuid[];
  v_held uuid[];
  v_project_id uuid;
  v_left record;
begin
  -- An organization's own worker decides how long its transaction lasts: others' projects are not held in it.
  if private.is_scoped_worker() then
    return;
  end if;
  v_projects := array(select distinct w.project_id from (select x.project_id from private.project_work x order by x.id limit 1000) w);
  if v_projects = '{}' then
    return;
  end if;
  v_held := array(select p.id from public.projects p where p.id = any (v_projects) order by p.id for no key update skip locked);
  -- Organizations in turn, so that none with many and large projects keeps the others waiting.
  v_held := array(
    select t.id
    from (
      select p.id, row_number() over (partition by p.organization_slug order by w.first) as turn, w.first
      from (select x.project_id, min(x.id) as first from private.project_work x where x.project_id = any (v_held) group by x.project_id) w
      join public.projects p on p.id = w.project_id
    ) t
    order by t.turn, t.first
  );
  foreach v_project_id in array v_held loop
    exit when private.no_time_left(interval '1 second');
    with taken as (
      delete from private.project_work w
      where w.id in (select x.id from private.project_work x where x.project_id = v_project_id order by x.id limit 1000 for update skip locked)
      returning w.task_id, w.child_project_id
    )
    select coalesce(array_agg(distinct t.task_id) filter (where t.task_id is not null), '{}') as tasks,
      coalesce(array_agg(distinct t.child_project_id) filter (where t.child_project_id is not null), '{}') as children,
      bool_or(t.task_id is null and t.child_project_id is null) as status
    into v_left
    from taken t;
    begin
      perform private.advance_project(v_project_id, v_left.tasks, private.end_subprojects(v_left.children));
      if v_left.status then
        perform private.apply_project_status(v_project_id);
      end if;
    exception when others then
      perform private.fail_broken_project(v_project_id, sqlstate, sqlerrm);
    end;
  end loop;
  delete from private.project_work w
  where w.id in (
    select x.id from private.project_work x
    where x.project_id = any (v_projects) and not exists (select from public.projects p where p.id = x.project_id)
    for update skip locked
  );
end;
$$;
comment on function private.advance_forgotten_projects() is 'Moves on what was left in private.project_work. Called by the reaper, and by each exchange that takes tasks. Waits for nobody.';
revoke execute on function private.advance_forgotten_projects() from public;
grant execute on function private.advance_forgotten_projects() to service_role;

-- What follows from the state of a project ---------------------------------------------------------------------------

create function private.live_step_tasks(project_id uuid) returns setof uuid
language sql stable security invoker set search_path = ''
as $$
  select t.id
  from public.project_steps s
  join public.tasks t on t.project_step_id = s.id and t.completed_at is null
  where s.project_id = live_step_tasks.project_id;
$$;
comment on function private.live_step_tasks(uuid) is 'The unfinished tasks of a project''s steps.';
revoke execute on function private.live_step_tasks(uuid) from public;

create function private.withdraw_tasks(project_id uuid) returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_held uuid[];
begin
  -- What a worker is just claiming runs on, and so does what waits for an answer.
  v_held := array(
    select t.id from public.tasks t
    where t.id in (select l.id from private.live_step_tasks(withdraw_tasks.project_id) l (id)) and t.status = 'pending' and t.paused_at is null
    order by t.id
    for update skip locked
  );
  if v_held = '{}' then
    return;
  end if;
  update public.project_steps s set task_id = null
  where s.project_id = withdraw_tasks.project_id and s.status = 'ready' and s.task_id = any (v_held);
  update private.map_items i set task_id = null where i.task_id = any (v_held);
  update public.project_steps s set status = 'ready'
  where s.project_id = withdraw_tasks.project_id and s.step_type = 'map' and s.status = 'in_progress' and not exists (
    select from private.map_items i join public.tasks t on t.id = i.task_id where i.project_step_id = s.id and t.completed_at is null
  );
  update public.tasks t set status = 'cancelled', error_code = 'withdrawn', error_message = 'The project stopped before it began.'
  where t.id = any (v_held) and t.status = 'pending';
end;
$$;
comment on function private.withdraw_tasks(uuid) is
  'Takes the tasks of a project that wait in the queue out of it; their steps are ready, and get new ones when the project goes on. Called with the project locked.';
revoke execute on function private.withdraw_tasks(uuid) from public;

create function private.cancel_live_tasks(project_id uuid, step_ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_held uuid[];
begin
  v_held := array(
    select t.id from public.tasks t where t.project_step_id = any (step_ids) and t.completed_at is null order by t.id for update skip locked
  );
  update public.tasks t set status = 'cancelled' where t.id = any (v_held) and t.completed_at is null;
  insert into private.project_work (project_id)
  select cancel_live_tasks.project_id
  where exists (select from public.tasks t where t.project_step_id = any (step_ids) and t.completed_at is null);
end;
$$;
comment on function private.cancel_live_tasks(uuid, uuid[]) is
  'Cancels the tasks of steps that are over; those that somebody just writes are left to the next exchange. Called with the project locked.';
revoke execute on function private.cancel_live_tasks(uuid, uuid[]) from public;

create function private.cancel_steps(project_id uuid) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  update public.project_steps s set status = 'cancelled' where s.project_id = cancel_steps.project_id and s.completed_at is null;
  perform private.cancel_live_tasks(cancel_steps.project_id, array(select s.id from public.project_steps s where s.project_id = cancel_steps.project_id));
  update public.input_requests r set status = 'cancelled'
  where r.status = 'pending' and r.task_id is null and r.project_step_id in (select s.id from public.project_steps s where s.project_id = cancel_steps.project_id);
end;
$$;
comment on function private.cancel_steps(uuid) is 'Cancels what is not over of a project, with its tasks and questions. Called with the project locked.';
revoke execute on function private.cancel_steps(uuid) from public;

create function private.apply_project_status(project_id uuid) returns void
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_status text;
begin
  select p.status into v_status from public.projects p where p.id = apply_project_status.project_id;
  if v_status in ('running', 'paused') then
    perform private.end_steps_without_project(project_id);
  end if;
  case v_status
    when 'running' then
      update public.project_steps s set status = 'ready'
      from private.step_links l
      where s.project_id = apply_project_status.project_id and s.status = 'pending' and l.project_step_id = s.id and l.unmet = 0;
      perform private.start_ready_steps(project_id);
    when 'paused', 'failed' then
      perform private.withdraw_tasks(project_id);
    when 'cancelled' then
      perform private.cancel_steps(project_id);
    when 'planning' then
      perform private.settle_planning(project_id);
    else null;
  end case;
  perform private.move_subprojects(project_id, v_status);
  -- One that failed, and whose steps were all passed over then.
  update public.projects p set status = 'completed'
  where p.id = apply_project_status.project_id and p.status = 'running' and p.total_steps > 0 and p.finished_steps = p.total_steps;
end;
$$;
comment on function private.apply_project_status(uuid) is
  'What follows from the status of a project: its steps start, are held back, or are cancelled, and so are the projects below. Called with the project locked.';
revoke execute on function private.apply_project_status(uuid) from public;

create function private.follow_project_status() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
begin
  perform private.apply_project_status(new.id);
  if new.project_step_id is not null and new.status in ('completed', 'failed', 'cancelled') then
    perform private.report_subproject(new);
  end if;
  return null;
end;
$$;
comment on function private.follow_project_status() is 'After the status of a project changes, by whatever hand: what follows for its steps, for the projects below and for the one above.';
revoke execute on function private.follow_project_status() from public;

create trigger start_steps_of_new after insert on public.projects
for each row when (new.status = 'running') execute function private.follow_project_status();
create trigger start_steps after update on public.projects
for each row when (new.status <> old.status) execute function private.follow_project_status();

create function private.cancel_tasks_of_project() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  -- With an organization or an account go its tasks themselves.
  if exists (select from public.organizations o where o.slug = old.organization_slug) and exists (select from public.users u where u.id = old.user_id) then
    perform from public.tasks t where t.id in (select l.id from private.live_step_tasks(old.id) l (id)) order by t.id for update;
    perform from public.projects p where p.id = old.id for update;
    -- Nothing follows from their end: the project's own row must not change while it is deleted.
    delete from private.map_items i where i.project_step_id in (select s.id from public.project_steps s where s.project_id = old.id);
    update public.project_steps s set task_id = null where s.project_id = old.id and s.completed_at is null and s.task_id is not null;
    update public.tasks t set status = 'cancelled'
    where t.id in (select l.id from private.live_step_tasks(old.id) l (id)) and t.completed_at is null;
    update public.projects c set project_step_id = null, status = 'cancelled'
    where c.parent_project_id = old.id and c.project_step_id is not null and c.status not in ('completed', 'cancelled');
  end if;
  return old;
end;
$$;
comment on function private.cancel_tasks_of_project() is 'Before a project is deleted, itself or with its conversation: its unfinished tasks and the projects that carry out its steps, for which nobody would wait any more, are cancelled.';
revoke execute on function private.cancel_tasks_of_project() from public;

create trigger cancel_tasks before delete on public.projects
for each row execute function private.cancel_tasks_of_project();

create function private.note_deleted_subproject() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  insert into private.project_work (project_id) select p.id from public.projects p where p.id = old.parent_project_id and p.completed_at is null;
  return null;
end;
$$;
comment on function private.note_deleted_subproject() is 'After a project is deleted that carried out a step of another: that one is told, by private.project_work, since a project is locked before those below it.';
revoke execute on function private.note_deleted_subproject() from public;

create trigger note_deleted_subproject after delete on public.projects
for each row when (old.parent_project_id is not null and old.project_step_id is not null) execute function private.note_deleted_subproject();

create function private.cancel_projects_of_member() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_projects uuid[];
begin
  if not exists (select from public.organizations o where o.slug = old.organization_slug)
    or not exists (select from public.users u where u.id = old.user_id) then
    return null; -- all of it goes
  end if;
  v_projects := array(
    select p.id from public.projects p
    where p.organization_slug = old.organization_slug and p.user_id = old.user_id and p.status not in ('completed', 'cancelled') and p.project_step_id is null
  );
  perform from public.tasks t
  where t.id in (select l.id from unnest(v_projects) p (id) cross join lateral private.live_step_tasks(p.id) l (id)) order by t.id for update;
  perform from public.projects p where p.id = any (v_projects) order by p.id for no key update;
  update public.projects p set status = 'cancelled' where p.id = any (v_projects) and p.status not in ('completed', 'cancelled');
  return null;
end;
$$;
comment on function private.cancel_projects_of_member() is
  'After a membership ends: the member''s projects are cancelled, so that nothing runs in the name of somebody who is gone when a question is answered or a project resumed.';
revoke execute on function private.cancel_projects_of_member() from public;

-- After cancel_executions_of_member, before cancel_tasks_of_member.
create trigger cancel_projects_of_member after delete on public.organization_members
for each row execute function private.cancel_projects_of_member();

-- Functions of members -----------------------------------------------------------------------------------------------

create function private.lock_own_project(project_id uuid) returns public.projects
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_project public.projects;
begin
  select p.* into v_project
  from public.projects p
  where p.id = lock_own_project.project_id
    and (
      not private.is_client()
      or p.user_id = (select auth.uid()) and p.organization_slug in (select private.my_organizations('member'))
      or p.organization_slug in (select private.my_organizations('admin'))
    );
  if found then
    -- Tasks first, as workers and those who delete do.
    perform from public.tasks t where t.id in (select l.id from private.live_step_tasks(v_project.id) l (id)) order by t.id for update;
    select p.* into v_project from public.projects p where p.id = v_project.id for no key update;
  end if;
  if not found then
    raise exception using errcode = 'PT404', message = 'project_not_found',
      detail = format('You have no project %s.', project_id), hint = 'Check the id; only a project''s user and the organization''s admins steer it.';
  end if;
  return v_project;
end;
$$;
comment on function private.lock_own_project(uuid) is
  'Locks and returns a project that the caller may steer (own, or admin of its organization), after its unfinished tasks; PT404 project_not_found otherwise.';
revoke execute on function private.lock_own_project(uuid) from public;

create function private.reset_failed_steps(project_id uuid) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  update public.project_steps s set status = 'ready', task_id = null
  where s.project_id = reset_failed_steps.project_id and s.status = 'failed' and s.on_failure = 'stop';
end;
$$;
comment on function private.reset_failed_steps(uuid) is 'The steps that stopped a project are ready again. Called with the project locked.';
revoke execute on function private.reset_failed_steps(uuid) from public;

create function private.refuse_failed_subproject(project public.projects) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if project.status = 'failed' and project.project_step_id is not null then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Project %s carries out a step of project %s, which has failed with it.', project.id, project.parent_project_id),
      hint = format('Call retry_project_step with project_step_id %s.', project.project_step_id);
  end if;
end;
$$;
comment on function private.refuse_failed_subproject(public.projects) is 'Raises PT409 illegal_move for a project that failed as the step of another: it goes on with that step, and not by itself.';
revoke execute on function private.refuse_failed_subproject(public.projects) from public;

create function private.steer_project(project_id uuid, action text) returns public.projects
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_project public.projects := private.lock_own_project(project_id);
  v_to constant text := case action when 'pause' then 'paused' when 'cancel' then 'cancelled' else 'running' end;
  v_from constant text[] := case action
    when 'start' then array['planning', 'awaiting_approval']
    when 'pause' then array['running']
    when 'resume' then array['paused', 'failed']
    else array['planning', 'awaiting_approval', 'running', 'paused', 'failed']
  end;
begin
  if v_project.status = v_to then
    return v_project;
  end if;
  if v_project.status <> all (v_from) then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Project %s is %s: %s_project is not for it.', v_project.id, v_project.status, action),
      hint = format('%s_project is for a project that is %s.', action, array_to_string(v_from, ' or '));
  end if;
  if action = 'resume' then
    perform private.refuse_failed_subproject(v_project);
  end if;
  if v_to = 'running' and v_project.total_steps = 0 then
    raise exception using errcode = 'PT409', message = 'plan_missing',
      detail = format('Project %s has no plan.', v_project.id), hint = 'Write plan_json first: {"steps": [{"id": "…", "agent": "…", "prompt": "…"}]}.';
  end if;
  if action = 'resume' and v_project.status = 'failed' then
    perform private.reset_failed_steps(v_project.id);
  end if;
  update public.projects p set status = v_to where p.id = v_project.id;
  select p.* into v_project from public.projects p where p.id = v_project.id;
  return v_project;
end;
$$;
comment on function private.steer_project(uuid, text) is 'Body of start_project, pause_project, resume_project and cancel_project.';
revoke execute on function private.steer_project(uuid, text) from public;
grant execute on function private.steer_project(uuid, text) to authenticated, service_role;

create function public.start_project(project_id uuid) returns public.projects
language sql volatile security invoker set search_path = ''
as $$
  select * from private.steer_project(project_id, 'start');
$$;
comment on function public.start_project(uuid) is
  'Starts a project that has a plan: steps that depend on none become tasks. Called again while it runs: the same row. Errors: PT404 project_not_found, PT409 illegal_move, PT409 plan_missing.';

create function public.pause_project(project_id uuid) returns public.projects
language sql volatile security invoker set search_path = ''
as $$
  select * from private.steer_project(project_id, 'pause');
$$;
comment on function public.pause_project(uuid) is
  'Starts nothing new in a project and takes what waits in the queue out of it; what runs, or waits for a person, goes on. Called again: the same row. Errors: PT404 project_not_found, PT409 illegal_move.';

create function public.resume_project(project_id uuid) returns public.projects
language sql volatile security invoker set search_path = ''
as $$
  select * from private.steer_project(project_id, 'resume');
$$;
comment on function public.resume_project(uuid) is
  'Lets a paused or failed project go on with what did not finish: the steps that failed start again, what is completed stays. Called again: the same row. Errors: PT404 project_not_found, PT409 illegal_move.';

create function public.cancel_project(project_id uuid) returns public.projects
language sql volatile security invoker set search_path = ''
as $$
  select * from private.steer_project(project_id, 'cancel');
$$;
comment on function public.cancel_project(uuid) is
  'Cancels a project for good, with its tasks, its open questions and the projects below it. Called again: the same row. Errors: PT404 project_not_found, PT409 illegal_move.';

create function private.lock_own_step(project_step_id uuid, out project public.projects, out step public.project_steps)
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_project_id uuid;
begin
  select s.project_id into v_project_id from public.project_steps s where s.id = lock_own_step.project_step_id;
  begin
    project := private.lock_own_project(v_project_id);
    select s.* into step from public.project_steps s where s.id = lock_own_step.project_step_id;
  exception when sqlstate 'PT404' then
    null;
  end;
  if step.id is null then
    raise exception using errcode = 'PT404', message = 'project_step_not_found',
      detail = format('You have no step %s.', project_step_id), hint = 'Check the id (project_steps.id); only a project''s user and the organization''s admins steer it.';
  end if;
  if project.status in ('completed', 'cancelled') then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Step "%s" belongs to project %s, which is %s.', step.step_id, project.id, project.status), hint = 'Create a new project.';
  end if;
  if project.started_at is null then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Step "%s" belongs to project %s, which has not started.', step.step_id, project.id), hint = 'Write the plan as it should be, then start the project.';
  end if;
end;
$$;
comment on function private.lock_own_step(uuid) is
  'Locks a step that the caller may steer, with its project; PT404 project_step_not_found otherwise, PT409 illegal_move when the project is over or has not started.';
revoke execute on function private.lock_own_step(uuid) from public;

create function private.go_on_without_failures(project_id uuid) returns public.projects
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_project public.projects;
begin
  update public.projects p set status = 'running'
  where p.id = go_on_without_failures.project_id and p.status = 'failed' and p.failed_steps = 0
    and (p.project_step_id is null or exists (select from public.project_steps s where s.id = p.project_step_id and s.completed_at is null));
  select p.* into v_project from public.projects p where p.id = go_on_without_failures.project_id;
  return v_project;
end;
$$;
comment on function private.go_on_without_failures(uuid) is 'A failed project of which no step is failed any more runs again; one that carries out a step of another goes on with that step only. Returns the project.';
revoke execute on function private.go_on_without_failures(uuid) from public;

create function private.retry_project_step(project_step_id uuid) returns public.projects
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v record;
begin
  select * into v from private.lock_own_step(project_step_id);
  if (v.step).status <> 'failed' then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Step "%s" is %s and cannot be retried.', (v.step).step_id, (v.step).status), hint = 'Only a step that failed is retried.';
  end if;
  perform private.refuse_failed_subproject(v.project);
  if exists (select from private.step_links l where l.project_step_id = (v.step).id and l.is_released and l.dependents <> '{}') then
    raise exception using errcode = 'PT409', message = 'step_was_passed',
      detail = format('What depends on step "%s" has gone on without it, as its on_failure says.', (v.step).step_id), hint = 'Create a new project.';
  end if;
  update public.project_steps s set status = 'ready', task_id = null where s.id = (v.step).id;
  update private.step_links l set is_released = false where l.project_step_id = (v.step).id;
  perform private.start_ready_steps((v.project).id);
  return private.go_on_without_failures((v.project).id);
end;
$$;
comment on function private.retry_project_step(uuid) is 'Body of public.retry_project_step.';
revoke execute on function private.retry_project_step(uuid) from public;
grant execute on function private.retry_project_step(uuid) to authenticated, service_role;

create function public.retry_project_step(project_step_id uuid) returns public.projects
language sql volatile security invoker set search_path = ''
as $$
  select * from private.retry_project_step(project_step_id);
$$;
comment on function public.retry_project_step(uuid) is
  'Starts a failed step again, with a new task; a failed project goes on when it was the last that had failed. Errors: PT404 project_step_not_found, PT409 illegal_move, PT409 step_was_passed.';

create function private.require_roles_of_step(step public.project_steps, organization_slug text) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if private.is_client() then
    perform private.require_role(require_roles_of_step.organization_slug, r.role)
    from (select distinct x.value #>> '{}' as role from jsonb_path_query(step.settings, '$.**.required_role ? (@.type() == "string")') x (value)) r
    where r.role in ('developer', 'admin', 'owner');
  end if;
end;
$$;
comment on function private.require_roles_of_step(public.project_steps, text) is
  'Refuses a caller without the role that the question of a step asks for, or one of the plan that it carries out: whoever may not answer does not pass over it either.';
revoke execute on function private.require_roles_of_step(public.project_steps, text) from public;

create function private.skip_project_step(project_step_id uuid) returns public.projects
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v record;
begin
  select * into v from private.lock_own_step(project_step_id);
  if (v.step).status = 'skipped' then
    return v.project;
  end if;
  if (v.step).status not in ('pending', 'ready', 'in_progress', 'awaiting_input', 'failed') then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Step "%s" is %s and cannot be skipped.', (v.step).step_id, (v.step).status), hint = 'Only a step that is not over, or that failed, is skipped.';
  end if;
  perform private.require_roles_of_step(v.step, (v.project).organization_slug);
  update public.project_steps s set status = 'skipped' where s.id = (v.step).id;
  perform private.cancel_live_tasks((v.project).id, array[(v.step).id]);
  update public.input_requests r set status = 'cancelled' where r.status = 'pending' and r.task_id is null and r.project_step_id = (v.step).id;
  perform private.move_subprojects((v.project).id, 'cancelled', (v.step).id);
  perform private.advance_project((v.project).id, '{}', array[(v.step).id]);
  return private.go_on_without_failures((v.project).id);
end;
$$;
comment on function private.skip_project_step(uuid) is 'Body of public.skip_project_step.';
revoke execute on function private.skip_project_step(uuid) from public;
grant execute on function private.skip_project_step(uuid) to authenticated, service_role;

create function public.skip_project_step(project_step_id uuid) returns public.projects
language sql volatile security invoker set search_path = ''
as $$
  select * from private.skip_project_step(project_step_id);
$$;
comment on function public.skip_project_step(uuid) is
  'Passes over a step that is not over, or that failed: its task is cancelled, its dependents go on, and templates find null for its result. Called again: the same row. Errors: PT404 project_step_not_found, PT409 illegal_move.';

revoke execute on function public.start_project(uuid), public.pause_project(uuid), public.resume_project(uuid), public.cancel_project(uuid),
  public.retry_project_step(uuid), public.skip_project_step(uuid) from public, anon, authenticated;
grant execute on function public.start_project(uuid), public.pause_project(uuid), public.resume_project(uuid), public.cancel_project(uuid),
  public.retry_project_step(uuid), public.skip_project_step(uuid) to authenticated, service_role;
