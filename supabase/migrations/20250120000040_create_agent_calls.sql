-- Agents that call agents: a running task pauses with calls, each call is a task of its own, and when all of them are over
-- the caller goes on with what they answered. Nobody holds a worker while it waits.
-- Lock order: as tasks. A caller and its calls are never waited for from one another: what is locked is left in
-- private.calls_to_settle for the reaper, which looks every second.

-- Tables -------------------------------------------------------------------------------------------------------------

create table private.agent_calls (
  id bigint generated always as identity primary key,
  parent_task_id uuid not null references public.tasks (id) on delete cascade,
  parent_run_id uuid not null,
  root_task_id uuid not null,
  child_task_id uuid references public.tasks (id) on delete set null,
  call_id text not null,
  agent_slug text not null,
  call_stack text[] not null,
  error_code text,
  error_message text,
  created_at timestamptz not null default now(),
  constraint a_call_has_its_own_task unique (child_task_id),
  constraint call_id_is_short check (length(call_id) between 1 and 255),
  constraint refused_means_no_task check (error_code is null or child_task_id is null)
);

-- The calls of a caller, in order (foreign key).
create index agent_calls_parent_idx on private.agent_calls (parent_task_id, id);
-- How many a whole tree of calls has made.
create index agent_calls_root_idx on private.agent_calls (root_task_id);

create table private.calls_to_settle (
  id bigint generated always as identity primary key,
  parent_task_id uuid not null
);

comment on table private.agent_calls is
  'Calls of agents by agents: the task that called, the task that the call became, and from which run. One without a task was refused: error_code says why.';
comment on column private.agent_calls.call_id is 'The caller''s own name for the call, given back with its result.';
comment on column private.agent_calls.call_stack is 'The agents above the one that is called, the first one first.';
comment on table private.calls_to_settle is
  'Callers whose calls are to be looked at once more, since rows were locked or not committed when one of them ended. Read and emptied by the reaper.';

revoke all on private.agent_calls, private.calls_to_settle from anon, authenticated, service_role;
grant select, insert, update, delete on private.agent_calls, private.calls_to_settle to service_role;

-- Calling ------------------------------------------------------------------------------------------------------------

create function private.check_agent_calls(agent_calls jsonb) returns void
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_problem text := case
    when jsonb_typeof(agent_calls) is distinct from 'array' then 'agent_calls is no list'
    when jsonb_array_length(agent_calls) not between 1 and 20 then 'agent_calls has not 1 to 20 entries'
  end;
begin
  if v_problem is null then
    select case
        when jsonb_typeof(c.call) <> 'object' then 'a call is no object'
        when jsonb_typeof(c.call -> 'agent_slug') is distinct from 'string' then 'a call has no agent_slug'
        when coalesce(length(c.call ->> 'call_id'), 0) not between 1 and 255 then 'a call_id is missing or over 255 characters'
      end
    into v_problem
    from jsonb_array_elements(agent_calls) c (call)
    where jsonb_typeof(c.call) <> 'object' or jsonb_typeof(c.call -> 'agent_slug') is distinct from 'string'
      or coalesce(length(c.call ->> 'call_id'), 0) not between 1 and 255
    limit 1;
  end if;
  if v_problem is not null then
    raise exception using errcode = '22023', message = 'agent_calls_invalid',
      detail = format('The agents cannot be called: %s.', v_problem),
      hint = 'Send agent_calls [{call_id, agent_slug, prompt, params?}] in place of input_request.';
  end if;
end;
$$;
comment on function private.check_agent_calls(jsonb) is 'Raises 22023 agent_calls_invalid, with what is wrong, for calls that cannot be read.';
revoke execute on function private.check_agent_calls(jsonb) from public;
grant execute on function private.check_agent_calls(jsonb) to service_role;

create function private.start_agent_call(task public.tasks, origin private.agent_calls, call jsonb) returns uuid
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_child uuid;
begin
  if cardinality(origin.call_stack) > 5 then
    raise exception using errcode = 'PT409', message = 'calls_too_deep',
      detail = format('Agents have called each other %s deep: %s.', cardinality(origin.call_stack), array_to_string(origin.call_stack, ' > ')),
      hint = 'At most 5 deep: answer without another agent.';
  end if;
  if (select count(*) from private.agent_calls c where c.root_task_id = origin.root_task_id and c.child_task_id is not null) >= 100 then
    raise exception using errcode = 'PT429', message = 'too_many_calls',
      detail = format('Task %s has led to 100 calls of agents.', origin.root_task_id), hint = 'Answer without another agent.';
  end if;
  if call ->> 'agent_instance' is not null then
    return private.start_awaited_command(task, call);
  end if;
  perform private.usable_agent(origin.agent_slug, task.organization_slug, task.user_id);
  -- An agent that is just being deleted is not waited for.
  perform from public.agents a where a.slug = origin.agent_slug for key share skip locked;
  if not found then
    raise exception using errcode = 'PT409', message = 'agent_busy',
      detail = format('Agent "%s" is just being changed.', origin.agent_slug), hint = 'Call it again, or go on without it.';
  end if;
  insert into public.tasks (
    organization_slug, user_id, agent_slug, method, prompt, params, parent_task_id, execution_id, priority, timeout_seconds, max_attempts, metadata
  )
  values (
    task.organization_slug, task.user_id, origin.agent_slug, 'converse', call ->> 'prompt', coalesce(nullif(call -> 'params', 'null'), '{}'), task.id,
    task.execution_id, task.priority, task.timeout_seconds, task.max_attempts, jsonb_build_object('called_by', task.agent_slug)
  )
  returning id into v_child;
  return v_child;
