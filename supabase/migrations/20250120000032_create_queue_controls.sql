-- Queue controls: what operators and admins need. Pauses of queues, their health, dead letters and how they come back,
-- cancelling and enqueueing many tasks at once. A queue is one method of one organization.
-- Lock order: tasks in the order of their ids, then what hangs on them; keys of tasks in their own order.
-- Over 400 lines, because they are one subject: what somebody who runs queues has in hand.

-- Pauses ---------------------------------------------------------------------------------------------------------------

create table public.queue_pauses (
  id uuid primary key default gen_random_uuid(),
  organization_slug text references public.organizations (slug) on delete cascade,
  method text references public.task_methods (name) on delete cascade,
  reason text,
  paused_by uuid references public.users (id) on delete set null,
  created_at timestamptz not null default now(),
  -- The pauses of an organization (claims, policies, foreign key).
  constraint a_queue_is_paused_once unique nulls not distinct (organization_slug, method),
  constraint reason_is_short_and_not_blank check (btrim(reason) <> '' and length(reason) <= 1000)
);

-- Foreign keys.
create index queue_pauses_method_idx on public.queue_pauses (method);
create index queue_pauses_paused_by_idx on public.queue_pauses (paused_by);

create trigger audit after insert or update or delete on public.queue_pauses
for each row execute function private.audit('id');

comment on table public.queue_pauses is
  'Queues from which nothing is claimed. They go on taking tasks, and what runs goes on. Written by pause_queue and resume_queue.';
comment on column public.queue_pauses.organization_slug is 'Null: every organization.';
comment on column public.queue_pauses.method is 'Null: every method.';
comment on column public.queue_pauses.paused_by is 'The signed-in user; null for servers.';

alter table public.queue_pauses enable row level security;
revoke all on public.queue_pauses from anon, authenticated, service_role;
grant select on public.queue_pauses to authenticated;
grant select, insert, update, delete on public.queue_pauses to service_role;

create policy "Members read what pauses their queues" on public.queue_pauses
for select to authenticated
using (
  organization_slug = any (array(select private.my_organizations('viewer')))
  or organization_slug is null and exists (select private.my_organizations('viewer'))
);

create function private.require_queue(organization_slug text, method text) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  perform private.require_role(organization_slug, 'admin');
  if organization_slug is not null and not exists (select from public.organizations o where o.slug = require_queue.organization_slug) then
    raise exception using errcode = 'PT404', message = 'organization_not_found',
      detail = format('There is no organization "%s".', organization_slug), hint = 'Correct organization_slug.';
  end if;
  if method is not null and not exists (select from public.task_methods m where m.name = require_queue.method) then
    raise exception using errcode = '22023', message = 'unknown_method',
      detail = format('"%s" is not a method.', method), hint = 'Leave method out for all of them, or use one of task_methods.';
  end if;
end;
$$;
comment on function private.require_queue(text, text) is
  'Raises unless the caller is a server, or an admin of the organization that is named, and both names exist. No organization means the whole platform, which only servers may.';
revoke execute on function private.require_queue(text, text) from public;
grant execute on function private.require_queue(text, text) to authenticated, service_role;

create function private.pause_queue(organization_slug text, method text, reason text) returns public.queue_pauses
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_pause public.queue_pauses;
  v_constraint text;
begin
  perform private.require_queue(organization_slug, method);
  insert into public.queue_pauses as p (organization_slug, method, reason, paused_by)
  values (pause_queue.organization_slug, pause_queue.method, pause_queue.reason, (select auth.uid()))
  -- Changes nothing, but gives back the row that is there, also when another call has just written it.
  on conflict on constraint a_queue_is_paused_once do update set reason = p.reason
  returning p.* into v_pause;
  return v_pause;
exception when check_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_value(v_constraint, 'queue_pauses');
end;
$$;
comment on function private.pause_queue(text, text, text) is 'Body of public.pause_queue.';
revoke execute on function private.pause_queue(text, text, text) from public;
grant execute on function private.pause_queue(text, text, text) to authenticated, service_role;

