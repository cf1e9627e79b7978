-- Workflow runs: what starts an execution, what it becomes (a visual workflow a project, a code workflow one task of the internal
-- method run_workflow), how it follows that, and what people do to it. Its state machine stands with its table, in migration 26.
-- Lock order: the execution, then its tasks, its project and its steps. Whoever comes from their side (workers, triggers) does not
-- wait for the execution: what is locked is left in private.executions_to_settle for the reaper.
-- Over 400 lines, because beginning, following and steering an execution are one subject.

insert into public.task_methods (name, description, is_internal) values
('run_workflow', 'Run a code workflow through the framework it was written for. Made by the database for an execution.', true);

-- Tables -------------------------------------------------------------------------------------------------------------

alter table public.projects
add constraint projects_execution_id_fkey foreign key (execution_id) references public.workflow_executions (id) on delete set null;
-- The project of an execution (foreign key).
create index projects_execution_idx on public.projects (execution_id) where execution_id is not null;
alter table public.input_requests
add constraint input_requests_execution_id_fkey foreign key (execution_id) references public.workflow_executions (id) on delete set null;
-- Questions of an execution (foreign key).
create index input_requests_execution_idx on public.input_requests (execution_id) where execution_id is not null;

create table private.executions_to_settle (
  id bigint generated always as identity primary key,
  execution_id uuid not null
);
create table private.execution_lines (
  id bigint generated always as identity primary key,
  execution_id uuid not null,
  line jsonb not null
);

-- What an execution that ends still has to log.
create index execution_lines_execution_idx on private.execution_lines (execution_id);

comment on table private.executions_to_settle is
  'Executions to be compared once more with their project or task, since their row was locked when that moved. Read and emptied by the reaper.';
comment on table private.execution_lines is
  'Lines for the logs of executions, as their steps end, so that steps that end at once do not wait for one row. The reaper adds them to execution_logs.';

revoke all on private.executions_to_settle, private.execution_lines from anon, authenticated, service_role;
grant select, insert, update, delete on private.executions_to_settle, private.execution_lines to service_role;

-- As in migration 21, and whoever reads an execution reads its questions.
alter policy "Whoever reads the task or has the role reads the question" on public.input_requests
using (
  exists (select from public.tasks t where t.id = task_id)
  or (task_id is null and organization_slug = any (array(select private.my_organizations('viewer'))) and private.is_my_project_step(project_step_id))
  or (execution_id is not null and exists (select from public.workflow_executions e where e.id = execution_id))
  or (required_role = 'developer' and organization_slug = any (array(select private.my_organizations('developer'))))
  or organization_slug = any (array(select private.my_organizations('admin')))
);

-- What an execution became ---------------------------------------------------------------------------------------------

create function private.project_of_execution(execution_id uuid) returns public.projects
language sql stable security invoker set search_path = ''
as $$
  select p.* from public.projects p
  where p.execution_id = project_of_execution.execution_id and p.project_step_id is null
  order by p.created_at desc
  limit 1;
$$;
comment on function private.project_of_execution(uuid) is 'The project that a visual workflow''s execution became; null when there is none.';
revoke execute on function private.project_of_execution(uuid) from public;

create function private.task_of_execution(execution_id uuid) returns public.tasks
language sql stable security invoker set search_path = ''
as $$
  select t.* from public.tasks t
  where t.execution_id = task_of_execution.execution_id and t.method = 'run_workflow'
  order by t.created_at desc
  limit 1;
$$;
comment on function private.task_of_execution(uuid) is 'The task that a code workflow''s execution became; null when there is none.';
revoke execute on function private.task_of_execution(uuid) from public;

create function private.last_nodes(workflow_data jsonb) returns table (id text)
language sql immutable security invoker set search_path = ''
as $$
  with n as materialized (select * from private.workflow_nodes(last_nodes.workflow_data)),
  e as materialized (select * from private.workflow_edges(last_nodes.workflow_data)),
  before_ends as (
    select distinct e.source as id from e join n t on t.id = e.target and t.type = 'end' join n s on s.id = e.source and s.type <> 'start'
  )
  select b.id from before_ends b
  union all
  select n.id from n
  where n.type not in ('start', 'end') and not exists (select from before_ends) and not exists (select from e where e.source = n.id);
$$;
comment on function private.last_nodes(jsonb) is 'The nodes whose results are the output of a visual workflow: those that lead to an end, or where there is no end, those that lead nowhere.';
revoke execute on function private.last_nodes(jsonb) from public;

create function private.project_output(project_id uuid, workflow_data jsonb) returns jsonb
language sql stable security definer set search_path = ''
as $$
  with chosen as (
    select s.id, s.step_id, s.step_index, (s.result ->> 'bytes')::bigint as bytes,
      sum((s.result ->> 'bytes')::bigint) over (order by s.step_index) as total
    from public.project_steps s
    where s.project_id = project_output.project_id and s.status = 'completed'
      and s.step_id in (select l.id from private.last_nodes(project_output.workflow_data) l)
  ),
  results as (
    select c.step_id, c.step_index,
      case
        when coalesce(c.total, 0) > 1048576 then jsonb_build_object('project_step_id', c.id, 'bytes', c.bytes)
        else private.step_result(c.id)
      end as result
    from chosen c
  )
  select case
    when (select count(*) from private.last_nodes(project_output.workflow_data)) = 1 then (select r.result from results r)
    else (select jsonb_object_agg(r.step_id, r.result order by r.step_index) from results r)
  end;
