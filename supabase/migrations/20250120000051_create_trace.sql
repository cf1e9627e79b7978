-- The trace: what workers write about the steps of their runs, what is large in it, the data that agents leave for each
-- other, and how people read a whole tree of runs in one request.
-- Lock order: as reports; a step is written only with its task's row locked, and waits for nobody but another worker that
-- writes the very same payload right now.
-- Over 400 lines, because what is written, what is kept of it and who may read it are one subject.

-- Payloads -----------------------------------------------------------------------------------------------------------

create table private.step_payloads (
  id uuid primary key,
  organization_slug text not null,
  content jsonb not null,
  created_at timestamptz not null default now(),
  looked_at timestamptz not null default now()
);

-- Which may be needed no more (private.purge_step_payloads).
create index step_payloads_looked_at_idx on private.step_payloads (looked_at);
-- Those of an organization that is deleted (remove_step_payloads).
create index step_payloads_organization_idx on private.step_payloads (organization_slug);

comment on table private.step_payloads is
  'Inputs and outputs of steps that are too large for lists, each kept once for an organization and month. Steps name them without a foreign key: private.purge_step_payloads removes what no step names.';
comment on column private.step_payloads.id is
  'Of organization, month and content (private.payload_id), so that none that is old enough to be purged is named anew.';

revoke all on private.step_payloads from anon, authenticated, service_role;
grant select, insert, update, delete on private.step_payloads to service_role;
grant select on private.step_payloads to authenticated; -- for public.run_step_payload; the schema is not exposed

alter table private.step_payloads enable row level security;
create policy "Whoever reads a step reads what it names" on private.step_payloads
for select to authenticated
using (exists (select from public.run_steps s where s.input_payload = step_payloads.id) or exists (select from public.run_steps s where s.output_payload = step_payloads.id));

create function private.remove_step_payloads() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from private.step_payloads p where p.organization_slug = old.slug;
  return null;
end;
$$;
comment on function private.remove_step_payloads() is 'After an organization is deleted: so are its payloads, as by a foreign key.';
revoke execute on function private.remove_step_payloads() from public;

create trigger remove_step_payloads after delete on public.organizations
for each row execute function private.remove_step_payloads();

create function private.kept_value(value jsonb) returns jsonb
language sql immutable set search_path = ''
as $$
  select case when length(value #>> '{}') > 1000000 then to_jsonb(left(value #>> '{}', 1000000)) else value end;
$$;
comment on function private.kept_value(jsonb) is 'What is kept of an input or output: the whole, or the first 1,000,000 characters as text.';
revoke execute on function private.kept_value(jsonb) from public;
grant execute on function private.kept_value(jsonb) to service_role;

create function private.payload_id(organization_slug text, value jsonb) returns uuid
language sql stable set search_path = ''
as $$
  select case when length(value #>> '{}') > 2000 then substr(encode(sha256(convert_to(
    payload_id.organization_slug || ':' || to_char(private.clock(), 'YYYYMM') || ':' || private.kept_value(value), 'UTF8'
  )), 'hex'), 1, 32)::uuid end;
$$;
comment on function private.payload_id(text, jsonb) is 'Where an input or output of over 2,000 characters is kept; null for a shorter one.';
revoke execute on function private.payload_id(text, jsonb) from public;
grant execute on function private.payload_id(text, jsonb) to service_role;

create function private.purge_step_payloads() returns integer
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_old uuid[];
  v_removed integer;
begin
  -- A month whose ids are not made any more: nothing here is named anew while it is looked at.
  v_old := array(
    select p.id from private.step_payloads p
    where p.looked_at < private.clock() - interval '32 days'
    order by p.looked_at
    limit 200
    for update skip locked
  );
  if v_old = '{}' then
    return 0;
  end if;
  with gone as (
    delete from private.step_payloads p
    where p.id = any (v_old)
      and not exists (select from public.run_steps s where s.input_payload = p.id)
      and not exists (select from public.run_steps s where s.output_payload = p.id)
    returning p.*
  ),
  kept as (
    -- The steps that named them are in the archive; so is this, for as long.
    insert into archive.records (kind, record_id, organization_slug, data, delete_at)
    select 'step_payloads', g.id::text, g.organization_slug, to_jsonb(g), d.delete_at
    from gone g
    cross join lateral unnest(private.delete_times(array[g.looked_at], private.retention_period('tasks', g.organization_slug))) d (delete_at)
    where d.delete_at > private.clock()
  )
  select count(*) into v_removed from gone g;
  update private.step_payloads p set looked_at = private.clock() where p.id = any (v_old);
  return v_removed;
