-- Claiming: how pending tasks reach workers.
-- The rows of tasks are wide and stay for ever; what is not finished stands once more in the narrow table
-- private.live_tasks, kept by triggers, so that finished work costs a claim nothing. Whoever changes a task holds the lock on
-- its row of tasks; what is done here to the entries of other tasks skips what is locked, so that nobody waits in a circle.
-- Over 400 lines, because the table, what keeps it in step and the claim that reads it are one subject.

create table private.live_tasks (
  task_id uuid primary key,
  organization_slug text not null,
  user_id uuid not null,
  agent_conversation_id uuid,
  method text not null,
  agent_slug text,
  concurrency_key text,
  concurrency_limit integer not null,
  priority integer not null,
  scheduled_at timestamptz not null,
  created_at timestamptz not null,
  ticket bigint generated always as identity,
  attempt integer not null,
  state text not null,
  look_at timestamptz,
  constraint state_is_known check (state in ('delayed', 'pending', 'waiting_for_key', 'waiting_for_agent', 'running', 'paused')),
  constraint running_tasks_are_looked_at check ((state = 'running') = (look_at is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- What may be claimed, in order; a loose scan finds the head of each organization and method.
create index live_tasks_pending_idx on private.live_tasks (organization_slug, method, priority, scheduled_at, ticket) where state = 'pending';
-- What becomes due.
create index live_tasks_delayed_idx on private.live_tasks (scheduled_at) where state = 'delayed';
create index live_tasks_delayed_queue_idx on private.live_tasks (organization_slug, scheduled_at) where state = 'delayed';
-- The tasks of a concurrency key that stand before others, in order.
create index live_tasks_key_idx on private.live_tasks (organization_slug, concurrency_key, ticket)
where concurrency_key is not null and (state in ('pending', 'waiting_for_key', 'waiting_for_agent') or state = 'delayed' and attempt > 0);
-- The heads of keys that wait (private.wake_forgotten_tasks).
create index live_tasks_waiting_key_idx on private.live_tasks (organization_slug, concurrency_key, ticket) where state = 'waiting_for_key';
-- What waits for its agent, in order.
create index live_tasks_agent_idx on private.live_tasks (agent_slug, priority, scheduled_at, ticket) where state = 'waiting_for_agent';
-- How many an organization runs, how many an agent, how many of a key.
create index live_tasks_running_idx on private.live_tasks (organization_slug) where state = 'running';
create index live_tasks_running_agent_idx on private.live_tasks (agent_slug) where state = 'running' and agent_slug is not null;
create index live_tasks_running_key_idx on private.live_tasks (organization_slug, concurrency_key) where state = 'running' and concurrency_key is not null;
-- A user's and an organization's unfinished tasks (active_tasks, queue_health).
create index live_tasks_user_idx on private.live_tasks (user_id, priority, created_at);
create index live_tasks_organization_idx on private.live_tasks (organization_slug, priority, created_at);
-- What the reaper looks at.
create index live_tasks_look_at_idx on private.live_tasks (look_at) where state = 'running';

comment on table private.live_tasks is 'One narrow row for each unfinished task, kept in step with tasks by triggers; claims and the reaper read nothing else.';
comment on column private.live_tasks.ticket is 'Order of insertion.';
comment on column private.live_tasks.state is
  'delayed: scheduled for later; pending: may be claimed; waiting_for_key, waiting_for_agent: its concurrency_key or its agent has as many as it may; running; paused: waits for a person.';
comment on column private.live_tasks.look_at is 'When the reaper looks whether the lease still holds; the lease itself stands in tasks.';

alter table private.live_tasks enable row level security;
revoke all on private.live_tasks from anon, authenticated, service_role;
grant select on private.live_tasks to authenticated; -- for the views over it; the schema is not exposed
grant select, update on private.live_tasks to service_role;

create policy "The views over it decide" on private.live_tasks for select to authenticated using (true);

create table private.dead_tasks (
  task_id uuid primary key references public.tasks (id) on delete cascade,
  organization_slug text not null,
  user_id uuid not null,
  agent_conversation_id uuid,
  method text not null,
  completed_at timestamptz not null
);

-- Dead letters of an organization, newest first, and how many.
create index dead_tasks_organization_idx on private.dead_tasks (organization_slug, completed_at desc) include (method);
-- Those of the last days, over all organizations.
create index dead_tasks_completed_at_idx on private.dead_tasks (completed_at);

comment on table private.dead_tasks is 'One narrow row for each task that failed for good (failed, timeout), until it is retried; kept in step with tasks by triggers. See dead_letters.';

alter table private.dead_tasks enable row level security;
revoke all on private.dead_tasks from anon, authenticated, service_role;
grant select on private.dead_tasks to authenticated, service_role;

create policy "Members reach the dead letters of their organizations" on private.dead_tasks for select to authenticated
using (organization_slug = any (array(select private.my_organizations('viewer'))));

-- Floors -----------------------------------------------------------------------------------------------------------------

-- While somebody holds an old snapshot (a dump, a long report), vacuum removes no entry of what has been claimed since, and
-- a claim that begins at the start of its queue walks over all of them. Only then a lane (the tasks of one priority in a
-- queue) gets a floor, and claims begin there. A floor may be wrong for a while: whoever commits late, or finds the floor's
-- row locked, leaves a pending task below it, which private.check_floors finds; nobody ever waits for a floor.
create table private.queue_floors (
  organization_slug text not null,
  method text not null,
  priority integer not null,
  scheduled_at timestamptz not null,
  ticket bigint not null,
  raised_at timestamptz not null default clock_timestamp(),
  primary key (organization_slug, method, priority)
) with (fillfactor = 50);
comment on table private.queue_floors is
  'Where claims begin in a lane (the tasks of one priority in a queue) whose index is full of dead entries: nothing before (scheduled_at, ticket) is known to be pending. Empty unless a long-running snapshot keeps dead rows.';
revoke all on private.queue_floors from anon, authenticated, service_role;
grant select, insert, update, delete on private.queue_floors to service_role;

create function private.entries_walked(index regclass) returns bigint
language sql volatile security invoker set search_path = ''
as $$
  select coalesce(pg_catalog.pg_stat_get_xact_tuples_returned(index), 0);
$$;
comment on function private.entries_walked(regclass) is
  'How many entries of an index this transaction''s scans have passed, dead ones included: the difference between two calls is what lay between.';
revoke execute on function private.entries_walked(regclass) from public;
grant execute on function private.entries_walked(regclass) to service_role;

create function private.lower_floors(ids uuid[]) returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
begin
  update private.queue_floors f set scheduled_at = l.scheduled_at, ticket = l.ticket
  from (
    select distinct on (x.organization_slug, x.method, x.priority) x.organization_slug, x.method, x.priority, x.scheduled_at, x.ticket
    from private.live_tasks x
    where x.task_id = any (ids) and x.state = 'pending'
    order by x.organization_slug, x.method, x.priority, x.scheduled_at, x.ticket
  ) l
  where f.organization_slug = l.organization_slug and f.method = l.method and f.priority = l.priority
    and (f.scheduled_at, f.ticket) > (l.scheduled_at, l.ticket)
    and exists (
      select from private.queue_floors z
      where z.organization_slug = f.organization_slug and z.method = f.method and z.priority = f.priority
      for update skip locked
    );
end;
$$;
comment on function private.lower_floors(uuid[]) is
  'After these tasks became pending: no floor stays above one of them, unless its row is locked (private.check_floors finds what was left out).';
revoke execute on function private.lower_floors(uuid[]) from public;
grant execute on function private.lower_floors(uuid[]) to service_role;

create function private.raise_floors(ids uuid[]) returns void
language plpgsql volatile security invoker
set search_path = '' set enable_seqscan = off set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off
as $$
declare
  -- Whoever inserts now has a moment to commit before claims begin above it.
  v_latest constant timestamptz := private.clock() - interval '500 milliseconds';
  v_lane record;
  v_floor private.queue_floors;
  v_head record;
  v_walked bigint;
begin
  -- One raises, the others go on claiming.
  if not pg_try_advisory_xact_lock(hashtextextended('queue_floors', 2)) then
    return;
  end if;
  for v_lane in
    select distinct l.organization_slug, l.method, l.priority from private.live_tasks l where l.task_id = any (ids) limit 100
  loop
    select f.* into v_floor from private.queue_floors f
    where f.organization_slug = v_lane.organization_slug and f.method = v_lane.method and f.priority = v_lane.priority
    for update skip locked;
    continue when v_floor.raised_at > clock_timestamp() - interval '1 second' or not found and exists (
      select from private.queue_floors f
      where f.organization_slug = v_lane.organization_slug and f.method = v_lane.method and f.priority = v_lane.priority
    );
    -- The floor is locked: what was lowered until now is seen here.
    v_walked := private.entries_walked('private.live_tasks_pending_idx');
    select l.scheduled_at, l.ticket into v_head from private.live_tasks l
    where l.state = 'pending' and l.organization_slug = v_lane.organization_slug and l.method = v_lane.method and l.priority = v_lane.priority
      and (l.scheduled_at, l.ticket) >= (coalesce(v_floor.scheduled_at, '-infinity'), coalesce(v_floor.ticket, 0))
    order by l.scheduled_at, l.ticket
    limit 1;
    continue when not found or private.entries_walked('private.live_tasks_pending_idx') - v_walked < 500;
    if v_head.scheduled_at > v_latest then
      v_head.scheduled_at := v_latest;
      v_head.ticket := 0;
    end if;
    insert into private.queue_floors as f (organization_slug, method, priority, scheduled_at, ticket)
    values (v_lane.organization_slug, v_lane.method, v_lane.priority, v_head.scheduled_at, v_head.ticket)
    on conflict (organization_slug, method, priority) do update
    set scheduled_at = excluded.scheduled_at, ticket = excluded.ticket, raised_at = excluded.raised_at
    where (f.scheduled_at, f.ticket) < (excluded.scheduled_at, excluded.ticket);
  end loop;
end;
$$;
comment on function private.raise_floors(uuid[]) is
  'After a claim walked far to find these candidates: a floor at the first pending task of each of their lanes that has hundreds of dead entries before it; at most once a second for a lane, half a second before now at the latest.';
revoke execute on function private.raise_floors(uuid[]) from public;
grant execute on function private.raise_floors(uuid[]) to service_role;

create function private.floored_tasks(organization_slug text, method text, passed uuid[], depth integer) returns setof private.live_tasks
language plpgsql volatile security invoker rows 100
set search_path = '' set enable_seqscan = off set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off
as $$
declare
  v_floor private.queue_floors;
  v_last bigint := -2147483649;
  v_left integer := depth;
  v_found integer;
begin
  for v_floor in
    select f.* from private.queue_floors f
    where f.organization_slug = floored_tasks.organization_slug and f.method = floored_tasks.method
    order by f.priority
  loop
    -- The lanes before it, which have no floor, and then its own.
    return query select l.* from private.live_tasks l
    where l.state = 'pending' and l.organization_slug = floored_tasks.organization_slug and l.method = floored_tasks.method
      and l.priority > v_last and l.priority < v_floor.priority and l.task_id <> all (passed)
    order by l.priority, l.scheduled_at, l.ticket limit v_left;
    get diagnostics v_found = row_count;
    v_left := v_left - v_found;
    return query select l.* from private.live_tasks l
    where l.state = 'pending' and l.organization_slug = floored_tasks.organization_slug and l.method = floored_tasks.method
      and l.priority = v_floor.priority and (l.scheduled_at, l.ticket) >= (v_floor.scheduled_at, v_floor.ticket) and l.task_id <> all (passed)
    order by l.scheduled_at, l.ticket limit v_left;
    get diagnostics v_found = row_count;
    v_left := v_left - v_found;
    if v_left <= 0 then
      return;
    end if;
    v_last := v_floor.priority;
  end loop;
  return query select l.* from private.live_tasks l
  where l.state = 'pending' and l.organization_slug = floored_tasks.organization_slug and l.method = floored_tasks.method
    and l.priority > v_last and l.task_id <> all (passed)
  order by l.priority, l.scheduled_at, l.ticket limit v_left;
end;
$$;
comment on function private.floored_tasks(text, text, uuid[], integer) is
  'The first pending tasks of a queue in the order of claims, but for those passed; each lane read from its floor on.';
revoke execute on function private.floored_tasks(text, text, uuid[], integer) from public;
grant execute on function private.floored_tasks(text, text, uuid[], integer) to service_role;

create function private.check_floors() returns bigint
language plpgsql volatile security invoker
set search_path = '' set enable_seqscan = off set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off
as $$
declare
  v_floor private.queue_floors;
  v_begun constant bigint := private.entries_walked('private.live_tasks_pending_idx');
  v_walked bigint;
  v_lost uuid;
begin
  for v_floor in select f.* from private.queue_floors f loop
    v_walked := private.entries_walked('private.live_tasks_pending_idx');
    select l.task_id into v_lost from private.live_tasks l
    where l.state = 'pending' and l.organization_slug = v_floor.organization_slug and l.method = v_floor.method and l.priority = v_floor.priority
      and (l.scheduled_at, l.ticket) < (v_floor.scheduled_at, v_floor.ticket)
    order by l.scheduled_at, l.ticket
    limit 1;
    if found then
      perform private.lower_floors(array[v_lost]);
    elsif private.entries_walked('private.live_tasks_pending_idx') - v_walked < 500 then
      delete from private.queue_floors d
      where d.organization_slug = v_floor.organization_slug and d.method = v_floor.method and d.priority = v_floor.priority and exists (
        select from private.queue_floors z
        where z.organization_slug = d.organization_slug and z.method = d.method and z.priority = d.priority
        for update skip locked
      );
    end if;
  end loop;
  return private.entries_walked('private.live_tasks_pending_idx') - v_begun;
end;
$$;
comment on function private.check_floors() is
  'Lowers each floor to what is pending below it after all, and takes away those that save nothing any more. Returns how many entries of the index it passed.';
revoke execute on function private.check_floors() from public;
grant execute on function private.check_floors() to service_role;

-- In step with tasks ---------------------------------------------------------------------------------------------------

create function private.next_of_agent(agent_slug text, places bigint) returns setof uuid
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
begin
  return query
  select z.task_id from private.live_tasks z
  where z.state = 'waiting_for_agent' and z.task_id in (
    select y.task_id
    from (
      select x.task_id, row_number() over (partition by x.organization_slug order by x.priority, x.scheduled_at, x.ticket) as turn
      from private.live_tasks x
      join public.organizations o on o.slug = x.organization_slug and o.is_active
      where x.agent_slug = next_of_agent.agent_slug and x.state = 'waiting_for_agent' and not private.queue_is_paused(x.organization_slug, x.method)
    ) y
    order by y.turn, random()
    limit next_of_agent.places
  )
  for update skip locked;
end;
$$;
comment on function private.next_of_agent(text, bigint) is
  'Locks the next tasks that wait for an agent: its organizations take turns, and paused queues are passed over.';
revoke execute on function private.next_of_agent(text, bigint) from public;
grant execute on function private.next_of_agent(text, bigint) to service_role;

create function private.wake_waiting_tasks(gone uuid[]) returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_left record;
  v_woken uuid[] := '{}';
begin
  -- One for each place that became free; whether it may really go is decided when it is claimed.
  for v_left in
    select l.organization_slug, l.concurrency_key, max(l.concurrency_limit) as places
    from private.live_tasks l
    where l.task_id = any (gone) and l.concurrency_key is not null
    group by l.organization_slug, l.concurrency_key
  loop
    with woken as (
      update private.live_tasks l set state = 'pending'
      where l.task_id in (
        select x.task_id from private.live_tasks x
        where x.organization_slug = v_left.organization_slug and x.concurrency_key = v_left.concurrency_key and x.state = 'waiting_for_key'
        order by x.ticket
        limit v_left.places
        for update skip locked
      )
      returning l.task_id
    )
    select v_woken || array_agg(w.task_id) into v_woken from woken w;
  end loop;
  for v_left in
    select l.agent_slug, count(*) as places
    from private.live_tasks l
    where l.task_id = any (gone) and l.state = 'running' and l.agent_slug is not null
      and exists (select from private.live_tasks x where x.agent_slug = l.agent_slug and x.state = 'waiting_for_agent')
    group by l.agent_slug
  loop
    with woken as (
      update private.live_tasks l set state = 'pending'
      where l.task_id in (select w.task_id from private.next_of_agent(v_left.agent_slug, v_left.places) w (task_id))
      returning l.task_id
    )
    select v_woken || array_agg(w.task_id) into v_woken from woken w;
  end loop;
  if v_woken <> '{}' and exists (select from private.queue_floors) then
    perform private.lower_floors(v_woken);
  end if;
end;
$$;
comment on function private.wake_waiting_tasks(uuid[]) is
  'Before these tasks leave the queue or their place in it: tasks that wait for the same keys and agents may be claimed again.';
revoke execute on function private.wake_waiting_tasks(uuid[]) from public;

create function private.follow_new_tasks() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_now constant timestamptz := private.clock();
begin
  insert into private.live_tasks (
    task_id, organization_slug, user_id, agent_conversation_id, method, agent_slug, concurrency_key, concurrency_limit, priority, scheduled_at,
    created_at, attempt, state
  )
  select n.id, n.organization_slug, n.user_id, n.agent_conversation_id, n.method, n.agent_slug, n.concurrency_key, n.concurrency_limit,
    n.priority, n.scheduled_at, n.created_at, n.attempt,
    case when n.scheduled_at > v_now then 'delayed' else 'pending' end
  from new_rows n
  where n.concurrency_key is null;
  if not exists (select from new_rows n where n.concurrency_key is not null) then
    if exists (select from private.queue_floors) then
      perform private.lower_floors(array(
        select n.id from new_rows n
        join private.queue_floors f on f.organization_slug = n.organization_slug and f.method = n.method and f.priority = n.priority
        where n.scheduled_at <= f.scheduled_at
      ));
    end if;
    return null;
  end if;
  -- A key's tasks wait outside the claims' index while as many as may run are ahead of them.
  insert into private.live_tasks (
    task_id, organization_slug, user_id, agent_conversation_id, method, agent_slug, concurrency_key, concurrency_limit, priority, scheduled_at,
    created_at, attempt, state
  )
  select n.id, n.organization_slug, n.user_id, n.agent_conversation_id, n.method, n.agent_slug, n.concurrency_key, n.concurrency_limit,
    n.priority, n.scheduled_at, n.created_at, n.attempt,
    case
      when n.scheduled_at > v_now then 'delayed'
      when n.ahead + (
        select count(*) from private.live_tasks x
        where x.state = 'running' and x.organization_slug = n.organization_slug and x.concurrency_key = n.concurrency_key
      ) + (
        select count(*) from (
          select from private.live_tasks x
          where x.organization_slug = n.organization_slug and x.concurrency_key = n.concurrency_key
            and x.state in ('pending', 'waiting_for_key', 'waiting_for_agent')
          limit n.concurrency_limit
        ) before
      ) >= n.concurrency_limit then 'waiting_for_key'
      else 'pending'
    end
  from (
    select r.*, row_number() over (partition by r.organization_slug, r.concurrency_key order by r.ordinal) - 1 as ahead
    from (select t.*, row_number() over () as ordinal from new_rows t where t.concurrency_key is not null) r
  ) n
  order by n.ordinal;
  if exists (select from private.queue_floors) then
    perform private.lower_floors(array(select n.id from new_rows n));
  end if;
  return null;
end;
$$;
comment on function private.follow_new_tasks() is 'After tasks are inserted: their entries in live_tasks.';
revoke execute on function private.follow_new_tasks() from public;

create function private.follow_changed_tasks() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_hashjoin = on
as $$
declare
  v_now constant timestamptz := private.clock();
  v_begun uuid[];
  v_left uuid[];
  v_paused uuid[];
  v_ended uuid[];
  v_dead uuid[];
  v_revived uuid[];
  v_pending uuid[];
  v_moved uuid[];
  v_crowded boolean;
  v_look_at timestamptz;
begin
  -- Claims and completions, which most statements are, are told from the rest without a join.
  if not exists (select from new_rows n where n.status <> 'in_progress') and not exists (select from old_rows o where o.status <> 'pending') then
    update private.live_tasks l
    set state = 'running', attempt = l.attempt + 1,
      look_at = (select min(least(n.lease_expires_at, n.started_at + make_interval(secs => n.timeout_seconds))) from new_rows n)
    where l.task_id = any (array(select n.id from new_rows n));
    return null;
  end if;
  if not exists (select from new_rows n where n.status <> 'completed') and not exists (select from old_rows o where o.status <> 'in_progress') then
    v_ended := array(select o.id from old_rows o);
    if exists (select from old_rows o where o.concurrency_key is not null) or exists (select from private.live_tasks l where l.state = 'waiting_for_agent') then
      perform private.wake_waiting_tasks(v_ended);
    end if;
    delete from private.live_tasks l where l.task_id = any (v_ended);
    return null;
  end if;
  select array_agg(n.id) filter (where n.status = 'in_progress' and o.status <> 'in_progress'),
    array_agg(n.id) filter (
      where o.status = 'in_progress' and n.status <> 'in_progress' or o.status = 'pending' and n.status not in ('pending', 'in_progress')
    ),
    array_agg(n.id) filter (where n.status = 'paused' and o.status <> 'paused'),
    array_agg(n.id) filter (where n.completed_at is not null and o.completed_at is null),
    array_agg(n.id) filter (where n.status in ('failed', 'timeout') and o.completed_at is null),
    array_agg(n.id) filter (where n.completed_at is null and o.completed_at is not null),
    array_agg(n.id) filter (
      where n.status = 'pending' and (
        o.status <> 'pending' or (n.priority, n.scheduled_at, n.concurrency_limit) is distinct from (o.priority, o.scheduled_at, o.concurrency_limit)
        or n.agent_slug is distinct from o.agent_slug or n.concurrency_key is distinct from o.concurrency_key
      )
    ),
    bool_or(n.concurrency_key is not null or o.concurrency_key is not null or n.agent_slug is not null),
    array_agg(n.id) filter (
      where n.status in ('in_progress', 'paused') and n.status = o.status
        and (n.agent_slug, n.concurrency_key, n.concurrency_limit, n.priority, n.agent_conversation_id)
        is distinct from (o.agent_slug, o.concurrency_key, o.concurrency_limit, o.priority, o.agent_conversation_id)
    ),
    min(least(n.lease_expires_at, n.started_at + make_interval(secs => n.timeout_seconds))) filter (
      where n.status = 'in_progress' and (
        o.status <> 'in_progress' or n.lease_expires_at < o.lease_expires_at or n.timeout_seconds < o.timeout_seconds or n.started_at < o.started_at
      )
    )
  into v_begun, v_left, v_paused, v_ended, v_dead, v_revived, v_pending, v_crowded, v_moved, v_look_at
  from new_rows n
  join old_rows o on o.id = n.id;
  if v_begun is not null then
    update private.live_tasks l set state = 'running', look_at = v_look_at, attempt = l.attempt + 1 where l.task_id = any (v_begun);
  elsif v_look_at is not null then
    -- A lease that was shortened by hand.
    update private.live_tasks l set look_at = least(l.look_at, v_look_at)
    where l.state = 'running' and l.task_id in (select n.id from new_rows n where n.status = 'in_progress');
  end if;
  if v_left is not null and v_crowded then
    perform private.wake_waiting_tasks(v_left);
  end if;
  if v_paused is not null then
    update private.live_tasks l set state = 'paused', look_at = null where l.task_id = any (v_paused);
  end if;
  if v_ended is not null then
    delete from private.live_tasks l where l.task_id = any (v_ended);
  end if;
  if v_dead is not null then
    insert into private.dead_tasks (task_id, organization_slug, user_id, agent_conversation_id, method, completed_at)
    select n.id, n.organization_slug, n.user_id, n.agent_conversation_id, n.method, n.completed_at from new_rows n where n.id = any (v_dead);
  end if;
  if v_revived is not null then
    delete from private.dead_tasks d where d.task_id = any (v_revived);
  end if;
  if v_moved is not null then
    update private.live_tasks l
    set agent_slug = n.agent_slug, concurrency_key = n.concurrency_key, concurrency_limit = n.concurrency_limit, priority = n.priority,
      agent_conversation_id = n.agent_conversation_id
    from new_rows n
    where l.task_id = any (v_moved) and n.id = l.task_id;
  end if;
  if v_pending is not null then
    insert into private.live_tasks as l (
      task_id, organization_slug, user_id, agent_conversation_id, method, agent_slug, concurrency_key, concurrency_limit, priority, scheduled_at,
      created_at, attempt, state
    )
    select n.id, n.organization_slug, n.user_id, n.agent_conversation_id, n.method, n.agent_slug, n.concurrency_key, n.concurrency_limit,
      n.priority, n.scheduled_at, n.created_at, n.attempt, case when n.scheduled_at > v_now then 'delayed' else 'pending' end
    from new_rows n
    where n.id = any (v_pending)
    on conflict (task_id) do update
    set agent_slug = excluded.agent_slug, concurrency_key = excluded.concurrency_key, concurrency_limit = excluded.concurrency_limit,
      priority = excluded.priority, scheduled_at = excluded.scheduled_at, attempt = excluded.attempt, state = excluded.state, look_at = null;
    if exists (select from private.queue_floors) then
      perform private.lower_floors(v_pending);
    end if;
  end if;
  return null;
end;
$$;
comment on function private.follow_changed_tasks() is 'After tasks change, by whatever hand: live_tasks and dead_tasks say the same.';
revoke execute on function private.follow_changed_tasks() from public;

create function private.follow_deleted_tasks() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_gone constant uuid[] := array(select o.id from old_rows o where o.completed_at is null);
begin
  if v_gone <> '{}' then
    perform private.wake_waiting_tasks(v_gone);
    delete from private.live_tasks l where l.task_id = any (v_gone);
  end if;
  return null;
end;
$$;
comment on function private.follow_deleted_tasks() is 'After tasks are deleted: so are their entries in live_tasks.';
revoke execute on function private.follow_deleted_tasks() from public;

create function private.lock_live_tasks() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  case tg_table_name
    when 'organizations' then
      perform from public.tasks t
      where t.id in (select l.task_id from private.live_tasks l where l.organization_slug = old.slug) order by t.id for update;
    when 'users' then
      perform from public.tasks t
      where t.id in (select l.task_id from private.live_tasks l where l.user_id = old.id) order by t.id for update;
    when 'agents' then
      perform from public.tasks t
      where t.id in (
        select l.task_id from private.live_tasks l
        where l.agent_slug = old.slug and (l.organization_slug = any (old.organization_slug) or l.user_id = old.owner_user_id)
      )
      order by t.id for update;
    when 'agent_conversations' then
      perform from public.tasks t where t.agent_conversation_id = old.id order by t.id for update;
  end case;
  return old;
end;
$$;
comment on function private.lock_live_tasks() is
  'Before an organization, a user, an agent or a conversation is deleted: locks its unfinished tasks in the order of their ids, as everybody does, before the foreign keys reach them in another.';
revoke execute on function private.lock_live_tasks() from public;

create trigger lock_live_tasks before delete on public.organizations
for each row execute function private.lock_live_tasks();
create trigger lock_live_tasks before delete on public.users
for each row execute function private.lock_live_tasks();
create trigger lock_live_tasks before delete on public.agents
for each row execute function private.lock_live_tasks();
create trigger lock_live_tasks before delete on public.agent_conversations
for each row execute function private.lock_live_tasks();

create trigger follow_new_tasks after insert on public.tasks
referencing new table as new_rows
for each statement execute function private.follow_new_tasks();
create trigger follow_changed_tasks after update on public.tasks
referencing old table as old_rows new table as new_rows
for each statement execute function private.follow_changed_tasks();
create trigger follow_deleted_tasks after delete on public.tasks
referencing old table as old_rows
for each statement execute function private.follow_deleted_tasks();

create function private.rebuild_live_tasks() returns bigint
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_now constant timestamptz := private.clock();
  v_count bigint;
begin
  lock table public.tasks in share row exclusive mode;
  delete from private.live_tasks;
  delete from private.queue_floors;
  insert into private.live_tasks (
    task_id, organization_slug, user_id, agent_conversation_id, method, agent_slug, concurrency_key, concurrency_limit, priority, scheduled_at,
    created_at, attempt, state, look_at
  )
  select t.id, t.organization_slug, t.user_id, t.agent_conversation_id, t.method, t.agent_slug, t.concurrency_key, t.concurrency_limit,
    t.priority, t.scheduled_at, t.created_at, t.attempt,
    case when t.status = 'in_progress' then 'running' when t.status = 'paused' then 'paused' when t.scheduled_at > v_now then 'delayed' else 'pending' end,
    case when t.status = 'in_progress' then v_now end
  from public.tasks t
  where t.status in ('pending', 'in_progress', 'paused')
  order by t.created_at, t.id;
  get diagnostics v_count = row_count;
  delete from private.dead_tasks;
  insert into private.dead_tasks (task_id, organization_slug, user_id, agent_conversation_id, method, completed_at)
  select t.id, t.organization_slug, t.user_id, t.agent_conversation_id, t.method, t.completed_at from public.tasks t where t.status in ('failed', 'timeout');
  return v_count;
end;
$$;
comment on function private.rebuild_live_tasks() is
  'Writes live_tasks and dead_tasks anew from tasks and returns how many live: after rows were loaded with triggers off. For the owner of the database.';
revoke execute on function private.rebuild_live_tasks() from public;

-- Choosing -------------------------------------------------------------------------------------------------------------

create table private.queue_walk (
  one boolean primary key default true check (one),
  organization_slug text not null default '',
  method text not null default '',
  key_organization_slug text not null default '',
  concurrency_key text not null default ''
);
comment on table private.queue_walk is
  'How far claims have walked over the queues, and the reaper over the keys that wait, when those are too many for once. One row; its lock is never waited for.';
revoke all on private.queue_walk from anon, authenticated, service_role;
grant select, update on private.queue_walk to service_role;
insert into private.queue_walk default values;

create function private.queue_is_paused(organization_slug text, method text) returns boolean
language plpgsql stable security invoker set search_path = '' set enable_seqscan = off
as $$
begin
  -- Four probes of one index; an "or" would read the table.
  return exists (select from public.queue_pauses p where p.organization_slug = queue_is_paused.organization_slug and p.method is null)
    or exists (select from public.queue_pauses p where p.organization_slug = queue_is_paused.organization_slug and p.method = queue_is_paused.method)
    or exists (select from public.queue_pauses p where p.organization_slug is null and p.method is null)
    or exists (select from public.queue_pauses p where p.organization_slug is null and p.method = queue_is_paused.method)
    or exists (select from private.spent_budgets s where s.organization_slug = queue_is_paused.organization_slug and s.until > private.clock())
    and not private.method_is_internal(queue_is_paused.method);
end;
$$;
comment on function private.queue_is_paused(text, text) is 'Whether nothing of this queue is claimed: somebody has paused the method, in this organization or in all (queue_pauses), or the organization''s budget of the month is spent.';
revoke execute on function private.queue_is_paused(text, text) from public;
grant execute on function private.queue_is_paused(text, text) to service_role;

create function private.queues_are_paused() returns boolean
language plpgsql stable security invoker set search_path = ''
as $$
begin
  return exists (select from public.queue_pauses) or exists (select from private.spent_budgets);
end;
$$;
comment on function private.queues_are_paused() is 'Whether any queue is paused, or any budget spent; where none is, nobody need ask for each.';
revoke execute on function private.queues_are_paused() from public;
grant execute on function private.queues_are_paused() to service_role;

create function private.organization_has_room(organization_slug text, method text, concurrency numeric, cap integer) returns boolean
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
begin
  if cap is not null and (
    select count(*) from private.live_tasks r where r.state = 'running' and r.organization_slug = organization_has_room.organization_slug
  ) >= cap then
    return false;
  end if;
  return concurrency is null or private.method_is_internal(method) or (
    select count(*) from private.live_tasks r
    where r.state = 'running' and r.organization_slug = organization_has_room.organization_slug
      and r.method <> all (array(select m.name from public.task_methods m where m.is_internal))
  ) + 1 <= concurrency;
end;
$$;
comment on function private.organization_has_room(text, text, numeric, integer) is
  'Whether an organization runs fewer tasks than its limits allow: concurrency counts those that people asked for, cap all. Null is no limit.';
revoke execute on function private.organization_has_room(text, text, numeric, integer) from public;
grant execute on function private.organization_has_room(text, text, numeric, integer) to service_role;

create function private.walk_queues(methods text[], from_organization text, from_method text, to_organization text, to_method text, max_queues bigint)
returns table (organization_slug text, method text, concurrency numeric, cap integer, floored boolean)
language plpgsql volatile security invoker rows 100
set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_sort = off set enable_incremental_sort = off
as $$
declare
  v_paused constant boolean := private.queues_are_paused();
begin
  -- A loose index scan: one probe for each queue that has pending tasks, however many those are; it ends with the limit.
  if not exists (select from private.queue_floors) then
    return query
    with recursive heads as (
      select from_organization as organization_slug, from_method as method, true as is_start
      union all
      select n.organization_slug, n.method, false
      from heads h
      cross join lateral (
        select l.organization_slug, l.method from private.live_tasks l
        where l.state = 'pending' and (l.organization_slug, l.method) > (h.organization_slug, h.method)
        order by l.organization_slug, l.method
        limit 1
      ) n
      where to_organization is null or (h.organization_slug, h.method) < (to_organization, to_method)
    )
    select h.organization_slug, h.method,
      case
        when o.settings #>> '{limits,max_concurrent_tasks}' is not null and not private.method_is_internal(h.method)
          then (o.settings #>> '{limits,max_concurrent_tasks}')::numeric
      end, o.max_running_tasks, false
    from heads h
    join public.organizations o on o.slug = h.organization_slug and o.is_active
    where not h.is_start and (walk_queues.methods is null or h.method = any (walk_queues.methods))
      and (to_organization is null or (h.organization_slug, h.method) <= (to_organization, to_method))
      and (not v_paused or not private.queue_is_paused(h.organization_slug, h.method))
      and (
        o.settings #>> '{limits,max_concurrent_tasks}' is null and o.max_running_tasks is null
        or private.organization_has_room(o.slug, h.method, (o.settings #>> '{limits,max_concurrent_tasks}')::numeric, o.max_running_tasks)
      )
    limit max_queues;
    return;
  end if;
  -- The same where there are floors: it goes from one queue that has some to the next, and never over their entries.
  return query
  with recursive heads as (
    select from_organization as organization_slug, from_method as method, false as floored, true as is_start,
      f.organization_slug as next_organization, f.method as next_method
    from (values (1)) as start (one)
    left join lateral (
      select x.organization_slug, x.method from private.queue_floors x
      where (x.organization_slug, x.method) > (from_organization, from_method)
      order by x.organization_slug, x.method
      limit 1
    ) f on true
    union all
    select n.organization_slug, n.method, n.floored, false, f.organization_slug, f.method
    from heads h
    cross join lateral (
      (
        select l.organization_slug, l.method, false as floored from private.live_tasks l
        where h.next_organization is null and l.state = 'pending' and (l.organization_slug, l.method) > (h.organization_slug, h.method)
        order by l.organization_slug, l.method
        limit 1
      )
      union all
      (
        select l.organization_slug, l.method, false from private.live_tasks l
        where h.next_organization is not null and l.state = 'pending' and (l.organization_slug, l.method) > (h.organization_slug, h.method)
          and (l.organization_slug, l.method) < (h.next_organization, h.next_method)
        order by l.organization_slug, l.method
        limit 1
      )
      union all
      select h.next_organization, h.next_method, true where h.next_organization is not null
      limit 1
    ) n
    left join lateral (
      select x.organization_slug, x.method from private.queue_floors x
      where (x.organization_slug, x.method) > (n.organization_slug, n.method)
      order by x.organization_slug, x.method
      limit 1
    ) f on true
    where to_organization is null or (h.organization_slug, h.method) < (to_organization, to_method)
  )
  select h.organization_slug, h.method,
    case
      when o.settings #>> '{limits,max_concurrent_tasks}' is not null and not private.method_is_internal(h.method)
        then (o.settings #>> '{limits,max_concurrent_tasks}')::numeric
    end, o.max_running_tasks, h.floored
  from heads h
  join public.organizations o on o.slug = h.organization_slug and o.is_active
  where not h.is_start and (walk_queues.methods is null or h.method = any (walk_queues.methods))
    and (to_organization is null or (h.organization_slug, h.method) <= (to_organization, to_method))
    and (not v_paused or not private.queue_is_paused(h.organization_slug, h.method))
    -- An organization without room is passed over here, so that it takes no place of others; it is counted exactly later.
    and (
      o.settings #>> '{limits,max_concurrent_tasks}' is null and o.max_running_tasks is null
      or private.organization_has_room(o.slug, h.method, (o.settings #>> '{limits,max_concurrent_tasks}')::numeric, o.max_running_tasks)
    )
    and (not h.floored or exists (select from private.floored_tasks(h.organization_slug, h.method, '{}', 1)))
  limit max_queues;
end;
$$;
comment on function private.walk_queues(text[], text, text, text, text, bigint) is
  'The next queues (organization and method) with pending tasks after one place and up to another, without paused ones and those of inactive organizations.';
revoke execute on function private.walk_queues(text[], text, text, text, text, bigint) from public;
grant execute on function private.walk_queues(text[], text, text, text, text, bigint) to service_role;

create function private.queues_with_work(methods text[], organizations text[], max_queues bigint)
returns table (organization_slug text, method text, concurrency numeric, cap integer, floored boolean)
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off rows 100
as $$
declare
  v_walk private.queue_walk;
  v_floored boolean;
  v_found bigint;
begin
  if organizations is not null then
    v_floored := exists (select from private.queue_floors);
    return query
    select o.slug, m.name, case when not m.is_internal then (o.settings #>> '{limits,max_concurrent_tasks}')::numeric end, o.max_running_tasks, floors.any
    from public.organizations o
    cross join public.task_methods m
    cross join lateral (
      select v_floored and exists (select from private.queue_floors f where f.organization_slug = o.slug and f.method = m.name) as any
    ) floors
    cross join lateral (
      (select from private.live_tasks l where not floors.any and l.state = 'pending' and l.organization_slug = o.slug and l.method = m.name limit 1)
      union all
      select from private.floored_tasks(o.slug, m.name, '{}', 1) where floors.any
    ) work
    where o.slug = any (organizations) and o.is_active and (queues_with_work.methods is null or m.name = any (queues_with_work.methods))
      and not private.queue_is_paused(o.slug, m.name);
    return;
  end if;
  -- Where there are more queues than one claim looks at, each claim goes on where the last one stopped.
  select w.* into v_walk from private.queue_walk w;
  return query select q.* from private.walk_queues(methods, v_walk.organization_slug, v_walk.method, null, null, max_queues) q;
  get diagnostics v_found = row_count;
  if v_found < max_queues and v_walk.organization_slug <> '' then
    return query select q.* from private.walk_queues(methods, '', '', v_walk.organization_slug, v_walk.method, max_queues - v_found) q;
  end if;
end;
$$;
comment on function private.queues_with_work(text[], text[], bigint) is
  'Queues (organization and method) with pending tasks, at most max_queues, settings.limits.max_concurrent_tasks and max_running_tasks of their organizations, and whether they have floors.';
revoke execute on function private.queues_with_work(text[], text[], bigint) from public;
grant execute on function private.queues_with_work(text[], text[], bigint) to service_role;

create function private.key_has_room(entry private.live_tasks) returns boolean
language sql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
  select (
    select count(*) from private.live_tasks r
    where r.state = 'running' and r.organization_slug = entry.organization_slug and r.concurrency_key = entry.concurrency_key
  ) + (
    select count(*) from (
      select from private.live_tasks a
      where a.organization_slug = entry.organization_slug and a.concurrency_key = entry.concurrency_key and a.ticket < entry.ticket
        -- One that failed keeps its place where order is kept; one that was scheduled for later has none yet.
        and (a.state in ('pending', 'waiting_for_key', 'waiting_for_agent') or a.state = 'delayed' and a.attempt > 0 and entry.concurrency_limit = 1)
      limit entry.concurrency_limit
    ) ahead
  ) < entry.concurrency_limit;
$$;
comment on function private.key_has_room(private.live_tasks) is
  'Whether a task may run by its concurrency_key: fewer than concurrency_limit of the key run or stand before it.';
revoke execute on function private.key_has_room(private.live_tasks) from public;
grant execute on function private.key_has_room(private.live_tasks) to service_role;

create function private.park_for_keys(candidates uuid[]) returns uuid[]
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_key record;
  v_decided uuid[] := '{}';
  v_left_out uuid[] := '{}';
  v_waiting uuid[];
  v_locks integer := 0;
begin
  -- One claimer at a time decides about a key; what others are deciding about is left to them.
  for v_key in
    select l.organization_slug, l.concurrency_key, array_agg(l.task_id) as ids
    from private.live_tasks l
    where l.task_id = any (candidates) and l.concurrency_key is not null
    group by l.organization_slug, l.concurrency_key
  loop
    v_locks := v_locks + 1;
    -- These locks stand in shared memory: a bounded number for each claim.
    if v_locks <= 200 and pg_try_advisory_xact_lock(hashtextextended(v_key.organization_slug || chr(31) || v_key.concurrency_key, 1)) then
      v_decided := v_decided || v_key.ids;
    else
      v_left_out := v_left_out || v_key.ids;
    end if;
  end loop;
  v_waiting := array(
    select l.task_id
    from private.live_tasks l
    where l.task_id = any (v_decided) and not private.key_has_room(l)
  );
  update private.live_tasks l set state = 'waiting_for_key'
  where l.task_id in (select x.task_id from private.live_tasks x where x.task_id = any (v_waiting) and x.state = 'pending' for update skip locked);
  return v_left_out || v_waiting;
end;
$$;
comment on function private.park_for_keys(uuid[]) is
  'Those of the candidates that their concurrency_key does not let run now. They wait outside the claims'' index until one of their key ends, or are left to the claimer that is just deciding about the key.';
revoke execute on function private.park_for_keys(uuid[]) from public;
grant execute on function private.park_for_keys(uuid[]) to service_role;

create function private.park_for_agents(candidates uuid[], limited text[], picked uuid[]) returns uuid[]
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_locked constant text[] := array(select a.slug from public.agents a where a.slug = any (limited) order by a.slug for no key update skip locked);
  v_waiting uuid[];
begin
  v_waiting := array(
    select c.task_id
    from (
      select l.task_id, l.agent_slug, row_number() over (partition by l.agent_slug order by l.place, random()) as turn
      from (
        select x.*, row_number() over (partition by x.agent_slug, x.organization_slug order by x.priority, x.scheduled_at, x.ticket) as place
        from private.live_tasks x
        where x.task_id = any (candidates) and x.agent_slug = any (v_locked)
      ) l
    ) c
    join public.agents a on a.slug = c.agent_slug
    where c.turn > a.max_concurrent_tasks
      - (select count(*) from private.live_tasks r where r.state = 'running' and r.agent_slug = c.agent_slug)
      - (select count(*) from private.live_tasks r where r.task_id = any (picked) and r.agent_slug = c.agent_slug)
  );
  update private.live_tasks l set state = 'waiting_for_agent'
  where l.task_id in (select x.task_id from private.live_tasks x where x.task_id = any (v_waiting) and x.state = 'pending' for update skip locked);
  return v_waiting || array(
    select l.task_id from private.live_tasks l where l.task_id = any (candidates) and l.agent_slug = any (limited) and l.agent_slug <> all (v_locked)
  );
end;
$$;
comment on function private.park_for_agents(uuid[], text[], uuid[]) is
  'Those of the candidates whose limited agents (max_concurrent_tasks) have no room beside what runs and what is picked already. They wait outside the claims'' index until one of the agent''s tasks ends, or are left to the claimer that is just counting.';
revoke execute on function private.park_for_agents(uuid[], text[], uuid[]) from public;
grant execute on function private.park_for_agents(uuid[], text[], uuid[]) to service_role;

-- Sorting is switched off, so that the planner, whatever it knows of the table, takes the index that has the order.
create function private.pick_tasks(max_tasks integer, methods text[], organizations text[], slots jsonb, out ids uuid[], out undecided boolean)
language plpgsql volatile security invoker
set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off
as $$
declare
  v_now constant timestamptz := private.clock();
  v_max_queues constant bigint := greatest(2 * max_tasks, 100);
  v_queues record;
  v_candidates record;
  v_limited text[];
  v_locked text[];
  v_rooms integer[];
  v_held integer[];
  v_is_one boolean;
  v_depth integer;
  v_passed uuid[] := '{}';
  v_parked uuid[];
  v_taken uuid[];
  v_promoted uuid[];
  v_walked bigint;
begin
  ids := '{}';
  undecided := false;
  if exists (select from private.live_tasks d where d.state = 'delayed' and d.scheduled_at <= v_now) then
    with promoted as (
      update private.live_tasks l set state = 'pending'
      where l.task_id = any (array(
        select y.task_id from private.live_tasks y
        where y.state = 'delayed' and y.task_id = any (array(
          -- A thousand at most, of each organization in turn.
          with recursive tenants as (
            (select l.organization_slug from private.live_tasks l where l.state = 'delayed' order by l.organization_slug limit 1)
            union all
            select n.organization_slug
            from tenants t
            cross join lateral (
              select l.organization_slug from private.live_tasks l
              where l.state = 'delayed' and l.organization_slug > t.organization_slug order by l.organization_slug limit 1
            ) n
          )
          select d.task_id
          from tenants t
          cross join lateral (
            select x.task_id, row_number() over () as place
            from (
              select l.task_id from private.live_tasks l
              where l.state = 'delayed' and l.organization_slug = t.organization_slug and l.scheduled_at <= v_now
              order by l.scheduled_at
              limit 1000
            ) x
          ) d
          order by d.place, random()
          limit 1000
        ))
        for update skip locked
      ))
      returning l.task_id
    )
    select array_agg(p.task_id) into v_promoted from promoted p;
    if exists (select from private.queue_floors) then
      perform private.lower_floors(v_promoted);
    end if;
  end if;
  v_walked := private.entries_walked('private.live_tasks_pending_idx');
  select array_agg(q.organization_slug) as organizations, array_agg(q.method) as methods, array_agg(q.concurrency) as limits,
    array_agg(q.cap) as caps, array_agg(q.floored) as floored, count(*) as number, count(coalesce(q.concurrency, q.cap)) > 0 as limited
  into v_queues
  from private.queues_with_work(methods, organizations, v_max_queues) q;
  if organizations is null and v_queues.number = v_max_queues then
    update private.queue_walk w set organization_slug = v_queues.organizations[v_max_queues], method = v_queues.methods[v_max_queues]
    where exists (select from private.queue_walk x for update skip locked);
  end if;
  if v_queues.number = 0 then
    return;
  end if;
  v_rooms := array_fill(100000, array[v_queues.number::integer]);
  if v_queues.limited then
    -- One claimer at a time counts what a limited organization runs; the others leave it to the next round.
    v_locked := array(
      select o.slug from public.organizations o
      where o.slug = any (array(
        select q.slug from unnest(v_queues.organizations, v_queues.limits, v_queues.caps) q (slug, concurrency, cap)
        where coalesce(q.concurrency, q.cap) is not null
      ))
      order by o.slug
      for no key update skip locked
    );
    v_rooms := array(
      select case
        when coalesce(q.concurrency, q.cap) is null then 100000
        when q.slug = any (v_locked) then least(
          case when q.concurrency is not null then floor(least(q.concurrency, 100000)) - (
            select count(*) from private.live_tasks r
            where r.state = 'running' and r.organization_slug = q.slug and r.method <> all (array(select m.name from public.task_methods m where m.is_internal))
          ) end,
          case when q.cap is not null
            then q.cap - (select count(*) from private.live_tasks r where r.state = 'running' and r.organization_slug = q.slug)
          end
        )
        else 0
      end
      from unnest(v_queues.organizations, v_queues.limits, v_queues.caps) with ordinality q (slug, concurrency, cap, place)
      order by q.place
    );
    undecided := exists (
      select from unnest(v_queues.organizations, v_queues.limits, v_queues.caps) q (slug, concurrency, cap)
      where coalesce(q.concurrency, q.cap) is not null and q.slug <> all (v_locked)
    );
  end if;
  if slots is not null and private.slots_are_shared(organizations) then
    select s.rooms, s.held, undecided or s.waits into v_rooms, v_held, undecided from private.share_slots(slots, v_queues.organizations, v_rooms) s;
  end if;
  -- Of one queue more may be looked at than there is room for: what is taken is counted then, of whatever others leave.
  v_is_one := v_queues.number = 1;
  v_depth := ceil(2.0 * max_tasks / v_queues.number);
  -- Usually one round; more when others are taking the same tasks, or when keys and agents hold some back.
  for v_round in 1..20 loop
    select array_agg(c.task_id) as ids, array_agg(c.turn + coalesce(c.held, 0)) as turns, array_agg(distinct c.agent_slug) as agents,
      bool_or(c.concurrency_key is not null) as keyed, bool_or(c.place >= v_depth or c.place >= c.room and not v_is_one) as more
    into v_candidates
    from (
      select l.*, q.room, q.held, row_number() over (partition by q.slug order by l.priority, l.scheduled_at, l.ticket) as turn
      from unnest(v_queues.organizations, v_queues.methods, v_rooms, v_held, v_queues.floored) q (slug, method, room, held, floored)
      cross join lateral (
        select x.task_id, x.priority, x.scheduled_at, x.ticket, x.concurrency_key, x.agent_slug, row_number() over () as place
        from (
          (
            select y.* from private.live_tasks y
            where not q.floored and y.state = 'pending' and y.organization_slug = q.slug and y.method = q.method and y.task_id <> all (v_passed)
            order by y.priority, y.scheduled_at, y.ticket
            limit case when v_is_one then v_depth else least(v_depth, q.room) end
          )
          union all
          select y.* from private.floored_tasks(q.slug, q.method, v_passed, case when v_is_one then v_depth else least(v_depth, q.room) end) y where q.floored
        ) x
      ) l
      where q.room > 0
    ) c
    where c.turn <= c.room or v_is_one;
    exit when v_candidates.ids is null;
    if v_round = 1 and private.entries_walked('private.live_tasks_pending_idx') - v_walked - cardinality(v_candidates.ids) > 2000 then
      perform private.raise_floors(v_candidates.ids);
    end if;
    v_limited := '{}';
    if v_candidates.agents <> array[null]::text[] then
      v_limited := array(select a.slug from public.agents a where a.slug = any (v_candidates.agents) and a.max_concurrent_tasks is not null);
    end if;
    v_parked := '{}';
    if v_is_one and (v_candidates.keyed or v_limited <> '{}') then
      -- What keys and agents hold back is asked only of what there is room for.
      select array_agg(c.id), array_agg(c.turn) into v_candidates.ids, v_candidates.turns
      from unnest(v_candidates.ids, v_candidates.turns) c (id, turn)
      where c.turn - coalesce(v_held[1], 0) <= v_rooms[1];
      v_candidates.more := true;
    end if;
    if v_candidates.keyed then
      v_parked := private.park_for_keys(v_candidates.ids);
    end if;
    if v_limited <> '{}' then
      v_parked := v_parked || private.park_for_agents(array(select c.id from unnest(v_candidates.ids) c (id) where c.id <> all (v_parked)), v_limited, ids);
    end if;
    v_taken := array(
      select t.id
      from unnest(v_candidates.ids, v_candidates.turns) c (id, turn)
      join public.tasks t on t.id = c.id and t.status = 'pending'
      where t.id = any (v_candidates.ids) and c.id <> all (v_parked) -- the first, so that no plan begins with the whole table
      order by c.turn, random() -- who holds the fewest slots goes first; priorities are each organization's own
      limit case when v_is_one then least(max_tasks - cardinality(ids), v_rooms[1]) else max_tasks - cardinality(ids) end
      for update of t skip locked
    );
    ids := ids || v_taken;
    undecided := undecided or v_parked <> '{}';
    exit when cardinality(ids) >= max_tasks
      or not v_candidates.more and v_parked = '{}' and cardinality(v_taken) = cardinality(v_candidates.ids);
    -- Those too that others are just taking: where there is little room, they would be all that is looked at.
    v_passed := v_passed || v_candidates.ids;
    v_depth := least(v_depth * 4, 4000);
    v_rooms := array(
      select q.room - (select count(*) from private.live_tasks l where l.task_id = any (v_taken) and l.organization_slug = q.slug)
      from unnest(v_queues.organizations, v_rooms) with ordinality q (slug, room, place)
      order by q.place
    );
  end loop;
  undecided := undecided or organizations is null and v_queues.number = v_max_queues and cardinality(ids) < max_tasks;
end;
$$;
comment on function private.pick_tasks(integer, text[], text[], jsonb) is
  'Locks up to max_tasks pending tasks that are due: organizations take turns, those first that hold the fewest of the worker''s slots, none more than its share of them; within one priority goes before age. undecided: other requests are just deciding about more.';
revoke execute on function private.pick_tasks(integer, text[], text[], jsonb) from public;
grant execute on function private.pick_tasks(integer, text[], text[], jsonb) to service_role;

-- Claiming -------------------------------------------------------------------------------------------------------------

create function private.lease_tasks(
  worker_id text, max_tasks integer, lease_seconds integer, methods text[], organizations text[], slots jsonb, out leases jsonb, out undecided boolean
)
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
declare
  v_ids uuid[];
  v_now constant timestamptz := private.clock();
  v_lease_expires_at constant timestamptz := v_now + make_interval(secs => lease_seconds);
  v_uuid_head constant text := private.uuid_head();
begin
  if slots is not null then
    perform private.check_slots(slots);
  end if;
  select p.ids, p.undecided into v_ids, undecided from private.pick_tasks(max_tasks, methods, organizations, slots) p;
  if v_ids = '{}' then
    leases := '[]';
    return;
  end if;
  -- An answer has a size that can be sent; the first task always goes.
  if cardinality(v_ids) > 1 and 16777216 < (
    select sum(octet_length(t.prompt) + octet_length(t.params::text) + octet_length(t.metadata::text) + octet_length(t.deliverable_metadata::text))
    from public.tasks t
    where t.id = any (v_ids)
  ) then
    select array_agg(s.id), true into v_ids, undecided
    from (
      select t.id, row_number() over mine as place,
        sum(octet_length(t.prompt) + octet_length(t.params::text) + octet_length(t.metadata::text) + octet_length(t.deliverable_metadata::text)) over mine as bytes
      from public.tasks t
      where t.id = any (v_ids)
      window mine as (order by t.priority, t.scheduled_at, t.id)
    ) s
    where s.place = 1 or s.bytes <= 16777216;
  end if;
  with claimed as (
    update public.tasks t
    set status = 'in_progress', progress = 0, attempt = t.attempt + 1, worker_id = lease_tasks.worker_id,
      lease_token = (v_uuid_head || substr(gen_random_uuid()::text, 16))::uuid, lease_expires_at = v_lease_expires_at, started_at = v_now,
      progress_message = null, error_code = null, error_message = null, error_data = null, updated_at = now()
    where t.id = any (v_ids)
    returning t.id, t.organization_slug, t.user_id, t.execution_id, t.agent_slug, t.agent_name, t.prompt, t.attempt, t.lease_token, t.parent_task_id
  ),
  started as (
    insert into public.runs (id, organization_slug, created_by, task_id, execution_id, agent_slug, agent_name, initial_prompt, attempt, worker_id, parent_run_id, call_stack)
    select c.lease_token, c.organization_slug, c.user_id, c.id, c.execution_id, c.agent_slug, c.agent_name, left(c.prompt, 2000), c.attempt,
      lease_tasks.worker_id, case when c.parent_task_id is not null then private.parent_run_of(c.id, c.parent_task_id) end,
      case when c.parent_task_id is null then '{}' else private.call_stack_of(c.id) end
    from claimed c
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'task_id', c.id, 'attempt', c.attempt, 'lease_token', c.lease_token, 'lease_expires_at', v_lease_expires_at
  )), '[]')
  into leases
  from claimed c;
end;
$$;
comment on function private.lease_tasks(text, integer, integer, text[], text[], jsonb) is
  'Leases up to max_tasks due tasks to a worker and starts their runs; leases is [{task_id, attempt, lease_token, lease_expires_at}].';
revoke execute on function private.lease_tasks(text, integer, integer, text[], text[], jsonb) from public;
grant execute on function private.lease_tasks(text, integer, integer, text[], text[], jsonb) to service_role;

create function private.describe_leases(leases jsonb) returns json
language plpgsql stable security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
begin
  -- json, not jsonb: a large answer is only passed on, and its text is half the work of a tree.
  return (
    with held as materialized (
      select l.attempt as held_attempt, l.lease_token as held_token, l.lease_expires_at as held_until, t.id, t.organization_slug, t.user_id, t.method,
        t.prompt, t.params, t.deliverable_type, t.deliverable_metadata, t.timeout_seconds, t.max_attempts, t.agent_conversation_id, t.agent_slug,
        t.agent_name, t.metadata, t.trace_context, t.priority, t.created_at, t.started_at, t.scheduled_at, t.paused_at, t.parent_task_id
      from jsonb_to_recordset(leases) l (task_id uuid, attempt integer, lease_token uuid, lease_expires_at timestamptz)
      join public.tasks t on t.id = l.task_id and t.id = any (private.ids_in(leases, 'task_id'))
    ),
    agents as materialized (
      select a.slug, a.organization_slug, a.owner_user_id, json_build_object(
        'slug', a.slug, 'name', a.name, 'description', a.description, 'version', a.version, 'agent_type', a.agent_type, 'context', a.context,
        'io_schema', a.io_schema, 'capabilities', a.capabilities, 'endpoint', a.endpoint, 'llm_config', a.llm_config,
        'metadata', a.metadata, 'status', a.status, 'framework', a.framework, 'is_private', a.owner_user_id is not null
      ) as body
      from public.agents a
      where a.slug in (select distinct h.agent_slug from held h)
    ),
    tenants as materialized (
      select o.slug, o.settings #> '{network,allowed_hosts}' as allowed_hosts
      from public.organizations o
      where o.slug = any (array(select distinct h.organization_slug from held h))
    )
    select coalesce(json_agg(json_build_object(
      'task', json_build_object(
        'id', h.id, 'organization_slug', h.organization_slug, 'user_id', h.user_id, 'method', h.method, 'prompt', h.prompt, 'params', h.params,
        'deliverable_type', h.deliverable_type, 'deliverable_metadata', h.deliverable_metadata, 'timeout_seconds', h.timeout_seconds,
        'attempt', h.held_attempt, 'max_attempts', h.max_attempts, 'agent_conversation_id', h.agent_conversation_id, 'agent_slug', h.agent_slug,
        'agent_name', h.agent_name, 'metadata', h.metadata, 'trace_context', h.trace_context, 'priority', h.priority, 'created_at', h.created_at,
        'queue_seconds', round(extract(epoch from h.started_at - greatest(h.created_at, h.scheduled_at)), 3)
      ),
      'agent', a.body, 'attempt', h.held_attempt, 'lease_token', h.held_token, 'lease_expires_at', h.held_until, 'run_id', h.held_token,
      'history', case when h.agent_conversation_id is null then '[]' else private.conversation_history(h.agent_conversation_id, h.id) end,
      'input', case when h.paused_at is null then '[]' else private.closed_questions(h.id) end,
      'checkpoint', case when h.paused_at is not null then private.checkpoint_of(h.id) end, 'allowed_hosts', o.allowed_hosts,
      'agent_calls', case when h.paused_at is null then '[]' else private.returned_calls(h.id) end,
      'call_stack', case when h.parent_task_id is null then '{}' else private.call_stack_of(h.id) end
    ) order by h.priority, h.scheduled_at, h.id), '[]')
    from held h
    left join agents a on a.slug = h.agent_slug and (a.organization_slug @> array[h.organization_slug] or a.owner_user_id = h.user_id)
    join tenants o on o.slug = h.organization_slug
  );
end;
$$;
comment on function private.describe_leases(jsonb) is
  'What a worker needs to know of the tasks it leased: [{task, agent, attempt, lease_token, lease_expires_at, run_id, history, input, checkpoint, allowed_hosts, agent_calls, call_stack}]; agent is null when it is gone.';
revoke execute on function private.describe_leases(jsonb) from public;
grant execute on function private.describe_leases(jsonb) to service_role;

create function public.claim_tasks(
  worker_id text, max_tasks integer default 1, lease_seconds integer default 30, methods text[] default null, organizations text[] default null,
  slots jsonb default null
) returns json
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_leases jsonb;
begin
  perform private.check_worker_id(worker_id), private.check_claim_arguments(max_tasks, lease_seconds);
  v_leases := (select l.leases from private.lease_tasks(worker_id, max_tasks, lease_seconds, methods, organizations, slots) l);
  -- A statement of its own: in one with the claim it would not see a task that was committed since that began, and was leased all the same.
  return private.describe_leases(v_leases);
end;
$$;
comment on function public.claim_tasks(text, integer, integer, text[], text[], jsonb) is
  'Leases up to max_tasks due tasks to a worker and starts their runs. Returns [{task, agent, attempt, lease_token, lease_expires_at, run_id, history, input, checkpoint, allowed_hosts, agent_calls, call_stack}]; agent is null when it is gone. methods and organizations narrow what is asked for. slots {free, held?: {organization: n}} tells the worker''s slots, free ones before this claim included, so that no organization takes all (set_max_share).';
revoke execute on function public.claim_tasks(text, integer, integer, text[], text[], jsonb) from public, anon, authenticated;
grant execute on function public.claim_tasks(text, integer, integer, text[], text[], jsonb) to service_role;