$$;
comment on function private.project_output(uuid, jsonb) is
  'What came of a visual workflow: the result of its one last step, or of several {step id: result}. Beyond a MiB in all, a result is {project_step_id, bytes} in place of itself.';
revoke execute on function private.project_output(uuid, jsonb) from public;

create function private.project_summary(project_id uuid, left_as text default null) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', s.step_id, 'name', s.step_name, 'type', s.step_type, 'seconds', round(extract(epoch from s.completed_at - s.started_at)::numeric, 3),
    'status', case when s.completed_at is null then coalesce(left_as, s.status) else s.status end
  ) order by s.step_index), '[]')
  from (select * from public.project_steps x where x.project_id = project_summary.project_id order by x.step_index limit 1000) s;
$$;
comment on function private.project_summary(uuid, text) is
  'The steps of a project for execution_data.steps: [{id, name, type, status, seconds}], the first 1,000. left_as: the status of those that are not over.';
revoke execute on function private.project_summary(uuid, text) from public;

create function private.execution_result(execution public.workflow_executions, output jsonb, steps jsonb) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select coalesce(execution.execution_data, '{}')
    || case
      when output is null then '{}'
      -- What Postgres cannot keep as JSON is kept as text.
      when private.json_is_plain(jsonb_build_object('output', output)) then jsonb_build_object('output', output)
      else jsonb_build_object('output', output::text)
    end
    || case when steps is null then '{}' else jsonb_build_object('steps', steps) end;
$$;
comment on function private.execution_result(public.workflow_executions, jsonb, jsonb) is 'execution_data of an execution that ends: {input, output, steps}.';
revoke execute on function private.execution_result(public.workflow_executions, jsonb, jsonb) from public;

-- Following ----------------------------------------------------------------------------------------------------------

create function private.move_execution(
  execution public.workflow_executions, status text, message text default null, error_code text default null, error_message text default null, result jsonb default null
) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_now text := execution.status;
begin
  while v_now <> move_execution.status loop
    v_now := case
      when v_now in ('failed', 'timeout') then 'queued'
      when move_execution.status = 'cancelled' then 'cancelled'
      when v_now = 'queued' then 'pending'
      when v_now = 'pending' or v_now = 'paused' then 'running'
      else move_execution.status
    end;
    update public.workflow_executions e
    set status = v_now, status_message = case when v_now = move_execution.status then coalesce(message, e.status_message) else e.status_message end,
      error_code = case when v_now in ('failed', 'timeout', 'cancelled') then move_execution.error_code end,
      error_message = case when v_now in ('failed', 'timeout', 'cancelled') then move_execution.error_message end,
      execution_data = case when v_now in ('failed', 'timeout', 'cancelled', 'completed') then coalesce(result, e.execution_data) else e.execution_data - 'output' - 'steps' end
    where e.id = execution.id;
  end loop;
end;
$$;
comment on function private.move_execution(public.workflow_executions, text, text, text, text, jsonb) is
  'Brings an execution to a state by legal moves: one that never ran passes through pending and running on its way to its end. Called with its row locked.';
revoke execute on function private.move_execution(public.workflow_executions, text, text, text, text, jsonb) from public;

create function private.follow_project(execution public.workflow_executions, workflow_data jsonb) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_project constant public.projects := private.project_of_execution(execution.id);
  v_status constant text := case
    when v_project.id is null then 'cancelled'
    when v_project.status in ('planning', 'awaiting_approval') then 'pending'
    else v_project.status
  end;
begin
  if v_status = execution.status or execution.completed_at is not null and v_status in ('failed', 'cancelled') then
    return;
  end if;
  perform private.move_execution(
    execution, v_status,
    case
      when v_project.id is null then 'Cancelled: its project was deleted.'
      when v_status = 'failed' then 'Failed' || coalesce(format(' in step "%s"', v_project.error_details ->> 'step_id'), '') || coalesce(': ' || (v_project.error_details ->> 'error_message'), '.')
      when v_status = 'paused' then 'Paused: nothing new starts.'
    end,
    case when v_status = 'failed' then coalesce(substring(v_project.error_details ->> 'error_code' from '^[a-z][a-z0-9_]{0,62}$'), 'project_failed') end,
    v_project.error_details ->> 'error_message',
    case when v_status in ('completed', 'failed', 'cancelled') and v_project.id is not null then private.execution_result(
      execution, case when v_status = 'completed' then private.project_output(v_project.id, workflow_data) end, private.project_summary(v_project.id)
    ) end
  );
end;
$$;
comment on function private.follow_project(public.workflow_executions, jsonb) is 'An execution of a visual workflow comes to the state of its project. Called with its row locked.';
revoke execute on function private.follow_project(public.workflow_executions, jsonb) from public;

