-- Planning: an agent writes the plan of a project, and people decide. A task of the method plan_project belongs to a project from
-- the moment it is inserted; its worker asks what it may plan with, and writes the plan, once, by its lease.
-- Lock order: the planning task, then its project. Whoever holds a project does not wait for its planning task.
-- Over 400 lines, because asking, writing, refining and deciding are one conversation about one plan.

insert into public.task_methods (name, description) values
('plan_project', 'Let a context agent write the plan of a project, new or not yet started. params: {project_id?, name?, start?, max_steps?, agents?}.');

create table private.plan_tasks (
  -- Following tasks.
  task_id uuid primary key,
  project_id uuid not null references public.projects (id) on delete cascade,
  base_version integer not null,
  written_version integer
);
-- Foreign key.
create index plan_tasks_project_idx on private.plan_tasks (project_id);
comment on table private.plan_tasks is 'What tasks plan: the project, the version of its plan that they were asked to improve (0: none), and the version that they wrote.';
revoke all on private.plan_tasks from anon, authenticated, service_role;
grant select, insert, update, delete on private.plan_tasks to service_role;

-- Asking for a plan --------------------------------------------------------------------------------------------------

create function private.check_plan_params(task public.tasks) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_params constant jsonb := jsonb_strip_nulls(task.params);
  v_agent_type constant text := (select a.agent_type from public.agents a where a.slug = task.agent_slug);
  v_unknown constant text := (
    select k.key from jsonb_object_keys(v_params) k (key) where k.key not in ('project_id', 'name', 'start', 'max_steps', 'agents') order by k.key limit 1
  );
  v_problem constant text := case
    when v_agent_type is distinct from 'context' then format('agent "%s" is of the type %s, and only context agents plan', task.agent_slug, v_agent_type)
    when v_unknown is not null then format('params has the unknown key "%s"', left(v_unknown, 100))
    when v_params ? 'start' and jsonb_typeof(v_params -> 'start') <> 'boolean' then 'params.start is not true or false'
    when v_params ? 'max_steps' and not private.number_is(v_params -> 'max_steps', 1, 10000) then 'params.max_steps is not between 1 and 10000'
    when v_params ? 'name' and (jsonb_typeof(v_params -> 'name') <> 'string' or length(v_params ->> 'name') not between 1 and 500)
      then 'params.name is no text of 1 to 500 characters'
    when v_params ? 'agents' and (
        jsonb_typeof(v_params -> 'agents') <> 'array' or jsonb_array_length(v_params -> 'agents') not between 1 and 100
        or v_params -> 'agents' @? '$[*] ? (@.type() != "string")'
      ) then 'params.agents is no list of 1 to 100 slugs'
    when v_params ? 'project_id' and private.uuid_or_null(v_params ->> 'project_id') is null then 'params.project_id is no uuid'
    when not v_params ? 'project_id' and task.agent_conversation_id is null
      then 'it names neither a conversation (agent_conversation_id) nor a project (params.project_id)'
  end;
begin
  if v_problem is not null then
    raise exception using errcode = '22023', message = 'plan_request_invalid',
      detail = format('Nothing can be planned: %s.', v_problem),
      hint = 'Send agent_slug, prompt, agent_conversation_id and params {project_id?, name?, start?, max_steps?, agents?}.';
  end if;
  perform private.usable_agent(a.slug, task.organization_slug, task.user_id) from jsonb_array_elements_text(v_params -> 'agents') a (slug);
end;
$$;
comment on function private.check_plan_params(public.tasks) is
  'Refuses a task that cannot plan: 22023 plan_request_invalid, and PT404 agent_not_found, PT409 agent_inactive for those in params.agents.';
revoke execute on function private.check_plan_params(public.tasks) from public;