end;
$$;
comment on function private.start_agent_call(public.tasks, private.agent_calls, jsonb) is
  'Inserts the task of a call, for the caller''s user and organization. PT409 calls_too_deep, PT429 too_many_calls, and what an insert into tasks raises.';
revoke execute on function private.start_agent_call(public.tasks, private.agent_calls, jsonb) from public;
grant execute on function private.start_agent_call(public.tasks, private.agent_calls, jsonb) to service_role;

create function private.take_agent_calls(task public.tasks, agent_calls jsonb) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_above private.agent_calls;
  v_origin private.agent_calls;
  v_call jsonb;
begin
  perform private.check_agent_calls(agent_calls);
  select c.* into v_above from private.agent_calls c where c.child_task_id = task.id;
  for v_call in select e.call from jsonb_array_elements(agent_calls) with ordinality e (call, place) order by e.place loop
    v_origin := null;
    v_origin.parent_task_id := task.id;
    v_origin.parent_run_id := task.lease_token;
    v_origin.root_task_id := coalesce(v_above.root_task_id, task.id);
    v_origin.call_stack := coalesce(v_above.call_stack, '{}') || coalesce(task.agent_slug, '');
    v_origin.agent_slug := v_call ->> 'agent_slug';
    begin
      v_origin.child_task_id := private.start_agent_call(task, v_origin, v_call);
    exception
      -- What the caller's user would be refused as well. The caller hears of it, as the result of the call.
      when data_exception or integrity_constraint_violation or insufficient_privilege or sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT413' or sqlstate 'PT429' then
        get stacked diagnostics v_origin.error_message = pg_exception_detail;
        v_origin.error_code := case when sqlerrm ~ '^[a-z][a-z0-9_]{0,62}$' then sqlerrm else 'call_refused' end;
        -- Only our own refusals are quoted: the detail of a broken constraint would show the row.
        v_origin.error_message := case when v_origin.error_code = 'call_refused' then 'The call breaks a rule of tasks.' else v_origin.error_message end;
    end;
    insert into private.agent_calls (parent_task_id, parent_run_id, root_task_id, child_task_id, call_id, agent_slug, call_stack, error_code, error_message)
    values (
      v_origin.parent_task_id, v_origin.parent_run_id, v_origin.root_task_id, v_origin.child_task_id, v_call ->> 'call_id', v_origin.agent_slug,
      v_origin.call_stack, v_origin.error_code, v_origin.error_message
    );
  end loop;
end;
$$;
comment on function private.take_agent_calls(public.tasks, jsonb) is
  'Makes the tasks of the calls [{call_id, agent_slug, prompt, params?}] of a pausing task; one that is refused is kept with the reason. Called with the task''s row locked, before it pauses.';
revoke execute on function private.take_agent_calls(public.tasks, jsonb) from public;
grant execute on function private.take_agent_calls(public.tasks, jsonb) to service_role;

-- Going on -----------------------------------------------------------------------------------------------------------

create function private.last_calls(task_id uuid) returns setof private.agent_calls
language sql stable security definer set search_path = ''
as $$
  select c.* from private.agent_calls c
  where c.parent_task_id = last_calls.task_id
    and c.parent_run_id = (select x.parent_run_id from private.agent_calls x where x.parent_task_id = last_calls.task_id order by x.id desc limit 1)
  order by c.id;
$$;
comment on function private.last_calls(uuid) is 'The calls of a task''s last pause that called agents, in order.';
revoke execute on function private.last_calls(uuid) from public;
grant execute on function private.last_calls(uuid) to service_role;

create function private.settle_calls(task_id uuid, has_ended boolean) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_status text;
  v_live uuid[];
  v_held uuid[];