create function private.follow_task(execution public.workflow_executions) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_task constant public.tasks := private.task_of_execution(execution.id);
  v_status constant text := case
    when v_task.id is null then 'cancelled'
    when v_task.status = 'pending' then case when execution.status in ('running', 'paused') then 'running' else 'pending' end
    when v_task.status = 'in_progress' then 'running'
    when v_task.status = 'rejected' then 'failed'
    else v_task.status
  end;
begin
  if v_status = execution.status or execution.completed_at is not null and v_status in ('failed', 'timeout', 'cancelled') then
    return;
  end if;
  perform private.move_execution(
    execution, v_status,
    case
      when v_task.id is null then 'Cancelled: its task was deleted.'
      when v_status = 'paused' then 'Waits for an answer.'
      when v_status = 'timeout' then coalesce(v_task.error_message, 'Ran out of time.')
    end,
    case when v_status in ('failed', 'timeout') then v_task.error_code end,
    case when v_status in ('failed', 'timeout') then v_task.error_message end,
    case when v_status = 'completed' then private.execution_result(execution, private.json_or_text(v_task.response), null) end
  );
end;
$$;
comment on function private.follow_task(public.workflow_executions) is 'An execution of a code workflow comes to the state of its task. Called with its row locked.';
revoke execute on function private.follow_task(public.workflow_executions) from public;

