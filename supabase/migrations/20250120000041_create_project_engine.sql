-- The engine of projects. A plan that is written becomes steps; a step whose dependencies are over becomes a task in the
-- transaction in which the last of them ends; what becomes of a task becomes of its step, and of its project.
-- Whoever moves a project on holds the lock of its row in projects. The transactions of workers never wait for it: who finds
-- it held leaves a note in private.project_work, which the next exchange of any worker, or the reaper, takes up. So no two of
-- them can wait for each other, and a step starts exactly once.
-- Lock order: tasks by id, then the project, then its steps; a project before those below it.
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
  is_released boolean not null default false,
  is_checked boolean not null default false,
  constraint unmet_is_not_negative check (unmet >= 0)
) with (fillfactor = 60);
comment on table private.step_links is 'The edges of plans, by the step they lead away from: a narrow row for each step, so that a step of a large project ends with a walk over its own dependents and nothing else.';
comment on column private.step_links.unmet is 'How many of the steps that this one depends on are not over.';
comment on column private.step_links.dependents is 'The steps that depend on this one, each once.';
comment on column private.step_links.is_released is 'True once the dependents have been told that this step is over.';
comment on column private.step_links.is_checked is 'True once the condition of the step was found to hold.';
revoke all on private.step_links from anon, authenticated, service_role;

create table private.project_work (
  id bigint generated always as identity primary key,
  project_id uuid not null,
  task_id uuid
);
comment on table private.project_work is 'Projects to be moved on, left by whoever found them locked: a task of theirs has ended, or (null) steps are ready. Taken up by the next exchange.';
revoke all on private.project_work from anon, authenticated, service_role;
grant select on private.project_work to service_role;

-- From plan to steps -------------------------------------------------------------------------------------------------

create function private.write_steps() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_nestloop = off
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
  insert into public.project_steps (
    project_id, step_id, step_index, step_type, step_name, agent_slug, agent_name, prompt, params, dependencies, condition, on_failure, settings
  )
  select new.id, s.step ->> 'id', s.position - 1, coalesce(s.step ->> 'type', 'agent'), coalesce(s.step ->> 'name', s.step ->> 'id'),
    s.step ->> 'agent', a.name, s.step ->> 'prompt', coalesce(s.step -> 'params', '{}'),
    array(select distinct d.id from jsonb_array_elements_text(coalesce(s.step -> 'dependencies', '[]')) d (id) order by d.id),
    s.step ->> 'condition', coalesce(s.step ->> 'on_failure', 'stop'),
    s.step - array['id', 'name', 'type', 'agent', 'prompt', 'params', 'dependencies', 'condition', 'on_failure']
  from jsonb_array_elements(new.plan_json -> 'steps') with ordinality as s (step, position)
  left join public.agents a on a.slug = s.step ->> 'agent';
  insert into private.step_links (project_step_id, unmet, dependents)
  with s as materialized (
    select x.id, x.step_id, x.dependencies from public.project_steps x where x.project_id = new.id
  ),
  e as materialized (
    select before.id as before, s.id as after from s cross join lateral unnest(s.dependencies) d (name) join s before on before.step_id = d.name
  )
  select s.id, cardinality(s.dependencies), coalesce(o.ids, '{}')
  from s
  left join (select e.before, array_agg(e.after) as ids from e group by e.before) o on o.before = s.id;
  return null;
end;
$$;
comment on function private.write_steps() is 'After a plan is written: its steps and their edges, in place of those before; the plan before is kept in project_plan_versions.';
revoke execute on function private.write_steps() from public;

create trigger write_steps_of_new after insert on public.projects
for each row when (new.plan_json is not null) execute function private.write_steps();
create trigger write_steps after update of plan_json on public.projects
for each row when (new.plan_json is distinct from old.plan_json) execute function private.write_steps();

-- What follows from the state of steps -------------------------------------------------------------------------------

create function private.count_project_steps() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_nestloop = off
as $$
declare
  v_counts record;