create function private.project_to_plan(task public.tasks) returns public.projects
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_project public.projects;
begin
  if task.params ->> 'project_id' is null then
    insert into public.projects (organization_slug, user_id, conversation_id, name)
    values (task.organization_slug, task.user_id, task.agent_conversation_id, task.params ->> 'name')
    returning * into v_project;
    return v_project;
  end if;
  select p.* into v_project
  from public.projects p
  where p.id = (task.params ->> 'project_id')::uuid and p.organization_slug = task.organization_slug and p.user_id = task.user_id
  for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'project_not_found',
      detail = format('You have no project %s.', task.params ->> 'project_id'), hint = 'Check the id; only a project''s user has it planned.';
  end if;
  if v_project.status not in ('planning', 'awaiting_approval') and not (v_project.status = 'failed' and v_project.started_at is null) then
    raise exception using errcode = 'PT409', message = 'plan_has_started',
      detail = format('Project %s is %s; its plan does not change any more.', v_project.id, v_project.status), hint = 'Plan a new project.';
  end if;
  if exists (select from public.tasks t where t.id = v_project.planning_task_id and t.completed_at is null) then
    raise exception using errcode = 'PT409', message = 'planning_in_progress',
      detail = format('Task %s is still planning project %s.', v_project.planning_task_id, v_project.id), hint = 'Wait until it ends, or cancel it (cancel_task).';
  end if;
  return v_project;
end;
$$;
comment on function private.project_to_plan(public.tasks) is
  'The project that a new task plans, locked: the one that its params name, else a new one in its conversation. PT404 project_not_found, PT409 plan_has_started, PT409 planning_in_progress.';
revoke execute on function private.project_to_plan(public.tasks) from public;

create function private.begin_planning() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_project public.projects;
begin
  perform private.check_plan_params(new);
  v_project := private.project_to_plan(new);
  insert into private.plan_tasks (task_id, project_id, base_version) values (new.id, v_project.id, v_project.plan_version);
  update public.projects p set planning_task_id = new.id, status = 'planning', error_details = null, name = coalesce(new.params ->> 'name', p.name)
  where p.id = v_project.id;
  return null;
end;
$$;
comment on function private.begin_planning() is 'After a task is inserted that plans: it has a project, which is planning.';
revoke execute on function private.begin_planning() from public;

create trigger begin_planning after insert on public.tasks
for each row when (new.method = 'plan_project') execute function private.begin_planning();

-- What becomes of planning -------------------------------------------------------------------------------------------

create function private.settle_planning(project_id uuid) returns void
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v record;
begin
  select p.status, p.started_at, p.total_steps, t.id as task_id, t.completed_at, t.error_code, t.error_message, w.written_version
  into v
  from public.projects p
  join public.tasks t on t.id = p.planning_task_id
  join private.plan_tasks w on w.task_id = t.id and w.project_id = p.id
  where p.id = settle_planning.project_id;
  if v.written_version is not null then
    return;
  elsif v.status = 'planning' and v.completed_at is not null then
    -- A plan that was to be refined stays as it was.
    update public.projects p
    set status = case when v.total_steps > 0 then 'awaiting_approval' else 'failed' end, error_details = jsonb_build_object('step_id', null)
      || private.step_error(v.task_id, coalesce(v.error_code, 'task_cancelled'), coalesce(v.error_message, 'The planning was cancelled.'))
    where p.id = settle_planning.project_id;
  elsif v.completed_at is null and (v.status = 'awaiting_approval' or v.status = 'failed' and v.started_at is null) then
    update public.projects p set status = 'planning', error_details = null where p.id = settle_planning.project_id;
  end if;
end;
$$;
comment on function private.settle_planning(uuid) is
  'Makes a project''s status follow its planning task, which has ended without a plan, or was retried. Called with the project locked.';
revoke execute on function private.settle_planning(uuid) from public;

create function private.follow_planning() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_project_id uuid;
  v_held uuid;
begin
  select p.id into v_project_id from public.projects p
  where p.planning_task_id = new.id and p.id = (select w.project_id from private.plan_tasks w where w.task_id = new.id);
  select p.id into v_held from public.projects p where p.id = v_project_id for no key update skip locked;
  if v_held is not null then
    perform private.settle_planning(v_held);
  elsif v_project_id is not null then
    insert into private.project_work (project_id) values (v_project_id);
  end if;
  return null;
end;
$$;
comment on function private.follow_planning() is 'After a task that plans has ended, or was retried: its project follows. Waits for nobody: see private.project_work.';
revoke execute on function private.follow_planning() from public;

create trigger follow_planning after update on public.tasks
for each row when (new.method = 'plan_project' and (new.completed_at is null) <> (old.completed_at is null)) execute function private.follow_planning();

create function private.stop_planning() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  -- A worker that is just writing the plan finds the project cancelled, or gone.
  update public.tasks t set status = 'cancelled'
  where t.id = (select x.id from public.tasks x where x.id = old.planning_task_id and x.completed_at is null for update skip locked);
  return null;