end;
$$;
comment on function private.purge_step_payloads() is
  'Moves payloads that no step names any more to the archive, of at most 200 that nobody has looked at for 32 days; returns how many. Called by the reaper.';
revoke execute on function private.purge_step_payloads() from public;
grant execute on function private.purge_step_payloads() to service_role;

-- Steps --------------------------------------------------------------------------------------------------------------

create function private.take_steps(items jsonb) returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := private.clock();
  v_run_ids constant uuid[] := private.ids_in(items, 'lease_token'); -- named once more, see private.ids_in
  v_uuid_head constant text := private.uuid_head();
begin
  if exists (
    select from jsonb_array_elements(items) i (item)
    cross join lateral jsonb_array_elements(i.item -> 'steps') s (step)
    where length(s.step ->> 'input') > 2000 or length(s.step ->> 'output') > 2000
  ) then
    -- In one order, so that two who write the same do not wait for each other.
    insert into private.step_payloads (id, organization_slug, content)
    select distinct on (private.payload_id(r.organization_slug, v.value)) private.payload_id(r.organization_slug, v.value), r.organization_slug,
      private.kept_value(v.value)
    from jsonb_array_elements(items) i (item)
    join public.runs r on r.id = (i.item ->> 'lease_token')::uuid and r.id = any (v_run_ids)
    cross join lateral jsonb_array_elements(i.item -> 'steps') s (step)
    cross join lateral (values (s.step -> 'input'), (s.step -> 'output')) v (value)
    where length(v.value #>> '{}') > 2000
    order by 1
    on conflict (id) do nothing;
  end if;
  insert into public.run_steps as old (
    id, run_id, sequence_number, type, name, input, output, input_payload, output_payload, status, error_message, started_at, completed_at,
    input_tokens, output_tokens, cost, metadata
  )
  select distinct on (r.id, s.sequence_number)
    (v_uuid_head || substr(gen_random_uuid()::text, 16))::uuid, r.id, s.sequence_number, s.type, left(s.name, 255),
    case when length(s.input #>> '{}') > 2000 then to_jsonb(left(s.input #>> '{}', 2000)) else s.input end,
    case when length(s.output #>> '{}') > 2000 then to_jsonb(left(s.output #>> '{}', 2000)) else s.output end,
    private.payload_id(r.organization_slug, s.input), private.payload_id(r.organization_slug, s.output),
    coalesce(s.status, 'completed'), left(s.error_message, 10000), coalesce(s.started_at, v_now),
    case when s.status = 'running' then null else coalesce(s.completed_at, v_now) end,
    s.input_tokens, s.output_tokens, s.cost,
    case when pg_column_size(s.metadata) > 8000 then jsonb_build_object('metadata_bytes', pg_column_size(s.metadata)) else coalesce(nullif(s.metadata, 'null'), '{}') end
  from rows from (jsonb_to_recordset(items) as (lease_token uuid, steps jsonb)) with ordinality i (lease_token, steps, place)
  join public.runs r on r.id = i.lease_token and r.id = any (v_run_ids)
  cross join lateral rows from (jsonb_to_recordset(i.steps) as (
    sequence_number integer, type text, name text, input jsonb, output jsonb, status text, error_message text, started_at timestamptz,
    completed_at timestamptz, input_tokens bigint, output_tokens bigint, cost numeric, metadata jsonb
  )) with ordinality s (
    sequence_number, type, name, input, output, status, error_message, started_at, completed_at, input_tokens, output_tokens, cost, metadata, turn
  )
  order by r.id, s.sequence_number, i.place desc, s.turn desc
  on conflict (run_id, sequence_number) do update
  set name = excluded.name, input = excluded.input, output = excluded.output, input_payload = excluded.input_payload,
    output_payload = excluded.output_payload, status = excluded.status, error_message = excluded.error_message,
    completed_at = excluded.completed_at, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, cost = excluded.cost,
    metadata = excluded.metadata
  where old.status = 'running';
end;
$$;
comment on function private.take_steps(jsonb) is
  'Writes the steps of report items [{lease_token, steps: […]}]; one that has been written counts as it was, unless it still ran. Large inputs and outputs go to private.step_payloads; of metadata over 8,000 bytes only the size is kept.';
revoke execute on function private.take_steps(jsonb) from public;
grant execute on function private.take_steps(jsonb) to service_role;

create function private.try_steps(items jsonb) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_item jsonb;
begin
  if not jsonb_path_exists(items, '$[*].steps') then
    return;
  end if;
  begin
    perform private.take_steps((select jsonb_agg(i.item) from jsonb_array_elements(items) i (item) where jsonb_typeof(i.item -> 'steps') = 'array'));
    return;
  exception
    when data_exception or integrity_constraint_violation then
      if jsonb_array_length(items) = 1 then
        return;
      end if;
  end;
  for v_item in select i.item from jsonb_array_elements(items) i (item) where i.item ? 'steps' loop
    perform private.try_steps(jsonb_build_array(v_item));
  end loop;
end;
$$;
comment on function private.try_steps(jsonb) is 'Writes the steps that came with the ends of attempts; those of an item that cannot be written are left out, and its task ends all the same.';
revoke execute on function private.try_steps(jsonb) from public;
grant execute on function private.try_steps(jsonb) to service_role;

create function private.parent_run_of(task_id uuid, parent_task_id uuid) returns uuid
language sql stable security invoker set search_path = ''
as $$
  select coalesce(
    (select c.parent_run_id from private.agent_calls c where c.child_task_id = parent_run_of.task_id),
    (select r.id from public.runs r where r.task_id = parent_run_of.parent_task_id order by r.created_at desc limit 1)
  );
$$;
comment on function private.parent_run_of(uuid, uuid) is 'The run that a task''s runs belong below: the one that called it, else the newest of its parent task.';
revoke execute on function private.parent_run_of(uuid, uuid) from public;
grant execute on function private.parent_run_of(uuid, uuid) to service_role;

-- Reading ------------------------------------------------------------------------------------------------------------

create function public.run_step_payload(step_id uuid) returns jsonb
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_step public.run_steps;
begin
  select s.* into v_step from public.run_steps s where s.id = run_step_payload.step_id;
  if not found then
    raise exception using errcode = 'PT404', message = 'run_step_not_found',
      detail = format('You see no step %s.', run_step_payload.step_id), hint = 'Take the id from run_tree or from run_steps.';
  end if;
  return jsonb_build_object(
    'step_id', v_step.id,
    'input', case when v_step.input_payload is null then v_step.input else (select p.content from private.step_payloads p where p.id = v_step.input_payload) end,
    'output', case when v_step.output_payload is null then v_step.output else (select p.content from private.step_payloads p where p.id = v_step.output_payload) end
  );
end;
$$;
comment on function public.run_step_payload(uuid) is 'The whole input and output of a step: {step_id, input, output}. PT404 run_step_not_found.';
revoke execute on function public.run_step_payload(uuid) from public, anon;
grant execute on function public.run_step_payload(uuid) to authenticated, service_role;

create function private.run_trees(run_ids uuid[], max_steps integer, after_sequence integer) returns json
language plpgsql stable security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_max_runs constant integer := 500;
  v_tree record;
  v_steps record;
  v_parents uuid[];
  v_children json[];
begin
  if max_steps is null or max_steps not between 1 and 5000 or after_sequence is null or after_sequence < 0 then
    raise exception using errcode = '22023', message = 'page_out_of_range',
      detail = 'max_steps must be 1 to 5000, and after_sequence 0 or more.', hint = 'Leave both out, and go on with after_sequence = more_after.';
  end if;
  with recursive below as (
    select r.id, r.parent_run_id, 0 as depth, r.created_at from public.runs r where r.id = any (run_ids)
    union all
    select c.id, c.parent_run_id, b.depth + 1, c.created_at
    from below b
    cross join lateral (select x.* from public.runs x where x.parent_run_id = b.id order by x.created_at, x.id limit v_max_runs + 1) c
    where b.depth < 10
  )
  select (array_agg(f.id order by f.depth, f.created_at, f.id))[: v_max_runs] as ids,
    (array_agg(f.depth order by f.depth, f.created_at, f.id))[: v_max_runs] as depths,
    (array_agg(case when f.depth > 0 then f.parent_run_id end order by f.depth, f.created_at, f.id))[: v_max_runs] as parents,
    count(*) > v_max_runs as is_cut
  into v_tree
  from (select b.* from below b limit v_max_runs + 1) f;
  -- The steps of run after run, as they stand in the index, up to the limit. Json, not jsonb: they are only passed on.
  select array_agg(g.place) as places, array_agg(g.steps) as steps, array_agg(g.last) as lasts, max(g.place) as last_place,
    coalesce(sum(g.number), 0) as number
  into v_steps
  from (
    select f.place, count(*) as number, max(f.sequence_number) as last, json_agg(f.step order by f.sequence_number) as steps
    from (
      select n.place, s.sequence_number, row_to_json(s) as step
      from unnest(v_tree.ids) with ordinality n (run_id, place)
      cross join lateral (
        select x.id, x.sequence_number, x.type, x.name, x.status, x.input, x.output, x.is_cut, x.error_message, x.started_at, x.completed_at,
          x.input_tokens, x.output_tokens, x.cost, x.metadata
        from public.run_steps x
        where x.run_id = n.run_id and x.sequence_number > case when n.place = 1 then after_sequence else 0 end
        order by x.sequence_number
        limit max_steps
      ) s
      order by n.place, s.sequence_number
      limit max_steps
    ) f
    group by f.place
  ) g;
  -- From the lowest runs up: the lists of those with one parent, each with what is below it.
  for v_depth in reverse coalesce(v_tree.depths[cardinality(v_tree.depths)], -1) .. 0 loop
    select array_agg(g.parent), array_agg(g.nodes) into v_parents, v_children
    from (
      select n.parent, json_agg(json_build_object(
        'run', json_build_object(
          'id', r.id, 'task_id', r.task_id, 'execution_id', r.execution_id, 'agent_slug', r.agent_slug, 'agent_name', r.agent_name,
          'parent_run_id', r.parent_run_id, 'call_stack', r.call_stack, 'attempt', r.attempt, 'status', r.status, 'error_code', r.error_code,
          'error_message', r.error_message, 'initial_prompt', r.initial_prompt, 'total_tokens', r.total_tokens, 'total_cost', r.total_cost,
          'created_at', r.created_at, 'completed_at', r.completed_at
        ),
        'steps', coalesce(s.steps, '[]'),
        'more_after', case when v_steps.number < max_steps or n.place < v_steps.last_place then null else coalesce(s.last, 0) end,
        'children', coalesce(c.nodes, '[]'),
        'runs_are_cut', v_tree.is_cut
      ) order by n.place) as nodes
      from unnest(v_tree.ids, v_tree.depths, v_tree.parents) with ordinality n (id, depth, parent, place)
      join public.runs r on r.id = n.id
      left join unnest(v_steps.places, v_steps.steps, v_steps.lasts) s (place, steps, last) on s.place = n.place
      left join unnest(v_parents, v_children) c (parent, nodes) on c.parent = n.id
      where n.depth = v_depth
      group by n.parent
    ) g;
  end loop;
  return v_children[1];
end;
$$;
comment on function private.run_trees(uuid[], integer, integer) is
  'Runs with all that is below them, as far as the caller sees them: [{run, steps, more_after, children, runs_are_cut}], null when there is none. At most 500 runs (runs_are_cut), ten deep, and max_steps steps; more_after says after which step a run''s steps go on, null when all are there.';
revoke execute on function private.run_trees(uuid[], integer, integer) from public;
grant execute on function private.run_trees(uuid[], integer, integer) to authenticated, service_role;

create function public.run_tree(run_id uuid, max_steps integer default 1000, after_sequence integer default 0) returns json
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_found constant json := private.run_trees(array[run_tree.run_id], max_steps, after_sequence);
begin
  if v_found is null then
    raise exception using errcode = 'PT404', message = 'run_not_found',
      detail = format('You see no run %s.', run_tree.run_id), hint = 'List the runs of a task: GET /rest/v1/runs?task_id=eq.<id>.';
  end if;
  return v_found -> 0;
end;
$$;
comment on function public.run_tree(uuid, integer, integer) is
  'A run with its steps and all runs below it, in one request: {run, steps, more_after, children: [{run, steps, …}], runs_are_cut}. At most 500 runs and max_steps (1 to 5000) steps; where more_after is a number, run_tree of that run with after_sequence = more_after goes on. PT404 run_not_found.';
revoke execute on function public.run_tree(uuid, integer, integer) from public, anon;
grant execute on function public.run_tree(uuid, integer, integer) to authenticated, service_role;

create function public.task_trace(task_id uuid, max_steps integer default 1000) returns json
language sql stable security invoker set search_path = ''
as $$
  select json_build_object('task_id', task_trace.task_id, 'trees', coalesce(private.run_trees(array(
    select r.id from public.runs r where r.task_id = task_trace.task_id order by r.created_at limit 100
  ), max_steps, 0), '[]'));
$$;
comment on function public.task_trace(uuid, integer) is
  'Every attempt at a task, the first 100 in order, each as run_tree gives it: {task_id, trees: [{run, steps, more_after, children, runs_are_cut}]}.';
revoke execute on function public.task_trace(uuid, integer) from public, anon;
grant execute on function public.task_trace(uuid, integer) to authenticated, service_role;

-- Data that agents share -----------------------------------------------------------------------------------------------

create function private.top_project(project_id uuid) returns uuid
language sql stable security invoker set search_path = ''
as $$
  with recursive up as (
    select p.id, p.parent_project_id, 0 as depth from public.projects p where p.id = top_project.project_id
    union all
    select p.id, p.parent_project_id, u.depth + 1 from up u join public.projects p on p.id = u.parent_project_id where u.depth < 100
  )
  select u.id from up u order by u.depth desc limit 1;
$$;
comment on function private.top_project(uuid) is 'The project at the top of the tree in which a project stands.';
revoke execute on function private.top_project(uuid) from public;
grant execute on function private.top_project(uuid) to authenticated, service_role;

create function private.data_scope(task_id uuid) returns uuid
language sql stable security invoker set search_path = ''
as $$
  with recursive up as (
    select t.id, t.parent_task_id, t.project_step_id, t.execution_id, 0 as depth from public.tasks t where t.id = data_scope.task_id
    union all
    select t.id, t.parent_task_id, t.project_step_id, t.execution_id, u.depth + 1
    from up u
    join public.tasks t on t.id = u.parent_task_id
    where u.depth < 100
  )
  select coalesce((select private.top_project(s.project_id) from public.project_steps s where s.id = u.project_step_id), u.execution_id, u.id)
  from up u
  order by u.depth desc
  limit 1;
$$;
comment on function private.data_scope(uuid) is
  'What a task shares its data with: of the first task above it the project at the top, else the execution, else that task itself.';
revoke execute on function private.data_scope(uuid) from public;
grant execute on function private.data_scope(uuid) to authenticated, service_role;

create function private.prepare_workflow_data() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  new.scope_id := coalesce((select private.data_scope(r.task_id) from public.runs r where r.id = new.run_id), new.run_id);
  return new;
end;
$$;
comment on function private.prepare_workflow_data() is 'Before insert: fills scope_id.';
revoke execute on function private.prepare_workflow_data() from public;

create trigger prepare_workflow_data before insert on public.workflow_data
for each row execute function private.prepare_workflow_data();

create function public.write_workflow_data(
  task_id uuid, attempt integer, lease_token uuid, key text, value jsonb, tags text[] default '{}', data_type text default null
) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task constant public.tasks := private.hold_leased_task(write_workflow_data.task_id, write_workflow_data.attempt, write_workflow_data.lease_token);
  v_id uuid;
begin
  if not private.json_is_plain(write_workflow_data.value) then
    raise exception using errcode = '22023', message = 'json_not_plain',
      detail = 'value has a number beyond 1e308 or with more than 400 decimals, or more than 64 levels.', hint = 'Send such numbers as text, and flatter JSON.';
  end if;
  if (select count(*) from (select from public.workflow_data d where d.run_id = v_task.lease_token limit 1000) x) >= 1000 then
    raise exception using errcode = 'PT429', message = 'too_much_data',
      detail = 'One run leaves at most 1000 values.', hint = 'Put several values into one, or end the task.';
  end if;
  insert into public.workflow_data (run_id, key, value, tags, data_type, created_by_agent)
  values (
    v_task.lease_token, write_workflow_data.key, coalesce(write_workflow_data.value, 'null'), coalesce(write_workflow_data.tags, '{}'),
    write_workflow_data.data_type, v_task.agent_slug
  )
  returning id into v_id;
  return jsonb_build_object('id', v_id);
end;
$$;
comment on function public.write_workflow_data(uuid, integer, uuid, text, jsonb, text[], text) is
  'Leaves a value for later steps, for the worker that holds the lease: {id}. PT409 lease_lost, PT429 too_much_data, 22023 json_not_plain.';
revoke execute on function public.write_workflow_data(uuid, integer, uuid, text, jsonb, text[], text) from public, anon, authenticated;
grant execute on function public.write_workflow_data(uuid, integer, uuid, text, jsonb, text[], text) to service_role;

create function public.read_workflow_data(task_id uuid, attempt integer, lease_token uuid, key text) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task constant public.tasks := private.hold_leased_task(read_workflow_data.task_id, read_workflow_data.attempt, read_workflow_data.lease_token);
begin
  return (
    select jsonb_build_object('key', d.key, 'value', d.value, 'tags', d.tags, 'data_type', d.data_type, 'created_by_agent', d.created_by_agent,
      'created_at', d.created_at)
    from public.workflow_data d
    join public.runs r on r.id = d.run_id and r.organization_slug = v_task.organization_slug and r.created_by = v_task.user_id
    where d.scope_id = private.data_scope(v_task.id) and d.key = read_workflow_data.key
    order by d.created_at desc
    limit 1
  );
end;
$$;
comment on function public.read_workflow_data(uuid, integer, uuid, text) is
  'The latest value of a key in the project, execution or tree of calls of a task, of the same user, for the worker that holds the lease: {key, value, tags, data_type, created_by_agent, created_at}; null when there is none. PT409 lease_lost.';
revoke execute on function public.read_workflow_data(uuid, integer, uuid, text) from public, anon, authenticated;
grant execute on function public.read_workflow_data(uuid, integer, uuid, text) to service_role;

create function public.latest_workflow_data(
  run_id uuid default null, execution_id uuid default null, project_id uuid default null, tag text default null
) returns setof public.workflow_data
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if num_nonnulls(latest_workflow_data.run_id, latest_workflow_data.execution_id, latest_workflow_data.project_id) <> 1 then
    raise exception using errcode = '22023', message = 'scope_unclear',
      detail = 'Data is read of a run, an execution or a project, one of them.', hint = 'Send exactly one of run_id, execution_id, project_id.';
  end if;
  return query
  select distinct on (d.key) d.*
  from public.workflow_data d
  where d.scope_id = coalesce(
      (select private.data_scope(r.task_id) from public.runs r where r.id = latest_workflow_data.run_id),
      latest_workflow_data.run_id, latest_workflow_data.execution_id, private.top_project(latest_workflow_data.project_id)
    )
    and (latest_workflow_data.tag is null or d.tags @> array[latest_workflow_data.tag])
  order by d.key, d.created_at desc;
end;
$$;
comment on function public.latest_workflow_data(uuid, uuid, uuid, text) is
  'The latest value of each key that the agents of a run''s tree, an execution or a project have left, as far as the caller sees it; with tag, of the values that bear it. Send one of run_id, execution_id, project_id. 22023 scope_unclear.';
revoke execute on function public.latest_workflow_data(uuid, uuid, uuid, text) from public, anon;
grant execute on function public.latest_workflow_data(uuid, uuid, uuid, text) to authenticated, service_role;