begin
  for v_counts in
    select c.project_id, sum(c.one) as total, sum(c.one) filter (where c.status = 'completed') as completed,
      sum(c.one) filter (where c.status in ('completed', 'skipped') or c.status = 'failed' and c.on_failure = 'continue') as finished,
      sum(c.one) filter (where c.status = 'failed' and c.on_failure = 'stop') as failed,
      (array_agg(c.id order by c.step_index) filter (where c.one = 1 and c.status = 'failed' and c.on_failure = 'stop'))[1] as failed_id,
      (array_agg(c.step_id order by c.started_at desc, c.step_index desc) filter (
        where c.one = 1 and c.status in ('in_progress', 'awaiting_input')
      ))[1] as begun
    from (
      select n.id, n.project_id, n.step_id, n.step_index, n.status, n.on_failure, n.started_at, 1 as one from new_rows n
      union all
      select o.id, o.project_id, o.step_id, o.step_index, o.status, o.on_failure, o.started_at, -1 from old_rows o
    ) c
    group by c.project_id
    order by c.project_id
  loop
    if v_counts.total = 0 and coalesce(v_counts.finished, 0) = 0 and coalesce(v_counts.failed, 0) = 0 and coalesce(v_counts.completed, 0) = 0 then
      -- Claims come here without the lock of the project, and do not wait for it.
      update public.projects p set current_step_id = v_counts.begun
      where p.id in (
        select x.id from public.projects x where x.id = v_counts.project_id and x.current_step_id is distinct from v_counts.begun for no key update skip locked
      ) and v_counts.begun is not null;
      continue;
    end if;
    update public.projects p
    set total_steps = p.total_steps + v_counts.total, completed_steps = p.completed_steps + coalesce(v_counts.completed, 0),
      finished_steps = p.finished_steps + coalesce(v_counts.finished, 0), failed_steps = p.failed_steps + coalesce(v_counts.failed, 0),
      current_step_id = coalesce(v_counts.begun, p.current_step_id),
      error_details = case
        when p.status in ('running', 'paused') and v_counts.failed_id is not null
        then (select jsonb_build_object('step_id', s.step_id) || coalesce(s.error_details, '{}') from public.project_steps s where s.id = v_counts.failed_id)
        else p.error_details
      end,
      status = case
        when p.status not in ('running', 'paused') then p.status
        when v_counts.failed_id is not null then 'failed'
        when v_counts.finished > 0 and p.finished_steps + v_counts.finished = p.total_steps + v_counts.total then 'completed'
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