end;
$$;
comment on function private.stop_planning() is 'After a project is cancelled or deleted: nobody goes on planning it.';
revoke execute on function private.stop_planning() from public;

create trigger stop_planning after update of status on public.projects
for each row when (new.status = 'cancelled' and old.status <> 'cancelled' and new.planning_task_id is not null) execute function private.stop_planning();
create trigger stop_planning_of_deleted after delete on public.projects
for each row when (old.planning_task_id is not null) execute function private.stop_planning();

-- For workers --------------------------------------------------------------------------------------------------------

create function private.lock_plan_task(task_id uuid, attempt integer, lease_token uuid) returns public.tasks
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task public.tasks;
begin
  select t.* into v_task
  from public.tasks t
  where t.id = lock_plan_task.task_id and t.attempt = lock_plan_task.attempt and t.lease_token = lock_plan_task.lease_token
    and t.status = 'in_progress' and t.method = 'plan_project' and t.lease_expires_at > private.clock()
  for update;
  if not found then
    raise exception using errcode = 'PT409', message = 'lease_lost',
      detail = format('Attempt %s of task %s is not in force.', attempt, task_id), hint = 'Drop it: another worker plans, or nobody does any more.';
  end if;
  return v_task;
end;
$$;
comment on function private.lock_plan_task(uuid, integer, uuid) is 'Locks and returns the task of an attempt that plans; PT409 lease_lost when the attempt is over.';
revoke execute on function private.lock_plan_task(uuid, integer, uuid) from public;
grant execute on function private.lock_plan_task(uuid, integer, uuid) to service_role;

create function private.plan_written(task_id uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select jsonb_build_object(
    'project_id', p.id, 'name', p.name, 'status', p.status, 'plan_version', w.written_version,
    'plan', case when p.plan_version = w.written_version then p.plan_json else (
      select v.plan_json from public.project_plan_versions v where v.project_id = p.id and v.version = w.written_version
    ) end
  )
  from private.plan_tasks w
  join public.projects p on p.id = w.project_id
  where w.task_id = plan_written.task_id and w.written_version is not null;
$$;
comment on function private.plan_written(uuid) is 'What a task that plans has written: {project_id, name, status, plan_version, plan}; null when it has not.';
revoke execute on function private.plan_written(uuid) from public;
grant execute on function private.plan_written(uuid) to service_role;

create function public.read_plan_request(task_id uuid, attempt integer, lease_token uuid) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task constant public.tasks := private.lock_plan_task(task_id, attempt, lease_token);
begin
  return jsonb_build_object(
    'written', private.plan_written(v_task.id),
    'project', (
      select jsonb_build_object('id', p.id, 'name', p.name, 'plan', p.plan_json)
      from private.plan_tasks w join public.projects p on p.id = w.project_id
      where w.task_id = v_task.id
    ),
    'max_steps', coalesce((v_task.params ->> 'max_steps')::integer, 50),
    'agents', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'slug', a.slug, 'name', a.name, 'description', left(a.description, 1000), 'input', a.io_schema -> 'input'
      ) order by a.slug), '[]')
      from (
        select a.* from public.agents a
        where a.status = 'active' and (a.organization_slug @> array[v_task.organization_slug] or a.owner_user_id = v_task.user_id)
          and (jsonb_typeof(v_task.params -> 'agents') is distinct from 'array' or v_task.params -> 'agents' ? a.slug)
        order by a.slug
        limit 100
      ) a
    )
  );
end;
$$;
comment on function public.read_plan_request(uuid, integer, uuid) is
  'For the worker that holds a task of the method plan_project: {project {id, name, plan}, max_steps, agents [{slug, name, description, input}] (at most 100 that the task''s user may run), written}; written is what an earlier attempt wrote, as write_plan returns it, or null. Errors: PT409 lease_lost.';

create function private.plan_agents(plan jsonb) returns setof text
language sql immutable set search_path = ''
as $$
  with recursive p (plan) as (
    select plan_agents.plan
    union all
    select s.step -> 'plan' from p cross join lateral private.plan_steps(p.plan) s where s.type = 'subproject'
  )
  select distinct s.step ->> 'agent' from p cross join lateral private.plan_steps(p.plan) s where s.step ? 'agent';