begin
  select t.status into v_status from public.tasks t where t.id = settle_calls.task_id;
  v_live := array(
    select t.id from private.last_calls(settle_calls.task_id) c join public.tasks t on t.id = c.child_task_id
    where t.status in ('pending', 'in_progress', 'paused')
  );
  if v_status = 'paused' and not exists (select from public.input_requests r where r.task_id = settle_calls.task_id and r.status = 'pending') then
    if v_live <> '{}' then
      -- Another call may be ending right now, unseen: whoever looks after both sees them.
      insert into private.calls_to_settle (parent_task_id) select settle_calls.task_id where has_ended;
      return;
    end if;
    v_held := array(select t.id from public.tasks t where t.id = settle_calls.task_id and t.status = 'paused' for update skip locked);
    update public.tasks t set status = 'pending', scheduled_at = private.clock() where t.id = any (v_held) and t.status = 'paused';
    if v_held = '{}' then
      insert into private.calls_to_settle (parent_task_id) values (settle_calls.task_id);
    end if;
  elsif v_status in ('failed', 'cancelled', 'timeout', 'rejected') and v_live <> '{}' then
    v_held := array(select t.id from public.tasks t where t.id = any (v_live) order by t.id for update skip locked);
    update public.tasks t set status = 'cancelled' where t.id = any (v_held) and t.status in ('pending', 'in_progress', 'paused');
    if not v_held @> v_live then
      insert into private.calls_to_settle (parent_task_id) values (settle_calls.task_id);
    end if;
  end if;
end;
$$;
comment on function private.settle_calls(uuid, boolean) is
  'Lets a caller go on when all its calls are over, and cancels the calls of one that is over itself. has_ended: one of the calls has just ended. Waits for nobody: what it cannot do now it leaves to the reaper.';
revoke execute on function private.settle_calls(uuid, boolean) from public;
grant execute on function private.settle_calls(uuid, boolean) to service_role;

create function private.settle_calls_of() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if new.parent_task_id is not null then
    perform private.settle_calls(c.parent_task_id, true) from private.agent_calls c where c.child_task_id = new.id;
  end if;
  if new.paused_at is not null and new.status <> 'completed' then
    perform private.settle_calls(new.id, false);
  end if;
  return null;
end;
$$;
comment on function private.settle_calls_of() is 'After a task ends, by whatever hand: its caller goes on, and what it called itself is cancelled.';
revoke execute on function private.settle_calls_of() from public;

create trigger settle_calls_of after update on public.tasks
for each row when ((new.parent_task_id is not null or new.paused_at is not null) and new.completed_at is not null and old.completed_at is null)
execute function private.settle_calls_of();

create function private.settle_forgotten_calls() returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_parents uuid[];
begin
  with taken as (
    delete from private.calls_to_settle s
    where s.id in (select x.id from private.calls_to_settle x order by x.id limit 500 for update skip locked)
    returning s.parent_task_id
  )
  select array_agg(distinct t.parent_task_id) into v_parents from taken t;
  perform private.settle_calls(p.id, false) from unnest(v_parents) p (id);
end;
$$;
comment on function private.settle_forgotten_calls() is 'What calls and callers could not settle among themselves when they ended, at most 500 a call. Called by the reaper.';
revoke execute on function private.settle_forgotten_calls() from public;
grant execute on function private.settle_forgotten_calls() to service_role;

-- Claims -------------------------------------------------------------------------------------------------------------

create function private.returned_calls(task_id uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'call_id', c.call_id, 'agent_slug', c.agent_slug, 'task_id', c.child_task_id, 'status', coalesce(t.status, 'rejected'),
    'response', left(t.response, 100000), 'is_cut', coalesce(length(t.response) > 100000, false),
    'error_code', coalesce(c.error_code, t.error_code), 'error_message', left(coalesce(c.error_message, t.error_message), 2000),
    'seconds', round(extract(epoch from t.completed_at - t.created_at), 3)
  ) order by c.id), '[]')
  from private.last_calls(returned_calls.task_id) c
  left join public.tasks t on t.id = c.child_task_id;
$$;
comment on function private.returned_calls(uuid) is
  'What came of a task''s last calls, as claims give it: [{call_id, agent_slug, task_id, status, response, is_cut, error_code, error_message, seconds}]; a response has at most 100000 characters.';
revoke execute on function private.returned_calls(uuid) from public;
grant execute on function private.returned_calls(uuid) to service_role;

create function private.call_stack_of(task_id uuid) returns text[]
language sql stable security invoker set search_path = ''
as $$
  select coalesce((select c.call_stack from private.agent_calls c where c.child_task_id = call_stack_of.task_id), '{}');
$$;
comment on function private.call_stack_of(uuid) is 'The agents above a task''s own, the first one first; empty for a task that no agent called.';
revoke execute on function private.call_stack_of(uuid) from public;
grant execute on function private.call_stack_of(uuid) to service_role;

create function public.agents_to_call(task_id uuid, slugs text[]) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'slug', a.slug, 'name', a.name, 'description', left(a.description, 1000), 'input', a.io_schema -> 'input'
  ) order by a.slug), '[]')
  from public.tasks t
  join public.agents a on a.slug = any (agents_to_call.slugs) and a.status = 'active'
    and (a.organization_slug @> array[t.organization_slug] or a.owner_user_id = t.user_id)
  where t.id = agents_to_call.task_id;
$$;
comment on function public.agents_to_call(uuid, text[]) is
  'Of these agents those that a task''s user may run: [{slug, name, description, input}]. For workers, to describe them to a model.';
revoke execute on function public.agents_to_call(uuid, text[]) from public, anon, authenticated;
grant execute on function public.agents_to_call(uuid, text[]) to service_role;