create function public.pause_queue(organization_slug text default null, method text default null, reason text default null)
returns public.queue_pauses
language sql volatile security invoker set search_path = ''
as $$
  select * from private.pause_queue(organization_slug, method, reason);
$$;
comment on function public.pause_queue(text, text, text) is
  'Stops claims of a method of an organization, or of all its methods; without an organization of all organizations, which only servers may. Called again: the same row. Errors: 42501 not_allowed, PT404 organization_not_found, 22023 unknown_method.';
revoke execute on function public.pause_queue(text, text, text) from public, anon, authenticated;
grant execute on function public.pause_queue(text, text, text) to authenticated, service_role;

create function private.resume_queue(organization_slug text, method text) returns setof public.queue_pauses
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.require_queue(organization_slug, method);
  delete from public.queue_pauses p
  where p.organization_slug is not distinct from resume_queue.organization_slug and p.method is not distinct from resume_queue.method;
  return query
  select p.* from public.queue_pauses p
  where (p.organization_slug = resume_queue.organization_slug or p.organization_slug is null or resume_queue.organization_slug is null)
    and (p.method = resume_queue.method or p.method is null or resume_queue.method is null)
  order by p.created_at;
end;
$$;
comment on function private.resume_queue(text, text) is 'Body of public.resume_queue.';
revoke execute on function private.resume_queue(text, text) from public;
grant execute on function private.resume_queue(text, text) to authenticated, service_role;

create function public.resume_queue(organization_slug text default null, method text default null) returns setof public.queue_pauses
language sql volatile security invoker set search_path = ''
as $$
  select * from private.resume_queue(organization_slug, method);
$$;
comment on function public.resume_queue(text, text) is
  'Ends the pause that pause_queue made with the same arguments, if it is there, and gives the pauses that still hold back any of that work: none means that all of it runs. Errors as of pause_queue.';
revoke execute on function public.resume_queue(text, text) from public, anon, authenticated;
grant execute on function public.resume_queue(text, text) to authenticated, service_role;

-- Views ----------------------------------------------------------------------------------------------------------------

-- A barrier, so that a filter is tried only on rows that the caller may see; who that is stands in the view.
create view public.queue_health with (security_invoker = true, security_barrier = true) as
select q.organization_slug, q.method, q.pending, q.running, q.paused, q.scheduled,
  round(extract(epoch from (select private.clock()) - q.oldest_due_at), 3) as oldest_pending_seconds,
  q.overrun + case when p.is_paused then 0 else q.overdue end as stuck, q.dead, p.is_paused