$$;
comment on function private.plan_agents(jsonb) is 'The agents that a plan (one that was checked) and those of its subprojects name.';
revoke execute on function private.plan_agents(jsonb) from public;
grant execute on function private.plan_agents(jsonb) to service_role;

create function private.check_planned(task public.tasks, plan jsonb, level integer) returns void
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_steps constant integer := private.check_plan(plan, task.organization_slug, task.user_id, level);
  v_most constant integer := coalesce((task.params ->> 'max_steps')::integer, 50);
  v_agent text;
begin
  if v_steps > v_most then
    raise exception using errcode = '22023', message = 'plan_invalid',
      detail = format('The plan has %s steps, with those of subprojects; at most %s were asked for.', v_steps, v_most), hint = 'Plan fewer steps.';
  end if;
  if jsonb_typeof(task.params -> 'agents') = 'array' then
    select a.slug into v_agent from private.plan_agents(plan) a (slug) where not task.params -> 'agents' ? a.slug order by a.slug limit 1;
    if v_agent is not null then
      raise exception using errcode = '22023', message = 'plan_invalid',
        detail = format('The plan names agent "%s", which it was not to use.', v_agent),
        hint = format('Use only these: %s.', (select string_agg(a.slug, ', ' order by a.slug) from jsonb_array_elements_text(task.params -> 'agents') a (slug)));
    end if;
  end if;
end;
$$;
comment on function private.check_planned(public.tasks, jsonb, integer) is 'As private.check_plan, and holds the plan against what its task asked for: params.max_steps (50 unless said) and params.agents.';
revoke execute on function private.check_planned(public.tasks, jsonb, integer) from public;
grant execute on function private.check_planned(public.tasks, jsonb, integer) to service_role;

create function private.lock_planned_project(task_id uuid) returns public.projects
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_project public.projects;
  v_base integer;
begin
  select w.base_version into v_base from private.plan_tasks w where w.task_id = lock_planned_project.task_id;
  select p.* into v_project
  from public.projects p
  where p.id = (select w.project_id from private.plan_tasks w where w.task_id = lock_planned_project.task_id)
  for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'project_not_found',
      detail = format('The project that task %s plans is gone.', task_id), hint = 'Drop the plan.';
  end if;
  if v_project.status not in ('planning', 'awaiting_approval') and not (v_project.status = 'failed' and v_project.started_at is null) then
    raise exception using errcode = 'PT409', message = 'plan_has_started',
      detail = format('Project %s is %s; its plan does not change any more.', v_project.id, v_project.status), hint = 'Drop the plan.';
  end if;
  if v_project.planning_task_id is distinct from lock_planned_project.task_id or v_project.plan_version <> v_base then
    raise exception using errcode = 'PT409', message = 'plan_changed',
      detail = format('Somebody else has written a plan of project %s meanwhile.', v_project.id), hint = 'Read the project again, and refine that plan.';
  end if;
  return v_project;
end;
$$;
comment on function private.lock_planned_project(uuid) is
  'Locks and returns the project that a task plans, while that is still wanted: PT404 project_not_found, PT409 plan_has_started, PT409 plan_changed.';
revoke execute on function private.lock_planned_project(uuid) from public;
grant execute on function private.lock_planned_project(uuid) to service_role;

create function public.write_plan(task_id uuid, attempt integer, lease_token uuid, plan jsonb, name text default null) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task constant public.tasks := private.lock_plan_task(task_id, attempt, lease_token);
  v_project public.projects;
  v_problem jsonb := jsonb_build_object('error_code', null, 'error_message', null, 'hint', null);
  v_code text;
  v_detail text;
  v_hint text;
begin
  if exists (select from private.plan_tasks w where w.task_id = v_task.id and w.written_version is not null) then
    return private.plan_written(v_task.id);
  end if;
  v_project := private.lock_planned_project(v_task.id);
  begin
    perform private.check_planned(v_task, write_plan.plan, v_project.hierarchy_level);
    update public.projects p
    set plan_json = write_plan.plan, name = coalesce(p.name, nullif(btrim(left(write_plan.name, 500)), '')), error_details = null
    where p.id = v_project.id
    returning p.* into v_project;
  exception
    when data_exception or sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT413' or check_violation then
      get stacked diagnostics v_code = message_text, v_detail = pg_exception_detail, v_hint = pg_exception_hint;
      return jsonb_build_object('problem', jsonb_build_object('error_code', v_code, 'error_message', v_detail, 'hint', v_hint));
  end;
  update private.plan_tasks w set written_version = v_project.plan_version where w.task_id = v_task.id;
  update public.projects p set status = case when v_task.params -> 'start' = 'true' then 'running' else 'awaiting_approval' end where p.id = v_project.id;
  return private.plan_written(v_task.id);