create function private.start_agent_steps(project public.projects, ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off
as $$
declare
  v_uuid_head constant text := private.uuid_head();
  v_slugs text[];
begin
  -- An agent that is just being deleted is not waited for.
  v_slugs := array(
    select a.slug from public.agents a
    where a.slug = any (array(select distinct s.agent_slug from public.project_steps s where s.id = any (ids)))
      and a.status = 'active' and (a.organization_slug @> array[project.organization_slug] or a.owner_user_id = project.user_id)
    order by a.slug
    for key share skip locked
  );
  update public.project_steps s
  set status = 'failed', error_details = private.step_error(null, case when x.status is null then 'agent_not_found' else 'agent_inactive' end, format(
    case when x.status is null then 'Organization "%s" has no agent "%s" any more.' else 'In organization "%s", agent "%s" is not active.' end,
    project.organization_slug, s.agent_slug
  ))
  from public.project_steps y
  left join public.agents x on x.slug = y.agent_slug and (x.organization_slug @> array[project.organization_slug] or x.owner_user_id = project.user_id)
  where s.id = any (ids) and y.id = any (ids) and y.id = s.id and s.status = 'ready' and s.agent_slug <> all (v_slugs) and x.status is distinct from 'active';
  insert into private.project_work (project_id)
  select project.id where exists (select from public.project_steps s where s.id = any (ids) and s.status = 'ready' and s.agent_slug <> all (v_slugs));
  with chosen as materialized (
    select s.id, s.step_id, s.agent_slug, s.prompt, s.params, s.settings, (v_uuid_head || substr(gen_random_uuid()::text, 16))::uuid as task_id
    from public.project_steps s
    where s.id = any (ids) and s.status = 'ready' and s.task_id is null and s.agent_slug = any (v_slugs)
    order by s.step_index
  ),
  made as (
    insert into public.tasks (
      id, organization_slug, user_id, method, agent_slug, agent_name, prompt, params, timeout_seconds, max_attempts, project_step_id, execution_id, metadata
    )
    select c.task_id, project.organization_slug, project.user_id, 'converse', c.agent_slug, a.name, c.prompt, c.params,
      coalesce((c.settings ->> 'timeout_seconds')::integer, 300), coalesce((c.settings ->> 'max_attempts')::integer, 3), c.id, project.execution_id,
      jsonb_build_object('project_id', project.id, 'step_id', c.step_id)
    from chosen c
    join public.agents a on a.slug = c.agent_slug and a.slug = any (v_slugs)
  )
  update public.project_steps s set task_id = c.task_id
  from chosen c
  where s.id = c.id and s.id = any (ids);
end;
$$;
comment on function private.start_agent_steps(public.projects, uuid[]) is
  'Makes the tasks of ready steps of the type agent; one whose agent is gone or not active fails. Called with the project locked.';
revoke execute on function private.start_agent_steps(public.projects, uuid[]) from public;

create function private.start_steps(project_id uuid, ids uuid[]) returns uuid[]
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off
as $$
declare
  v_project public.projects;
begin
  select p.* into v_project from public.projects p where p.id = start_steps.project_id and p.status = 'running';
  if not found then
    return '{}'; -- they are ready, and start when it runs
  end if;
  -- What tasks name; an account or an organization that is just being deleted is not waited for.
  perform from public.organizations o where o.slug = v_project.organization_slug for key share skip locked;
  if found then
    perform from public.users u where u.id = v_project.user_id for key share skip locked;
  end if;
  if not found then
    insert into private.project_work (project_id) values (v_project.id);
    return '{}';
  end if;
  perform private.start_agent_steps(v_project, ids);
  return array(select s.id from public.project_steps s where s.id = any (ids) and s.completed_at is not null);
end;
$$;
comment on function private.start_steps(uuid, uuid[]) is
  'Starts ready steps of a running project as their types say; returns those that ended at once. Called with the project locked.';
revoke execute on function private.start_steps(uuid, uuid[]) from public;

create function private.ready_steps(project_id uuid) returns uuid[]
language sql stable security invoker set search_path = ''
as $$
  select array(
    select s.id from public.project_steps s where s.project_id = ready_steps.project_id and s.status = 'ready' and s.task_id is null order by s.step_index
  );
$$;
comment on function private.ready_steps(uuid) is 'The steps of a project that may start and have not.';
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
  with ready as (
    update public.project_steps s set status = 'ready' where s.id = any (v_met) and s.status = 'pending' returning s.id
  )
  select coalesce(array_agg(r.id), '{}') into v_met from ready r;
  return v_met;
end;
$$;
comment on function private.release_dependents(uuid[]) is
  'Tells the dependents of steps that are over, each once; returns those that are ready now. Called with the project locked.';
revoke execute on function private.release_dependents(uuid[]) from public;

create function private.end_steps_of(task_ids uuid[]) returns uuid[]
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_ended uuid[];
begin
  with ended as (
    update public.project_steps s
    set status = case t.status when 'completed' then 'completed' else 'failed' end,
      result = case t.status when 'completed' then jsonb_build_object('task_id', t.id, 'bytes', octet_length(t.response)) end,
      error_details = case when t.status <> 'completed' then private.step_error(
        t.id, coalesce(t.error_code, 'task_cancelled'), coalesce(t.error_message, 'The task was cancelled.')
      ) end
    from public.tasks t
    where t.id = any (task_ids) and s.id = t.project_step_id and s.task_id = t.id and s.completed_at is null and t.completed_at is not null
      and s.id = any (array(select x.project_step_id from public.tasks x where x.id = any (task_ids)))
    returning s.id
  )
  select coalesce(array_agg(e.id), '{}') into v_ended from ended e;
  return v_ended;
end;
$$;
comment on function private.end_steps_of(uuid[]) is 'Ends the steps whose tasks are over; returns them. Called with the project locked.';
revoke execute on function private.end_steps_of(uuid[]) from public;

create function private.advance_project(project_id uuid, task_ids uuid[], step_ids uuid[]) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_ended uuid[] := step_ids || private.end_steps_of(task_ids);
  v_ready uuid[];
begin
  -- A step may end in the moment in which it starts; what depends on it is then next.
  while v_ended <> '{}' loop
    v_ready := private.release_dependents(v_ended);
    v_ended := case when v_ready = '{}' then '{}' else private.start_steps(project_id, v_ready) end;
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
  v_held uuid[];
  v_project_id uuid;
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
    update public.project_steps s
    set status = case n.status when 'pending' then 'ready' when 'in_progress' then 'in_progress' else 'awaiting_input' end
    from new_rows n
    where n.project_step_id = s.id and n.id = s.task_id and s.completed_at is null
      and s.id in (select x.id from public.project_steps x where x.id = any (v_moved.live_steps) for no key update skip locked);
  end if;
  if v_moved.ended is null then
    return null;
  end if;
  v_held := array(
    select p.id from public.projects p
    where p.id in (select s.project_id from public.project_steps s where s.id = any (v_moved.ended_steps))
    order by p.id
    for no key update skip locked
  );
  insert into private.project_work (project_id, task_id)
  select s.project_id, e.task_id
  from unnest(v_moved.ended, v_moved.ended_steps) e (task_id, step_id)
  join public.project_steps s on s.id = e.step_id and s.id = any (v_moved.ended_steps) and s.project_id <> all (v_held);
  foreach v_project_id in array v_held loop
    perform private.advance_project(v_project_id, array(
      select e.task_id from unnest(v_moved.ended, v_moved.ended_steps) e (task_id, step_id)
      join public.project_steps s on s.id = e.step_id and s.id = any (v_moved.ended_steps) and s.project_id = v_project_id
    ), '{}');
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

create function private.advance_forgotten_projects() returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_projects uuid[];
  v_held uuid[];
  v_project_id uuid;
  v_tasks uuid[];
  v_start boolean;
begin
  v_projects := array(select distinct w.project_id from (select x.project_id from private.project_work x order by x.id limit 1000) w);
  if v_projects = '{}' then
    return;
  end if;
  v_held := array(select p.id from public.projects p where p.id = any (v_projects) order by p.id for no key update skip locked);
  foreach v_project_id in array v_held loop
    with taken as (
      delete from private.project_work w
      where w.id in (select x.id from private.project_work x where x.project_id = v_project_id order by x.id limit 1000 for update skip locked)
      returning w.task_id
    )
    select coalesce(array_agg(distinct t.task_id) filter (where t.task_id is not null), '{}'), bool_or(t.task_id is null)
    into v_tasks, v_start
    from taken t;
    perform private.advance_project(v_project_id, v_tasks, '{}');
    if v_start then
      perform private.start_ready_steps(v_project_id);
    end if;
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
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_held uuid[];
begin
  -- What a worker is just claiming runs on.
  v_held := array(
    select t.id from public.tasks t
    where t.id in (select l.id from private.live_step_tasks(withdraw_tasks.project_id) l (id)) and t.status = 'pending' and t.paused_at is null
    order by t.id
    for update skip locked
  );
  update public.project_steps s set task_id = null
  where s.project_id = withdraw_tasks.project_id and s.status = 'ready' and s.task_id = any (v_held);
  update public.tasks t set status = 'cancelled', error_code = 'withdrawn', error_message = 'The project stopped before it began.'
  where t.id = any (v_held) and t.status = 'pending';
end;
$$;
comment on function private.withdraw_tasks(uuid) is
  'Takes the tasks of a project that wait in the queue out of it; their steps are ready, and get new ones when the project goes on. Called with the project locked.';
revoke execute on function private.withdraw_tasks(uuid) from public;

create function private.cancel_steps(project_id uuid) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_held uuid[];
begin
  v_held := array(
    select t.id from public.tasks t
    where t.id in (select l.id from private.live_step_tasks(cancel_steps.project_id) l (id))
    order by t.id
    for update skip locked
  );
  update public.project_steps s set status = 'cancelled' where s.project_id = cancel_steps.project_id and s.completed_at is null;
  update public.tasks t set status = 'cancelled' where t.id = any (v_held) and t.completed_at is null;
  insert into private.project_work (project_id)
  select cancel_steps.project_id where exists (select from private.live_step_tasks(cancel_steps.project_id));
end;
$$;
comment on function private.cancel_steps(uuid) is 'Cancels what is not over of a project, with its tasks. Called with the project locked.';
revoke execute on function private.cancel_steps(uuid) from public;

create function private.follow_project_status() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  case new.status
    when 'running' then
      update public.project_steps s set status = 'ready'
      from private.step_links l
      where s.project_id = new.id and s.status = 'pending' and l.project_step_id = s.id and l.unmet = 0;
      perform private.start_ready_steps(new.id);
    when 'paused', 'failed' then
      perform private.withdraw_tasks(new.id);
    when 'cancelled' then
      perform private.cancel_steps(new.id);
    else null;
  end case;
  return null;
end;
$$;
comment on function private.follow_project_status() is 'After the status of a project changes, by whatever hand: its steps start, are held back, or are cancelled.';
revoke execute on function private.follow_project_status() from public;

create trigger follow_project_status_of_new after insert on public.projects
for each row when (new.status = 'running') execute function private.follow_project_status();
create trigger follow_project_status after update on public.projects
for each row when (new.status <> old.status) execute function private.follow_project_status();

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

create function private.move_project(project_id uuid, action text, status text, from_status text[]) returns public.projects
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_project public.projects := private.lock_own_project(project_id);
begin
  if v_project.status = move_project.status and action <> 'resumed' then
    return v_project;
  end if;
  if v_project.status <> all (from_status) then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Project %s is %s and cannot be %s.', v_project.id, v_project.status, action),
      hint = format('Only a project that is %s can be %s.', array_to_string(from_status, ' or '), action);
  end if;
  if status = 'running' and v_project.total_steps = 0 then
    raise exception using errcode = 'PT409', message = 'plan_missing',
      detail = format('Project %s has no plan.', v_project.id), hint = 'Write plan_json first: {"steps": [{"id": "…", "agent": "…", "prompt": "…"}]}.';
  end if;
  if action = 'resumed' and v_project.status = 'failed' then
    update public.project_steps s set status = 'ready', task_id = null
    where s.project_id = v_project.id and s.status = 'failed' and s.on_failure = 'stop';
  end if;
  update public.projects p set status = move_project.status where p.id = v_project.id;
  select p.* into v_project from public.projects p where p.id = v_project.id;
  return v_project;
end;
$$;
comment on function private.move_project(uuid, text, text, text[]) is 'Body of start_project, pause_project, resume_project and cancel_project.';
revoke execute on function private.move_project(uuid, text, text, text[]) from public;
grant execute on function private.move_project(uuid, text, text, text[]) to authenticated, service_role;

create function public.start_project(project_id uuid) returns public.projects
language sql volatile security invoker set search_path = ''
as $$
  select * from private.move_project(project_id, 'started', 'running', array['planning', 'awaiting_approval']);
$$;
comment on function public.start_project(uuid) is
  'Starts a project that has a plan: steps that depend on none become tasks. Called again while it runs: the same row. Errors: PT404 project_not_found, PT409 illegal_move, PT409 plan_missing.';

create function public.pause_project(project_id uuid) returns public.projects
language sql volatile security invoker set search_path = ''
as $$
  select * from private.move_project(project_id, 'paused', 'paused', array['running']);
$$;
comment on function public.pause_project(uuid) is
  'Starts nothing new in a project and takes what waits in the queue out of it; what runs, or waits for a person, goes on. Called again: the same row. Errors: PT404 project_not_found, PT409 illegal_move.';

create function public.resume_project(project_id uuid) returns public.projects
language sql volatile security invoker set search_path = ''
as $$
  select * from private.move_project(project_id, 'resumed', 'running', array['paused', 'failed']);
$$;
comment on function public.resume_project(uuid) is
  'Lets a paused or failed project go on with what did not finish: the steps that failed start again, what is completed stays. Errors: PT404 project_not_found, PT409 illegal_move.';

create function public.cancel_project(project_id uuid) returns public.projects
language sql volatile security invoker set search_path = ''
as $$
  select * from private.move_project(project_id, 'cancelled', 'cancelled', array['planning', 'awaiting_approval', 'running', 'paused', 'failed']);
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
end;
$$;
comment on function private.lock_own_step(uuid) is
  'Locks a step that the caller may steer, with its project; PT404 project_step_not_found otherwise, PT409 illegal_move when the project is over.';
revoke execute on function private.lock_own_step(uuid) from public;

create function private.go_on_without_failures(project_id uuid) returns public.projects
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_project public.projects;
begin
  update public.projects p set status = 'running' where p.id = go_on_without_failures.project_id and p.status = 'failed' and p.failed_steps = 0;
  select p.* into v_project from public.projects p where p.id = go_on_without_failures.project_id;
  return v_project;
end;
$$;
comment on function private.go_on_without_failures(uuid) is 'A failed project of which no step is failed any more runs again. Returns the project.';
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
  update public.project_steps s set status = 'skipped' where s.id = (v.step).id;
  update public.tasks t set status = 'cancelled' where t.project_step_id = (v.step).id and t.completed_at is null;
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

-- Results ------------------------------------------------------------------------------------------------------------

create function private.json_or_text(value text) returns jsonb
language plpgsql immutable set search_path = ''
as $$
begin
  return value::jsonb;
exception
  when data_exception then
    return to_jsonb(value);
end;
$$;
comment on function private.json_or_text(text) is 'A text that is JSON as JSON, any other as a JSON string.';
revoke execute on function private.json_or_text(text) from public;
grant execute on function private.json_or_text(text) to service_role;

create function private.step_result(project_step_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.json_or_text(t.response)
  from public.project_steps s
  join public.tasks t on t.id = s.task_id
  where s.id = step_result.project_step_id and s.status = 'completed';
$$;
comment on function private.step_result(uuid) is 'What a completed step gave, as JSON: a response that is JSON is parsed, any other is a JSON string. Null otherwise.';
revoke execute on function private.step_result(uuid) from public;
grant execute on function private.step_result(uuid) to service_role;