from (
  select x.organization_slug, x.method, sum(x.pending)::bigint as pending, sum(x.running)::bigint as running, sum(x.paused)::bigint as paused,
    sum(x.scheduled)::bigint as scheduled, min(x.oldest_due_at) as oldest_due_at, sum(x.overrun)::bigint as overrun, sum(x.overdue)::bigint as overdue,
    sum(x.dead)::bigint as dead
  from (
    -- Two halves, each of which reads one narrow table and nothing that ended well; who sees what is as in the policy of tasks.
    select l.organization_slug, l.method,
      count(*) filter (where l.state not in ('running', 'paused') and l.scheduled_at <= (select private.clock())) as pending,
      count(*) filter (where l.state = 'running') as running,
      count(*) filter (where l.state = 'paused') as paused,
      count(*) filter (where l.state not in ('running', 'paused') and l.scheduled_at > (select private.clock())) as scheduled,
      min(l.scheduled_at) filter (where l.state not in ('running', 'paused') and l.scheduled_at <= (select private.clock())) as oldest_due_at,
      -- The reaper looks every second.
      count(*) filter (where l.look_at <= (select private.clock()) - interval '5 seconds') as overrun,
      count(*) filter (where l.state not in ('running', 'paused') and l.scheduled_at <= (select private.clock()) - interval '10 minutes') as overdue,
      0 as dead
    from private.live_tasks l
    where not (select private.is_client())
      or l.organization_slug = any (array(select private.my_organizations('viewer')))
      and (l.user_id = (select auth.uid()) or l.agent_conversation_id = any (array(select private.my_shared_conversations())))
      or l.organization_slug = any (array(select private.my_organizations('admin')))
    group by l.organization_slug, l.method
    union all
    select d.organization_slug, d.method, 0, 0, 0, 0, null, 0, 0, count(*)
    from private.dead_tasks d
    where d.completed_at > (select private.clock()) - interval '30 days'
      and (
        not (select private.is_client())
        or d.organization_slug = any (array(select private.my_organizations('viewer')))
        and (d.user_id = (select auth.uid()) or d.agent_conversation_id = any (array(select private.my_shared_conversations())))
        or d.organization_slug = any (array(select private.my_organizations('admin')))
      )
    group by d.organization_slug, d.method
  ) x
  group by x.organization_slug, x.method
) q
cross join lateral (
  select exists (
    select from public.queue_pauses z
    where (z.organization_slug = q.organization_slug or z.organization_slug is null) and (z.method = q.method or z.method is null)
  ) as is_paused
) p;
comment on view public.queue_health is
  'Per organization and method, among the tasks the caller may see: pending (due), running, paused (waiting for people), scheduled (pending, for later), oldest_pending_seconds (null when none is due), stuck (running past lease or timeout and not yet taken away, or due for ten minutes in a queue that is not paused), dead (dead letters of the last 30 days), is_paused (by queue_pauses). Queues without any of these have no row.';

create view public.dead_letters with (security_invoker = true) as
select t.id as task_id, t.organization_slug, t.user_id, t.method, t.agent_slug, t.agent_name, t.status, t.error_code, t.error_message,
  t.error_data, t.attempt, t.max_attempts, t.created_at, t.completed_at,
  (
    select coalesce(jsonb_agg(jsonb_build_object(
      'attempt', r.attempt, 'status', r.status, 'error_code', r.error_code, 'error_message', r.error_message, 'worker_id', r.worker_id,
      'started_at', r.created_at, 'completed_at', r.completed_at
    ) order by r.created_at), '[]')
    from public.runs r where r.task_id = t.id
  ) as attempts
from private.dead_tasks d
join public.tasks t on t.id = d.task_id and t.organization_slug = d.organization_slug and t.completed_at = d.completed_at;
comment on view public.dead_letters is
  'Tasks that failed for good: no attempt was left, or the error was not worth another (what is to be tried again is pending). attempts lists every run, oldest first: [{attempt, status, error_code, error_message, worker_id, started_at, completed_at}]. ?organization_slug=eq.X&order=completed_at.desc. redrive_tasks brings them back.';

revoke all on public.queue_health, public.dead_letters from anon, authenticated, service_role;
grant select on public.queue_health, public.dead_letters to authenticated, service_role;

-- Many tasks at once ---------------------------------------------------------------------------------------------------

create function private.check_batch(organization_slug text, minimum_role text, max_tasks integer) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  perform private.require_role(organization_slug, minimum_role);
  if max_tasks is null or max_tasks not between 1 and 1000 then
    raise exception using errcode = '22023', message = 'argument_out_of_range',
      detail = format('max_tasks is %s (1 to 1000).', max_tasks), hint = 'Correct it, and call again while the answer has something remaining.';
  end if;
end;
$$;
comment on function private.check_batch(text, text, integer) is
  'Raises 42501 not_allowed unless the caller is a server or has at least this role there, 22023 argument_out_of_range for max_tasks outside 1 to 1000.';
revoke execute on function private.check_batch(text, text, integer) from public;
grant execute on function private.check_batch(text, text, integer) to authenticated, service_role;