end;
$$;
comment on function public.write_plan(uuid, integer, uuid, jsonb, text) is
  'For the worker that holds a task of the method plan_project: writes the plan, once; the project awaits approval, or runs when params.start says so. Returns {project_id, name, status, plan_version, plan}; said again, or by a later attempt, what was written first. For a plan that cannot be carried out {problem {error_code, error_message, hint}}, and nothing is written. Errors: PT409 lease_lost, PT409 plan_has_started, PT409 plan_changed, PT404 project_not_found.';

revoke execute on function public.read_plan_request(uuid, integer, uuid), public.write_plan(uuid, integer, uuid, jsonb, text) from public, anon, authenticated;
grant execute on function public.read_plan_request(uuid, integer, uuid), public.write_plan(uuid, integer, uuid, jsonb, text) to service_role;

-- For members --------------------------------------------------------------------------------------------------------

create function public.plan_project(
  conversation_id uuid, agent_slug text, prompt text, start boolean default false, max_steps integer default null, agents text[] default null, name text default null
) returns public.projects
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task_id uuid;
  v_project public.projects;
begin
  insert into public.tasks (user_id, agent_conversation_id, agent_slug, method, prompt, params)
  values (
    coalesce((select auth.uid()), (select c.user_id from public.agent_conversations c where c.id = plan_project.conversation_id)),
    plan_project.conversation_id, plan_project.agent_slug, 'plan_project', plan_project.prompt,
    jsonb_strip_nulls(jsonb_build_object('start', start, 'max_steps', max_steps, 'agents', to_jsonb(agents), 'name', plan_project.name))
  )
  returning id into v_task_id;
  select p.* into v_project from public.projects p where p.planning_task_id = v_task_id and p.conversation_id = plan_project.conversation_id;
  return v_project;
end;
$$;
comment on function public.plan_project(uuid, text, text, boolean, integer, text[], text) is
  'Has a context agent plan a new project in a conversation; returns the project, with planning_task_id and status planning. Then it awaits approval, or runs when start is true, or has failed with error_details. Errors: as for an insert into tasks, and 22023 plan_request_invalid.';

create function public.refine_project(project_id uuid, prompt text, agent_slug text default null) returns public.projects
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_project public.projects;
  v_before public.tasks;
begin
  select p.* into v_project
  from public.projects p
  where p.id = refine_project.project_id and (not private.is_client() or p.user_id = (select auth.uid()));
  if not found then
    raise exception using errcode = 'PT404', message = 'project_not_found',
      detail = format('You have no project %s.', project_id), hint = 'Check the id; only a project''s user has it planned.';
  end if;
  select t.* into v_before from public.tasks t where t.id = v_project.planning_task_id;
  insert into public.tasks (organization_slug, user_id, agent_conversation_id, agent_slug, method, prompt, params)
  values (
    v_project.organization_slug, coalesce((select auth.uid()), v_project.user_id), v_project.conversation_id,
    coalesce(refine_project.agent_slug, v_before.agent_slug), 'plan_project', refine_project.prompt,
    jsonb_build_object('project_id', v_project.id) || (coalesce(v_before.params, '{}') - array['project_id', 'name', 'start'])
  );
  select p.* into v_project from public.projects p where p.id = v_project.id;
  return v_project;
end;
$$;
comment on function public.refine_project(uuid, text, text) is
  'Has the plan of a project that has not started written anew, as a next version, by the agent that planned it or another: the agent is given the present plan and the wish. Limits (max_steps, agents) stay; the new plan awaits approval. Errors: as for an insert into tasks, PT404 project_not_found, PT409 plan_has_started, PT409 planning_in_progress.';