create function private.settle_execution(execution_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_execution public.workflow_executions;
  v_workflow public.workflows;
begin
  select e.* into v_execution from public.workflow_executions e where e.id = settle_execution.execution_id for no key update skip locked;
  if not found then
    insert into private.executions_to_settle (execution_id)
    select e.id from public.workflow_executions e where e.id = settle_execution.execution_id;
    return;
  end if;
  if v_execution.status in ('queued', 'completed', 'cancelled') then
    return; -- not begun, or over for good
  end if;
  select w.* into v_workflow from public.workflows w where w.id = v_execution.workflow_id;
  if v_workflow.workflow_type = 'visual' then
    perform private.follow_project(v_execution, v_workflow.workflow_data);
  else
    perform private.follow_task(v_execution);
  end if;
end;
$$;
comment on function private.settle_execution(uuid) is
  'Brings an execution to where its project or task is. Waits for nobody: what is locked it leaves to the reaper. PT409 retries_used_up when its project is made to go on and it has no retry left.';
revoke execute on function private.settle_execution(uuid) from public;

create function private.settle_execution_of() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
begin
  perform private.settle_execution((case tg_op when 'DELETE' then old else new end).execution_id);
  return null;
end;
$$;
comment on function private.settle_execution_of() is 'After the project or task of an execution changes its status or is deleted, by whatever hand: the execution follows.';
revoke execute on function private.settle_execution_of() from public;

-- Their names come after those that move steps and tasks, so that what follows from a change is done when the execution looks.
create trigger settle_execution after update on public.projects
for each row when (new.status <> old.status and new.execution_id is not null and new.project_step_id is null)
execute function private.settle_execution_of();
create trigger settle_execution_of_deleted after delete on public.projects
for each row when (old.execution_id is not null and old.project_step_id is null)
execute function private.settle_execution_of();
create trigger settle_execution after update on public.tasks
for each row when (new.status <> old.status and new.method = 'run_workflow' and new.execution_id is not null)
execute function private.settle_execution_of();
create trigger settle_execution_of_deleted after delete on public.tasks
for each row when (old.method = 'run_workflow' and old.execution_id is not null and old.completed_at is null)
execute function private.settle_execution_of();

create function private.log_step_end() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
begin
  insert into private.execution_lines (execution_id, line)
  select p.execution_id, private.log_line(
    case new.status when 'failed' then 'error' when 'cancelled' then 'warning' else 'info' end,
    case new.status
      when 'failed' then format('%s failed: %s', new.step_name, coalesce(new.error_details ->> 'error_message', new.error_details ->> 'error_code'))
      else format('%s is %s.', new.step_name, new.status)
    end,
    new.step_id
  )
  from public.projects p
  where p.id = new.project_id and p.execution_id is not null;
  return null;
end;
$$;
comment on function private.log_step_end() is 'After a step ends: a line for the log of the execution, where its project is of one.';
revoke execute on function private.log_step_end() from public;

create trigger log_step_end after update on public.project_steps
for each row when (new.completed_at is not null and old.completed_at is null and (new.result ? 'execution_id') is not true)
execute function private.log_step_end();

create function private.fold_execution_lines() returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_held uuid[];
begin
  v_held := array(
    select e.id from public.workflow_executions e
    where e.id in (select x.execution_id from (select l.execution_id from private.execution_lines l order by l.id limit 2000) x)
    order by e.id
    for no key update skip locked
  );
  with taken as (
    delete from private.execution_lines l
    where l.id in (
      select x.id from (select y.id, y.execution_id from private.execution_lines y order by y.id limit 2000) x
      where x.execution_id = any (v_held) or not exists (select from public.workflow_executions e where e.id = x.execution_id)
    )
    returning l.id, l.execution_id, l.line
  )
  update public.workflow_executions e set execution_logs = private.with_log_lines(e.execution_logs, t.lines)
  from (select x.execution_id, jsonb_agg(x.line order by x.id) as lines from taken x group by x.execution_id) t
  where e.id = t.execution_id;
end;
$$;
comment on function private.fold_execution_lines() is 'Adds what private.execution_lines holds to the logs of executions, at most 2,000 lines a call. Called by the reaper; waits for nobody.';
revoke execute on function private.fold_execution_lines() from public;

create function private.sum_execution_up() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_project_id constant uuid := (private.project_of_execution(new.id)).id;
  v_lines jsonb;
begin
  with taken as (
    delete from private.execution_lines l where l.id in (select x.id from private.execution_lines x where x.execution_id = new.id for update skip locked)
    returning l.id, l.line
  )
  select jsonb_agg(t.line order by t.id) into v_lines from taken t;
  update public.workflow_executions e
  set execution_logs = private.with_log_lines(e.execution_logs, v_lines), resource_usage = jsonb_build_object('duration', u.seconds, 'tokens', u.tokens, 'cost', u.cost),
    performance_metrics = coalesce(e.performance_metrics, '{}') || jsonb_build_object('attempts', u.attempts, 'retries', e.retry_count)
      || coalesce((
        select jsonb_build_object('steps', jsonb_build_object('total', sum(s.number)) || jsonb_object_agg(s.status, s.number))
        from (select x.status, count(*) as number from public.project_steps x where x.project_id = v_project_id group by x.status) s
        having count(*) > 0
      ), '{}')
  from (
    select count(*) as attempts, coalesce(sum(r.total_tokens), 0) as tokens, coalesce(sum(r.total_cost), 0) as cost,
      coalesce(round(sum(extract(epoch from coalesce(r.completed_at, private.clock()) - r.created_at))::numeric, 3), 0) as seconds
    from public.runs r where r.execution_id = new.id
  ) u
  where e.id = new.id;
  return null;
end;
$$;
comment on function private.sum_execution_up() is
  'At the end of the transaction in which an execution ends, when runs and usage are all written: resource_usage, the numbers of steps and attempts, and what was left for its log.';
revoke execute on function private.sum_execution_up() from public;

create constraint trigger sum_execution_up after update on public.workflow_executions
deferrable initially deferred
for each row when (new.completed_at is not null and old.completed_at is null) execute function private.sum_execution_up();

-- Beginning ----------------------------------------------------------------------------------------------------------

create function private.begin_visual(execution public.workflow_executions, workflow public.workflows, user_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_conversation_id uuid := execution.conversation_id;
  v_start uuid[];
  v_project public.projects := private.project_of_execution(execution.id);
begin
  if v_project.id is not null then
    -- Once more: what is completed stays.
    perform private.steer_project(v_project.id, 'resume');
    return;
  end if;
  if v_conversation_id is null then
    insert into public.agent_conversations (organization_slug, user_id, agent_slug, title)
    values (execution.organization_slug, begin_visual.user_id, execution.agent_slug, workflow.name)
    returning id into v_conversation_id;
    update public.workflow_executions e set conversation_id = v_conversation_id where e.id = execution.id;
  end if;
  insert into public.projects (organization_slug, user_id, conversation_id, name, description, plan_json, execution_id)
  values (
    execution.organization_slug, begin_visual.user_id, v_conversation_id, workflow.name, workflow.description,
    private.workflow_plan(workflow.workflow_data), execution.id
  )
  returning * into v_project;
  -- The start is over at once: its result is the input, which stands in the execution and nowhere else.
  v_start := array(
    select s.id from public.project_steps s
    where s.project_id = v_project.id and s.step_id in (select n.id from private.workflow_nodes(workflow.workflow_data) n where n.type = 'start')
  );
  update public.project_steps s set status = 'ready' where s.id = any (v_start);
  update public.project_steps s
  set status = 'completed', result = jsonb_build_object('execution_id', execution.id, 'bytes', coalesce(octet_length((execution.execution_data -> 'input')::text), 0))
  where s.id = any (v_start);
  perform private.advance_project(v_project.id, '{}', v_start);
  perform private.steer_project(v_project.id, 'start');
end;
$$;
comment on function private.begin_visual(public.workflow_executions, public.workflows, uuid) is
  'Makes the project of an execution and starts it, or lets that of an earlier try go on with what did not finish.';
revoke execute on function private.begin_visual(public.workflow_executions, public.workflows, uuid) from public;

create function private.begin_code(execution public.workflow_executions, workflow public.workflows, user_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_task constant public.tasks := private.task_of_execution(execution.id);
  v_seconds constant integer := case
    when execution.timeout_at is null then 3600
    else least(86400, greatest(1, ceil(extract(epoch from execution.timeout_at - private.clock()))))
  end;
begin
  if v_task.status in ('failed', 'timeout', 'cancelled') and v_task.attempt < 1000 then
    -- The same task, so that what it has begun elsewhere is found again.
    update public.tasks t
    set status = 'pending', scheduled_at = private.clock(), max_attempts = greatest(t.max_attempts, t.attempt + 1), timeout_seconds = v_seconds,
      error_code = null, error_message = null, error_data = null, progress_message = null
    where t.id = v_task.id and t.completed_at is not null;
    return;
  end if;
  insert into public.tasks (
    organization_slug, user_id, agent_slug, agent_name, method, prompt, params, execution_id, timeout_seconds, metadata
  )
  select execution.organization_slug, begin_code.user_id, a.slug, a.name, 'run_workflow', format('Run workflow "%s" %s.', workflow.name, workflow.version),
    jsonb_build_object('input', coalesce(execution.execution_data -> 'input', '{}')), execution.id, v_seconds,
    jsonb_build_object('workflow_id', workflow.id, 'correlation_id', execution.correlation_id)
  from public.agents a where a.slug = execution.agent_slug;
end;
$$;
comment on function private.begin_code(public.workflow_executions, public.workflows, uuid) is
  'Puts the task of an execution into the queue, or that of an earlier try back into it.';
revoke execute on function private.begin_code(public.workflow_executions, public.workflows, uuid) from public;

create function private.begin_execution(execution public.workflow_executions) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_execution public.workflow_executions;
  v_workflow public.workflows;
  v_user_id uuid;
begin
  perform private.check_budget(execution.organization_slug);
  select w.* into v_workflow from public.workflows w where w.id = execution.workflow_id;
  v_user_id := coalesce(execution.created_by, v_workflow.created_by);
  if v_user_id is null then
    raise exception using errcode = 'PT409', message = 'execution_without_user',
      detail = format('Neither execution %s nor its workflow has a user whose agents it could run.', execution.id), hint = 'Send created_by.';
  end if;
  perform private.usable_agent(execution.agent_slug, execution.organization_slug, v_user_id);
  update public.workflow_executions e set status = 'pending' where e.id = execution.id returning e.* into v_execution;
  if v_workflow.workflow_type = 'visual' then
    perform private.begin_visual(v_execution, v_workflow, v_user_id);
  else
    perform private.begin_code(v_execution, v_workflow, v_user_id);
  end if;
  perform private.settle_execution(execution.id);
end;
$$;
comment on function private.begin_execution(public.workflow_executions) is
  'A queued execution begins: it becomes a project or a task. Called with its row locked. Raises what hinders it: budget_spent, agent_not_found, agent_inactive, plan_invalid, over_limit, execution_without_user.';
revoke execute on function private.begin_execution(public.workflow_executions) from public;

create function private.begin_new_execution() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.begin_execution(new);
  return null;
end;
$$;
comment on function private.begin_new_execution() is 'After a client inserts an execution: it begins in the same statement, or is refused. Those that servers insert begin by the reaper.';
revoke execute on function private.begin_new_execution() from public;

create trigger begin_new_execution after insert on public.workflow_executions
for each row when (private.is_client()) execute function private.begin_new_execution();

-- Housekeeping -------------------------------------------------------------------------------------------------------

create function private.begin_queued_executions() returns void
language plpgsql volatile security definer set search_path = '' set lock_timeout = '100ms'
as $$
declare
  v_execution public.workflow_executions;
  v_message text;
begin
  for v_execution in
    select e.* from public.workflow_executions e
    join public.organizations o on o.slug = e.organization_slug and o.is_active
    where e.status = 'queued'
      and not exists (select from private.spent_budgets b where b.organization_slug = e.organization_slug and b.until > private.clock())
    order by e.queued_at
    limit 100
    for no key update of e skip locked
  loop
    begin
      perform private.begin_execution(v_execution);
    exception
      when lock_not_available or deadlock_detected then
        null; -- the next call looks again
      when others then
        -- Whatever it is, it must not keep the reaper from its other work.
        get stacked diagnostics v_message = pg_exception_detail;
        perform private.move_execution(
          v_execution, 'failed', null, case when sqlerrm ~ '^[a-z][a-z0-9_]{0,62}$' then sqlerrm else 'internal_error' end,
          case when sqlerrm ~ '^[a-z][a-z0-9_]{0,62}$' then v_message else 'It could not begin.' end
        );
    end;
  end loop;
end;
$$;
comment on function private.begin_queued_executions() is
  'Begins executions that servers started or that are retried for somebody else, at most 100 a call; one that cannot begin fails and says why. Called by the reaper.';
revoke execute on function private.begin_queued_executions() from public;

create function private.stop_project(project_id uuid) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_projects uuid[];
  v_tasks uuid[];
begin
  with recursive below (id) as (
    select stop_project.project_id
    union
    select p.id from below b join public.projects p on p.parent_project_id = b.id and p.project_step_id is not null
  )
  select array_agg(b.id order by b.id) into v_projects from below b;
  v_tasks := array(
    select t.id from public.tasks t
    where t.id in (select l.id from unnest(v_projects) p (id) cross join lateral private.live_step_tasks(p.id) l (id))
    order by t.id
    for update skip locked
  );
  if (select count(*) from unnest(v_projects) p (id) cross join lateral private.live_step_tasks(p.id)) <> cardinality(v_tasks)
    or (select count(*) from (select from public.projects p where p.id = any (v_projects) order by p.id for no key update skip locked) x) <> cardinality(v_projects) then
    return false;
  end if;
  -- The steps keep their place: they are ready, and get new tasks when the project goes on.
  update private.map_items i set task_id = null where i.task_id = any (v_tasks);
  update public.project_steps s set status = 'ready', task_id = null
  where s.project_id = any (v_projects) and s.status in ('ready', 'in_progress', 'awaiting_input') and (s.task_id = any (v_tasks) or s.step_type = 'map');
  update public.tasks t set status = 'cancelled', error_code = 'withdrawn', error_message = 'The execution ran out of time.'
  where t.id = any (v_tasks) and t.completed_at is null;
  update public.projects p set status = 'failed', error_details = jsonb_build_object('error_code', 'timeout', 'error_message', 'The execution ran out of time.')
  where p.id = stop_project.project_id and p.status in ('planning', 'running', 'paused');
  return true;
end;
$$;
comment on function private.stop_project(uuid) is
  'Stops a project that ran out of time so that it can be resumed: its tasks and those of the projects below are cancelled, itself has failed, and those pause with it. False, and nothing is done, when rows are locked.';
revoke execute on function private.stop_project(uuid) from public;

create function private.time_out_execution(execution public.workflow_executions) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_project constant public.projects := private.project_of_execution(execution.id);
  v_task constant public.tasks := private.task_of_execution(execution.id);
  v_steps jsonb;
begin
  if v_task.id is not null and v_task.completed_at is null then
    perform from public.tasks t where t.id = v_task.id for update skip locked;
    if not found then
      return;
    end if;
  end if;
  -- As it stands before its steps are taken back.
  v_steps := private.project_summary(v_project.id);
  perform private.move_execution(
    execution, 'timeout', format('Ran out of time (%s).', to_char(execution.timeout_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')), 'timeout',
    'The execution took longer than it was given.', private.execution_result(execution, null, case when v_project.id is not null then v_steps end)
  );
  update public.tasks t set status = 'cancelled' where t.id = v_task.id and t.status in ('pending', 'in_progress', 'paused');
  if v_project.id is not null and v_project.completed_at is null and not private.stop_project(v_project.id) then
    -- Undone by whoever called: it is tried again in a second.
    raise exception using errcode = '40001', message = 'rows_are_locked', detail = 'Steps of the project are just being written to.', hint = 'Try again.';
  end if;
end;
$$;
comment on function private.time_out_execution(public.workflow_executions) is
  'Ends an execution as timeout, cancels its task, or stops its project. Called with its row locked; does nothing, or raises 40001, when what it would change is locked.';
revoke execute on function private.time_out_execution(public.workflow_executions) from public;

create function private.time_out_executions() returns void
language plpgsql volatile security definer set search_path = '' set lock_timeout = '100ms'
as $$
declare
  v_execution public.workflow_executions;
begin
  for v_execution in
    select e.* from public.workflow_executions e
    where e.completed_at is null and e.timeout_at <= private.clock()
    order by e.timeout_at
    limit 100
    for no key update skip locked
  loop
    begin
      perform private.time_out_execution(v_execution);
    exception
      when serialization_failure or lock_not_available or deadlock_detected then
        null;
      when others then
        raise warning 'execution % is not ended: % %', v_execution.id, sqlstate, sqlerrm; -- and the reaper goes on with its other work
    end;
  end loop;
end;
$$;
comment on function private.time_out_executions() is 'Ends executions whose timeout_at has passed, at most 100 a call. Called by the reaper.';
revoke execute on function private.time_out_executions() from public;

create function private.settle_forgotten_executions() returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_ids uuid[];
  v_id uuid;
begin
  with taken as (
    delete from private.executions_to_settle s
    where s.id in (select x.id from private.executions_to_settle x order by x.id limit 500 for update skip locked)
    returning s.execution_id
  )
  select coalesce(array_agg(distinct t.execution_id), '{}') into v_ids from taken t;
  foreach v_id in array v_ids loop
    begin
      perform private.settle_execution(v_id);
    exception
      when sqlstate 'PT409' then
        null; -- its project goes on and it has no retry left: it stays as it ended
      when others then
        raise warning 'execution % does not follow: % %', v_id, sqlstate, sqlerrm;
    end;
  end loop;
end;
$$;
comment on function private.settle_forgotten_executions() is 'What executions could not follow since they were locked, at most 500 a call. Called by the reaper.';
revoke execute on function private.settle_forgotten_executions() from public;

create function private.look_after_executions() returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
begin
  perform private.settle_forgotten_executions();
  perform private.time_out_executions();
  perform private.begin_queued_executions();
  if exists (select from private.execution_lines) then
    perform private.fold_execution_lines();
  end if;
end;
$$;
comment on function private.look_after_executions() is 'Housekeeping of executions, once a second: what was left over, what has run out of time, what waits to begin, lines of logs. Called by the reaper.';
revoke execute on function private.look_after_executions() from public;
grant execute on function private.look_after_executions() to service_role;

create function private.cancel_executions_of_member() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_execution public.workflow_executions;
begin
  if not exists (select from public.organizations o where o.slug = old.organization_slug) then
    return null; -- all of it goes
  end if;
  for v_execution in
    select e.* from public.workflow_executions e
    where e.organization_slug = old.organization_slug and e.created_by = old.user_id and e.completed_at is null
    order by e.id
    for no key update
  loop
    perform private.end_execution(v_execution, 'Cancelled: its user left the organization.');
  end loop;
  return null;
end;
$$;
comment on function private.cancel_executions_of_member() is 'After a membership ends: the executions that the member started are cancelled.';
revoke execute on function private.cancel_executions_of_member() from public;

-- Before cancel_tasks_of_member: an execution is locked before its tasks.
create trigger cancel_executions_of_member after delete on public.organization_members
for each row execute function private.cancel_executions_of_member();

-- Functions of members -------------------------------------------------------------------------------------------------

create function private.end_execution(execution public.workflow_executions, message text) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_project constant public.projects := private.project_of_execution(execution.id);
begin
  perform private.move_execution(
    execution, 'cancelled', message, null, null,
    case when v_project.id is not null then private.execution_result(execution, null, private.project_summary(v_project.id, 'cancelled')) end
  );
  perform from public.tasks t where t.id in (select l.id from private.live_step_tasks(v_project.id) l (id)) order by t.id for update;
  update public.projects p set status = 'cancelled'
  where p.id = v_project.id and p.status in ('planning', 'awaiting_approval', 'running', 'paused', 'failed');
  update public.tasks t set status = 'cancelled'
  where t.execution_id = execution.id and t.method = 'run_workflow' and t.status in ('pending', 'in_progress', 'paused');
end;
$$;
comment on function private.end_execution(public.workflow_executions, text) is 'Cancels an execution and what it became. Called with its row locked.';
revoke execute on function private.end_execution(public.workflow_executions, text) from public;

create function private.lock_own_execution(execution_id uuid) returns public.workflow_executions
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_execution public.workflow_executions;
begin
  select e.* into v_execution
  from public.workflow_executions e
  where e.id = lock_own_execution.execution_id
    and (
      not private.is_client()
      or e.created_by = (select auth.uid()) and e.organization_slug in (select private.my_organizations('member'))
      or e.organization_slug in (select private.my_organizations('admin'))
    )
  for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'execution_not_found',
      detail = format('You have no execution %s.', execution_id), hint = 'Check the id; only who started an execution and the organization''s admins steer it.';
  end if;
  return v_execution;
end;
$$;
comment on function private.lock_own_execution(uuid) is 'Locks and returns an execution that the caller may steer (own, or admin of its organization); PT404 execution_not_found otherwise.';
revoke execute on function private.lock_own_execution(uuid) from public;

create function private.refuse_execution_move(execution public.workflow_executions, action text, hint text) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  raise exception using errcode = 'PT409', message = 'illegal_move',
    detail = format('Execution %s is %s and cannot be %s.', execution.id, execution.status, action), hint = refuse_execution_move.hint;
end;
$$;
comment on function private.refuse_execution_move(public.workflow_executions, text, text) is 'Raises PT409 illegal_move.';
revoke execute on function private.refuse_execution_move(public.workflow_executions, text, text) from public;

create function private.steer_execution(execution_id uuid, action text) returns public.workflow_executions
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_execution public.workflow_executions := private.lock_own_execution(execution_id);
  v_project constant public.projects := private.project_of_execution(v_execution.id);
  v_is_visual constant boolean := exists (select from public.workflows w where w.id = v_execution.workflow_id and w.workflow_type = 'visual');
begin
  case action
    when 'paused' then
      if v_execution.status not in ('running', 'paused') then
        perform private.refuse_execution_move(v_execution, action, 'Only one that is running is paused.');
      elsif v_execution.status = 'running' and not v_is_visual then
        perform private.refuse_execution_move(v_execution, action, 'What its framework has begun runs on there: it pauses where it asks a person. Cancel it to stop it.');
      elsif v_execution.status = 'running' then
        perform private.steer_project(v_project.id, 'pause');
      end if;
    when 'resumed' then
      if v_execution.status not in ('running', 'paused') then
        perform private.refuse_execution_move(v_execution, action, 'Only one that is paused is resumed; retry_execution is for what failed.');
      elsif v_execution.status = 'paused' and not v_is_visual then
        perform private.refuse_execution_move(v_execution, action, 'It waits for an answer: read input_requests and call respond_to_input_request.');
      elsif v_execution.status = 'paused' then
        perform private.steer_project(v_project.id, 'resume');
      end if;
    when 'cancelled' then
      if v_execution.completed_at is not null and v_execution.status <> 'cancelled' then
        perform private.refuse_execution_move(v_execution, action, 'It is over: there is nothing to cancel.');
      elsif v_execution.status <> 'cancelled' then
        perform private.end_execution(v_execution, 'Cancelled.');
      end if;
    when 'retried' then
      if v_execution.status not in ('failed', 'timeout', 'queued', 'pending') then
        perform private.refuse_execution_move(v_execution, action, 'Only one that failed or timed out is retried; start a new one.');
      elsif v_execution.completed_at is not null then
        perform private.move_execution(v_execution, 'queued');
        select e.* into v_execution from public.workflow_executions e where e.id = v_execution.id;
        -- In somebody else's name only a server begins it: the reaper, within a second.
        if not private.is_client() or v_execution.created_by = (select auth.uid()) then
          perform private.begin_execution(v_execution);
        end if;
      end if;
  end case;
  select e.* into v_execution from public.workflow_executions e where e.id = v_execution.id;
  return v_execution;
end;
$$;
comment on function private.steer_execution(uuid, text) is 'Body of pause_execution, resume_execution, cancel_execution and retry_execution.';
revoke execute on function private.steer_execution(uuid, text) from public;
grant execute on function private.steer_execution(uuid, text) to authenticated, service_role;

create function public.pause_execution(execution_id uuid) returns public.workflow_executions
language sql volatile security invoker set search_path = ''
as $$
  select * from private.steer_execution(execution_id, 'paused');
$$;
comment on function public.pause_execution(uuid) is
  'Pauses the execution of a visual workflow: no further step begins. Called again: the same row. Errors: PT404 execution_not_found, PT409 illegal_move.';

create function public.resume_execution(execution_id uuid) returns public.workflow_executions
language sql volatile security invoker set search_path = ''
as $$
  select * from private.steer_execution(execution_id, 'resumed');
$$;
comment on function public.resume_execution(uuid) is
  'Lets a paused execution of a visual workflow go on. Called again: the same row. Errors: PT404 execution_not_found, PT409 illegal_move.';

create function public.cancel_execution(execution_id uuid) returns public.workflow_executions
language sql volatile security invoker set search_path = ''
as $$
  select * from private.steer_execution(execution_id, 'cancelled');
$$;
comment on function public.cancel_execution(uuid) is
  'Cancels an execution at once, with its project, steps and tasks. Called again: the same row. Errors: PT404 execution_not_found, PT409 illegal_move.';

create function public.retry_execution(execution_id uuid) returns public.workflow_executions
language sql volatile security invoker set search_path = ''
as $$
  select * from private.steer_execution(execution_id, 'retried');
$$;
comment on function public.retry_execution(uuid) is
  'Starts a failed or timed-out execution again, up to max_retries times; of a visual workflow only what did not finish. Called again while it waits: the same row. Errors: PT404 execution_not_found, PT409 illegal_move, PT409 retries_used_up.';

create function private.find_workflow(name text, agent_slug text, organization_slug text) returns uuid
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_organization constant text := private.my_organization_or_default(organization_slug);
  v_ids uuid[];
begin
  select array_agg(w.id) into v_ids
  from public.workflows w
  where w.organization_slug = v_organization and w.name = find_workflow.name and w.is_active
    and (find_workflow.agent_slug is null or w.agent_slug = find_workflow.agent_slug);
  if v_ids is null then
    raise exception using errcode = 'PT404', message = 'workflow_not_found',
      detail = format('Organization "%s" has no active workflow "%s"%s.', v_organization, coalesce(find_workflow.name, ''), coalesce(format(' of agent "%s"', find_workflow.agent_slug), '')),
      hint = 'List workflows with is_active=is.true; send workflow_id, or name.';
  end if;
  if cardinality(v_ids) > 1 then
    raise exception using errcode = '22023', message = 'workflow_ambiguous',
      detail = format('%s agents of organization "%s" have a workflow "%s".', cardinality(v_ids), v_organization, find_workflow.name), hint = 'Send agent_slug too, or workflow_id.';
  end if;
  return v_ids[1];
end;
$$;
comment on function private.find_workflow(text, text, text) is
  'The active version of a workflow by name, and by agent where several have one of that name. PT404 workflow_not_found, 22023 workflow_ambiguous.';
revoke execute on function private.find_workflow(text, text, text) from public;
grant execute on function private.find_workflow(text, text, text) to authenticated, service_role;

create function public.start_workflow(
  workflow_id uuid default null, name text default null, agent_slug text default null, organization_slug text default null, input jsonb default '{}',
  conversation_id uuid default null, parent_execution_id uuid default null, timeout_seconds integer default null, max_retries integer default 3
) returns public.workflow_executions
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_workflow_id constant uuid := coalesce(
    start_workflow.workflow_id, private.find_workflow(start_workflow.name, start_workflow.agent_slug, start_workflow.organization_slug)
  );
  v_id uuid;
  v_execution public.workflow_executions;
begin
  insert into public.workflow_executions (workflow_id, execution_data, max_retries, timeout_at, parent_execution_id, conversation_id)
  values (
    v_workflow_id, jsonb_build_object('input', coalesce(start_workflow.input, '{}')), start_workflow.max_retries,
    private.clock() + make_interval(secs => start_workflow.timeout_seconds), start_workflow.parent_execution_id, start_workflow.conversation_id
  )
  returning id into v_id;
  select e.* into v_execution from public.workflow_executions e where e.id = v_id;
  return v_execution;
end;
$$;
comment on function public.start_workflow(uuid, text, text, text, jsonb, uuid, uuid, integer, integer) is
  'Starts the active version of a workflow, by its id or by name (and agent_slug), and returns the execution as it stands then. Errors: PT404 workflow_not_found, PT409 workflow_inactive, 22023 workflow_ambiguous, and what hinders it: agent_inactive, budget_spent, over_limit.';
revoke execute on function public.start_workflow(uuid, text, text, text, jsonb, uuid, uuid, integer, integer),
  public.pause_execution(uuid), public.resume_execution(uuid), public.cancel_execution(uuid), public.retry_execution(uuid) from public, anon, authenticated;
grant execute on function public.start_workflow(uuid, text, text, text, jsonb, uuid, uuid, integer, integer),
  public.pause_execution(uuid), public.resume_execution(uuid), public.cancel_execution(uuid), public.retry_execution(uuid) to authenticated, service_role;