create function private.redrivable_tasks(organization_slug text, task_ids uuid[], error_code text) returns table (id uuid, completed_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  select t.id, d.completed_at from private.dead_tasks d join public.tasks t on t.id = d.task_id
  where d.organization_slug = redrivable_tasks.organization_slug and t.attempt < 1000 and t.project_step_id is null -- see retry_project_step
    and (redrivable_tasks.task_ids is null or t.id = any (redrivable_tasks.task_ids))
    and (redrivable_tasks.error_code is null or t.error_code = redrivable_tasks.error_code);
$$;
comment on function private.redrivable_tasks(text, uuid[], text) is 'The dead letters that redrive_tasks means. Called after the caller''s role was checked.';
revoke execute on function private.redrivable_tasks(text, uuid[], text) from public;

create function private.redrive_tasks(organization_slug text, task_ids uuid[], error_code text, max_tasks integer) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_chosen uuid[];
  v_ids uuid[] := '{}';
  v_id uuid;
  v_remaining bigint;
begin
  perform private.check_batch(organization_slug, 'admin', max_tasks);
  v_chosen := array(
    select d.id from private.redrivable_tasks(organization_slug, task_ids, error_code) d order by d.completed_at limit max_tasks
  );
  for v_id in
    select t.id from public.tasks t
    where t.id = any (v_chosen) and t.status in ('failed', 'timeout')
    order by t.id
    for update skip locked
  loop
    perform private.retry_task(v_id);
    v_ids := v_ids || v_id;
  end loop;
  select count(*) into v_remaining from private.redrivable_tasks(organization_slug, task_ids, error_code);
  return jsonb_build_object('redriven', cardinality(v_ids), 'remaining', v_remaining, 'task_ids', to_jsonb(v_ids));
end;
$$;
comment on function private.redrive_tasks(text, uuid[], text, integer) is 'Body of public.redrive_tasks.';
revoke execute on function private.redrive_tasks(text, uuid[], text, integer) from public;
grant execute on function private.redrive_tasks(text, uuid[], text, integer) to authenticated, service_role;

create function public.redrive_tasks(
  organization_slug text, task_ids uuid[] default null, error_code text default null, max_tasks integer default 100
) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.redrive_tasks(organization_slug, task_ids, error_code, max_tasks);
$$;
comment on function public.redrive_tasks(text, uuid[], text, integer) is
  'For admins: puts dead letters back into the queue as retry_task does, the oldest first; all of them, or those of a list, of an error_code. Returns {redriven, remaining, task_ids}; remaining counts what else fits, also what somebody else is just redriving. Errors: 42501 not_allowed, 22023 argument_out_of_range.';
revoke execute on function public.redrive_tasks(text, uuid[], text, integer) from public, anon, authenticated;
grant execute on function public.redrive_tasks(text, uuid[], text, integer) to authenticated, service_role;

create function private.cancellable_tasks(organization_slug text, task_ids uuid[], status text, method text, agent_slug text) returns setof uuid
language sql stable security definer set search_path = ''
as $$
  select t.id from private.live_tasks l join public.tasks t on t.id = l.task_id
  where l.organization_slug = cancellable_tasks.organization_slug
    and (
      not (select private.is_client()) or t.user_id = (select auth.uid()) and not private.method_is_internal(t.method)
      or t.organization_slug = any (array(select private.my_organizations('admin')))
    )
    and (cancellable_tasks.task_ids is null or t.id = any (cancellable_tasks.task_ids))
    and (cancellable_tasks.status is null or t.status = cancellable_tasks.status)
    and (cancellable_tasks.method is null or t.method = cancellable_tasks.method)
    and (cancellable_tasks.agent_slug is null or t.agent_slug = cancellable_tasks.agent_slug);
$$;
comment on function private.cancellable_tasks(text, uuid[], text, text, text) is
  'The unfinished tasks that cancel_tasks means: own ones, an admin''s whole organization. Called after membership was checked.';
revoke execute on function private.cancellable_tasks(text, uuid[], text, text, text) from public;

create function private.cancel_tasks(organization_slug text, task_ids uuid[], status text, method text, agent_slug text, max_tasks integer)
returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_chosen uuid[];
  v_ids uuid[] := '{}';
  v_remaining bigint;
begin
  perform private.check_batch(organization_slug, 'member', max_tasks);
  if coalesce(task_ids::text, status, method, agent_slug) is null then
    raise exception using errcode = '22023', message = 'filter_missing',
      detail = 'None of task_ids, status, method and agent_slug is given.', hint = 'Say what to cancel, e.g. status "pending".';
  end if;
  if status not in ('pending', 'in_progress', 'paused') then
    raise exception using errcode = '22023', message = 'status_not_cancellable',
      detail = format('"%s" is not a state of an unfinished task.', status), hint = 'Use pending, in_progress or paused.';
  end if;
  v_chosen := array(
    select c.id from private.cancellable_tasks(organization_slug, task_ids, status, method, agent_slug) as c (id) order by c.id limit max_tasks
  );
  -- What others hold is tried again for a second, but never waited for with locks in hand: deletions lock in an order of their own.
  for v_round in 1..20 loop
    with locked as materialized (
      select t.id from public.tasks t
      where t.id = any (v_chosen) and t.status in ('pending', 'in_progress', 'paused')
        and (cancel_tasks.status is null or t.status = cancel_tasks.status)
      order by t.id
      for update skip locked
    ),
    cancelled as (
      update public.tasks t set status = 'cancelled' from locked l where t.id = l.id returning t.id
    )
    select v_ids || coalesce(array_agg(c.id order by c.id), '{}') into v_ids from cancelled c;
    exit when not exists (
      select from public.tasks t
      where t.id = any (v_chosen) and t.status in ('pending', 'in_progress', 'paused') and (cancel_tasks.status is null or t.status = cancel_tasks.status)
    );
    perform pg_sleep(0.05);
  end loop;
  select count(*) into v_remaining from private.cancellable_tasks(organization_slug, task_ids, status, method, agent_slug);
  return jsonb_build_object('cancelled', cardinality(v_ids), 'remaining', v_remaining, 'task_ids', to_jsonb(v_ids));
end;
$$;
comment on function private.cancel_tasks(text, uuid[], text, text, text, integer) is 'Body of public.cancel_tasks.';
revoke execute on function private.cancel_tasks(text, uuid[], text, text, text, integer) from public;
grant execute on function private.cancel_tasks(text, uuid[], text, text, text, integer) to authenticated, service_role;

create function public.cancel_tasks(
  organization_slug text, task_ids uuid[] default null, status text default null, method text default null, agent_slug text default null,
  max_tasks integer default 100
) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.cancel_tasks(organization_slug, task_ids, status, method, agent_slug, max_tasks);
$$;
comment on function public.cancel_tasks(text, uuid[], text, text, text, integer) is
  'Cancels unfinished tasks that fit every argument given, at least one: members their own, admins everybody''s. Returns {cancelled, remaining, task_ids}; what is over or not the caller''s is passed over. Errors: 42501 not_allowed, 22023 filter_missing, status_not_cancellable, argument_out_of_range.';
revoke execute on function public.cancel_tasks(text, uuid[], text, text, text, integer) from public, anon, authenticated;
grant execute on function public.cancel_tasks(text, uuid[], text, text, text, integer) to authenticated, service_role;

create function private.check_task_list(tasks jsonb) returns void
language plpgsql immutable security invoker set search_path = ''
as $$
declare
  v_problem text;
begin
  if jsonb_typeof(tasks) is distinct from 'array' then
    v_problem := format('tasks is %s, not a JSON array.', coalesce(jsonb_typeof(tasks), 'missing'));
  elsif jsonb_array_length(tasks) > 1000 then
    v_problem := format('tasks has %s elements; at most 1000 are taken at once.', jsonb_array_length(tasks));
  else
    select format('Element %s of tasks is %s, not an object.', i.place, jsonb_typeof(i.item)) into v_problem
    from jsonb_array_elements(tasks) with ordinality i (item, place)
    where jsonb_typeof(i.item) <> 'object'
    order by i.place
    limit 1;
    if v_problem is null then
      select format('Element %s of tasks has other keys than the first one.', i.place) into v_problem
      from jsonb_array_elements(tasks) with ordinality i (item, place)
      where array(select k.name from jsonb_object_keys(i.item) k (name) order by k.name)
        <> array(select k.name from jsonb_object_keys(tasks -> 0) k (name) order by k.name)
      order by i.place
      limit 1;
    end if;
  end if;
  if v_problem is not null then
    raise exception using errcode = '22023', message = 'tasks_not_a_list', detail = v_problem,
      hint = 'Send an array of objects as you would insert them into tasks, all with the same keys; null for a key that one does not need.';
  end if;
end;
$$;
comment on function private.check_task_list(jsonb) is 'Raises 22023 tasks_not_a_list unless this is an array of at most 1000 objects with the same keys.';
revoke execute on function private.check_task_list(jsonb) from public;
grant execute on function private.check_task_list(jsonb) to authenticated, service_role;

create function public.enqueue_tasks(tasks jsonb default null) returns setof public.tasks
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_items jsonb;
  v_columns text;
  v_found bigint;
begin
  perform private.check_task_list(tasks);
  -- Each gets its id and organization here, so that its row can be found again.
  with items as materialized (
    select i.item, i.position, coalesce(i.item ->> 'organization_slug', c.organization_slug) as named
    from jsonb_array_elements(tasks) with ordinality as i (item, position)
    left join public.agent_conversations c on c.id = private.uuid_or_null(i.item ->> 'agent_conversation_id')
  ),
  organizations as materialized (
    select d.named, private.my_organization_or_default(d.named) as slug from (select distinct named from items) d
  )
  select jsonb_agg(i.item || jsonb_build_object(
    'id', coalesce(i.item ->> 'id', gen_random_uuid()::text), 'organization_slug', o.slug
  ) order by i.position)
  into v_items
  from items i
  join organizations o on o.named is not distinct from i.named;
  if v_items is null then
    return;
  end if;
  select string_agg(format('%I', k.name), ', ') into v_columns from jsonb_object_keys(v_items -> 0) k (name);
  execute format(
    -- Columns that are not sent keep their defaults. In the order of keys, so that two calls never wait for each other in a circle.
    'insert into public.tasks (%1$s)
    select %1$s from jsonb_populate_recordset(null::public.tasks, $1) i
    where not exists (select from public.tasks t where t.organization_slug = i.organization_slug and t.idempotency_key = i.idempotency_key)
    order by i.organization_slug, i.idempotency_key
    on conflict (organization_slug, idempotency_key) do nothing', v_columns
  ) using v_items;
  return query
  select t.*
  from rows from (jsonb_to_recordset(v_items) as (id uuid, organization_slug text, idempotency_key text))
    with ordinality as i (id, organization_slug, idempotency_key, position)
  cross join lateral (
    select x.* from public.tasks x where x.id = i.id and i.idempotency_key is null
    union all
    select x.* from public.tasks x where x.organization_slug = i.organization_slug and x.idempotency_key = i.idempotency_key
  ) t
  order by i.position;
  get diagnostics v_found = row_count;
  if v_found < jsonb_array_length(v_items) then
    raise exception using errcode = 'PT409', message = 'idempotency_key_taken',
      detail = 'An idempotency_key belongs to a task of the organization that you may not read.',
      hint = 'Choose keys that only you use, e.g. with your user id in them.';
  end if;
end;
$$;
comment on function public.enqueue_tasks(jsonb) is
  'Inserts up to 1000 tasks as the caller, given as for an insert, and returns them in order. A task whose idempotency_key the organization has already is not inserted: the one that is there is returned, the same to everybody who sends the key, at the same moment too (an insert that ignores duplicates returns nothing for them). Errors: as of an insert, 22023 tasks_not_a_list, PT409 idempotency_key_taken.';
revoke execute on function public.enqueue_tasks(jsonb) from public, anon, authenticated;
grant execute on function public.enqueue_tasks(jsonb) to authenticated, service_role;