create function public.approve_plan(project_id uuid, plan_version integer default null, plan_json jsonb default null) returns public.projects
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_project public.projects;
begin
  -- Through the policies, for whoever may change the project; the same row is locked for what follows.
  update public.projects p set metadata = p.metadata where p.id = approve_plan.project_id returning p.* into v_project;
  if not found then
    raise exception using errcode = 'PT404', message = 'project_not_found',
      detail = format('You have no project %s.', project_id), hint = 'Check the id; only a project''s user approves its plan.';
  end if;
  if v_project.status <> 'awaiting_approval' then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Project %s is %s and cannot be approved.', v_project.id, v_project.status), hint = 'Only a project that is awaiting_approval can be approved.';
  end if;
  if v_project.plan_version <> approve_plan.plan_version then
    raise exception using errcode = 'PT409', message = 'plan_changed',
      detail = format('The plan of project %s is at version %s, not %s.', v_project.id, v_project.plan_version, approve_plan.plan_version),
      hint = 'Read the plan again, and approve that version.';
  end if;
  if approve_plan.plan_json is not null then
    update public.projects p set plan_json = approve_plan.plan_json where p.id = v_project.id;
  end if;
  return public.start_project(v_project.id);
end;
$$;
comment on function public.approve_plan(uuid, integer, jsonb) is
  'Starts a project of the caller that awaits approval; with plan_version only if the plan is still that one, with plan_json with this plan in its place. Errors: PT404 project_not_found, PT409 illegal_move, PT409 plan_changed, 22023 plan_invalid, PT404 agent_not_found, PT409 agent_inactive.';

revoke execute on function public.plan_project(uuid, text, text, boolean, integer, text[], text), public.refine_project(uuid, text, text),
  public.approve_plan(uuid, integer, jsonb) from public, anon, authenticated;
grant execute on function public.plan_project(uuid, text, text, boolean, integer, text[], text), public.refine_project(uuid, text, text),
  public.approve_plan(uuid, integer, jsonb) to authenticated, service_role;

-- Who decided --------------------------------------------------------------------------------------------------------

create function private.audit_decision() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_new constant jsonb := to_jsonb(new);
  v_old constant jsonb := to_jsonb(old);
  v_project_id constant uuid := case tg_table_name when 'projects' then old.id else (
    select s.project_id from public.project_steps s where s.id = private.uuid_or_null(v_new ->> 'project_step_id')
  ) end;
  v_decision constant text := case
    when tg_table_name = 'projects' then case v_new ->> 'status' when 'running' then 'approved' else v_new ->> 'status' end
    when v_new ->> 'status' <> 'answered' then v_new ->> 'status'
    when v_new ->> 'request_type' <> 'approval' or jsonb_typeof(v_new #> '{response,approved}') is distinct from 'boolean' then 'answered'
    when v_new #> '{response,approved}' = 'false' then 'not_approved'
    when v_new -> 'response' ? 'edited' then 'edited'
    else 'approved'
  end;
begin
  insert into public.audit_logs (organization_slug, actor_user_id, actor_role, action, table_name, row_key, changes)
  values (
    new.organization_slug, (select auth.uid()), coalesce(nullif(current_setting('role', true), 'none'), session_user), 'update', tg_table_name, new.id::text,
    jsonb_strip_nulls(jsonb_build_object(
      'status', jsonb_build_array(old.status, new.status), 'decision', jsonb_build_array(null, v_decision),
      'project_id', case when v_project_id is not null then jsonb_build_array(v_project_id, v_project_id) end,
      'task_id', case when v_new ->> 'task_id' is not null then jsonb_build_array(v_old -> 'task_id', v_new -> 'task_id') end,
      'on_expiry', case when v_new ->> 'status' = 'expired' then jsonb_build_array(v_old -> 'on_expiry', v_new -> 'on_expiry') end,
      'plan_version', case when tg_table_name = 'projects' then jsonb_build_array(v_old -> 'plan_version', v_new -> 'plan_version') end
    ))
  );
  return null;
end;
$$;
comment on function private.audit_decision() is
  'After a question is closed, or a plan that awaited approval is decided on: who decided, and what (decision: approved, edited, not_approved, answered, expired, cancelled), not the content. Which project, task, plan_version and on_expiry it was stands there too, as [same, same].';
revoke execute on function private.audit_decision() from public;

create trigger audit_decision after update of status on public.input_requests
for each row when (new.status <> 'pending' and old.status = 'pending') execute function private.audit_decision();
create trigger audit_decision after update of status on public.projects
for each row when (old.status = 'awaiting_approval' and new.status in ('running', 'cancelled')) execute function private.audit_decision();
